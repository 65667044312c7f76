/** The apps of an agent, as buttons. */

import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import { appHost } from "../api/queries.ts";
import type { Agent, App, Workspace } from "../api/types.ts";
import { grouped, type Way, wayTo } from "../lib/apps.ts";
import { mayEnter } from "../lib/permission.ts";
import { ofApp } from "../lib/status.ts";
import { useMe } from "../shell.tsx";
import { CopyText } from "../ui/copy.tsx";
import { Picture } from "../ui/picture.tsx";
import { Status } from "../ui/status.tsx";

export function Apps({ agent, workspace, only }: { agent: Agent; workspace: Workspace; only: boolean }) {
  const groups = grouped(agent.apps);
  const place = only ? workspace.name : `${workspace.name}.${agent.name}`;
  const hosted = groups.some(([, apps]) => apps.some((app) => app.subdomain_name));
  const host = useQuery({ ...appHost, enabled: hosted });
  if (groups.length === 0 || (hosted && host.isPending)) return null;
  return groups.map(([heading, apps]) => (
    <div key={heading}>
      <h3>{heading || "Apps"}</h3>
      <ul className="apps">
        {apps.map((app) => (
          <li key={app.id}>
            <Entry app={app} way={wayTo(app, host.data ?? "", window.location.href)} workspace={workspace} place={place} />
          </li>
        ))}
      </ul>
    </div>
  ));
}

function Entry({ app, way, workspace, place }: { app: App; way: Way; workspace: Workspace; place: string }) {
  const user = useMe();
  const name = app.display_name || app.slug;
  const health = ofApp(app);
  const face: ReactNode = (
    <>
      <Picture icon={app.icon} name={name} />
      <span>{name}</span>
    </>
  );
  return (
    <>
      <Button way={way} app={app} place={place} owner={workspace.owner_name} enter={mayEnter(user, workspace)}>
        {face}
      </Button>
      {health && <Status {...health} />}
      {way.kind === "port" && <CopyText text={`berth port-forward ${place} --tcp ${way.port}`} label={`the command for ${name}`} />}
    </>
  );
}

interface ButtonProps {
  way: Way;
  app: App;
  place: string;
  owner: string;
  enter: boolean;
  children: ReactNode;
}

function Button({ way, app, place, owner, enter, children }: ButtonProps) {
  switch (way.kind) {
    case "external":
    case "host":
      return (
        <a className="button plain app" href={way.address} target={`app-${app.id}`} rel="noopener noreferrer">
          {children}
        </a>
      );
    case "terminal":
      if (!enter) return <span className="app">{children}</span>;
      return (
        <Link to="/@{$owner}/$place/terminal" params={{ owner, place }} search={{ app: way.slug }} className="button plain app">
          {children}
        </Link>
      );
    default:
      return <span className="app">{children}</span>;
  }
}
