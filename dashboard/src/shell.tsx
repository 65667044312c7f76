/** What is around every page: the name, the way to the others, and who is signed in. */

import { useSuspenseQuery } from "@tanstack/react-query";
import { Link, Outlet, useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { signOut } from "./api/actions.ts";
import { ApiError } from "./api/client.ts";
import { me, queryClient } from "./api/queries.ts";
import type { User } from "./api/types.ts";
import berth from "./berth.svg";
import { mayManageUsers } from "./lib/permission.ts";
import { chooseTheme, chosenTheme, type Theme } from "./theme.ts";
import { Button, LinkButton } from "./ui/button.tsx";
import { Glyph, type GlyphName } from "./ui/glyph.tsx";
import { ActionMenu } from "./ui/menu.tsx";
import { ErrorNotice } from "./ui/notice.tsx";
import { useSay } from "./ui/toast.tsx";

/** Who is signed in. For pages inside the shell, where somebody always is. */
export function useMe(): User {
  return useSuspenseQuery(me).data;
}

const PLACES: { to: "/workspaces" | "/templates" | "/users" | "/health"; label: string; glyph: GlyphName }[] = [
  { to: "/workspaces", label: "Workspaces", glyph: "boxes" },
  { to: "/templates", label: "Templates", glyph: "layers" },
  { to: "/users", label: "Users", glyph: "people" },
  { to: "/health", label: "Health", glyph: "pulse" },
];

export function Shell() {
  const user = useMe();
  const places = PLACES.filter(({ to }) => to !== "/users" || mayManageUsers(user));
  return (
    <div className="shell">
      <a className="skip" href="#main">
        Skip to the page
      </a>
      <header className="bar-top">
        <Link to="/workspaces" className="brand" aria-label="Berth: workspaces">
          <img src={berth} alt="" width={28} height={28} />
          <span>Berth</span>
        </Link>
        <nav className="places" aria-label="Main">
          {places.map(({ to, label, glyph }) => (
            <Link key={to} to={to} className="place" activeProps={{ "aria-current": "page" }}>
              <Glyph name={glyph} />
              <span>{label}</span>
            </Link>
          ))}
        </nav>
        <UserMenu user={user} />
      </header>
      <main id="main" className="page" tabIndex={-1}>
        <Outlet />
      </main>
    </div>
  );
}

const NEXT_THEME: Record<Theme, Theme> = { system: "dark", dark: "light", light: "system" };

function UserMenu({ user }: { user: User }) {
  const navigate = useNavigate();
  const say = useSay();
  const [theme, setTheme] = useState(chosenTheme);
  const leave = async () => {
    try {
      await signOut();
      await navigate({ to: "/login" });
      queryClient.clear();
    } catch (error) {
      say(`You are still signed in: ${(error as Error).message}`, "bad");
    }
  };
  const turn = () => {
    chooseTheme(NEXT_THEME[theme]);
    setTheme(NEXT_THEME[theme]);
  };
  return (
    <ActionMenu
      label={`Account of ${user.username}`}
      trigger={
        <>
          <span className="avatar" data-letter={user.username.charAt(0).toUpperCase()} />
          <span className="avatar-name">{user.username}</span>
        </>
      }
      heading={
        <>
          <strong>{user.name || user.username}</strong>
          <span>{user.email}</span>
        </>
      }
      items={[
        { label: "Account", glyph: "person", choose: () => void navigate({ to: "/settings/account" }) },
        { label: "API tokens", glyph: "key", choose: () => void navigate({ to: "/settings/tokens" }) },
        { label: "Command line", glyph: "terminal", choose: () => void navigate({ to: "/settings/command-line" }) },
        { label: `Theme: ${theme}`, glyph: "layers", choose: turn },
        { label: "Sign out", glyph: "external", choose: () => void leave() },
      ]}
    />
  );
}

export function NotFound() {
  return (
    <div className="alone">
      <h1>There is no such page</h1>
      <p>The address may be mistyped, or what it named is gone.</p>
      <LinkButton to="/workspaces" look="primary">
        To the workspaces
      </LinkButton>
    </div>
  );
}

/** A page that could not be shown: the server is away, or a new release replaced the page's files. */
export function Crash({ error, reset }: { error: unknown; reset: () => void }) {
  const refused = error instanceof ApiError;
  return (
    <div className="alone">
      <h1>This page cannot be shown</h1>
      {refused ? <ErrorNotice error={error} /> : <p>Berth may have been updated while it was open. Loading it again mends that.</p>}
      <Button look="primary" onClick={() => (refused ? reset() : window.location.reload())}>
        {refused ? "Try again" : "Load it again"}
      </Button>
    </div>
  );
}
