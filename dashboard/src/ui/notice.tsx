import type { ReactNode } from "react";
import { ApiError } from "../api/client.ts";
import { Glyph } from "./glyph.tsx";

/** Something to know before going on. */
export function Notice({
  tone = "info",
  children,
  action,
}: {
  tone?: "info" | "warn" | "bad";
  children: ReactNode;
  action?: ReactNode;
}) {
  return (
    <div className={`notice ${tone}`}>
      <Glyph name={tone === "info" ? "pulse" : "warning"} />
      <div>{children}</div>
      {action && <div className="notice-action">{action}</div>}
    </div>
  );
}

function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}

/** What went wrong, in the server's words, and what to do where we know more. `shown` are the fields that say their part themselves. */
export function ErrorNotice({
  error,
  shown = [],
  action,
}: {
  error: Error | null | undefined;
  shown?: string[];
  action?: ReactNode;
}) {
  if (!error) return null;
  const elsewhere =
    error instanceof ApiError && error.validations.length > 0 && error.validations.every(({ field }) => shown.includes(field));
  return (
    <div role="alert">
      <Notice tone="bad" action={action}>
        <p>{elsewhere ? "Something in the form will not do: see the marked fields." : sentence(error.message)}</p>
        {error instanceof ApiError && error.detail && <p className="detail">{error.detail}</p>}
        {error instanceof ApiError && error.status === 403 && (
          <p className="detail">Ask an owner of this deployment if you need it.</p>
        )}
      </Notice>
    </div>
  );
}
