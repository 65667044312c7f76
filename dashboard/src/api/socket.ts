/** Websockets that only bring news: followed logs and watched workspaces. */

/** How long the first and the longest pause before another try is, in milliseconds. */
const PAUSE_MS = 500;
const PAUSE_MS_MAX = 10_000;
/** So many tries in a row without an open socket, and whoever listens should ask plainly instead. */
const TRIES_BEFORE_TROUBLE = 2;
/** RFC 6455, section 7.4.1: this was all. */
const CLOSED_NORMALLY = 1000;

export interface Listener {
  /** Where to connect, asked again before each try: what was heard moves on. */
  path: () => string;
  /** A text frame. */
  heard: (text: string) => void;
  /** The server said that this was all. */
  ended?: () => void;
  /** Whether the socket is open now; `false` only after some tries. */
  live?: (live: boolean) => void;
  /** Whether there may be nothing to listen to here: then who never got through does not try for ever. */
  optional?: boolean;
}

/** Listens until the server is done or the returned function is called; connects again as often as it takes. */
export function listen(listener: Listener): () => void {
  let socket: WebSocket | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let tries = 0;
  let over = false;
  let everOpen = false;

  const connect = () => {
    const address = new URL(listener.path(), window.location.href);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    socket = new WebSocket(address);
    socket.onopen = () => {
      tries = 0;
      everOpen = true;
      listener.live?.(true);
    };
    socket.onmessage = ({ data }) => {
      if (typeof data === "string") listener.heard(data);
    };
    socket.onclose = ({ code }) => {
      if (over) return;
      if (code === CLOSED_NORMALLY) {
        over = true;
        listener.ended?.();
        return;
      }
      tries += 1;
      if (listener.optional && !everOpen && tries >= TRIES_BEFORE_TROUBLE) {
        over = true;
        return;
      }
      if (tries >= TRIES_BEFORE_TROUBLE) listener.live?.(false);
      timer = setTimeout(connect, Math.min(PAUSE_MS * 2 ** tries, PAUSE_MS_MAX));
    };
  };
  connect();
  return () => {
    over = true;
    clearTimeout(timer);
    // One that is closed while it connects is an error in the browser's console.
    if (socket?.readyState === WebSocket.CONNECTING) socket.onopen = ({ target }) => (target as WebSocket).close();
    else socket?.close();
  };
}
