import { useEffect, useState } from "react";
import { Glyph } from "./glyph.tsx";
import { useSay } from "./toast.tsx";

/** How long "Copied" stays, in milliseconds. */
const SHOWN_MS = 2_000;

/** A command or a secret in one line, with a button that copies it. */
export function CopyText({ text, label, secret = false }: { text: string; label: string; secret?: boolean }) {
  const [copied, setCopied] = useState(false);
  const say = useSay();
  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => setCopied(false), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [copied]);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setCopied(true);
    } catch {
      say("The browser did not let us copy. Select the text and copy it by hand.", "bad");
    }
  };
  return (
    <div className="copy-text">
      <code className={secret ? "secret" : undefined}>{text}</code>
      <button type="button" className="icon-button" onClick={copy} aria-label={`Copy ${label}`} title={`Copy ${label}`}>
        <Glyph name={copied ? "check" : "copy"} />
      </button>
      <span className="visually-hidden" role="status">
        {copied ? "Copied" : ""}
      </span>
    </div>
  );
}
