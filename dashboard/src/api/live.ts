/** What changes while someone looks: logs as they grow, and a watched workspace. */

import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { get } from "./client.ts";
import { workspace as workspaceQuery } from "./queries.ts";
import { listen } from "./socket.ts";
import type { MetadataEvent, Workspace, WorkspaceEvent } from "./types.ts";

/** How often a log is asked for where no socket gets through, and how often what came is shown, in milliseconds. */
const ASK_MS = 2_000;
const SHOW_MS = 60;

export interface Log<L> {
  lines: L[];
  /** Whether all there will ever be has come. */
  complete: boolean;
  error: Error | undefined;
}

/** A log from its first line on: followed while its writer is `active`, by a socket or else by asking again; read once otherwise. */
export function useLog<L extends { id: number }>(path: string, active: boolean): Log<L> {
  const [log, setLog] = useState<Log<L>>({ lines: [], complete: false, error: undefined });
  const [shownPath, setShownPath] = useState(path);
  if (shownPath !== path) {
    setShownPath(path);
    setLog({ lines: [], complete: false, error: undefined });
  }
  const writing = useRef(active);
  writing.current = active;
  // What was active when we came is followed to its end, also past the news that it ended: its last lines may come after that.
  const [follows, setFollows] = useState(active);
  if (active && !follows) setFollows(true);

  useEffect(() => {
    let heard: L[] = [];
    let after = 0;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let asking: ReturnType<typeof setInterval> | undefined;
    let end = () => {};
    const stop = new AbortController();
    const show = (complete: boolean) => {
      clearTimeout(timer);
      timer = undefined;
      const news = heard;
      heard = [];
      setLog((before) => ({ lines: news.length ? before.lines.concat(news) : before.lines, complete, error: undefined }));
    };
    const hear = (lines: L[]) => {
      const news = lines.filter(({ id }) => id > after);
      if (news.length === 0) return;
      after = news.at(-1)?.id ?? after;
      heard = heard.concat(news);
      timer ??= setTimeout(show, SHOW_MS, false);
    };
    const ask = async () => {
      const last = !writing.current;
      try {
        hear(await get<L[]>(`${path}?after=${after}`, stop.signal));
        if (last) {
          end();
          clearInterval(asking);
          show(true);
        }
      } catch (error) {
        if (!stop.signal.aborted) setLog((before) => ({ ...before, error: error as Error }));
      }
    };
    if (follows) {
      end = listen({
        path: () => `${path}?follow&after=${after}`,
        heard: (text) => {
          const frame = JSON.parse(text) as L | L[];
          hear(Array.isArray(frame) ? frame : [frame]);
        },
        ended: () => {
          clearInterval(asking);
          show(true);
        },
        live: (live) => {
          clearInterval(asking);
          asking = live ? undefined : setInterval(ask, ASK_MS);
        },
      });
    } else {
      void ask();
    }
    return () => {
      end();
      stop.abort();
      clearTimeout(timer);
      clearInterval(asking);
    };
  }, [path, follows]);
  return log;
}

/** Keeps one workspace as new as the server knows it; where no socket gets through, by asking again. */
export function useWatched(owner: string, name: string, id: string | undefined): void {
  const client = useQueryClient();
  useEffect(() => {
    if (!id) return;
    const { queryKey } = workspaceQuery(owner, name);
    let asking: ReturnType<typeof setInterval> | undefined;
    const end = listen({
      path: () => `/api/v2/workspaces/${id}/watch-ws`,
      heard: (text) => {
        const event = JSON.parse(text) as WorkspaceEvent;
        if (event.type !== "data" || !event.data) return;
        const before = client.getQueryData<Workspace>(queryKey);
        client.setQueryData(queryKey, event.data);
        const moved =
          before?.latest_build.id !== event.data.latest_build.id ||
          before.latest_build.job.status !== event.data.latest_build.job.status;
        if (moved) void client.invalidateQueries({ queryKey: ["builds", id] });
      },
      live: (live) => {
        clearInterval(asking);
        asking = live ? undefined : setInterval(() => client.invalidateQueries({ queryKey }), ASK_MS);
      },
    });
    return () => {
      clearInterval(asking);
      end();
    };
  }, [client, owner, name, id]);
}

/** What an agent's metadata scripts said last; nothing where the deployment does not tell. */
export function useMetadata(agentId: string, connected: boolean): MetadataEvent[] {
  const [told, setTold] = useState<MetadataEvent[]>([]);
  useEffect(() => {
    if (!connected) return;
    return listen({
      path: () => `/api/v2/workspaceagents/${agentId}/watch-metadata-ws`,
      optional: true,
      heard: (text) => {
        const event = JSON.parse(text) as { type: string; data?: MetadataEvent[] | null };
        if (event.type === "data" && event.data) setTold(event.data);
      },
    });
  }, [agentId, connected]);
  return told;
}
