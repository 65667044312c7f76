import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { type FormEvent, useState } from "react";
import { createWorkspace } from "../api/actions.ts";
import { ApiError } from "../api/client.ts";
import {
  parameters as parametersQuery,
  presets as presetsQuery,
  template as templateQuery,
  version as versionQuery,
} from "../api/queries.ts";
import type { Parameter, Preset, Template, Version } from "../api/types.ts";
import { given, initialAnswers, problem, quoted, withPreset } from "../lib/parameters.ts";
import { useMe } from "../shell.tsx";
import { useAction } from "../ui/action.ts";
import { Button } from "../ui/button.tsx";
import { CopyText } from "../ui/copy.tsx";
import { CheckField, TextField } from "../ui/field.tsx";
import { ErrorNotice, Notice } from "../ui/notice.tsx";
import { Card, Loaded, Page } from "../ui/page.tsx";
import { Picture } from "../ui/picture.tsx";
import { PlanPreview } from "./plan.tsx";
import { Presets, Questions } from "./questions.tsx";

const NAME = /^[a-zA-Z0-9]+(-[a-zA-Z0-9]+)*$/;
const NAME_LENGTH_MAX = 32;

export function CreatePage() {
  const { name } = useParams({ from: "/inside/templates/$name/workspace" });
  const { version: wanted } = useSearch({ from: "/inside/templates/$name/workspace" });
  const template = useQuery(templateQuery(name));
  const versionId = wanted ?? template.data?.active_version_id;
  const enabled = versionId !== undefined;
  const version = useQuery({ ...versionQuery(versionId ?? ""), enabled });
  const parameters = useQuery({ ...parametersQuery(versionId ?? ""), enabled });
  const presets = useQuery({ ...presetsQuery(versionId ?? ""), enabled });
  const title = template.data?.display_name || name;
  return (
    <Page
      title={`New workspace from ${title}`}
      heading={
        <>
          <Picture icon={template.data?.icon ?? ""} name={title} /> New workspace
        </>
      }
      lead={
        <>
          From the template{" "}
          <Link to="/templates/$name" params={{ name }}>
            {title}
          </Link>
          {version.data && `, version ${version.data.name}`}
        </>
      }
    >
      <Loaded query={template} rows={6}>
        {(template) => (
          <Loaded query={parameters} rows={6}>
            {(parameters) => (
              <Loaded query={presets} rows={6}>
                {(presets) => (
                  <CreateForm
                    key={versionId}
                    template={template}
                    version={version.data}
                    parameters={parameters}
                    presets={presets}
                  />
                )}
              </Loaded>
            )}
          </Loaded>
        )}
      </Loaded>
    </Page>
  );
}

interface FormProps {
  template: Template;
  version: Version | undefined;
  parameters: Parameter[];
  presets: Preset[];
}

function nameProblem(name: string): string | undefined {
  if (name === "") return "A name is needed.";
  if (name.length > NAME_LENGTH_MAX) return `Must have ${NAME_LENGTH_MAX} characters or fewer.`;
  return NAME.test(name) ? undefined : "Letters, digits and single hyphens, with none at an end.";
}

/** The form's state: a name, a preset or none, and an answer to every question. */
function useForm({ parameters, presets }: FormProps) {
  const first = presets.find((preset) => preset.Default);
  const [name, setName] = useState("");
  const [preset, setPreset] = useState(first);
  const [answers, setAnswers] = useState(() =>
    first ? withPreset(initialAnswers(parameters), first) : initialAnswers(parameters),
  );
  const [tried, setTried] = useState(false);
  const [touched, setTouched] = useState<ReadonlySet<string>>(new Set());
  const choose = (next: Preset | undefined) => {
    setPreset(next);
    if (next) setAnswers((before) => withPreset(before, next));
  };
  const answer = (parameter: string, value: string) => {
    setAnswers((before) => ({ ...before, [parameter]: value }));
    setTouched((before) => new Set(before).add(parameter));
    // Another answer than the preset's is no longer the preset.
    if (preset?.Parameters.some(({ Name, Value }) => Name === parameter && Value !== value)) setPreset(undefined);
  };
  const problems = Object.fromEntries(
    parameters.map((parameter) => [parameter.name, problem(parameter, answers[parameter.name] ?? "")]),
  );
  const wrong = nameProblem(name);
  return {
    name,
    setName,
    preset,
    choose,
    answers,
    answer,
    tried,
    setTried,
    nameError: tried || (name !== "" && wrong !== undefined) ? wrong : undefined,
    errors: Object.fromEntries(Object.entries(problems).map(([key, why]) => [key, tried || touched.has(key) ? why : undefined])),
    valid: wrong === undefined && Object.values(problems).every((why) => why === undefined),
    answersValid: Object.values(problems).every((why) => why === undefined),
  };
}

