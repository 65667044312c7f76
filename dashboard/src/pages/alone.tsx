import { type ReactNode, useEffect } from "react";
import berth from "../berth.svg";

/** A page outside the shell: one thing to do, in the middle. */
export function Alone({ title, lead, children }: { title: string; lead?: ReactNode; children: ReactNode }) {
  useEffect(() => {
    document.title = `${title} · Berth`;
  }, [title]);
  return (
    <main className="alone">
      <img src={berth} alt="" width={44} height={44} />
      <h1>{title}</h1>
      {lead && <p className="lead">{lead}</p>}
      {children}
    </main>
  );
}
