/** What a workspace would be made of: Terraform's plan of it, without making it. */

import { useQuery } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { createDryRun, type DryRun } from "../api/actions.ts";
import { call, get } from "../api/client.ts";
import { useLog } from "../api/live.ts";
import type { Job, JobLog, Resource } from "../api/types.ts";
import { isActive } from "../lib/status.ts";
import { useAction } from "../ui/action.ts";
import { Button } from "../ui/button.tsx";
import { LogView } from "../ui/log.tsx";
import { ErrorNotice, Notice } from "../ui/notice.tsx";
import { Card } from "../ui/page.tsx";
import { Took } from "../ui/time.tsx";
import { lineOf } from "./job-log.ts";

/** How often a running plan is asked for, in milliseconds. */
const ASK_MS = 700;

interface Props {
  versionId: string;
  /** The answers as they are in the form now. */
  wanted: DryRun;
  /** What is wrong with them, if anything. */
  blocked: boolean;
}

export function PlanPreview({ versionId, wanted, blocked }: Props) {
  const [job, setJob] = useState<Job>();
  const [planned, setPlanned] = useState("");
  const now = JSON.stringify(wanted);
  const start = useAction(async () => {
    setJob(await createDryRun(versionId, wanted));
    setPlanned(now);
  });
  const path = job && `/api/v2/templateversions/${versionId}/dry-run/${job.id}`;
  return (
    <Card title="Plan preview">
      {!path && <p>See what Terraform would make with these answers, before anything is made.</p>}
      {path && planned !== now && <Notice>The answers changed since this plan. Preview it again to see the difference.</Notice>}
      {path && <Plan key={path} path={path} />}
      <ErrorNotice error={start.error} />
      <Button busy={start.busy} busyLabel="Asking for a plan" disabled={blocked} onClick={() => void start.run()}>
        {path ? "Preview again" : "Preview the plan"}
      </Button>
    </Card>
  );
}

function Plan({ path }: { path: string }) {
  const job = useQuery({
    queryKey: ["dry-run", path],
    queryFn: ({ signal }) => get<Job>(path, signal),
    refetchInterval: ({ state }) => (state.data && !isActive(state.data.status) ? false : ASK_MS),
  });
  const status = job.data?.status;
  const active = status === undefined || isActive(status);
  useCancelOnLeave(path, active);
  const resources = useQuery({
    queryKey: ["dry-run-resources", path],
    queryFn: ({ signal }) => get<Resource[]>(`${path}/resources`, signal),
    enabled: status === "succeeded",
  });
  const log = useLog<JobLog>(`${path}/logs`, active);
  if (job.error) return <ErrorNotice error={job.error} />;
  if (active) {
    return (
      <>
        <p className="progress-line" role="status">
          <span className="spinner" aria-hidden="true" /> Terraform plans <Took from={job.data?.created_at} to={undefined} />
        </p>
        <LogView label="Plan log" lines={log.lines.map(lineOf)} growing waiting="Waiting for a runner." fileName="plan.log" />
      </>
    );
  }
  if (status !== "succeeded") {
    return (
      <>
        <ErrorNotice error={new Error(job.data?.error || `the plan was ${status}`)} />
        <LogView label="Plan log" lines={log.lines.map(lineOf)} growing={false} waiting="It said nothing." fileName="plan.log" />
      </>
    );
  }
  return <Planned resources={resources.data} error={resources.error} />;
}

function Planned({ resources, error }: { resources: Resource[] | undefined; error: Error | null }) {
  if (error) return <ErrorNotice error={error} />;
  const shown = resources?.filter((resource) => !resource.hide) ?? [];
  const cost = shown.reduce((sum, resource) => sum + resource.daily_cost, 0);
  return (
    <>
      <ul className="planned" aria-label="Planned resources">
        {shown.map((resource) => (
          <li key={resource.id}>
            <code>
              {resource.type}.{resource.name}
            </code>
            {resource.agents && <span className="tag">agent {resource.agents.map(({ name }) => name).join(", ")}</span>}
          </li>
        ))}
      </ul>
      {resources && shown.length === 0 && <p className="muted">Nothing would be made.</p>}
      {cost > 0 && <p>Daily cost, as the template counts it: {cost}</p>}
    </>
  );
}

/** A plan that nobody waits for any more is not worth a runner's time. */
function useCancelOnLeave(path: string, active: boolean): void {
  const running = useRef(active);
  running.current = active;
  useEffect(
    () => () => {
      if (running.current) void call("PATCH", `${path}/cancel`).catch(() => undefined);
    },
    [path],
  );
}
