/** Everything that the pages change. After each, what it may have changed is read again. */

import { call } from "./client.ts";
import { queryClient } from "./queries.ts";
import type {
  Build,
  CreateBuild,
  CreateWorkspace,
  Job,
  ParameterValue,
  Template,
  UpdateTemplate,
  User,
  Workspace,
} from "./types.ts";

async function changed<T>(action: Promise<T>, ...keys: string[]): Promise<T> {
  const answer = await action;
  await Promise.all(keys.map((key) => queryClient.invalidateQueries({ queryKey: [key] })));
  return answer;
}

const OF_WORKSPACE = ["workspaces", "workspace", "builds"];

export function createBuild(workspaceId: string, body: Omit<CreateBuild, "reason">): Promise<Build> {
  const build: CreateBuild = { ...body, reason: "dashboard" };
  return changed(call<Build>("POST", `/api/v2/workspaces/${workspaceId}/builds`, build), ...OF_WORKSPACE);
}

export function cancelBuild(buildId: string): Promise<void> {
  return changed(call<void>("PATCH", `/api/v2/workspacebuilds/${buildId}/cancel`), ...OF_WORKSPACE, "build");
}

export function createWorkspace(body: CreateWorkspace): Promise<Workspace> {
  return changed(call<Workspace>("POST", "/api/v2/users/me/workspaces", body), "workspaces");
}

export function renameWorkspace(workspaceId: string, name: string): Promise<void> {
  return changed(call<void>("PATCH", `/api/v2/workspaces/${workspaceId}`, { name }), "workspaces");
}

export function setAutostart(workspaceId: string, schedule: string): Promise<void> {
  return changed(call<void>("PUT", `/api/v2/workspaces/${workspaceId}/autostart`, { schedule }), ...OF_WORKSPACE);
}

export function setTtl(workspaceId: string, ttl_ms: number): Promise<void> {
  return changed(call<void>("PUT", `/api/v2/workspaces/${workspaceId}/ttl`, { ttl_ms }), ...OF_WORKSPACE);
}

export function setAutomaticUpdates(workspaceId: string, automatic_updates: "always" | "never"): Promise<void> {
  return changed(call<void>("PUT", `/api/v2/workspaces/${workspaceId}/autoupdates`, { automatic_updates }), ...OF_WORKSPACE);
}

export function extend(workspaceId: string, deadline: Date): Promise<void> {
  return changed(
    call<void>("PUT", `/api/v2/workspaces/${workspaceId}/extend`, { deadline: deadline.toISOString() }),
    ...OF_WORKSPACE,
  );
}

export interface DryRun {
  workspace_name: string;
  rich_parameter_values: ParameterValue[];
  template_version_preset_id?: string | undefined;
}

export function createDryRun(versionId: string, body: DryRun): Promise<Job> {
  return call("POST", `/api/v2/templateversions/${versionId}/dry-run`, body);
}

export function updateTemplate(templateId: string, body: UpdateTemplate): Promise<Template> {
  return changed(call<Template>("PATCH", `/api/v2/templates/${templateId}`, body), "template", "templates");
}

export function activateVersion(templateId: string, id: string): Promise<void> {
  return changed(call<void>("PATCH", `/api/v2/templates/${templateId}/versions`, { id }), "template", "templates", "versions");
}

export function archiveVersion(versionId: string, archived: boolean): Promise<void> {
  return changed(
    call<void>("POST", `/api/v2/templateversions/${versionId}/${archived ? "archive" : "unarchive"}`),
    "versions",
    "version",
  );
}

export function deleteTemplate(templateId: string): Promise<void> {
  return changed(call<void>("DELETE", `/api/v2/templates/${templateId}`), "templates");
}

export interface FirstUser {
  email: string;
  username: string;
  name: string;
  password: string;
}

export function createFirstUser(body: FirstUser): Promise<void> {
  return call("POST", "/api/v2/users/first", body);
}

export function createUser(body: FirstUser & { roles: string[] }): Promise<User> {
  return changed(call<User>("POST", "/api/v2/users", body), "users");
}

/** Signs in. The session is in a cookie that no script can read; the token in the answer is left where it is. */
export async function signIn(email: string, password: string): Promise<void> {
  await call<unknown>("POST", "/api/v2/users/login", { email, password });
  queryClient.clear();
}

export async function signOut(): Promise<void> {
  await call<unknown>("POST", "/api/v2/users/logout");
}

export function changePassword(old_password: string, password: string): Promise<void> {
  return call("PUT", "/api/v2/users/me/password", { old_password, password });
}

/** A session for a command line or an IDE to hold. */
export async function createSessionKey(): Promise<string> {
  return (await call<{ key: string }>("POST", "/api/v2/users/me/keys")).key;
}

export async function createToken(token_name: string, days: number): Promise<string> {
  const lifetime = days * 86_400 * 1_000_000_000;
  return (await changed(call<{ key: string }>("POST", "/api/v2/users/me/keys/tokens", { token_name, lifetime }), "tokens")).key;
}

export function deleteToken(id: string): Promise<void> {
  return changed(call<void>("DELETE", `/api/v2/users/me/keys/${id}`), "tokens");
}
