import { useQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { createUser } from "../api/actions.ts";
import { users as usersQuery } from "../api/queries.ts";
import { mayGiveRoles } from "../lib/permission.ts";
import { useMe } from "../shell.tsx";
import { useAction } from "../ui/action.ts";
import { Button } from "../ui/button.tsx";
import { Modal } from "../ui/dialog.tsx";
import { Choices } from "../ui/field.tsx";
import { ErrorNotice } from "../ui/notice.tsx";
import { Loaded, Page } from "../ui/page.tsx";
import { Ago } from "../ui/time.tsx";
import { useSay } from "../ui/toast.tsx";
import { PersonFields, SHOWN_FIELDS } from "./person.tsx";

const ROLES = [
  { value: "owner", label: "Owner", hint: "May do everything." },
  { value: "template-admin", label: "Template admin", hint: "Pushes and changes templates, sees all workspaces." },
  { value: "user-admin", label: "User admin", hint: "Makes users." },
  { value: "auditor", label: "Auditor", hint: "Sees all workspaces and changes none." },
];

export function UsersPage() {
  const query = useQuery(usersQuery);
  const [making, setMaking] = useState(false);
  return (
    <Page
      title="Users"
      lead="Who may sign in to this deployment."
      actions={
        <Button look="primary" glyph="plus" onClick={() => setMaking(true)}>
          New user
        </Button>
      }
    >
      <Loaded query={query} rows={4}>
        {({ users }) => (
          <table className="list">
            <caption className="visually-hidden">Users</caption>
            <thead>
              <tr>
                <th scope="col">User</th>
                <th scope="col">Roles</th>
                <th scope="col">Last seen</th>
              </tr>
            </thead>
            <tbody>
              {users.map((user) => (
                <tr key={user.id}>
                  <td className="what">
                    <span className="avatar" data-letter={user.username.charAt(0).toUpperCase()} />
                    <div>
                      <span className="strong">{user.username}</span>
                      <small>{user.email}</small>
                    </div>
                  </td>
                  <td>
                    {user.roles.map((role) => role.display_name).join(", ") || "Member"}
                    {user.status === "suspended" && <span className="tag warn">Suspended</span>}
                  </td>
                  <td className="wide">
                    <Ago time={user.last_seen_at} />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
      </Loaded>
      <Modal title="New user" open={making} onClose={() => setMaking(false)}>
        <NewUser done={() => setMaking(false)} />
      </Modal>
    </Page>
  );
}

function NewUser({ done }: { done: () => void }) {
  const me = useMe();
  const say = useSay();
  const [person, setPerson] = useState({ email: "", username: "", name: "", password: "" });
  const [roles, setRoles] = useState<string[]>([]);
  const make = useAction(async () => {
    const user = await createUser({ ...person, roles });
    say(`${user.username} can sign in now.`);
    done();
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    void make.run();
  };
  return (
    <form className="form" onSubmit={submit}>
      <PersonFields person={person} error={make.error} onChange={setPerson} />
      {mayGiveRoles(me) && (
        <Choices
          label="Roles"
          hint="None is a member, who makes workspaces of their own."
          kind="checkbox"
          choices={ROLES}
          chosen={roles}
          onChoose={(role, on) => setRoles(on ? [...roles, role] : roles.filter((each) => each !== role))}
        />
      )}
      <ErrorNotice error={make.error} shown={SHOWN_FIELDS} />
      <div className="actions">
        <Button onClick={done}>Cancel</Button>
        <Button type="submit" look="primary" busy={make.busy} busyLabel="Making the user">
          Make user
        </Button>
      </div>
    </form>
  );
}
