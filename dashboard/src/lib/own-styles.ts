/**
 * Some libraries put style into the page as text, which our content security policy refuses: what they write goes the way that it allows, by
 * the style objects of the browser. From here on this holds for every element that a script of the page makes.
 *
 * xterm.js takes another document to make its elements with (`documentOverride`), but version 6.0 makes most of them with the page's own.
 */
export function styleByObjects(document: Document): void {
  const create = document.createElement.bind(document);
  const made = (tag: string, options?: ElementCreationOptions) =>
    tag === "style" ? sheet(document, create("span")) : styled(create(tag, options));
  document.createElement = made as typeof document.createElement;
}

/** In place of a style element: its text becomes a sheet of the document, for as long as it is there. */
function sheet(document: Document, place: HTMLElement): HTMLElement {
  const rules = new CSSStyleSheet();
  place.hidden = true;
  document.adoptedStyleSheets.push(rules);
  Object.defineProperty(place, "textContent", { set: (text: string) => rules.replaceSync(text) });
  place.remove = () => {
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((other) => other !== rules);
    Element.prototype.remove.call(place);
  };
  return place;
}

/** An element whose `style` attribute is set as a style, not as text. */
function styled(element: HTMLElement): HTMLElement {
  element.setAttribute = (name, value) => {
    if (name === "style") element.style.cssText = value;
    else Element.prototype.setAttribute.call(element, name, value);
  };
  return element;
}
