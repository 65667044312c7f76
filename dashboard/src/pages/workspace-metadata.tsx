/** What a template's scripts tell of the machine, as tiles that change while one looks. */

import { useMetadata } from "../api/live.ts";
import type { Agent, MetadataEvent } from "../api/types.ts";
import { Ago } from "../ui/time.tsx";

/** How the server says that a script has not spoken yet. */
const NEVER = "0001-";

export function Metadata({ agent }: { agent: Agent }) {
  const events = useMetadata(agent.id, agent.status === "connected");
  if (events.length === 0) return null;
  return (
    <dl className="tiles" aria-label={`Metadata of ${agent.name}`}>
      {events.map((event) => (
        <Tile key={event.description.key} event={event} />
      ))}
    </dl>
  );
}

function Tile({ event: { description, result } }: { event: MetadataEvent }) {
  const pending = result.collected_at.startsWith(NEVER);
  return (
    <div className="tile">
      <dt>{description.display_name || description.key}</dt>
      <dd>
        {result.error ? (
          <span className="field-error">{result.error}</span>
        ) : pending ? (
          <span className="muted">…</span>
        ) : (
          result.value
        )}
        {!pending && (
          <small>
            <Ago time={result.collected_at} />
          </small>
        )}
      </dd>
    </div>
  );
}
