import { useNavigate, useRouter, useSearch } from "@tanstack/react-router";
import { type FormEvent, useState } from "react";
import { signIn } from "../api/actions.ts";
import { safePath } from "../lib/redirect.ts";
import { useAction } from "../ui/action.ts";
import { Button } from "../ui/button.tsx";
import { TextField } from "../ui/field.tsx";
import { ErrorNotice } from "../ui/notice.tsx";
import { Alone } from "./alone.tsx";

export function Login() {
  const navigate = useNavigate();
  const router = useRouter();
  const { redirect } = useSearch({ from: "/login" });
  const [email, setEmail] = useState("");
  const [password, setPassword] = useState("");
  const enter = useAction(async () => {
    await signIn(email, password);
    await router.invalidate();
    const wanted = safePath(redirect);
    // What is not a page of this dashboard is the server's to answer: the way back to an app.
    await navigate({ href: wanted, replace: true, reloadDocument: wanted.startsWith("/api/") });
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    void enter.run();
  };
  return (
    <Alone title="Sign in to Berth">
      <form className="alone-form" onSubmit={submit}>
        <TextField
          label="E-mail address"
          type="email"
          name="email"
          autoComplete="username"
          autoFocus
          required
          value={email}
          onChange={(event) => setEmail(event.target.value)}
        />
        <TextField
          label="Password"
          type="password"
          name="password"
          autoComplete="current-password"
          required
          value={password}
          onChange={(event) => setPassword(event.target.value)}
        />
        <ErrorNotice error={enter.error} />
        <Button type="submit" look="primary" busy={enter.busy} busyLabel="Signing in">
          Sign in
        </Button>
      </form>
      <p className="hint">No account? Whoever operates this deployment makes one for you: Users, then New user.</p>
    </Alone>
  );
}
