/** The weekly start of a workspace: five cron fields with their time zone, as far as a form of a time and days can say them. */

export interface Autostart {
  /** `HH:MM`. */
  time: string;
  /** 0 is Sunday, as in cron. */
  days: number[];
  zone: string;
}

export const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

const FIELDS = /^(?:CRON_TZ|TZ)=(\S+)\s+(\d{1,2})\s+(\d{1,2})\s+\*\s+\*\s+([\d,*-]+)$/;

function days(field: string): number[] | undefined {
  if (field === "*") return [0, 1, 2, 3, 4, 5, 6];
  const found = new Set<number>();
  for (const part of field.split(",")) {
    const [from, to] = part.split("-").map(Number);
    if (from === undefined || Number.isNaN(from) || from > 7) return undefined;
    for (let day = from; day <= (to ?? from); day += 1) found.add(day % 7);
  }
  return [...found].sort();
}

/** Reads a schedule; `undefined` for one that is more than a time on some days. */
export function parseAutostart(schedule: string): Autostart | undefined {
  const [, zone, minute, hour, field] = FIELDS.exec(schedule.trim()) ?? [];
  const on = field === undefined ? undefined : days(field);
  if (zone === undefined || minute === undefined || hour === undefined || on === undefined) return undefined;
  return { zone, days: on, time: `${hour.padStart(2, "0")}:${minute.padStart(2, "0")}` };
}

export function formatAutostart({ zone, time, days: on }: Autostart): string {
  const [hour, minute] = time.split(":").map(Number);
  const field = on.length === 7 ? "*" : [...on].sort().join(",");
  return `CRON_TZ=${zone} ${minute ?? 0} ${hour ?? 0} * * ${field}`;
}

/** "09:00 on Monday, Tuesday (Europe/Berlin)". */
export function describeAutostart(schedule: string): string {
  const parsed = parseAutostart(schedule);
  if (!parsed) return schedule;
  const key = parsed.days.join("");
  const on =
    key === "0123456" ? "every day" : key === "12345" ? "Monday to Friday" : parsed.days.map((day) => DAYS[day]).join(", ");
  return `${parsed.time}, ${on} (${parsed.zone})`;
}
