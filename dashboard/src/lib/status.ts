/** The words for where things stand, and what they look like. */

import type { Agent, App, JobStatus, Workspace, WorkspaceStatus } from "../api/types.ts";

export type Tone = "good" | "busy" | "idle" | "warn" | "bad";

const BUSY: ReadonlySet<WorkspaceStatus> = new Set<WorkspaceStatus>(["pending", "starting", "stopping", "canceling", "deleting"]);

/** Whether a workspace changes by itself soon. */
export function isBusy(status: WorkspaceStatus): boolean {
  return BUSY.has(status);
}

/** Whether a job has not ended. */
export function isActive(status: JobStatus): boolean {
  return status === "pending" || status === "running" || status === "canceling";
}

const WORKSPACE: Record<WorkspaceStatus, [label: string, tone: Tone]> = {
  pending: ["Queued", "busy"],
  starting: ["Starting", "busy"],
  running: ["Running", "good"],
  stopping: ["Stopping", "busy"],
  stopped: ["Stopped", "idle"],
  failed: ["Failed", "bad"],
  canceling: ["Canceling", "busy"],
  canceled: ["Canceled", "warn"],
  deleting: ["Deleting", "busy"],
  deleted: ["Deleted", "idle"],
};

export interface Words {
  label: string;
  tone: Tone;
}

export function ofWorkspace(status: WorkspaceStatus): Words {
  const [label, tone] = WORKSPACE[status];
  return { label, tone };
}

/** What a running workspace's agents add to its state: up, but not yet (or no longer) reachable. */
export function ofWorkspaceAndAgents(workspace: Workspace): Words {
  const { status } = workspace.latest_build;
  const agents = agentsOf(workspace);
  if (status !== "running" || agents.length === 0) return ofWorkspace(status);
  if (agents.some((agent) => agent.status === "disconnected" || agent.status === "timeout"))
    return { label: "Unreachable", tone: "bad" };
  if (agents.some((agent) => agent.status === "connecting")) return { label: "Connecting", tone: "busy" };
  if (agents.some((agent) => !agent.health.healthy)) return { label: "Unhealthy", tone: "warn" };
  return ofWorkspace(status);
}

export function agentsOf(workspace: Workspace): Agent[] {
  return workspace.latest_build.resources.flatMap((resource) => resource.agents ?? []);
}

const JOB: Record<JobStatus, [label: string, tone: Tone]> = {
  pending: ["Queued", "busy"],
  running: ["Running", "busy"],
  succeeded: ["Succeeded", "good"],
  canceling: ["Canceling", "busy"],
  canceled: ["Canceled", "warn"],
  failed: ["Failed", "bad"],
};

export function ofJob(status: JobStatus): Words {
  const [label, tone] = JOB[status];
  return { label, tone };
}

export function ofAgent(agent: Agent): Words {
  if (agent.status === "timeout") return { label: "Did not connect", tone: "bad" };
  if (agent.status === "disconnected") return { label: "Disconnected", tone: "bad" };
  if (agent.status === "connecting") return { label: "Connecting", tone: "busy" };
  switch (agent.lifecycle_state) {
    case "created":
    case "starting":
      return { label: "Start scripts run", tone: "busy" };
    case "start_timeout":
      return { label: "Start scripts are slow", tone: "warn" };
    case "start_error":
      return { label: "A start script failed", tone: "warn" };
    case "shutting_down":
    case "shutdown_timeout":
    case "shutdown_error":
    case "off":
      return { label: "Shutting down", tone: "idle" };
    case "ready":
      return { label: "Ready", tone: "good" };
  }
}

/** Whether an app answers; nothing where nobody checks. */
export function ofApp({ health }: App): Words | undefined {
  switch (health) {
    case "disabled":
      return undefined;
    case "initializing":
      return { label: "Starting", tone: "busy" };
    case "healthy":
      return { label: "Answers", tone: "good" };
    case "unhealthy":
      return { label: "Does not answer", tone: "bad" };
  }
}
