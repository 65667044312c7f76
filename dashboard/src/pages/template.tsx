/** One template and the pages about it. */

import { useQuery } from "@tanstack/react-query";
import { Link, Outlet, useParams } from "@tanstack/react-router";
import { template as templateQuery, version as versionQuery } from "../api/queries.ts";
import type { Template } from "../api/types.ts";
import { mayManageTemplates } from "../lib/permission.ts";
import { useMe } from "../shell.tsx";
import { LinkButton } from "../ui/button.tsx";
import { Notice } from "../ui/notice.tsx";
import { Loaded, Page } from "../ui/page.tsx";
import { Picture } from "../ui/picture.tsx";

/** The template that the address names. For the pages inside the layout, where it is known. */
export function useTemplate(): Template | undefined {
  const { name } = useParams({ from: "/inside/templates/$name" });
  return useQuery(templateQuery(name)).data;
}

/** Its active version. */
export function useActiveVersion(template: Template) {
  return useQuery(versionQuery(template.active_version_id));
}

const TABS = [
  { to: "/templates/$name", label: "Read me", managers: false },
  { to: "/templates/$name/versions", label: "Versions", managers: false },
  { to: "/templates/$name/files", label: "Files", managers: true },
  { to: "/templates/$name/variables", label: "Variables", managers: true },
  { to: "/templates/$name/settings", label: "Settings", managers: true },
] as const;

export function TemplateLayout() {
  const { name } = useParams({ from: "/inside/templates/$name" });
  const user = useMe();
  const query = useQuery(templateQuery(name));
  const template = query.data;
  const title = template?.display_name || name;
  const tabs = TABS.filter(({ managers }) => !managers || mayManageTemplates(user));
  return (
    <Page
      title={title}
      heading={
        <>
          <Picture icon={template?.icon ?? ""} name={title} /> {title}
        </>
      }
      lead={template?.description}
      actions={
        template &&
        !template.deprecated && (
          <LinkButton to="/templates/$name/workspace" params={{ name }} look="primary" glyph="plus">
            Create workspace
          </LinkButton>
        )
      }
    >
      <Loaded query={query} rows={6}>
        {(template) => (
          <>
            {template.deprecated && <Notice tone="warn">Deprecated: {template.deprecation_message}</Notice>}
            <nav className="tabs" aria-label={`Pages of ${title}`}>
              {tabs.map(({ to, label }) => (
                <Link key={to} to={to} params={{ name }} activeOptions={{ exact: true }} activeProps={{ "aria-current": "page" }}>
                  {label}
                </Link>
              ))}
            </nav>
            <Outlet />
          </>
        )}
      </Loaded>
    </Page>
  );
}
