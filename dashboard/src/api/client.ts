/** One request to the API, and the one error that it can end with. */

import type { ErrorBody } from "./types.ts";

/** How long an answer may take before the person is told, in milliseconds. */
const PATIENCE_MS = 30_000;

/** An answer of 400 or above, or none at all (`status` 0). */
export class ApiError extends Error {
  readonly status: number;
  readonly detail: string | null | undefined;
  readonly validations: { field: string; detail: string }[];

  constructor(status: number, body: ErrorBody) {
    super(body.message);
    this.status = status;
    this.detail = body.detail;
    this.validations = body.validations ?? [];
  }

  /** What is wrong with one field, if it was that one. */
  field(name: string): string | undefined {
    return this.validations.find((validation) => validation.field === name)?.detail;
  }
}

type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";

async function send(method: Method, path: string, body: unknown, signal?: AbortSignal): Promise<Response> {
  const patience = AbortSignal.timeout(PATIENCE_MS);
  try {
    return await fetch(path, {
      method,
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? null : JSON.stringify(body),
      credentials: "same-origin",
      signal: signal ? AbortSignal.any([signal, patience]) : patience,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    const message = patience.aborted
      ? "Berth did not answer within 30 seconds. Try again; if it stays so, ask whoever operates this deployment."
      : "Berth cannot be reached. Check your connection; what you typed is kept.";
    throw new ApiError(0, { message });
  }
}

async function refusal(response: Response): Promise<ApiError> {
  const body: unknown = await response.json().catch(() => undefined);
  const told = typeof body === "object" && body !== null && "message" in body && typeof body.message === "string";
  return new ApiError(response.status, told ? (body as ErrorBody) : { message: `the server answered ${response.status}` });
}

/** Sends a request and reads its JSON; `undefined` where the answer has no body. */
export async function call<T>(method: Method, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  const response = await send(method, path, body, signal);
  if (!response.ok) throw await refusal(response);
  if (response.status === 204) return undefined as T;
  return (await response.json()) as T;
}

/** Reads an answer that is not JSON. */
export async function bytes(path: string, signal?: AbortSignal): Promise<ArrayBuffer> {
  const response = await send("GET", path, undefined, signal);
  if (!response.ok) throw await refusal(response);
  return response.arrayBuffer();
}

/** The same as {@link call} for reading. */
export function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return call<T>("GET", path, undefined, signal);
}
