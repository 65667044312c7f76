import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { extend } from "../api/actions.ts";
import { useLog } from "../api/live.ts";
import { buildInfo, sshConfiguration } from "../api/queries.ts";
import type { Agent, AgentLog, Resource, Workspace } from "../api/types.ts";
import { mayBuild, mayEnter } from "../lib/permission.ts";
import { safeExternal } from "../lib/redirect.ts";
import { describeAutostart } from "../lib/schedule.ts";
import { agentsOf, isBusy, ofAgent } from "../lib/status.ts";
import { duration } from "../lib/time.ts";
import { useMe } from "../shell.tsx";
import { useAction } from "../ui/action.ts";
import { Button, LinkButton } from "../ui/button.tsx";
import { CopyText } from "../ui/copy.tsx";
import { Glyph } from "../ui/glyph.tsx";
import { LogView } from "../ui/log.tsx";
import { ErrorNotice } from "../ui/notice.tsx";
import { Card, Empty } from "../ui/page.tsx";
import { Status } from "../ui/status.tsx";
import { Ago } from "../ui/time.tsx";
import { BuildProgress } from "./build-progress.tsx";
import { BuildTrouble, useWorkspace } from "./workspace.tsx";
import { Apps } from "./workspace-apps.tsx";
import { Metadata } from "./workspace-metadata.tsx";

export function WorkspaceOverview() {
  const workspace = useWorkspace();
  if (!workspace) return null;
  const { latest_build: build } = workspace;
  const { status } = build;
  const building = isBusy(status) || status === "failed" || status === "canceled";
  return (
    <div className="stack">
      <BuildTrouble workspace={workspace} />
      {building && <BuildProgress build={build} />}
      {status === "deleted" && (
        <Empty title="This workspace is deleted">
          <p>Nothing of it is left. Its name is free again.</p>
        </Empty>
      )}
      {status === "stopped" && (
        <Empty title="This workspace is stopped">
          <p>
            What is on its disk is kept. Start it with the button above, or from a terminal; the first connection starts it too.
          </p>
          <CopyText text={`berth start ${workspace.name}`} label="the command" />
        </Empty>
      )}
      {status === "running" && <Running workspace={workspace} />}
      {status !== "deleted" && <Resources resources={build.resources} />}
    </div>
  );
}

function Running({ workspace }: { workspace: Workspace }) {
  const agents = agentsOf(workspace);
  return (
    <div className="split even">
      <div className="stack">
        {agents.map((agent) => (
          <AgentCard key={agent.id} workspace={workspace} agent={agent} only={agents.length === 1} />
        ))}
        {agents.length === 0 && (
          <Empty title="Nothing to connect to">
            <p>This template has no agent, so there is nothing to enter. What it made is below.</p>
          </Empty>
        )}
      </div>
      <ScheduleCard workspace={workspace} />
    </div>
  );
}

function AgentCard({ workspace, agent, only }: { workspace: Workspace; agent: Agent; only: boolean }) {
  const user = useMe();
  const [log, setLog] = useState(false);
  return (
    <Card title={only ? "Connect" : `Connect to ${agent.name}`} actions={<Status {...ofAgent(agent)} />}>
      {agent.health.reason && agent.status !== "connecting" && (
        <p className="field-error">
          The {agent.health.reason}.{" "}
          {safeExternal(agent.troubleshooting_url) && (
            <a href={agent.troubleshooting_url} target="_blank" rel="noopener noreferrer">
              What to do
            </a>
          )}
        </p>
      )}
      {mayEnter(user, workspace) ? (
        <Ways workspace={workspace} agent={agent} only={only} />
      ) : (
        <p className="muted">Only {workspace.owner_name} can enter this workspace.</p>
      )}
      <Apps agent={agent} workspace={workspace} only={only} />
      <Metadata agent={agent} />
      <dl className="facts">
        <dt>Machine</dt>
        <dd>
          {agent.operating_system}, {agent.architecture}
        </dd>
        {agent.expanded_directory && (
          <>
            <dt>Directory</dt>
            <dd>
              <code>{agent.expanded_directory}</code>
            </dd>
          </>
        )}
        {agent.version && (
          <>
            <dt>Agent</dt>
            <dd>version {agent.version}</dd>
          </>
        )}
      </dl>
      {agent.logs_length > 0 && (
        <Button look="quiet" small glyph={log ? "down" : "right"} aria-expanded={log} onClick={() => setLog(!log)}>
          Start-up log ({agent.logs_length.toLocaleString()})
        </Button>
      )}
      {log && <AgentLogView agent={agent} />}
    </Card>
  );
}

function AgentLogView({ agent }: { agent: Agent }) {
  const log = useLog<AgentLog>(`/api/v2/workspaceagents/${agent.id}/logs`, true);
  return (
    <>
      <LogView
        label={`Start-up log of ${agent.name}`}
        lines={log.lines}
        growing
        waiting="Nothing yet."
        fileName={`${agent.name}.log`}
      />
      {agent.logs_overflowed && <p className="hint">The log was cut at its limit.</p>}
    </>
  );
}

