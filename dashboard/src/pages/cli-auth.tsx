import { useState } from "react";
import { createSessionKey } from "../api/actions.ts";
import { useMe } from "../shell.tsx";
import { useAction } from "../ui/action.ts";
import { Button } from "../ui/button.tsx";
import { CopyText } from "../ui/copy.tsx";
import { ErrorNotice } from "../ui/notice.tsx";
import { Card, Page } from "../ui/page.tsx";

/** Where an IDE or the command line sends a person to fetch a token. Opening the page makes none. */
export function CliAuthPage() {
  const user = useMe();
  const [token, setToken] = useState<string>();
  const make = useAction(async () => setToken(await createSessionKey()));
  return (
    <Page title="Sign in an IDE or the command line" lead={`You are signed in as ${user.username}.`}>
      <Card title="Session token">
        {token ? (
          <>
            <p>Paste it where you were asked for it. It is shown this once, and it acts in your name: give it to nobody.</p>
            <CopyText text={token} label="the token" secret />
          </>
        ) : (
          <>
            <p>
              Did VS Code, JetBrains Gateway or a terminal send you here? Make a token and paste it there. If nothing of yours asked
              for one, leave this page.
            </p>
            <ErrorNotice error={make.error} />
            <Button look="primary" glyph="key" busy={make.busy} busyLabel="Making a token" onClick={() => void make.run()}>
              Make a token
            </Button>
          </>
        )}
      </Card>
    </Page>
  );
}
