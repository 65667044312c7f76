/** The screen of a terminal: xterm.js as our pages have it. */

import { ClipboardAddon } from "@xterm/addon-clipboard";
import { FitAddon } from "@xterm/addon-fit";
import { SearchAddon } from "@xterm/addon-search";
import { Unicode11Addon } from "@xterm/addon-unicode11";
import { WebLinksAddon } from "@xterm/addon-web-links";
import { type ITheme, Terminal } from "@xterm/xterm";
import "@xterm/xterm/css/xterm.css";
import { styleByObjects } from "../lib/own-styles.ts";
import { safePage } from "../lib/terminal.ts";

styleByObjects(document);

/** How many lines can be scrolled back to. */
const LINES_KEPT = 10_000;
/** WCAG 2.2, success criterion 1.4.3: whatever colours a program chooses. */
const CONTRAST_MIN = 4.5;

/** The page's own ground and text (styles/base.css); the rest is xterm's, as its contrast allows. */
const DARK: ITheme = {
  background: "#0b0f14",
  foreground: "#e7ebef",
  cursor: "#7cc0ea",
  cursorAccent: "#0b0f14",
  selectionBackground: "#2f5674",
};
const LIGHT: ITheme = {
  background: "#ffffff",
  foreground: "#17202a",
  cursor: "#1b6391",
  cursorAccent: "#ffffff",
  selectionBackground: "#b9d9ee",
};
/** Matches, in the form that the search wants; the text on them keeps its contrast. */
const FOUND = {
  matchBackground: "#806000",
  activeMatchBackground: "#9c3f00",
  matchOverviewRuler: "#806000",
  activeMatchColorOverviewRuler: "#9c3f00",
};

export interface Screen {
  terminal: Terminal;
  fit: () => void;
  find: (text: string, direction: "next" | "previous") => void;
  endSearch: () => void;
  dispose: () => void;
}

function visit(address: string): void {
  const page = safePage(address);
  if (page) window.open(page, "_blank", "noopener,noreferrer");
}

/** Puts text on the clipboard, where the browser lets us: it asks for a page that came encrypted, or from this machine. */
async function copy(text: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // The browser did not let us; the text can be marked and copied with its own menu.
  }
}

/** Makes a screen in an element. `search` is called when the person asks to search. */
export function makeScreen(place: HTMLElement, search: () => void): Screen {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const theme = () => {
    const chosen = document.documentElement.dataset["theme"];
    return chosen === "dark" || (chosen !== "light" && dark.matches) ? DARK : LIGHT;
  };
  const terminal = new Terminal({
    allowProposedApi: true,
    cursorBlink: false,
    fontFamily: getComputedStyle(document.documentElement).getPropertyValue("--code") || "monospace",
    fontSize: 14,
    linkHandler: { activate: (_, address) => visit(address) },
    minimumContrastRatio: CONTRAST_MIN,
    scrollback: LINES_KEPT,
    theme: theme(),
  });
  const fit = new FitAddon();
  const found = new SearchAddon();
  terminal.loadAddon(fit);
  terminal.loadAddon(found);
  terminal.loadAddon(new WebLinksAddon((_, address) => visit(address)));
  terminal.loadAddon(new Unicode11Addon());
  terminal.unicode.activeVersion = "11";
  // Programs may put something on the clipboard; what is there is none of theirs.
  const writes = { readText: () => "", writeText: (_: string, text: string) => copy(text) };
  terminal.loadAddon(new ClipboardAddon(undefined, writes));
  terminal.attachCustomKeyEventHandler((event) => {
    const chord = event.ctrlKey && event.shiftKey && event.type === "keydown" ? event.key.toUpperCase() : undefined;
    if (chord === "F") search();
    else if (chord === "C") void copy(terminal.getSelection());
    else return true;
    event.preventDefault();
    return false;
  });
  terminal.open(place);
  fit.fit();

  const dress = () => {
    terminal.options.theme = theme();
  };
  dark.addEventListener("change", dress);
  const sizes = new ResizeObserver(() => fit.fit());
  sizes.observe(place);
  return {
    terminal,
    fit: () => fit.fit(),
    find: (text, direction) => {
      const options = { decorations: FOUND, incremental: direction === "next" };
      if (direction === "next") found.findNext(text, options);
      else found.findPrevious(text, options);
    },
    endSearch: () => found.clearDecorations(),
    dispose: () => {
      sizes.disconnect();
      dark.removeEventListener("change", dress);
      terminal.dispose();
    },
  };
}
