/** How the deployment fares, seen from this browser: each part with a figure, and what to do when it is not well. */

import { useQuery } from "@tanstack/react-query";
import { get } from "../api/client.ts";
import { buildInfo } from "../api/queries.ts";
import type { BuildInfo, Workspace, Workspaces } from "../api/types.ts";
import { mayReadEveryWorkspace } from "../lib/permission.ts";
import type { Tone } from "../lib/status.ts";
import { duration } from "../lib/time.ts";
import { useMe } from "../shell.tsx";
import { Button } from "../ui/button.tsx";
import { Card, Loaded, Page } from "../ui/page.tsx";
import { Status } from "../ui/status.tsx";

/** An answer slower than this is noteworthy, and a clock this far off breaks sign-ins, in milliseconds. */
const SLOW_MS = 1_000;
const CLOCK_OFF_MS = 30_000;
/** A build that waits longer for a runner is noteworthy, in milliseconds. */
const QUEUED_MS = 120_000;
/** What the relay, which answers the probe, speaks. */
const RELAY_PROTOCOLS = ["iroh-relay-v1", "iroh-relay-v2"];
/** How long the probing socket may take to open, in milliseconds. */
const SOCKET_MS = 10_000;

interface Finding {
  part: string;
  tone: Tone;
  figure: string;
  /** What it means, and what to do about it. */
  words: string;
}

async function timed(path: string, signal: AbortSignal): Promise<{ took: number; date: number | undefined }> {
  const began = performance.now();
  const response = await fetch(path, { cache: "no-store", signal });
  await response.arrayBuffer();
  const date = Date.parse(response.headers.get("Date") ?? "");
  return { took: performance.now() - began, date: Number.isNaN(date) ? undefined : date };
}

async function api(signal: AbortSignal): Promise<Finding[]> {
  // The first one may have to make the connection.
  await timed("/healthz", signal);
  const process = await timed("/healthz", signal);
  const table = await timed("/api/v2/users/me", signal);
  const off = process.date === undefined ? 0 : Math.abs(Date.now() - process.date);
  const slow = (took: number): Tone => (took > SLOW_MS ? "warn" : "good");
  return [
    {
      part: "API",
      tone: slow(process.took),
      figure: duration(process.took),
      words: "How long it takes to answer at all, the network included.",
    },
    { part: "Table", tone: slow(table.took), figure: duration(table.took), words: "One read of who is signed in." },
    {
      part: "Clock",
      tone: off > CLOCK_OFF_MS ? "bad" : "good",
      figure: off < 2_000 ? "in step" : `off by ${duration(off)}`,
      words:
        off > CLOCK_OFF_MS
          ? "Set this machine's clock: tickets of connections live for a minute."
          : "This machine's against the server's.",
    },
  ];
}

/** Sockets carry logs and states as they change; the path is the one that they take. */
function sockets(signal: AbortSignal): Promise<Finding> {
  const part = "Live news";
  return new Promise((resolve) => {
    const began = performance.now();
    const address = new URL("/api/v2/relay/watch", window.location.href);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(address, RELAY_PROTOCOLS);
    const bad = (figure: string) => {
      socket.close();
      const words =
        "Websockets do not get through: pages ask again every two seconds instead. A proxy in between may have to allow them.";
      resolve({ part, tone: "warn", figure, words });
    };
    const timer = setTimeout(() => bad("no answer"), SOCKET_MS);
    signal.addEventListener("abort", () => socket.close());
    socket.onopen = () => {
      clearTimeout(timer);
      socket.close();
      resolve({ part, tone: "good", figure: duration(performance.now() - began), words: "How long a websocket takes to open." });
    };
    socket.onerror = () => {
      clearTimeout(timer);
      bad("refused");
    };
  });
}

function address(info: BuildInfo): Finding {
  const same = new URL(info.external_url).origin === window.location.origin;
  const words = same
    ? "Workspaces and command lines use the address that you use."
    : `You came by ${window.location.origin}. Workspaces dial the other address: it must be reachable from them.`;
  return { part: "Address", tone: same ? "good" : "warn", figure: info.external_url, words };
}

function builds(workspaces: Workspace[]): Finding[] {
  const now = Date.now();
  const waiting = workspaces.filter(({ latest_build }) => latest_build.job.status === "pending");
  const oldest = Math.max(0, ...waiting.map(({ latest_build }) => now - Date.parse(latest_build.job.created_at)));
  const failed = workspaces.filter(({ latest_build }) => latest_build.status === "failed");
  const ill = workspaces.filter(({ latest_build, health }) => latest_build.status === "running" && !health.healthy);
  const names = (some: Workspace[]) =>
    some
      .slice(0, 5)
      .map((one) => `${one.owner_name}/${one.name}`)
      .join(", ");
  return [
    {
      part: "Queue",
      tone: oldest > QUEUED_MS ? "bad" : "good",
      figure: waiting.length === 0 ? "empty" : `${waiting.length}, the oldest for ${duration(oldest)}`,
      words: oldest > QUEUED_MS ? "Runners do not start. The dispatcher's log says why." : "Builds that wait for a runner.",
    },
    {
      part: "Failed builds",
      tone: failed.length > 0 ? "warn" : "good",
      figure: String(failed.length),
      words: failed.length > 0 ? `${names(failed)}: each one's page says why.` : "Workspaces whose newest build failed.",
    },
    {
      part: "Lost agents",
      tone: ill.length > 0 ? "warn" : "good",
      figure: String(ill.length),
      words:
        ill.length > 0
          ? `${names(ill)}: start them again, or read their start-up logs.`
          : "Running workspaces that cannot be reached.",
    },
  ];
}

async function look(signal: AbortSignal): Promise<Finding[]> {
  const [one, live, all] = await Promise.all([api(signal), sockets(signal), get<Workspaces>("/api/v2/workspaces?limit=0", signal)]);
  return [...one, live, ...builds(all.workspaces)];
}

export function HealthPage() {
  const user = useMe();
  const info = useQuery(buildInfo);
  const query = useQuery({ queryKey: ["health"], queryFn: ({ signal }) => look(signal), staleTime: 0 });
  const whose = mayReadEveryWorkspace(user) ? "everybody's" : "your own";
  return (
    <Page
      title="Health"
      lead={info.data ? `Berth ${info.data.version}` : "Berth"}
      actions={
        <Button busy={query.isFetching} busyLabel="Looking" onClick={() => void query.refetch()}>
          Look again
        </Button>
      }
    >
      <Loaded query={query} rows={7}>
        {(findings) => (
          <Card title="Seen from this browser">
            <ul className="findings">
              {[...(info.data ? [address(info.data)] : []), ...findings].map((finding) => (
                <li key={finding.part}>
                  <Status label={finding.part} tone={finding.tone} />
                  <strong className="number">{finding.figure}</strong>
                  <p>{finding.words}</p>
                </li>
              ))}
            </ul>
            <p className="hint">
              Builds and agents are {whose}. From a terminal, with DNS and certificates too: <code>berth doctor</code>
            </p>
          </Card>
        )}
      </Loaded>
    </Page>
  );
}
