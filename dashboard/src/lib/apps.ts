/** Where the button of an app leads, and how the buttons are grouped. */

import type { App } from "../api/types.ts";
import { safeExternal } from "./redirect.ts";

/** What opens an app: a page elsewhere, a page of its own host, a command in a terminal, or nothing in a browser. */
export type Way =
  | { kind: "external"; address: string }
  | { kind: "host"; address: string }
  | { kind: "terminal"; slug: string }
  | { kind: "port"; port: string }
  | { kind: "none" };

/** `host` is the pattern of the hosts of apps (`*.apps.example.com:443`), `page` the address of the dashboard. */
export function wayTo(app: App, host: string, page: string): Way {
  const address = safeExternal(app.url);
  if (app.external) return address ? { kind: "external", address } : { kind: "none" };
  if (app.command) return { kind: "terminal", slug: app.slug };
  if (app.subdomain_name && host.startsWith("*.")) {
    return { kind: "host", address: `${new URL(page).protocol}//${host.replace("*", app.subdomain_name)}/` };
  }
  const port = address ? new URL(address).port : "";
  return port ? { kind: "port", port } : { kind: "none" };
}

/** The apps to show under their headings, in the template's order; those without a heading come first. */
export function grouped(apps: App[]): [heading: string, apps: App[]][] {
  const groups = new Map<string, App[]>();
  for (const app of apps.filter(({ hidden }) => !hidden)) groups.set(app.group, [...(groups.get(app.group) ?? []), app]);
  return [...groups].sort(([one], [other]) => Number(one !== "") - Number(other !== ""));
}
