import { useNavigate } from "@tanstack/react-router";
import { type FormEvent, useState } from "react";
import { renameWorkspace, setAutomaticUpdates, setAutostart, setTtl } from "../api/actions.ts";
import { ApiError } from "../api/client.ts";
import type { Workspace } from "../api/types.ts";
import { mayBuild } from "../lib/permission.ts";
import { type Autostart, DAYS, formatAutostart, parseAutostart } from "../lib/schedule.ts";
import { useMe } from "../shell.tsx";
import { useAction } from "../ui/action.ts";
import { Button } from "../ui/button.tsx";
import { CheckField, Choices, TextField } from "../ui/field.tsx";
import { ErrorNotice, Notice } from "../ui/notice.tsx";
import { Card } from "../ui/page.tsx";
import { useSay } from "../ui/toast.tsx";
import { useWorkspace } from "./workspace.tsx";

const HOUR_MS = 3_600_000;

export function WorkspaceSettings() {
  const user = useMe();
  const workspace = useWorkspace();
  if (!workspace) return null;
  if (!mayBuild(user, workspace)) return <Notice>Only {workspace.owner_name} and owners of this deployment change these.</Notice>;
  return (
    <div className="stack narrow">
      <AutostartForm workspace={workspace} />
      <AutostopForm workspace={workspace} />
      <UpdatesForm workspace={workspace} />
      <RenameForm workspace={workspace} />
    </div>
  );
}

function refusedField(error: Error | undefined, field: string): string | undefined {
  return error instanceof ApiError ? error.field(field) : undefined;
}

/** A weekday morning where the person is. */
function usual(): Autostart {
  return { time: "09:00", days: [1, 2, 3, 4, 5], zone: Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC" };
}

function AutostartForm({ workspace }: { workspace: Workspace }) {
  const say = useSay();
  const kept = workspace.autostart_schedule ?? "";
  const parsed = parseAutostart(kept);
  const [on, setOn] = useState(kept !== "");
  const [when, setWhen] = useState(parsed ?? usual());
  const [text, setText] = useState(kept);
  const byForm = kept === "" || parsed !== undefined;
  const save = useAction(async () => {
    await setAutostart(workspace.id, on ? (byForm ? formatAutostart(when) : text) : "");
    say(on ? "It starts by this schedule from now on." : "It starts only when you start it.");
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    void save.run();
  };
  const day = (value: string, chosen: boolean) =>
    setWhen((now) => ({ ...now, days: chosen ? [...now.days, Number(value)] : now.days.filter((each) => each !== Number(value)) }));
  return (
    <Card title="Start by itself">
      <form className="form" onSubmit={submit}>
        <CheckField label="Start on a schedule" checked={on} onChange={(event) => setOn(event.target.checked)} />
        {on && byForm && (
          <>
            <TextField
              label="Time"
              type="time"
              required
              value={when.time}
              onChange={(event) => setWhen({ ...when, time: event.target.value })}
            />
            <Choices
              label="Days"
              kind="checkbox"
              choices={DAYS.map((label, value) => ({ value: String(value), label }))}
              chosen={when.days.map(String)}
              error={when.days.length === 0 ? "Choose a day at least." : undefined}
              onChoose={day}
            />
            <TextField
              label="Time zone"
              hint="As in the tz database, for example Europe/Berlin."
              required
              spellCheck={false}
              value={when.zone}
              error={refusedField(save.error, "schedule")}
              onChange={(event) => setWhen({ ...when, zone: event.target.value })}
            />
          </>
        )}
        {on && !byForm && (
          <TextField
            label="Schedule"
            hint="Five cron fields, with the time zone before them."
            spellCheck={false}
            value={text}
            error={refusedField(save.error, "schedule")}
            onChange={(event) => setText(event.target.value)}
          />
        )}
        <ErrorNotice error={save.error} shown={["schedule"]} />
        <div className="actions">
          <Button type="submit" busy={save.busy} busyLabel="Saving" disabled={on && byForm && when.days.length === 0}>
            Save
          </Button>
        </div>
      </form>
    </Card>
  );
}

function AutostopForm({ workspace }: { workspace: Workspace }) {
  const say = useSay();
  const [on, setOn] = useState(workspace.ttl_ms !== null);
  const [hours, setHours] = useState(String((workspace.ttl_ms ?? 8 * HOUR_MS) / HOUR_MS));
  const save = useAction(async () => {
    await setTtl(workspace.id, on ? Math.round(Number(hours) * HOUR_MS) : 0);
    say("It holds from the next start on.");
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    void save.run();
  };
  return (
    <Card title="Stop by itself">
      <form className="form" onSubmit={submit}>
        <CheckField
          label="Stop some time after each start"
          hint="A stopped workspace keeps its disk and costs nothing else."
          checked={on}
          onChange={(event) => setOn(event.target.checked)}
        />
        {on && (
          <TextField
            label="Hours"
            type="number"
            inputMode="decimal"
            min={0.1}
            max={720}
            step="any"
            required
            value={hours}
            error={refusedField(save.error, "ttl_ms")}
            onChange={(event) => setHours(event.target.value)}
          />
        )}
        <ErrorNotice error={save.error} shown={["ttl_ms"]} />
        <div className="actions">
          <Button type="submit" busy={save.busy} busyLabel="Saving">
            Save
          </Button>
        </div>
      </form>
    </Card>
  );
}

function UpdatesForm({ workspace }: { workspace: Workspace }) {
  const say = useSay();
  const save = useAction(async (always: boolean) => {
    await setAutomaticUpdates(workspace.id, always ? "always" : "never");
    say(always ? "Each start takes the template's newest version." : "It stays at its version until you update it.");
  });
  return (
    <Card title="Updates">
      <CheckField
        label="Move to the template's newest version at each start"
        checked={workspace.automatic_updates === "always"}
        disabled={save.busy}
        onChange={(event) => void save.run(event.target.checked)}
      />
      <ErrorNotice error={save.error} />
    </Card>
  );
}

function RenameForm({ workspace }: { workspace: Workspace }) {
  const navigate = useNavigate();
  const [name, setName] = useState(workspace.name);
  const save = useAction(async () => {
    await renameWorkspace(workspace.id, name);
    await navigate({ to: "/@{$owner}/$name/settings", params: { owner: workspace.owner_name, name }, replace: true });
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (name !== workspace.name) void save.run();
  };
  return (
    <Card title="Name">
      <form className="form" onSubmit={submit}>
        <TextField
          label="Name"
          hint="Addresses with the old name stop working: ssh hosts, bookmarks, running editors."
          required
          pattern="[a-zA-Z0-9]+(-[a-zA-Z0-9]+)*"
          maxLength={32}
          spellCheck={false}
          autoComplete="off"
          value={name}
          error={refusedField(save.error, "name")}
          onChange={(event) => setName(event.target.value)}
        />
        <ErrorNotice error={save.error} shown={["name"]} />
        <div className="actions">
          <Button type="submit" busy={save.busy} busyLabel="Renaming" disabled={name === workspace.name}>
            Rename
          </Button>
        </div>
      </form>
    </Card>
  );
}
