import { type ReactNode, useEffect, useRef } from "react";
import { ApiError } from "../api/client.ts";
import { Button } from "./button.tsx";
import { ErrorNotice } from "./notice.tsx";

let first = true;

interface PageProps {
  title: string;
  /** What is shown as the heading, when that is more than the title. */
  heading?: ReactNode;
  above?: ReactNode;
  lead?: ReactNode;
  actions?: ReactNode;
  children: ReactNode;
}

/** A page: its title in the tab and as the heading, which takes the focus when the person comes from another page. */
export function Page({ title, heading, above, lead, actions, children }: PageProps) {
  const ref = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = `${title} · Berth`;
  }, [title]);
  useEffect(() => {
    if (!first) ref.current?.focus({ preventScroll: true });
    first = false;
  }, []);
  return (
    <>
      <header className="page-head">
        <div className="page-title">
          {above}
          <h1 ref={ref} tabIndex={-1}>
            {heading ?? title}
          </h1>
          {lead && <div className="lead">{lead}</div>}
        </div>
        {actions && <div className="page-actions">{actions}</div>}
      </header>
      {children}
    </>
  );
}

/** Grey bars where something comes; they take the room that it will take. */
export function Loading({ rows = 3, label = "Loading" }: { rows?: number; label?: string }) {
  return (
    <div className="loading" role="status" aria-label={label}>
      {Array.from({ length: rows }, (_, row) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: nothing tells the bars apart.
        <div key={row} className="bar" />
      ))}
    </div>
  );
}

interface QueryLike<T> {
  data: T | undefined;
  error: Error | null;
  isFetching: boolean;
  refetch: () => unknown;
}

interface LoadedProps<T> {
  query: QueryLike<T>;
  rows?: number;
  children: (data: T) => ReactNode;
}

/** What a query brought; until then that it is coming, or why it is not. What is there stays in sight while it is read again. */
export function Loaded<T>({ query, rows, children }: LoadedProps<T>) {
  if (query.data !== undefined) {
    return (
      <>
        {query.error && <ErrorNotice error={query.error} action={<Retry query={query} />} />}
        {children(query.data)}
      </>
    );
  }
  if (query.error) {
    const missing = query.error instanceof ApiError && query.error.status === 404;
    return <ErrorNotice error={query.error} action={missing ? undefined : <Retry query={query} />} />;
  }
  return <Loading {...(rows !== undefined && { rows })} />;
}

function Retry<T>({ query }: { query: QueryLike<T> }) {
  return (
    <Button small busy={query.isFetching} busyLabel="Trying" onClick={() => query.refetch()}>
      Try again
    </Button>
  );
}

/** Nothing here yet, and how that changes. */
export function Empty({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section className="empty">
      <h2>{title}</h2>
      {children}
    </section>
  );
}

/** A part of a page with its own heading. */
export function Card({ title, actions, children }: { title: ReactNode; actions?: ReactNode; children: ReactNode }) {
  return (
    <section className="card">
      <header className="card-head">
        <h2>{title}</h2>
        {actions && <div className="card-actions">{actions}</div>}
      </header>
      {children}
    </section>
  );
}
