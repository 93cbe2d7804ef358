import { deepStrictEqual as deepEqual, strictEqual as equal } from "node:assert/strict";
import { outcomeOf } from "../../../plugins/webhook/outcome.ts";

const of = (status: number, text = "", retryAfter?: number) =>
  outcomeOf(
    { kind: "answered", status, text, ...(retryAfter !== undefined && { retryAfter }) },
    "https://x.example",
  );

Deno.test("webhook: 2xx has it, 4xx never will, everything else is tried again", () => {
  for (const status of [200, 201, 202, 204]) equal(of(status).verdict, "delivered", String(status));
  for (const status of [400, 404, 405, 410, 413, 415, 422, 451]) {
    equal(of(status).verdict, "reject", String(status));
  }
  for (const status of [401, 403, 407, 408, 409, 425, 429, 500, 502, 503, 504, 599, 100, 301, 307, 304]) {
    equal(of(status).verdict, "defer", String(status));
  }
  equal(outcomeOf({ kind: "failed", text: "refused" }, "https://x.example").verdict, "defer");
});

Deno.test("webhook: the receiver's words reach the sender, its Retry-After the queue", () => {
  deepEqual(of(422, "We know no such ticket"), {
    ...{ verdict: "reject", status: "5.2.0", text: "We know no such ticket" },
  });
  equal((of(503, "", 60_000) as { after?: number }).after, 60_000);
  equal((of(404, "", 60_000) as { after?: number }).after, undefined);
});
