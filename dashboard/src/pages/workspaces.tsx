import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { type FormEvent, useEffect, useId, useState } from "react";
import { createBuild } from "../api/actions.ts";
import { ApiError } from "../api/client.ts";
import { PAGE_SIZE, templates as templatesQuery, workspaces as workspacesQuery } from "../api/queries.ts";
import type { Transition, Workspace, WorkspaceStatus } from "../api/types.ts";
import { mayBuild, mayReadEveryWorkspace } from "../lib/permission.ts";
import { isBusy, ofWorkspaceAndAgents } from "../lib/status.ts";
import { useMe } from "../shell.tsx";
import { useAction } from "../ui/action.ts";
import { Button, LinkButton } from "../ui/button.tsx";
import { CopyText } from "../ui/copy.tsx";
import { Glyph } from "../ui/glyph.tsx";
import { Empty, Loaded, Page } from "../ui/page.tsx";
import { Picture } from "../ui/picture.tsx";
import { Status } from "../ui/status.tsx";
import { Ago } from "../ui/time.tsx";
import { useSay } from "../ui/toast.tsx";

const MINE = "owner:me";

const FILTERS: { label: string; status: WorkspaceStatus }[] = [
  { label: "Running", status: "running" },
  { label: "Stopped", status: "stopped" },
  { label: "Failed", status: "failed" },
];

/** Puts a term in or takes it out; a search has one term of a kind. */
function withTerm(q: string, key: string, value: string | undefined): string {
  const others = q.split(/\s+/).filter((term) => term && !term.startsWith(`${key}:`));
  return [...others, ...(value ? [`${key}:${value}`] : [])].join(" ");
}

export function WorkspacesPage() {
  const { q = MINE, page = 1 } = useSearch({ from: "/inside/workspaces" });
  const navigate = useNavigate({ from: "/workspaces" });
  const query = useQuery(workspacesQuery(q, page));
  const refused = query.error instanceof ApiError ? query.error.field("q") : undefined;
  const search = (next: string) => void navigate({ search: { q: next.trim() === MINE ? undefined : next.trim() } });
  return (
    <Page
      title="Workspaces"
      actions={
        <LinkButton to="/templates" look="primary" glyph="plus">
          New workspace
        </LinkButton>
      }
    >
      <Search key={q} q={q} refused={refused} onSearch={search} />
      {refused ? null : (
        <Loaded query={query} rows={5}>
          {({ workspaces, count }) =>
            workspaces.length === 0 ? (
              <Nothing q={q} onSearch={search} />
            ) : (
              <List workspaces={workspaces} count={count} page={page} />
            )
          }
        </Loaded>
      )}
    </Page>
  );
}

function Search({ q, refused, onSearch }: { q: string; refused: string | undefined; onSearch: (q: string) => void }) {
  const [text, setText] = useState(q);
  const user = useMe();
  const id = useId();
  const submit = (event: FormEvent) => {
    event.preventDefault();
    onSearch(text);
  };
  return (
    <search>
      <form className="filter" onSubmit={submit}>
        <div className="search-box">
          <Glyph name="search" />
          <label htmlFor={id} className="visually-hidden">
            Search workspaces
          </label>
          <input
            id={id}
            type="search"
            value={text}
            spellCheck={false}
            placeholder="name:dev template:local status:running"
            aria-invalid={refused ? true : undefined}
            aria-describedby={refused ? `${id}-error` : undefined}
            onChange={(event) => setText(event.target.value)}
          />
          <Button type="submit">Search</Button>
        </div>
        <fieldset className="chips">
          <legend className="visually-hidden">Filters</legend>
          {mayReadEveryWorkspace(user) && (
            <Chip label="Mine" on={q.includes(MINE)} choose={(on) => onSearch(withTerm(text, "owner", on ? "me" : undefined))} />
          )}
          {FILTERS.map(({ label, status }) => (
            <Chip
              key={status}
              label={label}
              on={q.includes(`status:${status}`)}
              choose={(on) => onSearch(withTerm(text, "status", on ? status : undefined))}
            />
          ))}
        </fieldset>
        {refused && (
          <p className="field-error" id={`${id}-error`}>
            {refused}. For example <code>owner:me status:running</code>, or words of a name.
          </p>
        )}
      </form>
    </search>
  );
}

