/** Everything that the pages read, each under one key. */

import { keepPreviousData, QueryClient, queryOptions } from "@tanstack/react-query";
import { isActive, isBusy } from "../lib/status.ts";
import { ApiError, bytes, get } from "./client.ts";
import type {
  ApiKey,
  Build,
  BuildInfo,
  Parameter,
  ParameterValue,
  Preset,
  SshConfiguration,
  Template,
  Timings,
  User,
  Users,
  Variable,
  Version,
  Workspace,
  Workspaces,
} from "./types.ts";

/** How often a list is read again while something in it changes, and while nothing does, in milliseconds. */
const BUSY_MS = 2_000;
const QUIET_MS = 15_000;
/** How many workspaces one page shows. */
export const PAGE_SIZE = 25;

const segment = encodeURIComponent;

export const queryClient = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 5_000,
      // What was refused is refused again; a server that is away may come back.
      retry: (count, error) => count < 2 && !(error instanceof ApiError && error.status >= 400 && error.status < 500),
      retryDelay: (count) => Math.min(500 * 2 ** count, 5_000),
    },
  },
});

export const me = queryOptions({
  queryKey: ["me"],
  queryFn: ({ signal }) => get<User>("/api/v2/users/me", signal),
  staleTime: 60_000,
});

export const buildInfo = queryOptions({
  queryKey: ["buildinfo"],
  queryFn: ({ signal }) => get<BuildInfo>("/api/v2/buildinfo", signal),
  staleTime: Number.POSITIVE_INFINITY,
});

export const sshConfiguration = queryOptions({
  queryKey: ["ssh"],
  queryFn: ({ signal }) => get<SshConfiguration>("/api/v2/deployment/ssh", signal),
  staleTime: Number.POSITIVE_INFINITY,
});

/** Below which apps have their hosts, `*.apps.example.com`; empty where none are served. */
export const appHost = queryOptions({
  queryKey: ["app-host"],
  queryFn: async ({ signal }) => (await get<{ host: string }>("/api/v2/applications/host", signal)).host,
  staleTime: Number.POSITIVE_INFINITY,
});

export function workspaces(q: string, page: number) {
  const parameters = new URLSearchParams({ q, limit: String(PAGE_SIZE), offset: String((page - 1) * PAGE_SIZE) });
  return queryOptions({
    queryKey: ["workspaces", q, page],
    queryFn: ({ signal }) => get<Workspaces>(`/api/v2/workspaces?${parameters}`, signal),
    placeholderData: keepPreviousData,
    refetchInterval: ({ state }) =>
      state.data?.workspaces.some((workspace) => isBusy(workspace.latest_build.status)) ? BUSY_MS : QUIET_MS,
  });
}

export function workspace(owner: string, name: string) {
  return queryOptions({
    queryKey: ["workspace", owner, name],
    queryFn: ({ signal }) => get<Workspace>(`/api/v2/users/${segment(owner)}/workspace/${segment(name)}`, signal),
  });
}

export function builds(workspaceId: string) {
  return queryOptions({
    queryKey: ["builds", workspaceId],
    queryFn: ({ signal }) => get<Build[]>(`/api/v2/workspaces/${workspaceId}/builds?limit=50`, signal),
  });
}

export function build(owner: string, name: string, number: number) {
  return queryOptions({
    queryKey: ["build", owner, name, number],
    queryFn: ({ signal }) => get<Build>(`/api/v2/users/${segment(owner)}/workspace/${segment(name)}/builds/${number}`, signal),
    refetchInterval: ({ state }) => (state.data && isActive(state.data.job.status) ? BUSY_MS : false),
  });
}

export function buildParameters(buildId: string) {
  return queryOptions({
    queryKey: ["build-parameters", buildId],
    queryFn: ({ signal }) => get<ParameterValue[]>(`/api/v2/workspacebuilds/${buildId}/parameters`, signal),
    staleTime: Number.POSITIVE_INFINITY,
  });
}

export function timings(buildId: string, ended: boolean) {
  return queryOptions({
    queryKey: ["timings", buildId, ended],
    queryFn: ({ signal }) => get<Timings>(`/api/v2/workspacebuilds/${buildId}/timings`, signal),
    refetchInterval: ended ? false : BUSY_MS,
  });
}

export const templates = queryOptions({
  queryKey: ["templates"],
  queryFn: ({ signal }) => get<Template[]>("/api/v2/templates", signal),
});

export function template(name: string) {
  return queryOptions({
    queryKey: ["template", name],
    queryFn: ({ signal }) => get<Template>(`/api/v2/organizations/default/templates/${segment(name)}`, signal),
  });
}

export function version(id: string) {
  return queryOptions({
    queryKey: ["version", id],
    queryFn: ({ signal }) => get<Version>(`/api/v2/templateversions/${id}`, signal),
  });
}

export function versions(templateId: string, archived: boolean) {
  return queryOptions({
    queryKey: ["versions", templateId, archived],
    queryFn: ({ signal }) => get<Version[]>(`/api/v2/templates/${templateId}/versions?include_archived=${archived}`, signal),
  });
}

export function parameters(versionId: string) {
  return queryOptions({
    queryKey: ["parameters", versionId],
    queryFn: ({ signal }) => get<Parameter[]>(`/api/v2/templateversions/${versionId}/rich-parameters`, signal),
    staleTime: Number.POSITIVE_INFINITY,
  });
}

export function presets(versionId: string) {
  return queryOptions({
    queryKey: ["presets", versionId],
    queryFn: ({ signal }) => get<Preset[]>(`/api/v2/templateversions/${versionId}/presets`, signal),
    staleTime: Number.POSITIVE_INFINITY,
  });
}

export function variables(versionId: string) {
  return queryOptions({
    queryKey: ["variables", versionId],
    queryFn: ({ signal }) => get<Variable[]>(`/api/v2/templateversions/${versionId}/variables`, signal),
    staleTime: Number.POSITIVE_INFINITY,
  });
}

export function archive(fileId: string) {
  return queryOptions({
    queryKey: ["archive", fileId],
    queryFn: ({ signal }) => bytes(`/api/v2/files/${fileId}`, signal),
    staleTime: Number.POSITIVE_INFINITY,
  });
}

export const users = queryOptions({
  queryKey: ["users"],
  queryFn: ({ signal }) => get<Users>("/api/v2/users", signal),
});

export const tokens = queryOptions({
  queryKey: ["tokens"],
  queryFn: ({ signal }) => get<ApiKey[]>("/api/v2/users/me/keys/tokens", signal),
});
