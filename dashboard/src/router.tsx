/** Which address shows which page. Pages are loaded when they are first opened. */

import { createRootRoute, createRoute, createRouter, lazyRouteComponent, Outlet, redirect } from "@tanstack/react-router";
import { ApiError, get } from "./api/client.ts";
import { me, queryClient } from "./api/queries.ts";
import type { User } from "./api/types.ts";
import { Crash, NotFound, Shell } from "./shell.tsx";
import { Loading } from "./ui/page.tsx";

const root = createRootRoute({ component: Outlet, notFoundComponent: NotFound });

/** Whether somebody has set the deployment up. */
async function hasFirstUser(): Promise<boolean> {
  try {
    await get("/api/v2/users/first");
    return true;
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return false;
    throw error;
  }
}

/** Who is signed in; whoever is not is sent to where that changes, and comes back after. */
async function signedIn(wanted: string): Promise<{ user: User }> {
  try {
    return { user: await queryClient.ensureQueryData(me) };
  } catch (error) {
    if (!(error instanceof ApiError && error.status === 401)) throw error;
    if (!(await hasFirstUser())) throw redirect({ to: "/setup" });
    throw redirect({ to: "/login", search: { redirect: wanted === "/" ? undefined : wanted } });
  }
}

interface LoginSearch {
  redirect?: string | undefined;
}

const setup = createRoute({
  getParentRoute: () => root,
  path: "/setup",
  beforeLoad: async () => {
    if (await hasFirstUser()) throw redirect({ to: "/login" });
  },
  component: lazyRouteComponent(() => import("./pages/setup.tsx"), "Setup"),
});

const login = createRoute({
  getParentRoute: () => root,
  path: "/login",
  validateSearch: (search): LoginSearch => ({ redirect: typeof search["redirect"] === "string" ? search["redirect"] : undefined }),
  component: lazyRouteComponent(() => import("./pages/login.tsx"), "Login"),
});

const inside = createRoute({
  getParentRoute: () => root,
  id: "inside",
  beforeLoad: ({ location }) => signedIn(location.href),
  component: Shell,
});

const index = createRoute({
  getParentRoute: () => inside,
  path: "/",
  beforeLoad: () => {
    throw redirect({ to: "/workspaces", replace: true });
  },
});

interface WorkspacesSearch {
  q?: string | undefined;
  page?: number | undefined;
}

const workspaces = createRoute({
  getParentRoute: () => inside,
  path: "/workspaces",
  validateSearch: (search): WorkspacesSearch => {
    const page = Number(search["page"]);
    return {
      q: typeof search["q"] === "string" ? search["q"] : undefined,
      page: Number.isInteger(page) && page > 1 ? page : undefined,
    };
  },
  component: lazyRouteComponent(() => import("./pages/workspaces.tsx"), "WorkspacesPage"),
});

const workspace = createRoute({
  getParentRoute: () => inside,
  path: "/@{$owner}/$name",
  component: lazyRouteComponent(() => import("./pages/workspace.tsx"), "WorkspaceLayout"),
});
const workspaceOverview = createRoute({
  getParentRoute: () => workspace,
  path: "/",
  component: lazyRouteComponent(() => import("./pages/workspace-overview.tsx"), "WorkspaceOverview"),
});
const workspaceBuilds = createRoute({
  getParentRoute: () => workspace,
  path: "/builds",
  component: lazyRouteComponent(() => import("./pages/workspace-builds.tsx"), "WorkspaceBuilds"),
});
const workspaceBuild = createRoute({
  getParentRoute: () => workspace,
  path: "/builds/$number",
  component: lazyRouteComponent(() => import("./pages/workspace-builds.tsx"), "WorkspaceBuild"),
});
const workspaceParameters = createRoute({
  getParentRoute: () => workspace,
  path: "/parameters",
  component: lazyRouteComponent(() => import("./pages/workspace-parameters.tsx"), "WorkspaceParameters"),
});
const workspaceSettings = createRoute({
  getParentRoute: () => workspace,
  path: "/settings",
  component: lazyRouteComponent(() => import("./pages/workspace-settings.tsx"), "WorkspaceSettings"),
});

interface TerminalSearch {
  app?: string | undefined;
  command?: string | undefined;
}

