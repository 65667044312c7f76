/** The websocket of a terminal: frames of JSON to the server, what the program writes from it. */

import { pieces } from "../lib/terminal.ts";

/** How long the first and the longest pause before another try is, in milliseconds. */
const PAUSE_MS = 300;
const PAUSE_MS_MAX = 8_000;
/** RFC 6455, section 7.4.1: the program has ended; and: coming again does not help. */
const CLOSED_NORMALLY = 1000;
const CLOSED_BY_POLICY = 1008;
/** How many bytes are shown before the server hears of it. */
const ACK_BYTES = 64 * 1024;

export interface TerminalAddress {
  agentId: string;
  id: string;
  command: string | undefined;
}

export type LinkState =
  | { is: "connecting" }
  | { is: "open" }
  | { is: "broken" }
  | { is: "ended" }
  | { is: "refused"; reason: string };

export interface TerminalLink {
  type: (text: string) => void;
  resize: (columns: number, rows: number) => void;
  close: () => void;
}

interface Ears {
  size: () => { columns: number; rows: number };
  /** A new socket: all that the terminal showed comes again. */
  opened: () => void;
  /** What the program wrote; `shown` is to be called once it is on the screen. */
  wrote: (bytes: Uint8Array, shown: () => void) => void;
  state: (state: LinkState) => void;
}

/** Keeps a socket to a terminal until the program has ended, the server will not have us, or the link is closed. */
export function linkTerminal({ agentId, id, command }: TerminalAddress, ears: Ears): TerminalLink {
  let socket: WebSocket | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let tries = 0;
  let over = false;

  const say = (frame: object) => {
    if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(frame));
  };
  const connect = () => {
    const { columns, rows } = ears.size();
    const address = new URL(`/api/v2/workspaceagents/${agentId}/pty`, window.location.href);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    address.search = new URLSearchParams({ reconnect: id, width: String(columns), height: String(rows) }).toString();
    if (command) address.searchParams.set("command", command);
    const own = new WebSocket(address);
    own.binaryType = "arraybuffer";
    socket = own;
    let shown = 0;
    let told = 0;
    own.onopen = () => {
      tries = 0;
      ears.opened();
      say({ ack: 0 });
      ears.state({ is: "open" });
    };
    own.onmessage = ({ data }) => {
      if (!(data instanceof ArrayBuffer)) return;
      ears.wrote(new Uint8Array(data), () => {
        shown += data.byteLength;
        if (socket !== own || shown - told < ACK_BYTES) return;
        told = shown;
        say({ ack: shown });
      });
    };
    own.onclose = ({ code, reason }) => {
      if (over) return;
      if (code === CLOSED_NORMALLY || code === CLOSED_BY_POLICY) {
        over = true;
        ears.state(code === CLOSED_NORMALLY ? { is: "ended" } : { is: "refused", reason });
        return;
      }
      ears.state({ is: "broken" });
      timer = setTimeout(connect, Math.min(PAUSE_MS * 2 ** tries, PAUSE_MS_MAX));
      tries += 1;
    };
  };
  /** A machine that wakes or is back on a network does not wait for its pause to end. */
  const atOnce = () => {
    if (over || socket?.readyState !== WebSocket.CLOSED) return;
    clearTimeout(timer);
    connect();
  };
  ears.state({ is: "connecting" });
  connect();
  window.addEventListener("online", atOnce);
  return {
    type: (text) => {
      for (const data of pieces(text)) say({ data });
    },
    resize: (columns, rows) => say({ width: columns, height: rows }),
    close: () => {
      over = true;
      clearTimeout(timer);
      window.removeEventListener("online", atOnce);
      // One that is closed while it connects is an error in the browser's console.
      if (socket?.readyState === WebSocket.CONNECTING) socket.onopen = ({ target }) => (target as WebSocket).close();
      else socket?.close();
    },
  };
}
