import { deepStrictEqual as deepEqual, ok as yes, strictEqual as equal } from "node:assert/strict";
import { day, each, hour, later, minute, rig, second, usual } from "./rig.ts";

Deno.test("Q04: the clock set forward makes no storm, and nobody gives up early", async () => {
  const { runner, keep, clock, spool, attempts, bounces, log } = rig({
    smtp: (attempt) => each(attempt, later),
  });
  for (let i = 0; i < 50; i++) await keep(`M${i}`, [`a@d${i}.example`]);
  runner.start();
  await clock.advance(2 * hour); // the next is an hour after the last
  const before = attempts.length;
  clock.step(30 * day);
  await keep("new", ["a@new.example"]);
  await clock.advance(second);
  equal(attempts.length, before + 1, "the new one only");
  equal(log.of("the clock was set, waits go on as they were").length, 1);
  await clock.advance(hour);
  equal(attempts.length, before + 1 + 50 + 6, "as it would have been");
  equal(bounces.length, 0);
  equal(spool.size, 51);
});

Deno.test("Q04: the clock set back stalls nothing", async () => {
  const { runner, keep, clock, attempts, spool } = rig({ smtp: (attempt) => each(attempt, later) });
  for (let i = 0; i < 50; i++) await keep(`M${i}`, [`a@d${i}.example`]);
  runner.start();
  await clock.advance(2 * hour);
  const before = attempts.length;
  clock.step(-30 * day);
  await keep("new", ["a@new.example"]);
  await clock.advance(second);
  equal(attempts.length, before + 1);
  await clock.advance(hour);
  equal(attempts.length, before + 1 + 50 + 6);
  for await (const { states: [state] } of spool.list()) {
    yes(state?.state === "due" && state.due < clock.now() + 5 * hour);
  }
});

Deno.test("Q04: set forward and back again, mail is as old as it is", async () => {
  const { runner, keep, clock, bounces, spool } = rig({
    smtp: (attempt) => each(attempt, later),
    settings: { policy: { ...usual.policy, giveUpAfter: day, delayNoticeAfter: 10 * day } },
  });
  await keep("M1", ["a@there.example"]);
  runner.start();
  await clock.advance(2 * hour);
  clock.step(30 * day);
  await clock.advance(2 * hour);
  clock.step(-30 * day);
  await clock.advance(19 * hour);
  equal(bounces.length, 0);
  await clock.advance(2 * hour);
  equal(bounces.length, 1);
  equal(spool.size, 0);
});

Deno.test("start: due times that a wrong clock has set are brought near", async () => {
  const { runner, keep, clock, spool, attempts } = rig();
  await keep("future", ["a@far.example", "b@farther.example"]);
  const state = { state: "due", attempts: 3, reply: "" } as const;
  await spool.record([
    { id: "future", recipient: 0, state: { ...state, due: clock.now() + 400 * day } },
    { id: "future", recipient: 1, state: { ...state, due: clock.now() + 400 * day + 30 * minute } },
  ]);
  runner.start();
  await clock.advance(hour);
  equal(attempts.length, 0);
  await clock.advance(2 * hour);
  equal(attempts.length, 2);
  equal(spool.size, 0);
});

Deno.test("a backlog costs nothing while nothing is due", async () => {
  const { runner, keep, clock, spool } = rig();
  const now = clock.now();
  for (let i = 0; i < 500; i++) {
    await keep(`M${i}`, [`a@d${i}.example`]);
    const state = { state: "due", due: now + 2 * hour, attempts: 5, reply: "" } as const;
    await spool.record([{ id: `M${i}`, recipient: 0, state }]);
  }
  runner.start();
  await clock.advance(0);
  const [scans, reads] = [spool.scans, spool.reads];
  equal(clock.pending.length, 1);
  await clock.advance(2 * hour - second);
  deepEqual([spool.scans, spool.reads], [scans, reads]);
});
