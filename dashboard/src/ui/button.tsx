import { createLink, type LinkComponent } from "@tanstack/react-router";
import type { AnchorHTMLAttributes, ButtonHTMLAttributes, ReactNode, Ref } from "react";
import { Glyph, type GlyphName } from "./glyph.tsx";

export type Look = "primary" | "plain" | "danger" | "quiet";

interface Own {
  look?: Look;
  glyph?: GlyphName;
  small?: boolean;
}

function classes({ look = "plain", small }: Own): string {
  return `button ${look}${small ? " small" : ""}`;
}

interface ButtonProps extends ButtonHTMLAttributes<HTMLButtonElement>, Own {
  /** Its work is under way: it says so and takes no further click, but keeps the focus. */
  busy?: boolean;
  /** What it says while its work is under way. */
  busyLabel?: string;
  ref?: Ref<HTMLButtonElement>;
}

export function Button({ look, glyph, small, busy = false, busyLabel, children, onClick, type = "button", ...rest }: ButtonProps) {
  return (
    <button
      {...rest}
      type={type}
      className={classes({ ...(look && { look }), ...(small && { small }) })}
      aria-disabled={busy || rest["aria-disabled"] || undefined}
      onClick={busy ? (event) => event.preventDefault() : onClick}
    >
      {busy ? <span className="spinner" aria-hidden="true" /> : glyph && <Glyph name={glyph} size={16} />}
      <span>{busy ? (busyLabel ?? children) : children}</span>
    </button>
  );
}

/** A picture that is a button; `label` is its name for everyone. */
export function IconButton({
  glyph,
  label,
  ...rest
}: { glyph: GlyphName; label: string } & ButtonHTMLAttributes<HTMLButtonElement>) {
  return (
    <button type="button" {...rest} className="icon-button" aria-label={label} title={label}>
      <Glyph name={glyph} />
    </button>
  );
}

function Anchor({
  look,
  glyph,
  small,
  children,
  ...rest
}: AnchorHTMLAttributes<HTMLAnchorElement> & Own & { children?: ReactNode }) {
  return (
    <a {...rest} className={classes({ ...(look && { look }), ...(small && { small }) })}>
      {glyph && <Glyph name={glyph} size={16} />}
      <span>{children}</span>
    </a>
  );
}

const Made = createLink(Anchor);
/** A link to another page that looks like a button. */
export const LinkButton: LinkComponent<typeof Anchor> = (props) => <Made {...props} />;
