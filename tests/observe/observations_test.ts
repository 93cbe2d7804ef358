import { deepStrictEqual as deepEqual, ok, strictEqual as equal } from "node:assert/strict";
import { type Observation, Observations, storeName, sumUp } from "../../server/observe/observations.ts";
import { memoryStore } from "../../server/store.ts";
import { FakeClock } from "../../server/testing/clock.ts";
import { memoryLog } from "../../server/testing/log.ts";

const hour = 3_600_000;
const word = (more: Partial<Observation> = {}): Observation => ({
  plugin: "strict",
  hook: "rcpt",
  said: "reject 5.7.1",
  text: "reject 5.7.1 No",
  about: "192.0.2.1 <a@b.example>",
  ...more,
});

function rig() {
  const clock = new FakeClock();
  const stores = memoryStore(clock);
  const log = memoryLog();
  const observations = new Observations(stores, clock, log);
  const sum = (since: number) => sumUp(stores.for(storeName), since, clock.now());
  return { clock, stores, log, observations, sum };
}

Deno.test("observations: words are counted by fate, kept within seconds, and found again after a restart", async () => {
  const { clock, stores, log, observations, sum } = rig();
  const start = clock.now();
  observations.note(word(), "accepted");
  observations.note(word(), "refused");
  observations.note(word({ hook: "data", said: "edits", text: "prependHeader X" }), "accepted");
  equal((await sum(start)).length, 0);
  await clock.advance(5_000);
  const [edits, reject] = await sum(start);
  deepEqual([edits!.said, edits!.fates], ["edits", { accepted: 1, refused: 0, none: 0 }]);
  deepEqual([reject!.said, reject!.fates], ["reject 5.7.1", { accepted: 1, refused: 1, none: 0 }]);
  deepEqual(reject!.examples.map(({ fate, about }) => [fate, about]), [
    ["accepted", "192.0.2.1 <a@b.example>"],
    ["refused", "192.0.2.1 <a@b.example>"],
  ]);

  const next = new Observations(stores, clock, log);
  next.note(word(), "none");
  await next.close();
  deepEqual((await sum(start))[1]!.fates, { accepted: 1, refused: 1, none: 1 });
  deepEqual(clock.pending, []);
});

Deno.test("observations: only what is asked for is summed up, and nothing is kept for ever", async () => {
  const { clock, observations, sum } = rig();
  const start = clock.now();
  observations.note(word(), "accepted");
  await observations.flush();
  await clock.advance(3 * hour);
  observations.note(word(), "accepted");
  await observations.close();
  equal((await sum(clock.now() - hour))[0]!.fates.accepted, 1);
  equal((await sum(start))[0]!.fates.accepted, 2);
  await clock.advance(14 * 24 * hour);
  deepEqual(await sum(start), []);
});

Deno.test("observations: an hour is bounded, whatever strangers send", async () => {
  const { clock, observations, sum } = rig();
  for (let i = 0; i < 1000; i++) {
    observations.note(word({ said: `reject 5.7.${i}`, about: "x".repeat(10_000) }), "accepted");
  }
  for (let i = 0; i < 50; i++) observations.note(word({ about: `${i}` }), "refused");
  await observations.close();
  const counted = await sum(clock.now());
  ok(counted.length <= 201, String(counted.length));
  equal(counted.reduce((all, { fates }) => all + fates.accepted, 0), 1000);
  ok(JSON.stringify(counted).length < 200_000);
  ok(counted.every(({ examples }) => examples.length <= 5));
});

Deno.test("observations: a store that fails costs counts, never mail", async () => {
  const { clock, log } = rig();
  const broken = { get: () => Promise.reject(new Error("disk")) };
  const observations = new Observations({ for: () => broken as never }, clock, log);
  observations.note(word(), "accepted");
  await observations.close();
  equal(log.of("what observed plugins said can't be kept").length, 1);
});
