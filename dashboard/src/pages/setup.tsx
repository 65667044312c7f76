import { useNavigate, useRouter } from "@tanstack/react-router";
import { type FormEvent, useState } from "react";
import { createFirstUser, type FirstUser, signIn } from "../api/actions.ts";
import { ApiError } from "../api/client.ts";
import { useAction } from "../ui/action.ts";
import { Button } from "../ui/button.tsx";
import { ErrorNotice } from "../ui/notice.tsx";
import { Alone } from "./alone.tsx";
import { PersonFields, SHOWN_FIELDS } from "./person.tsx";

export function Setup() {
  const navigate = useNavigate();
  const router = useRouter();
  const [person, setPerson] = useState<FirstUser>({ email: "", username: "", name: "", password: "" });
  const make = useAction(async () => {
    await createFirstUser(person);
    await signIn(person.email, person.password);
    await router.invalidate();
    await navigate({ to: "/workspaces", replace: true });
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    void make.run();
  };
  const taken = make.error instanceof ApiError && make.error.status === 409;
  return (
    <Alone
      title="Welcome to Berth"
      lead="This deployment is new. Make its first user: an owner, who may do everything and makes the others."
    >
      <form className="alone-form" onSubmit={submit}>
        <PersonFields person={person} error={make.error} onChange={setPerson} />
        <ErrorNotice
          error={make.error}
          shown={SHOWN_FIELDS}
          action={taken && <Button onClick={() => void navigate({ to: "/login" })}>Sign in</Button>}
        />
        <Button type="submit" look="primary" busy={make.busy} busyLabel="Setting up">
          Make the first user
        </Button>
      </form>
      <p className="hint">
        The same from a terminal: <code>berth login {window.location.origin}</code>
      </p>
    </Alone>
  );
}
