import { useSyncExternalStore } from "react";
import { exact, relative, took } from "../lib/time.ts";

/** One clock for the whole page, which ticks while someone looks at it. */
const SECOND_MS = 1_000;
const listeners = new Set<() => void>();
let now = Date.now();
let timer: ReturnType<typeof setInterval> | undefined;

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  timer ??= setInterval(() => {
    now = Date.now();
    for (const each of listeners) each();
  }, SECOND_MS);
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) {
      clearInterval(timer);
      timer = undefined;
    }
  };
}

/** Now, to the second. */
export function useNow(): number {
  return useSyncExternalStore(subscribe, () => now);
}

/** "3 hours ago", with the exact time on hover and for machines. */
export function Ago({ time }: { time: string }) {
  return (
    <time dateTime={time} title={exact(time)}>
      {relative(time, useNow())}
    </time>
  );
}

/** How long something took, or has taken so far. */
export function Took({ from, to }: { from: string | null | undefined; to: string | null | undefined }) {
  return <span className="number">{took(from, to, useNow())}</span>;
}
