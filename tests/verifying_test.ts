/** `host.verify`: what a next hop says at RCPT, and what says nothing of an address. */
import { deepStrictEqual as deepEqual, rejects, strictEqual as equal } from "node:assert/strict";
import type { Passage, PassageOpened, PassageRequest } from "../server/delivery/passing.ts";
import { deferred } from "../server/delivery/smtp/result.ts";
import { verifier } from "../server/verifying.ts";

const hops = [{ host: "inside.test" }];
const { signal } = new AbortController();

/** A next hop that says this, and notes what becomes of the transaction. */
function hop(opened: (passage: Passage) => PassageOpened) {
  const seen: PassageRequest[] = [];
  let released = 0;
  const passage = {
    host: "inside.test[192.0.2.1]:25",
    tls: undefined,
    offersDsn: false,
    rcpt: () => Promise.reject(new Error("one RCPT is all")),
    send: () => Promise.reject(new Error("no message is sent")),
    released: Promise.resolve(),
    release: () => Promise.resolve(void released++),
  } satisfies Passage;
  const open = (request: PassageRequest) => Promise.resolve((seen.push(request), opened(passage)));
  const verify = verifier(() => ({ keyOf: String, open }));
  return {
    seen,
    get released() {
      return released;
    },
    ask: (to: string) => verify(to, { hops, signal }),
  };
}

Deno.test("verify: a reply to RCPT is the word on the address, and the transaction is given up", async () => {
  const rows = [
    [250, "2.1.5 OK", { verdict: "accept", claim: {} }],
    [550, "5.1.1 No such user", { verdict: "reject", status: "5.1.1", text: "No such user", code: 550 }],
    [550, "Unrouteable address", {
      verdict: "reject",
      status: "5.0.0",
      text: "Unrouteable address",
      code: 550,
    }],
    [554, "5.7.1 Blocked", { verdict: "reject", status: "5.7.1", text: "Blocked", code: 554 }],
    [450, "4.2.0 Greylisted", { verdict: "defer", status: "4.4.0", text: "Greylisted" }],
    [421, "4.3.2 Shutting down", { verdict: "defer", status: "4.4.0", text: "Shutting down" }],
  ] as const;
  for (const [code, line, verdict] of rows) {
    const answer = { kind: "said", reply: { code, lines: [line] } } as const;
    const there = hop((passage) => ({ kind: "open", passage, answer }));
    deepEqual(await there.ask("alice@example.org"), verdict);
    equal(there.released, 1);
    const [{ mail, first, xclient, xforward }] = there.seen as [PassageRequest];
    deepEqual([mail.sender, first.address, xclient, xforward], ["", "alice@example.org", false, false]);
  }
});

Deno.test("verify: a no to MAIL, and no connection, are no word on an address", async () => {
  const refused = hop(() => ({
    kind: "refused",
    answer: { kind: "said", reply: { code: 550, lines: ["5.7.1 No bounces here"] } },
    host: "inside.test",
  }));
  deepEqual(await refused.ask("alice@example.org"), {
    verdict: "defer",
    status: "4.4.0",
    text: "MAIL was refused: 550 No bounces here",
  });
  const deferral = deferred("4.4.1", "No connection", "connect");
  const down = hop(() => ({ kind: "refused", answer: { kind: "deferred", deferral }, host: undefined }));
  deepEqual(await down.ask("alice@example.org"), { verdict: "defer", status: "4.4.1", text: deferral.reply });
});

Deno.test("verify: what is no address, and what speaks no SMTP, is a mistake of the caller's", async () => {
  const there = hop(() => {
    throw new Error("not asked");
  });
  for (const text of ["", "alice", "a b@example.org", "a@example.org\r\nDATA"]) {
    await rejects(there.ask(text), TypeError);
  }
  const verify = verifier(() => {
    throw new Error("not asked");
  });
  await rejects(
    verify("alice@example.org", { hops: [{ host: "inside.test", port: 24, protocol: "lmtp" }], signal }),
    /speaks SMTP/,
  );
});
