/** What the signed-in person may do, so that the pages offer no more. The server decides. */

import type { User, Workspace } from "../api/types.ts";

function has(user: User, ...roles: string[]): boolean {
  return user.roles.some(({ name }) => roles.includes(name));
}

export const mayManageTemplates = (user: User) => has(user, "owner", "template-admin");
export const mayManageUsers = (user: User) => has(user, "owner", "user-admin");
export const mayGiveRoles = (user: User) => has(user, "owner");
export const mayReadEveryWorkspace = (user: User) => has(user, "owner", "template-admin", "auditor");
export const mayBuild = (user: User, workspace: Workspace) => workspace.owner_id === user.id || has(user, "owner");
export const mayEnter = (user: User, workspace: Workspace) => workspace.owner_id === user.id;
