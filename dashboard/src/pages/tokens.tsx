import { useQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { createToken, deleteToken } from "../api/actions.ts";
import { ApiError } from "../api/client.ts";
import { tokens as tokensQuery } from "../api/queries.ts";
import type { ApiKey } from "../api/types.ts";
import { useAction } from "../ui/action.ts";
import { Button } from "../ui/button.tsx";
import { CopyText } from "../ui/copy.tsx";
import { Confirm } from "../ui/dialog.tsx";
import { SelectField, TextField } from "../ui/field.tsx";
import { ErrorNotice } from "../ui/notice.tsx";
import { Card, Empty, Loaded, Page } from "../ui/page.tsx";
import { Ago } from "../ui/time.tsx";

const LIVES = [7, 30, 90, 365];

export function TokensPage() {
  const query = useQuery(tokensQuery);
  return (
    <Page title="API tokens" lead="For scripts and programs that act in your name.">
      <div className="stack narrow">
        <NewToken />
        <Loaded query={query}>
          {(tokens) =>
            tokens.length === 0 ? (
              <Empty title="No tokens">
                <p>Make one above, or from a terminal:</p>
                <CopyText text="berth tokens create --name ci" label="the command" />
              </Empty>
            ) : (
              <List tokens={tokens} />
            )
          }
        </Loaded>
      </div>
    </Page>
  );
}

function NewToken() {
  const [name, setName] = useState("");
  const [days, setDays] = useState(30);
  const [token, setToken] = useState<string>();
  const make = useAction(async () => {
    setToken(await createToken(name, days));
    setName("");
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    void make.run();
  };
  return (
    <Card title="New token">
      <form className="form two" onSubmit={submit}>
        <TextField
          label="Name"
          hint="What uses it, to recognise it by."
          required
          maxLength={64}
          autoComplete="off"
          value={name}
          error={make.error instanceof ApiError ? make.error.field("token_name") : undefined}
          onChange={(event) => setName(event.target.value)}
        />
        <SelectField
          label="Valid for"
          hint="After that it is useless."
          value={days}
          onChange={(event) => setDays(Number(event.target.value))}
        >
          {LIVES.map((life) => (
            <option key={life} value={life}>
              {life} days
            </option>
          ))}
        </SelectField>
        <ErrorNotice error={make.error} shown={["token_name"]} />
        <div className="actions">
          <Button type="submit" look="primary" busy={make.busy} busyLabel="Making a token">
            Make token
          </Button>
        </div>
      </form>
      {token && (
        <div role="status">
          <p>
            <strong>Copy it now.</strong> It is shown this once; send it as the header <code>Coder-Session-Token</code>.
          </p>
          <CopyText text={token} label="the token" secret />
        </div>
      )}
    </Card>
  );
}

function List({ tokens }: { tokens: ApiKey[] }) {
  const [ending, setEnding] = useState<ApiKey>();
  return (
    <>
      <table className="list">
        <caption className="visually-hidden">API tokens</caption>
        <thead>
          <tr>
            <th scope="col">Token</th>
            <th scope="col">Made</th>
            <th scope="col">Ends</th>
            <th scope="col">
              <span className="visually-hidden">Actions</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {tokens.map((token) => (
            <tr key={token.id}>
              <td className="what">
                <div>
                  <span className="strong">{token.token_name || "without a name"}</span>
                  <small>{token.id.slice(0, 8)}</small>
                </div>
              </td>
              <td className="wide">
                <Ago time={token.created_at} />
              </td>
              <td>
                <Ago time={token.expires_at} />
              </td>
              <td className="act">
                <Button small look="danger" aria-label={`Delete ${token.token_name}`} onClick={() => setEnding(token)}>
                  Delete
                </Button>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      <Confirm
        title={`Delete the token ${ending?.token_name ?? ""}?`}
        open={ending !== undefined}
        onClose={() => setEnding(undefined)}
        action="Delete token"
        busyLabel="Deleting"
        confirmed={() => deleteToken(ending?.id ?? "")}
      >
        <p>Whatever uses it is refused from now on.</p>
      </Confirm>
    </>
  );
}
