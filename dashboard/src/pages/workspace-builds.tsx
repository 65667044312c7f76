import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import { buildParameters, build as buildQuery, builds as buildsQuery } from "../api/queries.ts";
import type { Build, Workspace } from "../api/types.ts";
import { ofJob } from "../lib/status.ts";
import { Card, Loaded } from "../ui/page.tsx";
import { Status } from "../ui/status.tsx";
import { Ago, Took } from "../ui/time.tsx";
import { BuildProgress } from "./build-progress.tsx";
import { useWorkspace } from "./workspace.tsx";

const VERBS = { start: "Start", stop: "Stop", delete: "Delete" };

const REASONS: Record<string, string> = {
  initiator: "asked for",
  autostart: "by schedule",
  autostop: "by schedule",
  ssh_connection: "by a connection",
  vscode_connection: "by VS Code",
  jetbrains_connection: "by a JetBrains IDE",
  dashboard: "in the dashboard",
  cli: "on the command line",
};

export function WorkspaceBuilds() {
  const workspace = useWorkspace();
  return workspace ? <History workspace={workspace} /> : null;
}

function History({ workspace }: { workspace: Workspace }) {
  const query = useQuery(buildsQuery(workspace.id));
  return (
    <Loaded query={query} rows={4}>
      {(builds) => (
        <table className="list builds">
          <caption className="visually-hidden">Builds of {workspace.name}</caption>
          <thead>
            <tr>
              <th scope="col">Build</th>
              <th scope="col">Status</th>
              <th scope="col">Version</th>
              <th scope="col">When</th>
              <th scope="col">Took</th>
            </tr>
          </thead>
          <tbody>
            {builds.map((build) => (
              <Row key={build.id} build={build} />
            ))}
          </tbody>
        </table>
      )}
    </Loaded>
  );
}

function Row({ build }: { build: Build }) {
  const params = { owner: build.workspace_owner_name, name: build.workspace_name, number: String(build.build_number) };
  return (
    <tr>
      <td className="what">
        <div>
          <Link to="/@{$owner}/$name/builds/$number" params={params} className="strong">
            {VERBS[build.transition]} (build {build.build_number})
          </Link>
          <small>
            {build.initiator_name}, {REASONS[build.reason] ?? build.reason}
          </small>
        </div>
      </td>
      <td>
        <Status {...ofJob(build.job.status)} />
      </td>
      <td className="wide">{build.template_version_name}</td>
      <td className="wide">
        <Ago time={build.created_at} />
      </td>
      <td className="wide">
        <Took from={build.job.started_at} to={build.job.completed_at} />
      </td>
    </tr>
  );
}

export function WorkspaceBuild() {
  const { owner, name, number } = useParams({ from: "/inside/@{$owner}/$name/builds/$number" });
  const query = useQuery(buildQuery(owner, name, Number(number)));
  return (
    <div className="stack">
      <Link to="/@{$owner}/$name/builds" params={{ owner, name }}>
        All builds
      </Link>
      <Loaded query={query} rows={6}>
        {(build) => (
          <>
            <BuildProgress key={build.id} build={build} />
            <Answers build={build} />
          </>
        )}
      </Loaded>
    </div>
  );
}

/** The build's answers, and what the build before it had instead. */
function Answers({ build }: { build: Build }) {
  const { workspace_owner_name: owner, workspace_name: name, build_number: number } = build;
  const before = useQuery({ ...buildQuery(owner, name, number - 1), enabled: number > 1 });
  const answers = useQuery(buildParameters(build.id));
  const earlier = useQuery({ ...buildParameters(before.data?.id ?? ""), enabled: before.data !== undefined });
  if (!answers.data?.length) return null;
  const was = new Map(earlier.data?.map((answer) => [answer.name, answer.value]));
  return (
    <Card title="Parameters of this build">
      <dl className="facts">
        {answers.data.map((answer) => (
          <Answer key={answer.name} name={answer.name} value={answer.value} before={was.get(answer.name)} />
        ))}
      </dl>
    </Card>
  );
}

function Answer({ name, value, before }: { name: string; value: string; before: string | undefined }) {
  return (
    <>
      <dt>{name}</dt>
      <dd>
        <code>{value || "(empty)"}</code>
        {before !== undefined && before !== value && (
          <span className="tag warn">
            was <code>{before || "(empty)"}</code>
          </span>
        )}
      </dd>
    </>
  );
}
