import { type ReactNode, useEffect, useMemo, useRef, useState } from "react";
import type { LogLevel } from "../api/types.ts";
import { clock } from "../lib/time.ts";
import { Button } from "./button.tsx";

/** So many of the newest lines are in the page at first; the rest come when asked for. */
const LINES_SHOWN = 2_000;
/** This near to its end, a log keeps to it when lines come, in pixels. */
const NEAR_END = 40;

export interface Line {
  id: number;
  created_at: string;
  output: string;
  level: LogLevel;
}

interface Props {
  /** The name of the log for everyone. */
  label: string;
  lines: Line[];
  /** Whether more may come. */
  growing: boolean;
  /** Said while there is no line. */
  waiting: ReactNode;
  fileName: string;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is to be left out.
const ESCAPES = /\u001b\[[0-9;?]*[ -/]*[@-~]|\u001b\][^\u0007]*\u0007/g;

/** Lines as they come. It stays at its end until the person scrolls up, and goes on when they scroll down again. */
export function LogView({ label, lines, growing, waiting, fileName }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const pinned = useRef(true);
  const [all, setAll] = useState(false);
  const hidden = all ? 0 : Math.max(0, lines.length - LINES_SHOWN);
  const shown = useMemo(() => lines.slice(hidden), [lines, hidden]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: new lines are why it scrolls.
  useEffect(() => {
    if (pinned.current && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [shown]);
  const scrolled = () => {
    const { scrollTop, scrollHeight, clientHeight } = box.current ?? { scrollTop: 0, scrollHeight: 0, clientHeight: 0 };
    pinned.current = scrollHeight - scrollTop - clientHeight < NEAR_END;
  };
  return (
    <div className="log-frame">
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls is reached by keyboard. */}
      <div className="log" ref={box} onScroll={scrolled} role="log" aria-label={label} aria-live="off" tabIndex={0}>
        {hidden > 0 && (
          <button type="button" className="log-earlier" onClick={() => setAll(true)}>
            Show {hidden.toLocaleString()} earlier lines
          </button>
        )}
        {shown.map((line) => (
          <div key={line.id} className={`log-line ${line.level}`}>
            <time dateTime={line.created_at}>{clock(line.created_at)}</time>
            <span>{line.output.replace(ESCAPES, "")}</span>
          </div>
        ))}
        {lines.length === 0 && <div className="log-line waiting">{waiting}</div>}
      </div>
      <div className="log-foot">
        <span>
          {lines.length.toLocaleString()} {lines.length === 1 ? "line" : "lines"}
          {growing && " so far"}
        </span>
        {lines.length > 0 && (
          <Button look="quiet" small onClick={() => download(fileName, lines)}>
            Download
          </Button>
        )}
      </div>
    </div>
  );
}

function download(fileName: string, lines: Line[]): void {
  const text = lines.map((line) => `${line.created_at} ${line.level} ${line.output}\n`);
  const address = URL.createObjectURL(new Blob(text, { type: "text/plain" }));
  const link = document.createElement("a");
  link.href = address;
  link.download = fileName;
  link.click();
  URL.revokeObjectURL(address);
}
