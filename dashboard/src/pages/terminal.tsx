/** A terminal in the workspace, over the whole page. It goes on without the page, and is found again when the page comes back. */

import { useQuery } from "@tanstack/react-query";
import { Link, useParams, useSearch } from "@tanstack/react-router";
import { type ReactNode, type RefObject, useEffect, useRef, useState } from "react";
import { createBuild } from "../api/actions.ts";
import { useWatched } from "../api/live.ts";
import { workspace as workspaceQuery } from "../api/queries.ts";
import { type LinkState, linkTerminal } from "../api/terminal.ts";
import type { Agent, User, Workspace } from "../api/types.ts";
import { mayBuild, mayEnter } from "../lib/permission.ts";
import { agentsOf, isBusy, ofAgent, ofWorkspace, type Words } from "../lib/status.ts";
import { newTerminalId, placeOf, terminalId } from "../lib/terminal.ts";
import { useMe } from "../shell.tsx";
import "../styles/terminal.css";
import { useAction } from "../ui/action.ts";
import { Button, IconButton } from "../ui/button.tsx";
import { ErrorNotice, Notice } from "../ui/notice.tsx";
import { Loaded } from "../ui/page.tsx";
import { Status } from "../ui/status.tsx";
import { makeScreen, type Screen } from "./terminal-screen.ts";

export function TerminalPage() {
  const { owner, place } = useParams({ from: "/@{$owner}/$place/terminal" });
  const { name } = placeOf(place);
  const query = useQuery(workspaceQuery(owner, name));
  useWatched(owner, name, query.data?.id);
  useEffect(() => {
    document.title = `Terminal · ${place} · Berth`;
  }, [place]);
  return (
    <div className="terminal-page">
      {query.data ? (
        <Entered workspace={query.data} />
      ) : (
        <main className="terminal-alone">
          <h1>{place}</h1>
          <Loaded query={query}>{() => null}</Loaded>
          <Link to="/workspaces">To the workspaces</Link>
        </main>
      )}
    </div>
  );
}

function Entered({ workspace }: { workspace: Workspace }) {
  const { place } = useParams({ from: "/@{$owner}/$place/terminal" });
  const { app: slug, command: asked } = useSearch({ from: "/@{$owner}/$place/terminal" });
  const user = useMe();
  const agents = agentsOf(workspace);
  const wanted = placeOf(place).agent;
  const agent = wanted ? agents.find(({ name }) => name === wanted) : agents[0];
  const app = agent?.apps.find((one) => one.slug === slug && one.command);
  // A link may name a command; it does not run before the person has agreed to it.
  const [agreed, setAgreed] = useState(false);
  const obstacle =
    obstacleOf(workspace, agent, user) ??
    (asked && !agreed ? <Consent command={asked} agree={() => setAgreed(true)} /> : undefined) ??
    (slug && !app ? <Notice tone="warn">The workspace has no app {slug} that runs in a terminal.</Notice> : undefined);
  return (
    <Session
      key={`${slug ?? ""} ${asked ?? ""}`}
      name={`${workspace.id}:${place}:${slug ?? asked ?? ""}`}
      title={app ? app.display_name || app.slug : wanted ? `Terminal on ${wanted}` : "Terminal"}
      workspace={workspace}
      agent={agent}
      command={app?.command ?? asked}
      obstacle={obstacle}
    />
  );
}

function Consent({ command, agree }: { command: string; agree: () => void }) {
  return (
    <Notice
      tone="warn"
      action={
        <Button small look="primary" onClick={agree}>
          Run it
        </Button>
      }
    >
      <p>The link that led here wants to run a command in your workspace. Run it only if you know what it does.</p>
      <p>
        <code>{command}</code>
      </p>
    </Notice>
  );
}

/** Why there can be no terminal now, and what changes that; nothing if there can be one. */
function obstacleOf(workspace: Workspace, agent: Agent | undefined, user: User): ReactNode {
  const { status } = workspace.latest_build;
  if (!mayEnter(user, workspace)) return <Notice tone="warn">Only {workspace.owner_name} can enter this workspace.</Notice>;
  if (status === "deleted") return <Notice tone="warn">This workspace is deleted.</Notice>;
  if (isBusy(status)) return <Waiting>{`${workspace.name} is ${status}.`}</Waiting>;
  if (status !== "running") return <Start workspace={workspace} />;
  if (!agent) return <Notice tone="warn">There is no such agent in {workspace.name}.</Notice>;
  if (agent.status === "connecting") return <Waiting>{`The agent ${agent.name} has not connected yet.`}</Waiting>;
  if (agent.status !== "connected") {
    return (
      <Notice tone="bad">
        The agent {agent.name} is not connected: {ofAgent(agent).label.toLowerCase()}. The terminal comes back when it does.
      </Notice>
    );
  }
  return undefined;
}

function Waiting({ children }: { children: ReactNode }) {
  return (
    <Notice>
      <span className="spinner" aria-hidden="true" /> {children} The terminal opens by itself.
    </Notice>
  );
}

function Start({ workspace }: { workspace: Workspace }) {
  const user = useMe();
  const start = useAction(() => createBuild(workspace.id, { transition: "start" }));
  const { label } = ofWorkspace(workspace.latest_build.status);
  const action = mayBuild(user, workspace) && (
    <Button small look="primary" glyph="play" busy={start.busy} busyLabel="Starting" onClick={() => void start.run()}>
      Start
    </Button>
  );
  return (
    <>
      <Notice tone="warn" action={action}>
        {workspace.name} is {label.toLowerCase()}. What ran in its terminals has ended.
      </Notice>
      <ErrorNotice error={start.error} />
    </>
  );
}