function CreateForm(props: FormProps) {
  const { template, version, parameters, presets } = props;
  const user = useMe();
  const navigate = useNavigate();
  const form = useForm(props);
  const [follows, setFollows] = useState(false);
  const versionId = version?.id ?? template.active_version_id;
  const values = given(parameters, form.answers, form.preset);
  const create = useAction(async () => {
    const workspace = await createWorkspace({
      template_version_id: versionId,
      name: form.name,
      rich_parameter_values: values,
      automatic_updates: follows ? "always" : "never",
      ...(form.preset && { template_version_preset_id: form.preset.ID }),
    });
    await navigate({ to: "/@{$owner}/$name", params: { owner: workspace.owner_name, name: workspace.name } });
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    form.setTried(true);
    if (form.valid) void create.run();
  };
  const refused = create.error instanceof ApiError ? create.error : undefined;
  const errors = Object.fromEntries(parameters.map(({ name }) => [name, form.errors[name] ?? refused?.field(name)]));
  if (template.deprecated) {
    return <Notice tone="warn">This template is deprecated: {template.deprecation_message}</Notice>;
  }
  return (
    <div className="split">
      <form className="card form" onSubmit={submit} noValidate>
        <TextField
          label="Name"
          hint="You reach it by this name: ssh NAME.berth"
          value={form.name}
          error={form.nameError ?? refused?.field("name")}
          maxLength={NAME_LENGTH_MAX}
          autoComplete="off"
          spellCheck={false}
          autoFocus
          onChange={(event) => form.setName(event.target.value)}
        />
        <Presets presets={presets} chosen={form.preset} choose={form.choose} />
        <Questions parameters={parameters} answers={form.answers} errors={errors} answer={form.answer} />
        <CheckField
          label="Move to the newest version at each start"
          hint="Otherwise you choose when, by Update."
          checked={follows}
          onChange={(event) => setFollows(event.target.checked)}
        />
        <ErrorNotice error={create.error} shown={["name", ...parameters.map(({ name }) => name)]} />
        {form.tried && !form.valid && !create.error && (
          <p className="field-error" role="alert">
            Something is missing or will not do: see the marked fields.
          </p>
        )}
        <div className="actions">
          <Button type="submit" look="primary" busy={create.busy} busyLabel="Creating">
            Create workspace
          </Button>
        </div>
      </form>
      <aside className="side">
        <PlanPreview
          versionId={versionId}
          blocked={!form.answersValid}
          wanted={{
            workspace_name: nameProblem(form.name) ? "" : form.name,
            rich_parameter_values: values,
            template_version_preset_id: form.preset?.ID,
          }}
        />
        <Card title="The same from a terminal">
          <CopyText text={command(template.name, form.name, parameters, form)} label="the command" />
        </Card>
        <p className="hint">It will be yours, {user.username}, and nobody else can enter it.</p>
      </aside>
    </div>
  );
}

/** What one would type for the same workspace. */
function command(
  template: string,
  name: string,
  parameters: Parameter[],
  form: { answers: Record<string, string>; preset: Preset | undefined },
): string {
  const words = ["berth", "create", name || "NAME", "--template", template];
  if (form.preset) words.push("--preset", form.preset.Name);
  for (const value of given(parameters, form.answers, form.preset)) words.push("--parameter", `${value.name}=${value.value}`);
  return words.map(quoted).join(" ");
}
