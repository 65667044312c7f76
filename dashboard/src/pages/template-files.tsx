import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { archive as archiveQuery } from "../api/queries.ts";
import type { Template } from "../api/types.ts";
import { files as filesOf, SHOWN_BYTES_MAX } from "../lib/tar.ts";
import { CopyText } from "../ui/copy.tsx";
import { Glyph } from "../ui/glyph.tsx";
import { Card, Empty, Loaded } from "../ui/page.tsx";
import { useActiveVersion, useTemplate } from "./template.tsx";

export function TemplateFiles() {
  const template = useTemplate();
  return template ? <ActiveFiles template={template} /> : null;
}

function ActiveFiles({ template }: { template: Template }) {
  const version = useActiveVersion(template);
  return <Loaded query={version}>{({ job }) => <Files fileId={job.file_id} template={template.name} />}</Loaded>;
}

function Files({ fileId, template }: { fileId: string; template: string }) {
  const query = useQuery(archiveQuery(fileId));
  return <Loaded query={query}>{(bytes) => <Browser archive={bytes} template={template} />}</Loaded>;
}

function Browser({ archive, template }: { archive: ArrayBuffer; template: string }) {
  const files = useMemo(() => filesOf(archive), [archive]);
  const [chosen, setChosen] = useState(files.find(({ path }) => path === "main.tf")?.path ?? files[0]?.path);
  const file = files.find(({ path }) => path === chosen);
  if (!file) {
    return (
      <Empty title="No files">
        <p>The archive of the active version is empty.</p>
      </Empty>
    );
  }
  return (
    <div className="files">
      <nav aria-label="Files">
        <ul>
          {files.map(({ path }) => (
            <li key={path}>
              <button type="button" aria-current={path === chosen ? "true" : undefined} onClick={() => setChosen(path)}>
                <Glyph name="file" size={16} /> {path}
              </button>
            </li>
          ))}
        </ul>
        <p className="hint">All of them, to change them:</p>
        <CopyText text={`berth templates pull ${template}`} label="the command" />
      </nav>
      <Card title={file.path} actions={<span className="number">{file.size.toLocaleString()} bytes</span>}>
        {file.text === undefined ? (
          <p className="muted">
            {file.size > SHOWN_BYTES_MAX ? "It is too large to show here." : "It is not text."} Pull the template to see it.
          </p>
        ) : (
          // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls is reached by keyboard.
          <pre className="source" tabIndex={0}>
            <code>{file.text}</code>
          </pre>
        )}
      </Card>
    </div>
  );
}
