/** One workspace: its state, what can be done with it, and the pages about it. */

import { useQuery } from "@tanstack/react-query";
import { Link, Outlet, useNavigate, useParams } from "@tanstack/react-router";
import { useState } from "react";
import { cancelBuild, createBuild } from "../api/actions.ts";
import { useWatched } from "../api/live.ts";
import { parameters as parametersQuery, workspace as workspaceQuery } from "../api/queries.ts";
import type { CreateBuild, Workspace } from "../api/types.ts";
import { mayBuild } from "../lib/permission.ts";
import { isActive, isBusy, ofWorkspaceAndAgents } from "../lib/status.ts";
import { useMe } from "../shell.tsx";
import { type Action, useAction } from "../ui/action.ts";
import { Button } from "../ui/button.tsx";
import { Confirm } from "../ui/dialog.tsx";
import { ActionMenu } from "../ui/menu.tsx";
import { ErrorNotice, Notice } from "../ui/notice.tsx";
import { Loaded, Page } from "../ui/page.tsx";
import { Picture } from "../ui/picture.tsx";
import { Status } from "../ui/status.tsx";
import { useSay } from "../ui/toast.tsx";

/** The workspace that the address names, as new as we know it. For the pages inside the layout, where it is known. */
export function useWorkspace(): Workspace | undefined {
  const { owner, name } = useParams({ from: "/inside/@{$owner}/$name" });
  return useQuery(workspaceQuery(owner, name)).data;
}

const TABS = [
  { to: "/@{$owner}/$name", label: "Overview" },
  { to: "/@{$owner}/$name/builds", label: "Builds" },
  { to: "/@{$owner}/$name/parameters", label: "Parameters" },
  { to: "/@{$owner}/$name/settings", label: "Settings" },
] as const;

export function WorkspaceLayout() {
  const { owner, name } = useParams({ from: "/inside/@{$owner}/$name" });
  const query = useQuery(workspaceQuery(owner, name));
  useWatched(owner, name, query.data?.id);
  const workspace = query.data;
  const template = workspace?.template_display_name || workspace?.template_name || "";
  return (
    <Page
      title={name}
      heading={
        <>
          <Picture icon={workspace?.template_icon ?? ""} name={template || name} /> {name}
          {workspace && <Status {...ofWorkspaceAndAgents(workspace)} />}
        </>
      }
      lead={
        workspace && (
          <>
            {workspace.owner_name} ·{" "}
            <Link to="/templates/$name" params={{ name: workspace.template_name }}>
              {template}
            </Link>{" "}
            · version {workspace.latest_build.template_version_name}
          </>
        )
      }
      actions={workspace && <Actions workspace={workspace} />}
    >
      <Loaded query={query} rows={6}>
        {() => (
          <>
            <nav className="tabs" aria-label={`Pages of ${name}`}>
              {TABS.map(({ to, label }) => (
                <Link
                  key={to}
                  to={to}
                  params={{ owner, name }}
                  activeOptions={{ exact: label === "Overview" }}
                  activeProps={{ "aria-current": "page" }}
                >
                  {label}
                </Link>
              ))}
            </nav>
            <Outlet />
          </>
        )}
      </Loaded>
    </Page>
  );
}

type Start = Action<[Omit<CreateBuild, "reason">], unknown>;

function Actions({ workspace }: { workspace: Workspace }) {
  const user = useMe();
  const say = useSay();
  const [deleting, setDeleting] = useState(false);
  const build: Start = useAction((body) => createBuild(workspace.id, body));
  const cancel = useAction(async () => {
    await cancelBuild(workspace.latest_build.id);
    say("The build is being canceled.");
  });
  if (!mayBuild(user, workspace)) return null;
  const { status, job } = workspace.latest_build;
  const may = workspace.template_allow_user_cancel_workspace_jobs;
  const busy = isBusy(status);
  return (
    <>
      <Primary workspace={workspace} build={build} />
      {busy && may && isActive(job.status) && status !== "canceling" && (
        <Button busy={cancel.busy} busyLabel="Canceling" onClick={() => void cancel.run()}>
          Cancel build
        </Button>
      )}
      <More workspace={workspace} build={build} remove={() => setDeleting(true)} />
      <Delete workspace={workspace} open={deleting} onClose={() => setDeleting(false)} />
      <div className="page-error">
        <ErrorNotice error={build.error ?? cancel.error} />
      </div>
    </>
  );
}

