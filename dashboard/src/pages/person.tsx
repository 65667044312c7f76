import type { FirstUser } from "../api/actions.ts";
import { ApiError } from "../api/client.ts";
import { TextField } from "../ui/field.tsx";

/** The fields that say themselves what is wrong with them. */
export const SHOWN_FIELDS = ["email", "username", "name", "password"];

/** Names as the server and the IDE plugins take them. */
const NAME_PATTERN = "[a-zA-Z0-9]+(-[a-zA-Z0-9]+)*";
const NAME_LENGTH_MAX = 32;
/** The server's own least. */
const PASSWORD_LENGTH_MIN = 8;

/** What the local part of an address says of a name: `ada.lovelace@example.com` is `ada-lovelace`. */
function suggested(email: string): string {
  const [local] = email.split("@");
  return (local ?? "")
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-|-$/g, "")
    .slice(0, NAME_LENGTH_MAX);
}

interface Props {
  person: FirstUser;
  error: Error | undefined;
  onChange: (person: FirstUser) => void;
}

/** Who a new user is. */
export function PersonFields({ person, error, onChange }: Props) {
  const wrong = (field: string) => (error instanceof ApiError ? error.field(field) : undefined);
  const set = (change: Partial<FirstUser>) => onChange({ ...person, ...change });
  const follow = person.username === suggested(person.email);
  return (
    <>
      <TextField
        label="E-mail address"
        type="email"
        autoComplete="email"
        required
        value={person.email}
        error={wrong("email")}
        onChange={(event) => set({ email: event.target.value, ...(follow && { username: suggested(event.target.value) }) })}
      />
      <TextField
        label="User name"
        hint="Letters, digits and single hyphens. It is part of every workspace's address."
        autoComplete="off"
        required
        spellCheck={false}
        pattern={NAME_PATTERN}
        maxLength={NAME_LENGTH_MAX}
        value={person.username}
        error={wrong("username")}
        onChange={(event) => set({ username: event.target.value })}
      />
      <TextField
        label="Full name (optional)"
        autoComplete="name"
        value={person.name}
        error={wrong("name")}
        onChange={(event) => set({ name: event.target.value })}
      />
      <TextField
        label="Password"
        type="password"
        hint={`${PASSWORD_LENGTH_MIN} characters or more.`}
        autoComplete="new-password"
        required
        minLength={PASSWORD_LENGTH_MIN}
        value={person.password}
        error={wrong("password")}
        onChange={(event) => set({ password: event.target.value })}
      />
    </>
  );
}
