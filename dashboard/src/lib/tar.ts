/** Reads the files of a tar (POSIX ustar and pax), as the server keeps template archives. */

const BLOCK = 512;
/** The largest file that is shown, in bytes. */
export const SHOWN_BYTES_MAX = 512 * 1024;

export interface TarFile {
  path: string;
  size: number;
  /** The text; `undefined` for what is not text or is too large to show. */
  text: string | undefined;
}

const decoder = new TextDecoder();

function field(block: Uint8Array, from: number, length: number): string {
  const bytes = block.subarray(from, from + length);
  const end = bytes.indexOf(0);
  return decoder.decode(end < 0 ? bytes : bytes.subarray(0, end));
}

function textOf(content: Uint8Array): string | undefined {
  if (content.length > SHOWN_BYTES_MAX || content.includes(0)) return undefined;
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(content);
  } catch {
    return undefined;
  }
}

/** The path that a pax header gives the entry after it: `<length> path=<path>\n`. */
function paxPath(content: Uint8Array): string | undefined {
  return /^\d+ path=(.*)$/m.exec(decoder.decode(content))?.[1];
}

/** The regular files, in order of their paths. An archive that is cut off ends where it is cut. */
export function files(archive: ArrayBuffer): TarFile[] {
  const bytes = new Uint8Array(archive);
  const found: TarFile[] = [];
  let longer: string | undefined;
  for (let at = 0; at + BLOCK <= bytes.length; ) {
    const header = bytes.subarray(at, at + BLOCK);
    if (header[0] === 0) break;
    const size = Number.parseInt(field(header, 124, 12).trim() || "0", 8);
    const content = bytes.subarray(at + BLOCK, at + BLOCK + size);
    const kind = field(header, 156, 1);
    const prefix = field(header, 345, 155);
    const path = longer ?? (prefix ? `${prefix}/` : "") + field(header, 0, 100);
    longer = kind === "x" ? paxPath(content) : undefined;
    if (kind === "0" || kind === "") found.push({ path: path.replace(/^\.\//, ""), size, text: textOf(content) });
    at += BLOCK + Math.ceil(size / BLOCK) * BLOCK;
  }
  return found.sort((one, other) => one.path.localeCompare(other.path));
}