function Chip({ label, on, choose }: { label: string; on: boolean; choose: (on: boolean) => void }) {
  return (
    <button type="button" className="chip" aria-pressed={on} onClick={() => choose(!on)}>
      {label}
    </button>
  );
}

function Nothing({ q, onSearch }: { q: string; onSearch: (q: string) => void }) {
  const templates = useQuery(templatesQuery);
  const [first] = templates.data ?? [];
  if (q !== MINE) {
    return (
      <Empty title="No workspace matches">
        <p>
          Nothing is named or stands like <code>{q || "that"}</code>.
        </p>
        <Button onClick={() => onSearch(MINE)}>Show all of mine</Button>
      </Empty>
    );
  }
  return (
    <Empty title="No workspaces yet">
      {templates.data?.length === 0 ? (
        <>
          <p>A workspace is made of a template, and there is none. Push the first one from a terminal:</p>
          <CopyText
            text="berth templates init --id local my-template && berth templates push my-template -d my-template"
            label="the command"
          />
          <LinkButton to="/settings/command-line">Get the command line</LinkButton>
        </>
      ) : (
        <>
          <p>A workspace is your own machine, made of a template. Choose one, or do the same from a terminal:</p>
          <CopyText text={`berth create dev --template ${first?.name ?? "local"}`} label="the command" />
          <LinkButton to="/templates" look="primary">
            Choose a template
          </LinkButton>
        </>
      )}
    </Empty>
  );
}

/** What a bulk action, or a row's own button, would do to a workspace. */
function next(workspace: Workspace): Transition | undefined {
  const { status } = workspace.latest_build;
  if (isBusy(status)) return undefined;
  return status === "running" ? "stop" : "start";
}

function List({ workspaces, count, page }: { workspaces: Workspace[]; count: number; page: number }) {
  const user = useMe();
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const mine = workspaces.filter((workspace) => mayBuild(user, workspace));
  const selected = mine.filter(({ id }) => chosen.has(id));
  const choose = (id: string, on: boolean) =>
    setChosen((before) => new Set(on ? [...before, id] : [...before].filter((each) => each !== id)));
  const everything = selected.length === mine.length && mine.length > 0;
  return (
    <>
      <Bulk selected={selected} done={() => setChosen(new Set())} />
      <table className="list workspaces">
        <caption className="visually-hidden">Workspaces</caption>
        <thead>
          <tr>
            <th scope="col" className="pick">
              <input
                type="checkbox"
                aria-label="Choose all"
                checked={everything}
                disabled={mine.length === 0}
                onChange={(event) => setChosen(new Set(event.target.checked ? mine.map(({ id }) => id) : []))}
              />
            </th>
            <th scope="col">Workspace</th>
            <th scope="col">Status</th>
            <th scope="col">Last used</th>
            <th scope="col">Stops</th>
            <th scope="col">
              <span className="visually-hidden">Actions</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {workspaces.map((workspace) => (
            <Row
              key={workspace.id}
              workspace={workspace}
              may={mayBuild(user, workspace)}
              showOwner={workspace.owner_id !== user.id}
              chosen={chosen.has(workspace.id)}
              choose={choose}
            />
          ))}
        </tbody>
      </table>
      <Pages count={count} page={page} />
    </>
  );
}

interface RowProps {
  workspace: Workspace;
  may: boolean;
  showOwner: boolean;
  chosen: boolean;
  choose: (id: string, on: boolean) => void;
}

