import { deepStrictEqual as deepEqual, ok as yes, strictEqual as equal } from "node:assert/strict";
import type { Answer } from "../../server/delivery/attempt.ts";
import { day, each, hour, later, minute, ok, refused, rig, second, usual } from "./rig.ts";

Deno.test("O07: a recipient is tried again while another of the same message hangs", async () => {
  let tries = 0;
  const { runner, keep, clock, spool } = rig({
    smtp: (attempt) => {
      if (attempt.recipients[0]!.parsed.domain === "hangs.example") return new Promise<Answer>(() => {});
      return each(attempt, ++tries < 3 ? later : ok);
    },
  });
  await keep("M1", ["a@one.example", "b@hangs.example"]);
  runner.start();
  await clock.advance(7 * minute);
  equal(tries, 3);
  deepEqual((await spool.states("M1"))?.map(({ state }) => state), ["delivered", "due"]);
});

Deno.test("O07: one hung destination among ten delays no other", async () => {
  const { runner, keep, settle, spool, attempts } = rig({
    smtp: (attempt) =>
      attempt.recipients[0]!.parsed.domain === "d0.example"
        ? new Promise<Answer>(() => {})
        : each(attempt, ok),
    settings: { concurrency: { total: 20, perDestination: 20 } },
  });
  for (let i = 0; i < 1000; i++) await keep(`M${i}`, [`a@d${i % 10}.example`]);
  runner.start();
  await settle();
  equal(spool.size, 100);
  yes((await spool.ids()).every((id) => id.endsWith("0")));
  yes(
    attempts.filter(({ recipients }) => recipients[0]!.parsed.domain === "d0.example").length <= 15,
    "it has not all of the slots",
  );
});

Deno.test("O07: of 3,000 messages for a host that hangs, few are read before their turn; all go when it is back", async () => {
  const hung: (() => void)[] = [];
  let hangs = true;
  const { runner, keep, settle, spool, attempts } = rig({
    smtp: (attempt) =>
      hangs && attempt.recipients[0]!.parsed.domain === "slow.example"
        ? new Promise<Answer>((resolve) => hung.push(() => resolve(each(attempt, ok))))
        : each(attempt, ok),
  });
  for (let i = 0; i < 3000; i++) await keep(`S${i}`, ["a@slow.example"]);
  runner.start();
  await settle();
  await settle();
  yes(spool.reads < 150, `${spool.reads} were read`);
  await keep("other", ["a@quick.example"]);
  await settle();
  equal(attempts.at(-1)?.envelope.id, "other");
  hangs = false;
  for (const free of hung) free();
  for (let turn = 0; spool.size > 0 && turn < 5000; turn++) await settle();
  equal(spool.size, 0);
  equal(attempts.length, 3001);
});

Deno.test("concurrency: never more than total, never more than perDestination", async () => {
  const running = new Map<string, number>();
  let most = 0, mostThere = 0;
  const { runner, keep, clock, spool } = rig({
    settings: { concurrency: { total: 7, perDestination: 3 } },
    smtp: async (attempt) => {
      const { domain } = attempt.recipients[0]!.parsed;
      const count = (by: number) => {
        running.set(domain, (running.get(domain) ?? 0) + by);
        most = Math.max(most, [...running.values()].reduce((a, b) => a + b));
        mostThere = Math.max(mostThere, running.get(domain)!);
      };
      count(1);
      await clock.sleep(second);
      count(-1);
      return each(attempt, ok);
    },
  });
  for (let i = 0; i < 60; i++) await keep(`M${i}`, [`a@d${i % 4}.example`]);
  runner.start();
  await clock.advance(minute);
  equal(spool.size, 0);
  yes(
    most >= 6 && most <= 7 && mostThere >= 2 && mostThere <= 3,
    `${most} at a time, ${mostThere} at one destination`,
  );
});

Deno.test("destinations sleep after three failed connections, and their mail keeps its attempts", async () => {
  let tried = 0;
  const { runner, keep, clock, spool, log, settle } = rig({
    smtp: (attempt) => {
      tried++;
      return each(attempt, refused, "unreachable");
    },
    settings: { concurrency: { total: 200, perDestination: 1 } },
  });
  for (let i = 0; i < 200; i++) await keep(`M${i}`, [`a@dead.example`]);
  runner.start();
  await settle();
  equal(tried, 3);
  equal(spool.recorded.length, 3, "sleeping costs no record");
  equal(runner.asleep[0]?.destination, "smtp dead.example");
  await clock.advance(3 * hour);
  // A wake is one attempt: after 1, 2, 4 … 60 minutes.
  yes(tried > 8 && tried < 20, `${tried} attempts`);
  let charged = 0;
  for await (const { states: [state] } of spool.list()) {
    charged += state?.state === "due" ? state.attempts : 0;
  }
  equal(charged, tried, "only who was tried is charged");
  equal(log.of("destination sleeps").length, tried - 2);
});

Deno.test("mail to a dead host is given up in the end, all of it, at its time", async () => {
  const { runner, keep, clock, spool, bounces } = rig({
    smtp: (attempt) => each(attempt, refused, "unreachable"),
    settings: { policy: { ...usual.policy, giveUpAfter: day } },
  });
  for (let i = 0; i < 300; i++) await keep(`M${i}`, [`a@dead.example`]);
  runner.start();
  await clock.advance(day - minute);
  equal(bounces.filter(({ text }) => text.includes("Action: failed")).length, 0);
  equal(bounces.filter(({ text }) => text.includes("Action: delayed")).length, 300);
  await clock.advance(9 * hour);
  equal(spool.size, 0);
  equal(bounces.filter(({ text }) => text.includes("Action: failed")).length, 300);
});

Deno.test("a destination that comes back gets its mail at the next wake, and a reload wakes it at once", async () => {
  for (const rouse of [false, true]) {
    let dead = true;
    const { runner, keep, clock, spool, settle } = rig({
      smtp: (attempt) => dead ? each(attempt, refused, "unreachable") : each(attempt, ok),
    });
    for (let i = 0; i < 60; i++) await keep(`M${i}`, [`a@dead.example`]);
    runner.start();
    await settle();
    dead = false;
    yes(spool.size === 60);
    if (rouse) {
      runner.use(usual);
      await settle();
      yes(spool.size <= 10, "all but those that were tried and wait their turn");
    } else await clock.advance(1.2 * minute);
    if (!rouse) equal(spool.size, 0);
  }
});
