import { deepStrictEqual as deepEqual, strictEqual as equal } from "node:assert/strict";
import { Encoder } from "../../server/spool/encoder.ts";
import { RecordType } from "../../server/spool/record.ts";
import { encodeAbout, encodeMessage, encodeOutcomes } from "../../server/spool/summary.ts";
import { digest } from "../../server/tracking/digest.ts";
import { envelopeOf, start } from "./kit.ts";

const utf8 = new TextEncoder();

function head(type: number, encode: (into: Encoder) => void, detail: unknown) {
  const into = new Encoder();
  encode(into);
  const text = detail === undefined ? "" : JSON.stringify(detail);
  return { type, summary: into.written.slice(), detail: utf8.encode(text) };
}

function message(envelope: ReturnType<typeof envelopeOf>, generation = 0, states?: readonly unknown[]) {
  return head(RecordType.message, (into) =>
    encodeMessage(into, {
      ...{
        id: envelope.id,
        generation,
        received: start,
        recipients: envelope.recipients.length,
        destinations: [],
      },
      ...{ file: undefined, size: 7, held: undefined, standings: undefined },
    }), { envelope, ...(states && { states }) });
}

const about = (id: string, more: (into: Encoder) => void = () => {}) => (into: Encoder) => {
  encodeAbout(into, id, 0);
  more(into);
};

Deno.test("digest: records of logs written before there was tracking are told as far as they go", () => {
  const [received] = digest(message(envelopeOf("Q1", { from: { ip: "192.0.2.1" } })));
  equal(received?.steps.length, 1);
  deepEqual([...received!.words].sort(), ["alice@here.example", "bob@there.example"]);
  const due = { code: 0, attempts: 1, due: 5 };
  const [outcome] = digest(
    head(RecordType.outcome, about("Q1", (into) => encodeOutcomes(into, [[0, due]])), [{
      ...{ state: "due", due: 5, attempts: 1, reply: "451" },
    }]),
  );
  deepEqual(outcome?.steps, [{
    step: "attempt",
    at: null,
    to: 0,
    outcome: "deferred",
    reply: "451",
    next: 5,
  }]);
  const [held] = digest(head(RecordType.hold, about("Q1", (into) => into.short("why")), undefined));
  deepEqual(held?.steps, [{ step: "held", at: null, reason: "why" }]);
  deepEqual(digest(head(RecordType.release, about("Q1", (into) => into.f64(9)), undefined))[0]?.steps, [
    { step: "released", at: null },
  ]);
  deepEqual(digest(head(RecordType.remove, about("Q1"), undefined))[0]?.steps, [{
    step: "deleted",
    at: null,
  }]);
});

Deno.test("digest: records about no message, and of types to come, are nothing", () => {
  deepEqual(digest(head(RecordType.void, () => {}, undefined)), []);
  deepEqual(digest(head(99, () => {}, undefined)), []);
});

Deno.test("digest: what was rewritten repeats itself, with how each recipient stood", () => {
  const two = [{ address: "a@x", original: "a@x", via: "smtp" }, {
    address: "b@x",
    original: "b@x",
    via: "smtp",
  }];
  const states = [{ state: "due", due: 0, attempts: 0, reply: "" }, { state: "failed", reply: "550 no" }];
  const [digested, ...others] = digest(message(envelopeOf("Q1", { recipients: two }), 2, states));
  equal(digested?.kind, "repeat");
  deepEqual(others, []);
  deepEqual(digested?.steps.slice(1), [{
    step: "attempt",
    at: null,
    to: 1,
    outcome: "failed",
    reply: "550 no",
  }]);
});

Deno.test("digest: a destination that sleeps costs no attempt, and is none", () => {
  const state = { state: "due", due: 5, attempts: 1, reply: "4.4.1 No connection", noticed: true };
  const record = head(
    RecordType.outcome,
    about("Q1", (into) => encodeOutcomes(into, [[3, { code: 0, attempts: 1, due: 5 }]])),
    [state],
  );
  deepEqual(digest(record)[0]?.steps, [{
    step: "waits",
    at: null,
    to: 3,
    reply: "4.4.1 No connection",
    next: 5,
  }]);
});
