import type { Timings } from "../api/types.ts";
import { duration } from "../lib/time.ts";
import { Card } from "../ui/page.tsx";

/** So many of the longest bars are drawn. */
const BARS_MAX = 30;
/** No bar is drawn narrower, in percent. */
const WIDTH_MIN = 0.6;

interface Bar {
  group: string;
  name: string;
  action: string;
  from: number;
  to: number;
}

function barsOf(timings: Timings): Bar[] {
  const bar = (group: string, name: string, action: string, started: string, ended: string): Bar => {
    return { group, name, action, from: Date.parse(started), to: Date.parse(ended) };
  };
  return [
    ...timings.provisioner_timings.map((each) => {
      const whole = each.resource === each.source;
      return bar(
        whole ? "stage" : "resource",
        whole ? `terraform ${each.stage}` : each.resource,
        each.action,
        each.started_at,
        each.ended_at,
      );
    }),
    ...timings.agent_connection_timings.map((each) =>
      bar("agent", `agent ${each.workspace_agent_name}`, "connect", each.started_at, each.ended_at),
    ),
    ...timings.agent_script_timings.map((each) =>
      bar(
        "agent",
        `${each.display_name} of ${each.workspace_agent_name}`,
        each.status === "ok" ? "run" : each.status,
        each.started_at,
        each.ended_at,
      ),
    ),
  ];
}

/** Where the time of a build went: a bar for each stage, resource and agent, all on one scale. */
export function Timeline({ timings }: { timings: Timings }) {
  const all = barsOf(timings);
  if (all.length === 0) return null;
  const longest = [...all].sort((one, other) => other.to - other.from - (one.to - one.from)).slice(0, BARS_MAX);
  const bars = longest.sort((one, other) => one.from - other.from || other.to - one.to);
  const start = Math.min(...all.map(({ from }) => from));
  const whole = Math.max(1, Math.max(...all.map(({ to }) => to)) - start);
  return (
    <Card title="Where the time went" actions={<span className="number">{duration(whole)} in all</span>}>
      <table className="timeline">
        <caption className="visually-hidden">Stages, resources and agents, when each began and how long it took</caption>
        <colgroup>
          <col className="name" />
          <col />
          <col className="figure" />
        </colgroup>
        <thead className="visually-hidden">
          <tr>
            <th scope="col">What</th>
            <th scope="col">When</th>
            <th scope="col">How long</th>
          </tr>
        </thead>
        <tbody>
          {bars.map((bar) => (
            <tr key={`${bar.group}${bar.name}${bar.action}${bar.from}`}>
              <th scope="row" title={bar.name}>
                <span>{bar.name}</span>
                <small>{bar.action}</small>
              </th>
              <td className="track">
                <svg width="100%" height="14" role="img" aria-label={`begins after ${duration(bar.from - start)}`}>
                  <rect
                    className={bar.group}
                    x={`${((bar.from - start) / whole) * 100}%`}
                    width={`${Math.max(WIDTH_MIN, ((bar.to - bar.from) / whole) * 100)}%`}
                    height="14"
                    rx="3"
                  />
                </svg>
              </td>
              <td className="number">{duration(bar.to - bar.from)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {all.length > bars.length && (
        <p className="hint">
          The {bars.length} longest of {all.length}.
        </p>
      )}
    </Card>
  );
}
