import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { type FormEvent, useState } from "react";
import { createBuild } from "../api/actions.ts";
import { ApiError } from "../api/client.ts";
import { buildParameters, parameters as parametersQuery } from "../api/queries.ts";
import type { Parameter, ParameterValue, Workspace } from "../api/types.ts";
import { initialAnswers, problem } from "../lib/parameters.ts";
import { mayBuild } from "../lib/permission.ts";
import { isBusy } from "../lib/status.ts";
import { useMe } from "../shell.tsx";
import { useAction } from "../ui/action.ts";
import { Button } from "../ui/button.tsx";
import { ErrorNotice } from "../ui/notice.tsx";
import { Card, Empty, Loaded } from "../ui/page.tsx";
import { Questions } from "./questions.tsx";
import { useWorkspace } from "./workspace.tsx";

export function WorkspaceParameters() {
  const workspace = useWorkspace();
  return workspace ? <Current workspace={workspace} /> : null;
}

function Current({ workspace }: { workspace: Workspace }) {
  const { latest_build: build } = workspace;
  const parameters = useQuery(parametersQuery(build.template_version_id));
  const answers = useQuery(buildParameters(build.id));
  return (
    <Loaded query={parameters}>
      {(parameters) => (
        <Loaded query={answers}>
          {(answers) =>
            parameters.length === 0 ? (
              <Empty title="No parameters">
                <p>This template asks nothing.</p>
              </Empty>
            ) : (
              <AnswersForm key={build.id} workspace={workspace} parameters={parameters} answers={answers} />
            )
          }
        </Loaded>
      )}
    </Loaded>
  );
}

interface Props {
  workspace: Workspace;
  parameters: Parameter[];
  answers: ParameterValue[];
}

/** New answers take hold with a start. What may not change any more is shown and stays. */
function AnswersForm({ workspace, parameters, answers: before }: Props) {
  const user = useMe();
  const navigate = useNavigate();
  const first = initialAnswers(parameters, before);
  const [answers, setAnswers] = useState(first);
  const problems = Object.fromEntries(
    parameters.map((each) => [
      each.name,
      answers[each.name] === first[each.name] ? undefined : problem(each, answers[each.name] ?? "", first[each.name]),
    ]),
  );
  const changed = parameters.filter(({ name }) => answers[name] !== first[name]);
  const save = useAction(async () => {
    const values = changed.map(({ name }) => ({ name, value: answers[name] ?? "" }));
    await createBuild(workspace.id, { transition: "start", rich_parameter_values: values });
    await navigate({ to: "/@{$owner}/$name", params: { owner: workspace.owner_name, name: workspace.name } });
  });
  const refused = save.error instanceof ApiError ? save.error : undefined;
  const errors = Object.fromEntries(parameters.map(({ name }) => [name, problems[name] ?? refused?.field(name)]));
  const running = workspace.latest_build.status === "running";
  const busy = isBusy(workspace.latest_build.status);
  const valid = Object.values(problems).every((why) => why === undefined);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (changed.length > 0 && valid && !busy) void save.run();
  };
  return (
    <Card title="Parameters">
      <form className="form" onSubmit={submit} noValidate>
        <Questions
          parameters={parameters}
          answers={answers}
          errors={errors}
          exists
          answer={(name, value) => setAnswers((now) => ({ ...now, [name]: value }))}
        />
        <ErrorNotice error={save.error} shown={parameters.map(({ name }) => name)} />
        {mayBuild(user, workspace) && (
          <div className="actions">
            <p className="hint">
              {busy
                ? "A build is under way: wait for its end."
                : running
                  ? "The workspace starts again with the new answers; open sessions end if its machine is replaced."
                  : "The workspace starts with the new answers."}
            </p>
            <Button
              type="submit"
              look="primary"
              busy={save.busy}
              busyLabel="Asking"
              disabled={changed.length === 0 || !valid || busy}
            >
              Save and start
            </Button>
          </div>
        )}
      </form>
    </Card>
  );
}