interface SessionProps {
  name: string;
  title: string;
  workspace: Workspace;
  agent: Agent | undefined;
  command: string | undefined;
  obstacle: ReactNode;
}

function Session({ name, title, workspace, agent, command, obstacle }: SessionProps) {
  const [id, setId] = useState(() => terminalId(name));
  const [searching, setSearching] = useState(false);
  const [place, screen] = useScreen(() => setSearching(true));
  const agentId = obstacle ? undefined : agent?.id;
  const state = useLink(screen, agentId, id, command);
  const endSearch = () => {
    setSearching(false);
    screen?.endSearch();
    screen?.terminal.focus();
  };
  return (
    <>
      <header className="terminal-head">
        <Link to="/@{$owner}/$name" params={{ owner: workspace.owner_name, name: workspace.name }} className="terminal-back">
          {workspace.name}
        </Link>
        <h1>{title}</h1>
        <span role="status">
          <Status {...wordsOf(obstacle ? undefined : state)} />
        </span>
        <IconButton glyph="search" label="Search (Ctrl+Shift+F)" onClick={() => setSearching(true)} />
      </header>
      {searching && screen && <Search screen={screen} close={endSearch} />}
      <section className="terminal-notices" aria-label="State">
        {obstacle}
        {!obstacle && <Outcome state={state} again={() => setId(newTerminalId(name))} />}
      </section>
      <main className="terminal-place" aria-label={`Terminal in ${workspace.name}`}>
        <div ref={place} />
      </main>
    </>
  );
}

function wordsOf(state: LinkState | undefined): Words {
  switch (state?.is) {
    case "open":
      return { label: "Connected", tone: "good" };
    case "connecting":
      return { label: "Connecting", tone: "busy" };
    case "broken":
      return { label: "Connecting again", tone: "warn" };
    case "refused":
      return { label: "Refused", tone: "bad" };
    case "ended":
      return { label: "Ended", tone: "idle" };
    case undefined:
      return { label: "Waiting", tone: "idle" };
  }
}

/** What is to say of a link beyond its state. */
function Outcome({ state, again }: { state: LinkState | undefined; again: () => void }) {
  const action = (
    <Button small look="primary" onClick={again}>
      Open a new one
    </Button>
  );
  if (state?.is === "ended") return <Notice action={action}>What ran in this terminal has ended.</Notice>;
  if (state?.is === "refused") {
    return (
      <Notice tone="bad" action={action}>
        The terminal was refused: {state.reason || "the server gave no reason"}.
      </Notice>
    );
  }
  if (state?.is === "broken") {
    return <Notice tone="warn">The connection broke. What runs in the terminal goes on; it is being connected again.</Notice>;
  }
  return null;
}

function useScreen(search: () => void): [RefObject<HTMLDivElement | null>, Screen | undefined] {
  const place = useRef<HTMLDivElement>(null);
  const onSearch = useRef(search);
  onSearch.current = search;
  const [screen, setScreen] = useState<Screen>();
  useEffect(() => {
    if (!place.current) return;
    const made = makeScreen(place.current, () => onSearch.current());
    setScreen(made);
    return () => {
      setScreen(undefined);
      made.dispose();
    };
  }, []);
  return [place, screen];
}

/** Links a screen to a terminal while there is an agent to link it to. */
function useLink(
  screen: Screen | undefined,
  agentId: string | undefined,
  id: string,
  command: string | undefined,
): LinkState | undefined {
  const [state, setState] = useState<LinkState>();
  useEffect(() => {
    if (!screen || !agentId) return;
    const { terminal } = screen;
    const link = linkTerminal(
      { agentId, id, command },
      {
        size: () => ({ columns: terminal.cols, rows: terminal.rows }),
        opened: () => terminal.reset(),
        wrote: (bytes, shown) => terminal.write(bytes, shown),
        state: setState,
      },
    );
    const listeners = [
      terminal.onData(link.type),
      terminal.onBinary(link.type),
      terminal.onResize(({ cols, rows }) => link.resize(cols, rows)),
    ];
    terminal.focus();
    return () => {
      setState(undefined);
      for (const listener of listeners) listener.dispose();
      link.close();
    };
  }, [screen, agentId, id, command]);
  return state;
}

function Search({ screen, close }: { screen: Screen; close: () => void }) {
  const [text, setText] = useState("");
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => field.current?.focus(), []);
  return (
    <search className="terminal-search">
      <input
        ref={field}
        type="search"
        aria-label="Search in the terminal"
        placeholder="Search"
        value={text}
        onChange={({ target }) => {
          setText(target.value);
          screen.find(target.value, "next");
        }}
        onKeyDown={(event) => {
          if (event.key === "Escape") close();
          else if (event.key === "Enter") screen.find(text, event.shiftKey ? "previous" : "next");
        }}
      />
      <Button small onClick={() => screen.find(text, "previous")}>
        Previous
      </Button>
      <Button small onClick={() => screen.find(text, "next")}>
        Next
      </Button>
      <IconButton glyph="close" label="End the search" onClick={close} />
    </search>
  );
}
