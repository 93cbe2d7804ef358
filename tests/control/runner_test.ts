/** What people do with the queue, with the real runner behind it. */
import { deepStrictEqual as deepEqual, strictEqual as equal } from "node:assert/strict";
import { LocalQueue } from "../../server/control/operations.ts";
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
