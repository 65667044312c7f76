import type { Template } from "../api/types.ts";
import { CopyText } from "../ui/copy.tsx";
import { Empty, Loaded } from "../ui/page.tsx";
import { Markdown } from "./markdown.tsx";
import { useActiveVersion, useTemplate } from "./template.tsx";

export function TemplateReadme() {
  const template = useTemplate();
  return template ? <Readme template={template} /> : null;
}

function Readme({ template }: { template: Template }) {
  const version = useActiveVersion(template);
  return (
    <Loaded query={version} rows={8}>
      {({ readme }) => {
        const text = withoutFrontMatter(readme);
        return text ? (
          <article className="card markdown">
            <Markdown text={text} />
          </article>
        ) : (
          <Empty title="No read me">
            <p>A README.md beside main.tf tells people what they get. Add one and push:</p>
            <CopyText text={`berth templates push ${template.name}`} label="the command" />
          </Empty>
        );
      }}
    </Loaded>
  );
}

/** What stands between two lines of `---` at the top is for programs. */
function withoutFrontMatter(text: string): string {
  return text.replace(/^---\r?\n[\s\S]*?\r?\n---\r?\n/, "").trim();
}