function Primary({ workspace, build }: { workspace: Workspace; build: Start }) {
  const { status } = workspace.latest_build;
  const latest = workspace.template_active_version_id;
  if (isBusy(status) || status === "deleted") return null;
  const update = workspace.outdated && (
    <Button
      glyph="layers"
      busy={build.busy}
      busyLabel="Asking"
      onClick={() => void build.run({ transition: "start", template_version_id: latest })}
    >
      {status === "running" ? "Update" : "Update and start"}
    </Button>
  );
  if (status === "running") {
    return (
      <>
        {update}
        <Button glyph="stop" busy={build.busy} busyLabel="Stopping" onClick={() => void build.run({ transition: "stop" })}>
          Stop
        </Button>
      </>
    );
  }
  return (
    <>
      {update}
      <Button
        look="primary"
        glyph="play"
        busy={build.busy}
        busyLabel="Starting"
        onClick={() => void build.run({ transition: "start" })}
      >
        Start
      </Button>
    </>
  );
}

function More({ workspace, build, remove }: { workspace: Workspace; build: Start; remove: () => void }) {
  const { status } = workspace.latest_build;
  const navigate = useNavigate();
  const busy = isBusy(status);
  const params = { owner: workspace.owner_name, name: workspace.name };
  const items = [
    { label: "Start again", disabled: busy || status !== "running", choose: () => void build.run({ transition: "start" }) },
    { label: "Stop", disabled: busy || status === "stopped", choose: () => void build.run({ transition: "stop" }) },
    { label: "Change parameters", choose: () => void navigate({ to: "/@{$owner}/$name/parameters", params }) },
    { label: "Delete", danger: true, disabled: busy, choose: remove },
  ];
  return <ActionMenu label={`More for ${workspace.name}`} items={items} />;
}

function Delete({ workspace, open, onClose }: { workspace: Workspace; open: boolean; onClose: () => void }) {
  return (
    <Confirm
      title={`Delete ${workspace.name}?`}
      open={open}
      onClose={onClose}
      action="Delete workspace"
      busyLabel="Asking"
      typed={workspace.name}
      confirmed={() => createBuild(workspace.id, { transition: "delete" })}
    >
      <p>Everything that it is made of goes, its disks and what is on them too. It cannot be brought back.</p>
    </Confirm>
  );
}

/** What the newest build's end asks of the person, if anything. */
export function BuildTrouble({ workspace }: { workspace: Workspace }) {
  const user = useMe();
  const { job, transition, status } = workspace.latest_build;
  const parameters = useQuery({ ...parametersQuery(workspace.latest_build.template_version_id), enabled: status === "failed" });
  const again = useAction((allow_replace: boolean) =>
    createBuild(workspace.id, { transition, ...(allow_replace && { allow_replace }) }),
  );
  if (status === "canceled")
    return <Notice tone="warn">The last {transition} was canceled. What it had made so far is still there.</Notice>;
  if (status !== "failed") return null;
  const consent = job.error_code === "REPLACEMENT_NEEDS_CONSENT";
  const action = mayBuild(user, workspace) && (
    <Button small busy={again.busy} busyLabel="Asking" onClick={() => void again.run(consent)}>
      {consent ? "Replace it" : "Try again"}
    </Button>
  );
  return (
    <>
      <Notice tone="bad" action={action}>
        <p>
          <strong>The last {transition} failed.</strong> {job.error}
        </p>
        {consent && <p>If you agree, what is on the replaced disk or machine is lost.</p>}
        {job.error_code === "INSUFFICIENT_QUOTA" && (
          <p>Choose smaller answers under Parameters, or ask a template admin for a higher limit.</p>
        )}
        {job.error_code === "RUNNER_LOST" && (
          <p>
            Something may have been made that no state knows. Look for it: <code>berth repair {workspace.name}</code>
          </p>
        )}
        {!job.error_code && (parameters.data?.length ?? 0) > 0 && (
          <p>The log below says where. If an answer is to blame, change it under Parameters.</p>
        )}
      </Notice>
      <ErrorNotice error={again.error} />
    </>
  );
}
