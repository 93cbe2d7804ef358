/** What people do with the queue, with the real runner behind it. */
import { deepStrictEqual as deepEqual, strictEqual as equal } from "node:assert/strict";
import { LocalQueue } from "../../server/control/operations.ts";
import { accept } from "../../server/plugin.ts";
import { each, later, ok, refused, rig } from "../delivery/rig.ts";

Deno.test("queue retry: a destination that sleeps is tried at once", async () => {
  let isBack = false;
  const world = rig({
    smtp: (attempt) => isBack ? each(attempt, ok) : each(attempt, refused, "unreachable"),
  });
  const { clock, spool, runner, attempts } = world;
  const queue = new LocalQueue(spool, clock, runner);
  runner.start();
  for (const id of ["Q1", "Q2", "Q3", "Q4"]) await world.keep(id, ["bob@there.example"]);
  await world.settle();
  const { asleep, deferred } = await queue.overview();
  deepEqual([
    asleep.map(({ destination }) => destination),
    asleep[0]?.reply,
    deferred + (await queue.overview()).ready,
  ], [
    ["smtp there.example"],
    "Connection refused",
    4,
  ]);
  isBack = true;
  const before = attempts.length;
  await queue.act("retry", ["Q1"]);
  await world.settle();
  deepEqual(attempts.slice(before).map(({ envelope }) => envelope.id).includes("Q1"), true);
  equal(await queue.show("Q1"), undefined);
  await queue.retryAll();
  await world.settle();
  equal(spool.size, 0);
  await runner.stop(1000);
});

Deno.test("queue hold, release, delete: the runner does as it is told", async () => {
  const world = rig({ smtp: (attempt) => each(attempt, later) });
  const { clock, spool, runner, attempts } = world;
  const queue = new LocalQueue(spool, clock, runner);
  runner.start();
  await world.keep("Q1", ["bob@there.example"]);
  await world.settle();
  equal(attempts.length, 1);
  await queue.act("hold", ["Q1"]);
  await clock.advance("2h");
  equal(attempts.length, 1);
  await queue.act("release", ["Q1"]);
  await world.settle();
  equal(attempts.length, 2);
  await queue.act("delete", ["Q1"]);
  await clock.advance("2h");
  equal(attempts.length, 2);
  await runner.stop(1000);
});

Deno.test("queue list: a message is active while its attempt goes on", async () => {
  const going = Promise.withResolvers<void>();
  const world = rig({
    smtp: async (attempt) => {
      await going.promise;
      return each(attempt, ok);
    },
  });
  const { clock, spool, runner } = world;
  const queue = new LocalQueue(spool, clock, runner);
  runner.start();
  await world.keep("Q1", ["bob@there.example"]);
  await world.settle();
  const [listed] = await Array.fromAsync(queue.list());
  deepEqual([listed?.state, listed?.recipients[0]?.state], ["active", "active"]);
  deepEqual(await queue.act("hold", ["Q1"]), [{ id: "Q1", outcome: "done", underWay: true }]);
  going.resolve();
  await world.settle();
  equal(spool.size, 0);
  await runner.stop(1000);
});

Deno.test("queue redirect: who waited for a slot goes where it was redirected to, and never where it was to go before", async () => {
  const going = Promise.withResolvers<void>();
  const world = rig({
    smtp: async (attempt) => {
      if (attempt.hops?.[0]?.host === "by-the-hook.example") await going.promise;
      return each(attempt, ok);
    },
    settings: { concurrency: { total: 9, perDestination: 1 } },
    handlers: { route: () => accept({ hops: [{ host: "by-the-hook.example" }] }) },
  });
  const { clock, spool, runner, attempts } = world;
  const ways = { transports: ["smtp"], whereabouts: () => Promise.reject(new Error("not asked")) };
  const queue = new LocalQueue(spool, clock, runner, { ways });
  runner.start();
  for (const id of ["Q1", "Q2", "Q3"]) await world.keep(id, ["bob@there.example", "carol@there.example"]);
  await world.settle();
  deepEqual(attempts.map(({ envelope: { id } }) => id), ["Q1"]);
  await queue.redirect({ to: "new@else.example", host: { host: "mx.else.example" } }, ["Q2"]);
  await queue.act("hold", ["Q3"]); // within the second in which what was read before still counts
  going.resolve();
  await clock.advance("10s");
  const sent = attempts.map(({ envelope: { id }, recipients, hops }) => [
    id,
    recipients.map(({ address }) => address),
    hops?.map(({ host }) => host),
  ]);
  deepEqual(sent, [
    ["Q1", ["bob@there.example", "carol@there.example"], ["by-the-hook.example"]],
    ["Q2", ["new@else.example"], ["mx.else.example"]],
  ]);
  deepEqual([(await queue.show("Q2"))?.id, (await queue.show("Q3"))?.state], [undefined, "held"]);
  await runner.stop(1000);
});

for (const batch of [1, 100]) {
  Deno.test(`queue redirect: recipients of one mailbox share a copy, and each has its outcome, ${batch} a call`, async () => {
    const world = rig({ batch, smtp: (attempt) => each(attempt, ok) });
    const { clock, spool, runner, attempts } = world;
    const queue = new LocalQueue(spool, clock, runner, {
      ways: { transports: ["smtp"], whereabouts: () => Promise.reject(new Error("not asked")) },
    });
    await world.keep("Q1", ["a@there.example", "b@there.example", "c@else.example"]);
    await queue.change(
      { action: "redirect", way: { to: "all@else.example", via: "smtp" } },
      "domain = there.example",
      clock.now(),
    );
    runner.start();
    await world.settle();
    const copies = attempts.flatMap(({ recipients }) => recipients.map(({ address }) => address));
    deepEqual(copies.toSorted(), ["all@else.example", "c@else.example"]);
    deepEqual(world.endings().toSorted(), ["Q1/0 delivered", "Q1/1 delivered", "Q1/2 delivered"]);
    equal(spool.size, 0);
    await runner.stop(1000);
  });
}
