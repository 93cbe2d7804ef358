import { deepStrictEqual as deepEqual, match, ok as yes, strictEqual as equal } from "node:assert/strict";
import type { Answer, Result } from "../../server/delivery/attempt.ts";
import { day, each, later, minute, never, ok, rig, second, usual } from "./rig.ts";

Deno.test("four days of failures to a bounce, in no time", async () => {
  const { runner, keep, clock, bounces, spool, attempts, log } = rig({
    smtp: (attempt) => each(attempt, later),
    settings: { policy: { ...usual.policy, giveUpAfter: 4 * day } },
  });
  await keep("M1", ["a@there.example"]);
  runner.start();
  await clock.advance(4 * day);
  equal(bounces.filter(({ text }) => text.includes("Action: failed")).length, 0);
  await clock.advance(minute);
  equal(spool.size, 0);
  const failure = bounces.find(({ text }) => text.includes("Action: failed"))!;
  deepEqual(failure.recipients, ["sender@here.example"]);
  match(failure.text, /^Status: 4\.2\.1\r$/m);
  equal(bounces.filter(({ text }) => text.includes("Action: delayed")).length, 1, "one delay notice");
  equal(attempts.length, 38);
  equal(log.of("deferred").length, 37);
  equal(log.of("bounced").length, 1);
});

Deno.test("a permanent refusal is reported before it is recorded", async () => {
  let kept = () => {};
  const { runner, keep, settle, spool } = rig({
    smtp: (attempt) => each(attempt, never),
    submitBounce: () => new Promise<void>((resolve) => kept = resolve),
  });
  await keep("M1", ["a@there.example"]);
  runner.start();
  await settle();
  equal(spool.recorded.length, 0);
  equal(runner.active, 1, "the slot is taken until the outcome is durable");
  kept();
  await settle();
  equal(spool.recorded[0]?.state.state, "failed");
  equal(runner.active, 0);
});

Deno.test("Q05: a report that nobody takes is queued as it is; one that can't even be queued keeps its message", async () => {
  const { runner, keep, settle, spool, clock, log } = rig({
    smtp: (attempt) => each(attempt, attempt.envelope.sender === "" ? ok : never),
    submitBounce: () => Promise.reject(new Error("550 no such user")),
  });
  let full = true;
  spool.beforeKeep = ({ sender }) => {
    if (full && sender === "") throw new Error("disk full");
  };
  await keep("M1", ["a@there.example"]);
  runner.start();
  await settle();
  equal((await spool.states("M1"))?.[0]?.state, "due");
  full = false;
  await clock.advance(2 * minute);
  deepEqual(await spool.ids(), []);
  const ends = spool.recorded.filter(({ state }) => state.state !== "due").map((
    { id, state },
  ) => [id, state.state]);
  deepEqual(ends, [["M1", "failed"], ["bounce-M0002", "delivered"]]);
  equal(log.of("cannot keep the report to the sender").length, 1);
});

Deno.test("recipients of one message that fail in different attempts are one report", async () => {
  const { runner, keep, settle, bounces, endings } = rig({ smtp: (attempt) => each(attempt, never) });
  await keep("M1", ["a@one.example", "b@two.example", "c@two.example"]);
  runner.start();
  await settle();
  equal(bounces.length, 1);
  for (const address of ["a@one.example", "b@two.example", "c@two.example"]) {
    match(bounces[0]!.text, new RegExp(`^Final-Recipient: rfc822; ${address}\r$`, "m"));
  }
  equal(endings().length, 3);
});

Deno.test("a failure waits ten seconds at most for a recipient that hangs", async () => {
  const { runner, keep, clock, bounces, settle, spool } = rig({
    smtp: (attempt) =>
      attempt.recipients[0]!.parsed.domain === "hangs.example"
        ? new Promise<Answer>(() => {})
        : each(attempt, never),
  });
  await keep("M1", ["a@one.example", "b@hangs.example"]);
  runner.start();
  await settle();
  equal(bounces.length, 0);
  equal(runner.active, 1, "only the hung one has a slot");
  await clock.advance(10 * second);
  equal(bounces.length, 1);
  deepEqual((await spool.states("M1"))?.map(({ state }) => state), ["failed", "due"]);
});

Deno.test("Q03: while outcomes can't be recorded nothing new is tried; then it goes on", async () => {
  let broken = true;
  const { runner, keep, settle, clock, spool, attempts, log } = rig();
  spool.beforeRecord = () => {
    if (broken) throw new Error("EIO");
  };
  await keep("M1", ["a@one.example"]);
  runner.start();
  await settle();
  await keep("M2", ["a@two.example"]);
  await clock.advance(10 * minute);
  equal(attempts.length, 1);
  equal(runner.active, 1);
  yes(log.of("cannot record outcomes, no new attempts until it can be done").length > 3);
  broken = false;
  await clock.advance(minute);
  equal(spool.size, 0);
  equal(attempts.length, 2, "nothing is tried twice for it");
});

Deno.test("outcomes of one moment are recorded together", async () => {
  const { runner, keep, settle, spool } = rig({
    settings: { concurrency: { total: 200, perDestination: 100 } },
  });
  for (let i = 0; i < 100; i++) await keep(`M${i}`, [`a@d${i}.example`]);
  runner.start();
  await settle();
  equal(spool.recorded.length, 100);
  yes(spool.batches.length < 20, `${spool.batches.length} batches`);
});

Deno.test("plugins hear what became of each recipient", async () => {
  const heard: string[] = [];
  const { runner, keep, settle } = rig({
    smtp: (attempt) => ({
      results: attempt.recipients.map(({ parsed }) =>
        ({ ok, later, never } as Record<string, Result>)[parsed.user]!
      ),
      contact: "reached",
    }),
    handlers: {
      delivered: ({ recipient, attempts, reply }) =>
        void heard.push(`${recipient} delivered ${attempts} ${reply}`),
      deferred: ({ recipient, nextAttempt }) => void heard.push(`${recipient} deferred ${nextAttempt > 0}`),
      bounced: ({ recipient }) => void heard.push(`${recipient} bounced`),
    },
  });
  await keep("M1", ["ok@x.example", "later@x.example", "never@x.example"]);
  runner.start();
  await settle();
  deepEqual(heard, [
    "ok@x.example delivered 1 250 2.0.0 OK",
    "later@x.example deferred true",
    "never@x.example bounced",
  ]);
});
