/** Where to go after a sign-in: a path of this dashboard and nothing else, whatever a link says. */
export function safePath(wanted: string | undefined): string {
  if (!wanted?.startsWith("/") || wanted.startsWith("//") || /[\\\s]/.test(wanted)) return "/";
  const resolved = new URL(wanted, "http://dashboard.invalid");
  return resolved.origin === "http://dashboard.invalid" && !resolved.pathname.startsWith("//")
    ? resolved.pathname + resolved.search + resolved.hash
    : "/";
}

/** An address that a template gives an app: only schemes that open a page or a known program. */
export function safeExternal(address: string): string | undefined {
  const schemes = new Set([
    "https:",
    "http:",
    "vscode:",
    "vscode-insiders:",
    "cursor:",
    "jetbrains-gateway:",
    "jetbrains:",
    "zed:",
  ]);
  return URL.canParse(address) && schemes.has(new URL(address).protocol) ? address : undefined;
}
