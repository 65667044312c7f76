import { useNavigate } from "@tanstack/react-router";
import { type FormEvent, useState } from "react";
import { deleteTemplate, updateTemplate } from "../api/actions.ts";
import { ApiError } from "../api/client.ts";
import type { Template, UpdateTemplate } from "../api/types.ts";
import { useAction } from "../ui/action.ts";
import { Button } from "../ui/button.tsx";
import { Confirm } from "../ui/dialog.tsx";
import { CheckField, TextArea, TextField } from "../ui/field.tsx";
import { ErrorNotice } from "../ui/notice.tsx";
import { Card } from "../ui/page.tsx";
import { useSay } from "../ui/toast.tsx";
import { useTemplate } from "./template.tsx";

type Texts = "name" | "display_name" | "description" | "icon" | "deprecation_message";
type Times = "default_ttl_ms" | "max_ttl_ms" | "activity_bump_ms" | "failure_ttl_ms" | "build_timeout_ms" | "silence_timeout_ms";
type Switches = "allow_user_cancel_workspace_jobs" | "require_active_version" | "replacement_consent";

const HOUR_MS = 3_600_000;

const TEXTS: [field: Texts, label: string, hint: string][] = [
  ["name", "Name", "The address of the template. Workspaces are not touched by another one."],
  ["display_name", "Title", "What people see instead."],
  ["description", "Description", "One line in the list."],
  ["icon", "Picture", "A path such as /icon/terminal.svg."],
];

const TIMES: [field: Times, label: string, hint: string][] = [
  ["default_ttl_ms", "Stop after", "A started workspace is stopped after this time, unless its owner chose another. 0 is never."],
  ["max_ttl_ms", "Stop after at most", "The longest time that an owner may choose. 0 is no limit."],
  ["activity_bump_ms", "Use puts off the stop by", "While somebody works, the stop moves this far away from now. 0 is off."],
  ["failure_ttl_ms", "Stop a failed start after", "So that what it left costs nothing more. 0 is never."],
  ["build_timeout_ms", "End a build after", "0 is the deployment's own limit."],
  ["silence_timeout_ms", "End a silent build after", "One that says and does nothing. 0 is the deployment's own limit."],
];

const SWITCHES: [field: Switches, label: string, hint: string][] = [
  [
    "allow_user_cancel_workspace_jobs",
    "People may cancel their builds",
    "A half-made cloud resource is not everybody's to tidy up.",
  ],
  ["require_active_version", "Workspaces start with the active version only", "Except for those who manage templates."],
  ["replacement_consent", "Ask before a disk or a machine is replaced", "A build that would do so fails first, and asks."],
];

export function TemplateSettingsPage() {
  const template = useTemplate();
  if (!template) return null;
  return (
    <div className="stack narrow">
      <SettingsForm key={template.updated_at} template={template} />
      <DeleteCard template={template} />
    </div>
  );
}

/** The fields as the form has them: times in hours, everything as text. */
function initial(template: Template) {
  return {
    texts: Object.fromEntries(
      [...TEXTS.map(([field]) => field), "deprecation_message" as const].map((field) => [field, template[field]]),
    ),
    times: Object.fromEntries(TIMES.map(([field]) => [field, String(template[field] / HOUR_MS)])),
    switches: Object.fromEntries(SWITCHES.map(([field]) => [field, template[field]])),
    cost: String(template.daily_cost_max),
  };
}

function SettingsForm({ template }: { template: Template }) {
  const navigate = useNavigate();
  const say = useSay();
  const [form, setForm] = useState(() => initial(template));
  const save = useAction(async () => {
    const times = Object.fromEntries(
      Object.entries(form.times).map(([field, hours]) => [field, Math.round(Number(hours) * HOUR_MS)]),
    );
    const settings = { ...times, ...form.switches, daily_cost_max: Number(form.cost) } as UpdateTemplate;
    const updated = await updateTemplate(template.id, { ...form.texts, ...settings } as UpdateTemplate);
    say("Saved. It holds from each workspace's next start on.");
    if (updated.name !== template.name)
      await navigate({ to: "/templates/$name/settings", params: { name: updated.name }, replace: true });
  });
  const wrong = (field: string) => (save.error instanceof ApiError ? save.error.field(field) : undefined);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    void save.run();
  };
  const text = (field: Texts) => ({
    value: form.texts[field] ?? "",
    error: wrong(field),
    onChange: (event: { target: { value: string } }) => setForm({ ...form, texts: { ...form.texts, [field]: event.target.value } }),
  });
  const shown = [...TEXTS, ...TIMES].map(([field]) => field as string).concat("deprecation_message", "daily_cost_max");
  return (
    <form className="stack" onSubmit={submit}>
      <Card title="What people see">
        <div className="form">
          {TEXTS.map(([field, label, hint]) => (
            <TextField key={field} label={label} hint={hint} spellCheck={field === "description"} {...text(field)} />
          ))}
        </div>
      </Card>
      <Card title="Times, in hours">
        <div className="form two">
          {TIMES.map(([field, label, hint]) => (
            <TextField
              key={field}
              label={label}
              hint={hint}
              type="number"
              inputMode="decimal"
              min={0}
              step="any"
              required
              value={form.times[field] ?? "0"}
              error={wrong(field)}
              onChange={(event) => setForm({ ...form, times: { ...form.times, [field]: event.target.value } })}
            />
          ))}
        </div>
      </Card>
      <Card title="Rules">
        <div className="form">
          {SWITCHES.map(([field, label, hint]) => (
            <CheckField
              key={field}
              label={label}
              hint={hint}
              checked={form.switches[field] ?? false}
              onChange={(event) => setForm({ ...form, switches: { ...form.switches, [field]: event.target.checked } })}
            />
          ))}
          <TextField
            label="Highest daily cost"
            hint="In the units of the template's daily_cost. A build that would cost more fails before it makes anything. 0 is no limit."
            type="number"
            min={0}
            required
            value={form.cost}
            error={wrong("daily_cost_max")}
            onChange={(event) => setForm({ ...form, cost: event.target.value })}
          />
          <TextArea
            label="Deprecated because"
            hint="While this is not empty, no new workspace is made of the template. People see it: say what to use instead."
            {...text("deprecation_message")}
          />
        </div>
      </Card>
      <ErrorNotice error={save.error} shown={shown} />
      <div className="actions">
        <Button type="submit" look="primary" busy={save.busy} busyLabel="Saving">
          Save
        </Button>
      </div>
    </form>
  );
}

function DeleteCard({ template }: { template: Template }) {
  const navigate = useNavigate();
  const say = useSay();
  const [open, setOpen] = useState(false);
  const remove = async () => {
    await deleteTemplate(template.id);
    say(`The template ${template.name} is deleted.`);
    await navigate({ to: "/templates" });
  };
  return (
    <Card title="Delete">
      <p>Only a template that no workspace uses can be deleted.</p>
      <Button look="danger" glyph="trash" onClick={() => setOpen(true)}>
        Delete template
      </Button>
      <Confirm
        title={`Delete the template ${template.name}?`}
        open={open}
        onClose={() => setOpen(false)}
        action="Delete template"
        busyLabel="Deleting"
        typed={template.name}
        confirmed={remove}
      >
        <p>Its versions and their files go with it.</p>
      </Confirm>
    </Card>
  );
}
