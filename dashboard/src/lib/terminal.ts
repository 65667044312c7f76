/** What a terminal page says to the server and keeps between loads. */

/** The longest text of one frame, in UTF-16 units: as JSON it stays below the server's limit of 1 MiB. */
const PIECE_MAX = 64 * 1024;

/** A long paste in pieces, none of which ends in the middle of a character. */
export function pieces(text: string): string[] {
  const found: string[] = [];
  for (let start = 0; start < text.length; ) {
    let end = Math.min(start + PIECE_MAX, text.length);
    const last = text.charCodeAt(end - 1);
    if (end < text.length && last >= 0xd800 && last < 0xdc00) end -= 1;
    found.push(text.slice(start, end));
    start = end;
  }
  return found;
}

/** `workspace` or `workspace.agent`, as an address has it. */
export function placeOf(text: string): { name: string; agent: string | undefined } {
  const dot = text.indexOf(".");
  return dot < 0 ? { name: text, agent: undefined } : { name: text.slice(0, dot), agent: text.slice(dot + 1) };
}

/** An address that a program shows: pages only, since a click on it must not start a program. */
export function safePage(address: string): string | undefined {
  return URL.canParse(address) && /^https?:$/.test(new URL(address).protocol) ? address : undefined;
}

const KEY = "berth-terminal";

/** The terminal that this tab has under a name: the same one after the page was loaded again. */
export function terminalId(name: string): string {
  try {
    const kept = sessionStorage.getItem(`${KEY}:${name}`);
    if (kept) return kept;
  } catch {
    // Storage is off: a page that is loaded again gets a new terminal.
  }
  return newTerminalId(name);
}

/** Another terminal in place of one that has ended. */
export function newTerminalId(name: string): string {
  const id = crypto.randomUUID();
  try {
    sessionStorage.setItem(`${KEY}:${name}`, id);
  } catch {
    // As above.
  }
  return id;
}
