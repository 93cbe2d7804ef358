/** What a client is answered: JSON, with a sentence that says what to do (RFC 9457 where something is wrong). */
import type { Problem } from "./compose.ts";

/** The message is in the queue, durably. */
export function accepted(id: string, recipients: readonly string[], again: "new" | "replayed"): Response {
  return Response.json({ id, recipients }, {
    status: 202,
    headers: again === "replayed" ? { "idempotent-replayed": "true" } : {},
  });
}

/** What is wrong, and what is to be done about it. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly detail: string,
    readonly more: { readonly errors?: readonly Problem[]; readonly retryAfter?: number } = {},
    readonly headers: Readonly<Record<string, string>> = {},
  ) {
    super(detail);
  }

  response(): Response {
    const { status, detail, more: { errors, retryAfter } } = this;
    const body = {
      type: "about:blank",
      title: titles[status] ?? "Error",
      status,
      detail,
      ...(errors && { errors }),
    };
    return new Response(JSON.stringify(body), {
      status,
      headers: {
        "content-type": "application/problem+json",
        connection: "close", // the body may not have been read to its end
        ...(retryAfter !== undefined && { "retry-after": String(Math.max(1, Math.ceil(retryAfter / 1000))) }),
        ...this.headers,
      },
    });
  }
}

const titles: Record<number, string> = {
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  408: "Request Timeout",
  409: "Conflict",
  411: "Length Required",
  413: "Content Too Large",
  415: "Unsupported Media Type",
  422: "Unprocessable Content",
  429: "Too Many Requests",
  500: "Internal Server Error",
  503: "Service Unavailable",
};
