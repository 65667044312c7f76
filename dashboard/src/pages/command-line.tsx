import { CopyText } from "../ui/copy.tsx";
import { Card, Page } from "../ui/page.tsx";

const PROGRAMS = [
  { file: "berth-linux-amd64", label: "Linux on x86-64" },
  { file: "berth-linux-arm64", label: "Linux on ARM64" },
];

export function CommandLinePage() {
  const { origin } = window.location;
  return (
    <Page title="Command line" lead="Everything here, and the connection to your workspaces, from a terminal.">
      <div className="stack narrow">
        <Card title="1. Get it">
          <div className="row">
            {PROGRAMS.map(({ file, label }) => (
              <a key={file} className="button plain" href={`/bin/${file}`} download>
                {label}
              </a>
            ))}
          </div>
          <p>Or in one line, for Linux on x86-64:</p>
          <CopyText
            text={`curl -fsSL ${origin}/bin/berth-linux-amd64 -o berth && chmod +x berth && sudo mv berth /usr/local/bin/`}
            label="the command"
          />
        </Card>
        <Card title="2. Sign in">
          <CopyText text={`berth login ${origin}`} label="the command" />
        </Card>
        <Card title="3. Connect">
          <CopyText text="berth config-ssh" label="the first command" />
          <CopyText text="ssh NAME.berth" label="the second command" />
          <p className="hint">After the first, ssh, scp, rsync, git, VS Code and JetBrains IDEs know your workspaces by name.</p>
        </Card>
      </div>
    </Page>
  );
}