/** The ways in, each to be copied or clicked. */
function Ways({ workspace, agent, only }: { workspace: Workspace; agent: Agent; only: boolean }) {
  const ssh = useQuery(sshConfiguration);
  const info = useQuery(buildInfo);
  const place = only ? workspace.name : `${workspace.name}.${agent.name}`;
  const host = `${place}.${ssh.data?.hostname_suffix ?? "berth"}`;
  const link = new URLSearchParams({ owner: workspace.owner_name, workspace: workspace.name, agent: agent.name });
  link.set("url", info.data?.external_url ?? window.location.origin);
  if (agent.expanded_directory) link.set("folder", agent.expanded_directory);
  return (
    <div className="ways">
      <div>
        <h3>Terminal</h3>
        {agent.display_apps.includes("web_terminal") && (
          <div className="row">
            <LinkButton to="/@{$owner}/$place/terminal" params={{ owner: workspace.owner_name, place }} glyph="terminal">
              Open a terminal
            </LinkButton>
          </div>
        )}
        <CopyText text={`berth ssh ${place}`} label="the berth command" />
        <CopyText text={`ssh ${host}`} label="the ssh command" />
        <p className="hint">
          Stock ssh, scp, rsync and git work once <code>berth config-ssh</code> has run.
        </p>
      </div>
      <div>
        <h3>Editors</h3>
        <div className="row">
          <a className="button plain" href={`vscode://coder.coder-remote/open?${link}`}>
            <Glyph name="external" size={16} />
            <span>VS Code</span>
          </a>
          <a className="button plain" href={`jetbrains-gateway://connect#type=coder&${link}`}>
            <Glyph name="external" size={16} />
            <span>JetBrains Gateway</span>
          </a>
        </div>
        <p className="hint">
          They need the Coder extension, and ask for this deployment's address once. Any editor with SSH takes the host{" "}
          <code>{host}</code>.
        </p>
      </div>
    </div>
  );
}

const HOUR_MS = 3_600_000;

function ScheduleCard({ workspace }: { workspace: Workspace }) {
  const user = useMe();
  const { deadline, max_deadline } = workspace.latest_build;
  const params = { owner: workspace.owner_name, name: workspace.name };
  const prolong = useAction((hours: number) => {
    const later = Math.max(Date.parse(deadline ?? ""), Date.now()) + hours * HOUR_MS;
    return extend(workspace.id, new Date(max_deadline ? Math.min(later, Date.parse(max_deadline)) : later));
  });
  return (
    <Card title="Schedule">
      <dl className="facts">
        <dt>Stops</dt>
        <dd>{deadline ? <Ago time={deadline} /> : "never by itself"}</dd>
        {workspace.ttl_ms && (
          <>
            <dt>After a start</dt>
            <dd>{duration(workspace.ttl_ms)}</dd>
          </>
        )}
        <dt>Starts</dt>
        <dd>{workspace.autostart_schedule ? describeAutostart(workspace.autostart_schedule) : "when you start it"}</dd>
        <dt>Last used</dt>
        <dd>
          <Ago time={workspace.last_used_at} />
        </dd>
      </dl>
      <ErrorNotice error={prolong.error} />
      {mayBuild(user, workspace) && (
        <div className="row">
          {deadline && (
            <Button small glyph="clock" busy={prolong.busy} busyLabel="Putting off" onClick={() => void prolong.run(1)}>
              One more hour
            </Button>
          )}
          <Link to="/@{$owner}/$name/settings" params={params}>
            Change the schedule
          </Link>
        </div>
      )}
    </Card>
  );
}

function Resources({ resources }: { resources: Resource[] }) {
  const shown = resources.filter((resource) => !resource.hide);
  if (shown.length === 0) return null;
  return (
    <Card title="Resources">
      <ul className="resources">
        {shown.map((resource) => (
          <li key={resource.id}>
            <div className="resource-name">
              <code>{resource.type}</code>
              <strong>{resource.name}</strong>
              {resource.daily_cost > 0 && <span className="tag">cost {resource.daily_cost} a day</span>}
            </div>
            {resource.metadata.length > 0 && (
              <dl className="facts">
                {resource.metadata.map((item) => (
                  <Fact key={item.key} label={item.key} value={item.value} sensitive={item.sensitive} />
                ))}
              </dl>
            )}
          </li>
        ))}
      </ul>
    </Card>
  );
}

function Fact({ label, value, sensitive }: { label: string; value: string; sensitive: boolean }) {
  return (
    <>
      <dt>{label}</dt>
      <dd>{sensitive ? <span className="muted">not shown</span> : <code>{value}</code>}</dd>
    </>
  );
}
