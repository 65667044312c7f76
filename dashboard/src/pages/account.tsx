import { type FormEvent, useState } from "react";
import { changePassword } from "../api/actions.ts";
import { ApiError } from "../api/client.ts";
import { useMe } from "../shell.tsx";
import { useAction } from "../ui/action.ts";
import { Button } from "../ui/button.tsx";
import { TextField } from "../ui/field.tsx";
import { ErrorNotice } from "../ui/notice.tsx";
import { Card, Page } from "../ui/page.tsx";
import { Ago } from "../ui/time.tsx";
import { useSay } from "../ui/toast.tsx";

export function AccountPage() {
  const user = useMe();
  return (
    <Page title="Account">
      <div className="stack narrow">
        <Card title="You">
          <dl className="facts">
            <dt>User name</dt>
            <dd>{user.username}</dd>
            {user.name && (
              <>
                <dt>Full name</dt>
                <dd>{user.name}</dd>
              </>
            )}
            <dt>E-mail address</dt>
            <dd>{user.email}</dd>
            <dt>Roles</dt>
            <dd>{user.roles.map((role) => role.display_name).join(", ") || "Member"}</dd>
            <dt>Since</dt>
            <dd>
              <Ago time={user.created_at} />
            </dd>
          </dl>
        </Card>
        <PasswordCard />
      </div>
    </Page>
  );
}

function PasswordCard() {
  const user = useMe();
  const say = useSay();
  const [old, setOld] = useState("");
  const [password, setPassword] = useState("");
  const change = useAction(async () => {
    await changePassword(old, password);
    setOld("");
    setPassword("");
    say("The password is changed, and your other sessions have ended.");
  });
  const wrong = (field: string) => (change.error instanceof ApiError ? change.error.field(field) : undefined);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    void change.run();
  };
  return (
    <Card title="Password">
      <form className="form" onSubmit={submit}>
        <input type="text" name="username" autoComplete="username" value={user.email} readOnly hidden />
        <TextField
          label="Password now"
          type="password"
          autoComplete="current-password"
          required
          value={old}
          error={wrong("old_password")}
          onChange={(event) => setOld(event.target.value)}
        />
        <TextField
          label="New password"
          hint="8 characters or more. Everywhere else you are signed out."
          type="password"
          autoComplete="new-password"
          required
          minLength={8}
          value={password}
          error={wrong("password")}
          onChange={(event) => setPassword(event.target.value)}
        />
        <ErrorNotice error={change.error} shown={["old_password", "password"]} />
        <div className="actions">
          <Button type="submit" busy={change.busy} busyLabel="Changing">
            Change password
          </Button>
        </div>
      </form>
    </Card>
  );
}
