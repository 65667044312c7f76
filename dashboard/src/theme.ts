/** Light, dark, or as the system has it. Loaded before anything is drawn. */

export type Theme = "system" | "light" | "dark";

const KEY = "berth-theme";

function known(text: string | null | undefined): Theme {
  return text === "light" || text === "dark" ? text : "system";
}

export function chosenTheme(): Theme {
  return known(document.documentElement.dataset["theme"]);
}

function show(theme: Theme): void {
  if (theme === "system") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme;
}

export function chooseTheme(theme: Theme): void {
  show(theme);
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    // Storage is off: it holds for this page.
  }
}

try {
  show(known(localStorage.getItem(KEY)));
} catch {
  // Storage is off: the system's.
}