/** Without the shell: the terminal takes all the room there is. */
const terminal = createRoute({
  getParentRoute: () => root,
  path: "/@{$owner}/$place/terminal",
  validateSearch: (search): TerminalSearch => ({
    app: typeof search["app"] === "string" ? search["app"] : undefined,
    command: typeof search["command"] === "string" ? search["command"] : undefined,
  }),
  beforeLoad: ({ location }) => signedIn(location.href),
  component: lazyRouteComponent(() => import("./pages/terminal.tsx"), "TerminalPage"),
});

const templates = createRoute({
  getParentRoute: () => inside,
  path: "/templates",
  component: lazyRouteComponent(() => import("./pages/templates.tsx"), "TemplatesPage"),
});

interface CreateSearch {
  version?: string | undefined;
}

const create = createRoute({
  getParentRoute: () => inside,
  path: "/templates/$name/workspace",
  validateSearch: (search): CreateSearch => ({ version: typeof search["version"] === "string" ? search["version"] : undefined }),
  component: lazyRouteComponent(() => import("./pages/create.tsx"), "CreatePage"),
});

const template = createRoute({
  getParentRoute: () => inside,
  path: "/templates/$name",
  component: lazyRouteComponent(() => import("./pages/template.tsx"), "TemplateLayout"),
});
const templateReadme = createRoute({
  getParentRoute: () => template,
  path: "/",
  component: lazyRouteComponent(() => import("./pages/template-readme.tsx"), "TemplateReadme"),
});
const templateFiles = createRoute({
  getParentRoute: () => template,
  path: "/files",
  component: lazyRouteComponent(() => import("./pages/template-files.tsx"), "TemplateFiles"),
});
const templateVersions = createRoute({
  getParentRoute: () => template,
  path: "/versions",
  component: lazyRouteComponent(() => import("./pages/template-versions.tsx"), "TemplateVersions"),
});
const templateVariables = createRoute({
  getParentRoute: () => template,
  path: "/variables",
  component: lazyRouteComponent(() => import("./pages/template-variables.tsx"), "TemplateVariables"),
});
const templateSettings = createRoute({
  getParentRoute: () => template,
  path: "/settings",
  component: lazyRouteComponent(() => import("./pages/template-settings.tsx"), "TemplateSettingsPage"),
});

const users = createRoute({
  getParentRoute: () => inside,
  path: "/users",
  component: lazyRouteComponent(() => import("./pages/users.tsx"), "UsersPage"),
});
const health = createRoute({
  getParentRoute: () => inside,
  path: "/health",
  component: lazyRouteComponent(() => import("./pages/health.tsx"), "HealthPage"),
});
const account = createRoute({
  getParentRoute: () => inside,
  path: "/settings/account",
  component: lazyRouteComponent(() => import("./pages/account.tsx"), "AccountPage"),
});
const tokens = createRoute({
  getParentRoute: () => inside,
  path: "/settings/tokens",
  component: lazyRouteComponent(() => import("./pages/tokens.tsx"), "TokensPage"),
});
const commandLine = createRoute({
  getParentRoute: () => inside,
  path: "/settings/command-line",
  component: lazyRouteComponent(() => import("./pages/command-line.tsx"), "CommandLinePage"),
});
const cliAuth = createRoute({
  getParentRoute: () => inside,
  path: "/cli-auth",
  component: lazyRouteComponent(() => import("./pages/cli-auth.tsx"), "CliAuthPage"),
});

const tree = root.addChildren([
  setup,
  login,
  terminal,
  inside.addChildren([
    index,
    workspaces,
    workspace.addChildren([workspaceOverview, workspaceBuilds, workspaceBuild, workspaceParameters, workspaceSettings]),
    templates,
    create,
    template.addChildren([templateReadme, templateFiles, templateVersions, templateVariables, templateSettings]),
    users,
    health,
    account,
    tokens,
    commandLine,
    cliAuth,
  ]),
]);

export const router = createRouter({
  routeTree: tree,
  defaultPreload: "intent",
  defaultPreloadStaleTime: 0,
  defaultPendingComponent: Loading,
  defaultErrorComponent: Crash,
  scrollRestoration: true,
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
