import type { Words } from "../lib/status.ts";

/** A coloured dot and the word it stands for. */
export function Status({ label, tone }: Words) {
  return (
    <span className={`status ${tone}`}>
      <span className="dot" aria-hidden="true" />
      {label}
    </span>
  );
}
