import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { activateVersion, archiveVersion } from "../api/actions.ts";
import { useLog } from "../api/live.ts";
import { versions as versionsQuery } from "../api/queries.ts";
import type { JobLog, Template, Version } from "../api/types.ts";
import { mayManageTemplates } from "../lib/permission.ts";
import { isActive, ofJob } from "../lib/status.ts";
import { useMe } from "../shell.tsx";
import { useAction } from "../ui/action.ts";
import { Button, LinkButton } from "../ui/button.tsx";
import { CopyText } from "../ui/copy.tsx";
import { CheckField } from "../ui/field.tsx";
import { LogView } from "../ui/log.tsx";
import { ActionMenu } from "../ui/menu.tsx";
import { ErrorNotice } from "../ui/notice.tsx";
import { Loaded } from "../ui/page.tsx";
import { Status } from "../ui/status.tsx";
import { Ago } from "../ui/time.tsx";
import { useSay } from "../ui/toast.tsx";
import { lineOf } from "./job-log.ts";
import { useTemplate } from "./template.tsx";

export function TemplateVersions() {
  const template = useTemplate();
  return template ? <History template={template} /> : null;
}

function History({ template }: { template: Template }) {
  const user = useMe();
  const [archived, setArchived] = useState(false);
  const query = useQuery(versionsQuery(template.id, archived));
  return (
    <div className="stack">
      <div className="row spread">
        <CheckField label="Archived too" checked={archived} onChange={(event) => setArchived(event.target.checked)} />
        {mayManageTemplates(user) && (
          <CopyText text={`berth templates push ${template.name}`} label="the command for a new version" />
        )}
      </div>
      <Loaded query={query} rows={4}>
        {(versions) => (
          <ul className="cards">
            {versions.toReversed().map((version) => (
              <Entry key={version.id} version={version} template={template} />
            ))}
          </ul>
        )}
      </Loaded>
    </div>
  );
}

function Entry({ version, template }: { version: Version; template: Template }) {
  const user = useMe();
  const say = useSay();
  const [log, setLog] = useState(false);
  const active = version.id === template.active_version_id;
  const change = useAction(async (act: () => Promise<void>, said: string) => {
    await act();
    say(said);
  });
  const { id, name } = version;
  const ready = version.job.status === "succeeded";
  const items = [
    {
      label: "Make it the active one",
      disabled: active || !ready || version.archived,
      choose: () => void change.run(() => activateVersion(template.id, id), `New workspaces are made of ${name} from now on.`),
    },
    {
      label: version.archived ? "Take it out of the archive" : "Archive",
      disabled: active,
      choose: () =>
        void change.run(
          () => archiveVersion(id, !version.archived),
          version.archived ? `${name} is back.` : `${name} is put away.`,
        ),
    },
  ];
  return (
    <li className="card">
      <div className="row spread">
        <div>
          <h2>
            {name} {active && <span className="tag good">Active</span>}
            {version.archived && <span className="tag">Archived</span>}
          </h2>
          <small>
            pushed <Ago time={version.created_at} /> by {version.created_by.username}
          </small>
        </div>
        <div className="row">
          <Status {...ofJob(version.job.status)} />
          {ready && !version.archived && (
            <LinkButton
              small
              to="/templates/$name/workspace"
              params={{ name: template.name }}
              search={active ? {} : { version: id }}
            >
              Use
            </LinkButton>
          )}
          {mayManageTemplates(user) && <ActionMenu label={`More for version ${name}`} items={items} />}
        </div>
      </div>
      {version.message && <p>{version.message}</p>}
      {version.job.error && <p className="field-error">{version.job.error}</p>}
      {version.warnings.map((warning) => (
        <p key={warning} className="hint">
          Warning: {warning}
        </p>
      ))}
      <ErrorNotice error={change.error} />
      <Button look="quiet" small glyph={log ? "down" : "right"} aria-expanded={log} onClick={() => setLog(!log)}>
        Import log
      </Button>
      {log && <ImportLog version={version} />}
    </li>
  );
}

function ImportLog({ version }: { version: Version }) {
  const active = isActive(version.job.status);
  const log = useLog<JobLog>(`/api/v2/templateversions/${version.id}/logs`, active);
  return (
    <LogView
      label={`Import log of ${version.name}`}
      lines={log.lines.map(lineOf)}
      growing={active}
      waiting={log.complete ? "The import said nothing." : "Loading the log."}
      fileName={`${version.name}.log`}
    />
  );
}