function Row({ workspace, may, showOwner, chosen, choose }: RowProps) {
  const { name, owner_name: owner, latest_build: build } = workspace;
  const template = workspace.template_display_name || workspace.template_name;
  return (
    <tr aria-selected={chosen}>
      <td className="pick">
        <input
          type="checkbox"
          aria-label={`Choose ${name}`}
          checked={chosen}
          disabled={!may}
          onChange={(event) => choose(workspace.id, event.target.checked)}
        />
      </td>
      <td className="what">
        <Picture icon={workspace.template_icon} name={template} />
        <div>
          <Link to="/@{$owner}/$name" params={{ owner, name }} className="strong">
            {showOwner ? `${owner}/${name}` : name}
          </Link>
          <small>
            {template}
            {workspace.outdated && <span className="tag">Update available</span>}
          </small>
        </div>
      </td>
      <td>
        <Status {...ofWorkspaceAndAgents(workspace)} />
      </td>
      <td className="wide">
        <Ago time={workspace.last_used_at} />
      </td>
      <td className="wide">
        {build.status === "running" && build.deadline ? <Ago time={build.deadline} /> : <span className="muted">-</span>}
      </td>
      <td className="act">{may && <Turn workspace={workspace} />}</td>
    </tr>
  );
}

function Turn({ workspace }: { workspace: Workspace }) {
  const say = useSay();
  const transition = next(workspace);
  const build = useAction((to: Transition) => createBuild(workspace.id, { transition: to }));
  useEffect(() => {
    if (build.error) say(`${workspace.name}: ${build.error.message}`, "bad");
  }, [build.error, workspace.name, say]);
  if (!transition) return null;
  const label = transition === "start" ? "Start" : "Stop";
  return (
    <Button
      small
      glyph={transition === "start" ? "play" : "stop"}
      aria-label={`${label} ${workspace.name}`}
      busy={build.busy}
      onClick={() => void build.run(transition)}
    >
      {label}
    </Button>
  );
}

function Bulk({ selected, done }: { selected: Workspace[]; done: () => void }) {
  const say = useSay();
  const act = useAction(async (transition: Transition) => {
    const able = selected.filter((workspace) => next(workspace) === transition);
    const outcomes = await Promise.allSettled(able.map(({ id }) => createBuild(id, { transition })));
    const failed = outcomes.flatMap((outcome, at) =>
      outcome.status === "rejected" ? [`${able[at]?.name}: ${outcome.reason.message}`] : [],
    );
    const verb = transition === "start" ? "started" : "stopped";
    const made = able.length - failed.length;
    if (made > 0) say(`${made} ${made === 1 ? "workspace is" : "workspaces are"} being ${verb}.`);
    if (failed.length > 0) say(failed.join("; "), "bad");
    done();
  });
  const count = (transition: Transition) => selected.filter((workspace) => next(workspace) === transition).length;
  return (
    <div className="bulk" aria-live="polite" hidden={selected.length === 0}>
      <span>
        {selected.length} chosen
        {selected.length > 0 && selected.length === selected.filter((workspace) => !next(workspace)).length && ": all are busy"}
      </span>
      <Button small glyph="play" disabled={count("start") === 0} busy={act.busy} onClick={() => void act.run("start")}>
        Start {count("start") || ""}
      </Button>
      <Button small glyph="stop" disabled={count("stop") === 0} busy={act.busy} onClick={() => void act.run("stop")}>
        Stop {count("stop") || ""}
      </Button>
      <Button small look="quiet" onClick={done}>
        Choose none
      </Button>
    </div>
  );
}

function Pages({ count, page }: { count: number; page: number }) {
  const last = Math.max(1, Math.ceil(count / PAGE_SIZE));
  if (last === 1) return null;
  const to = (wanted: number) => (before: { q?: string | undefined }) => ({ ...before, page: wanted > 1 ? wanted : undefined });
  return (
    <nav className="pages" aria-label="Pages">
      <LinkButton from="/workspaces" to="/workspaces" search={to(page - 1)} disabled={page <= 1}>
        Newer
      </LinkButton>
      <span>
        Page {page} of {last}
      </span>
      <LinkButton from="/workspaces" to="/workspaces" search={to(page + 1)} disabled={page >= last}>
        Older
      </LinkButton>
    </nav>
  );
}
