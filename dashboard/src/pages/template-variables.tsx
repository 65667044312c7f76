import { useQuery } from "@tanstack/react-query";
import { variables as variablesQuery } from "../api/queries.ts";
import type { Template } from "../api/types.ts";
import { CopyText } from "../ui/copy.tsx";
import { Card, Empty, Loaded } from "../ui/page.tsx";
import { useTemplate } from "./template.tsx";

export function TemplateVariables() {
  const template = useTemplate();
  return template ? <Variables template={template} /> : null;
}

function Variables({ template }: { template: Template }) {
  const query = useQuery(variablesQuery(template.active_version_id));
  return (
    <Loaded query={query}>
      {(variables) =>
        variables.length === 0 ? (
          <Empty title="No variables">
            <p>The active version declares no Terraform variable.</p>
          </Empty>
        ) : (
          <Card title="Terraform variables of the active version">
            <dl className="facts variables">
              {variables.map((variable) => (
                <div key={variable.name}>
                  <dt>
                    <code>{variable.name}</code>
                    <small>{variable.type}</small>
                    {variable.required && <span className="tag">required</span>}
                  </dt>
                  <dd>
                    {variable.sensitive ? (
                      <span className="muted">sensitive, not shown</span>
                    ) : (
                      <code>{variable.value || "(empty)"}</code>
                    )}
                    {variable.description && <p className="hint">{variable.description}</p>}
                  </dd>
                </div>
              ))}
            </dl>
            <p>A version never changes. Other values are a new version, which keeps the ones that you do not name:</p>
            <CopyText text={`berth templates push ${template.name} --variable ${variables[0]?.name}=VALUE`} label="the command" />
          </Card>
        )
      }
    </Loaded>
  );
}
