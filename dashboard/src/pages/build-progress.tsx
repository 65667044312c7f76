/** A build as it happens: where it stands, what it says, where its time went. */

import { useQuery } from "@tanstack/react-query";
import { useLog } from "../api/live.ts";
import { timings as timingsQuery } from "../api/queries.ts";
import type { Build, Job, JobLog } from "../api/types.ts";
import { isActive, ofJob } from "../lib/status.ts";
import { LogView } from "../ui/log.tsx";
import { ErrorNotice } from "../ui/notice.tsx";
import { Card } from "../ui/page.tsx";
import { Status } from "../ui/status.tsx";
import { Took } from "../ui/time.tsx";
import { lineOf } from "./job-log.ts";
import { Timeline } from "./timeline.tsx";

const VERBS = { start: "Start", stop: "Stop", delete: "Delete" };

export function BuildProgress({ build }: { build: Build }) {
  const active = isActive(build.job.status);
  const log = useLog<JobLog>(`/api/v2/workspacebuilds/${build.id}/logs`, active);
  const timings = useQuery(timingsQuery(build.id, !active));
  const title = `${VERBS[build.transition]}: build ${build.build_number}`;
  return (
    <>
      <Card title={title} actions={<Status {...ofJob(build.job.status)} />}>
        <Stages job={build.job} lines={log.lines} />
        <ErrorNotice error={log.error} />
        <LogView
          label="Build log"
          lines={log.lines.map(lineOf)}
          growing={active}
          waiting={
            active ? "Waiting for a runner to take the build." : log.complete ? "This build said nothing." : "Loading the log."
          }
          fileName={`${build.workspace_name}-${build.build_number}.log`}
        />
      </Card>
      {timings.data && <Timeline timings={timings.data} />}
    </>
  );
}

interface Stage {
  name: string;
  from: string;
  to: string | null | undefined;
}

/** The stages as the log tells them, before them the wait for a runner; each ends where the next begins. */
function stagesOf(job: Job, lines: JobLog[]): Stage[] {
  const stages: Stage[] = [{ name: "Queued", from: job.created_at, to: job.started_at ?? job.completed_at }];
  let last = "";
  for (const { stage, created_at } of lines) {
    if (stage === last || stage === "") continue;
    last = stage;
    const before = stages.at(-1);
    if (before && stages.length > 1) before.to = created_at;
    stages.push({ name: stage, from: stages.length === 1 ? (job.started_at ?? created_at) : created_at, to: undefined });
  }
  const end = stages.at(-1);
  if (end && job.completed_at) end.to = job.completed_at;
  return stages;
}

function Stages({ job, lines }: { job: Job; lines: JobLog[] }) {
  const stages = stagesOf(job, lines);
  const active = isActive(job.status);
  return (
    <ol className="stages" aria-label="Stages">
      {stages.map((stage, at) => {
        const current = active && at === stages.length - 1;
        const failed = job.status === "failed" && at === stages.length - 1;
        return (
          <li
            key={`${stage.name}-${stage.from}`}
            className={current ? "current" : failed ? "failed" : "done"}
            aria-current={current ? "step" : undefined}
          >
            <span className="stage-mark" aria-hidden="true" />
            {stage.name} <Took from={stage.from} to={stage.to} />
          </li>
        );
      })}
    </ol>
  );
}
