import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { templates as templatesQuery } from "../api/queries.ts";
import type { Template } from "../api/types.ts";
import { mayManageTemplates } from "../lib/permission.ts";
import { useMe } from "../shell.tsx";
import { LinkButton } from "../ui/button.tsx";
import { CopyText } from "../ui/copy.tsx";
import { Empty, Loaded, Page } from "../ui/page.tsx";
import { Picture } from "../ui/picture.tsx";
import { Ago } from "../ui/time.tsx";

export function TemplatesPage() {
  const query = useQuery(templatesQuery);
  return (
    <Page title="Templates" lead="What workspaces are made of.">
      <Loaded query={query} rows={4}>
        {(templates) =>
          templates.length === 0 ? (
            <Nothing />
          ) : (
            <ul className="cards">
              {templates.map((template) => (
                <Entry key={template.id} template={template} />
              ))}
            </ul>
          )
        }
      </Loaded>
    </Page>
  );
}

function Entry({ template }: { template: Template }) {
  const { name } = template;
  const title = template.display_name || name;
  return (
    <li className="card template-card">
      <Picture icon={template.icon} name={title} />
      <div className="template-words">
        <h2>
          <Link to="/templates/$name" params={{ name }}>
            {title}
          </Link>
          {template.deprecated && <span className="tag warn">Deprecated</span>}
        </h2>
        <p>{template.description || <span className="muted">No description.</span>}</p>
        <small>
          {name} · changed <Ago time={template.updated_at} />
        </small>
      </div>
      {!template.deprecated && (
        <LinkButton to="/templates/$name/workspace" params={{ name }} aria-label={`Create workspace from ${title}`}>
          Create workspace
        </LinkButton>
      )}
    </li>
  );
}

function Nothing() {
  const user = useMe();
  return (
    <Empty title="No templates yet">
      {mayManageTemplates(user) ? (
        <>
          <p>A template is a directory of Terraform. Begin with a starter, change what you need, and push it from a terminal:</p>
          <CopyText text="berth templates init --id local my-template" label="the first command" />
          <CopyText text="berth templates push my-template -d my-template" label="the second command" />
          <LinkButton to="/settings/command-line">Get the command line</LinkButton>
        </>
      ) : (
        <p>Ask a template admin of this deployment to push one.</p>
      )}
    </Empty>
  );
}
