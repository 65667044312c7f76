import type { JobLog } from "../api/types.ts";
import type { Line } from "../ui/log.tsx";

export function lineOf({ id, created_at, output, log_level }: JobLog): Line {
  return { id, created_at, output, level: log_level };
}
