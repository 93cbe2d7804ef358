/** Expressions at work on a queue: listed, counted, changed, summed up; the same in memory and over the socket. */
import { deepStrictEqual as deepEqual, ok, rejects, strictEqual as equal } from "node:assert/strict";
import { systemClock } from "../../server/clock.ts";
import { findServer } from "../../server/control/client.ts";
import { LocalQueue, type QueueControl } from "../../server/control/operations.ts";
import { ControlServer } from "../../server/control/server.ts";
import { reasonOf } from "../../server/control/summary.ts";
import { MemorySpool } from "../../server/spool/memory.ts";
import { FakeClock } from "../../server/testing/clock.ts";
import { memoryLog } from "../../server/testing/log.ts";
import { FakeDeliveries, fakeWays, fill, hour, keep, minute, now } from "./kit.ts";

const [held, deferred, strange] = ["1M806DNB400W1VEH", "1M806DNHX00W1VEH", "1M806DZZZ00W1VEH"];

interface Rig {
  readonly queue: QueueControl;
  readonly spool: MemorySpool;
  readonly deliveries: FakeDeliveries;
}

function both(name: string, test: (rig: Rig) => Promise<void>): void {
  const make = async () => {
    const clock = new FakeClock(now);
    const spool = new MemorySpool(clock);
    await fill(spool);
    const deliveries = new FakeDeliveries();
    const queue = new LocalQueue(spool, clock, deliveries, { ways: fakeWays });
    return { spool, deliveries, queue };
  };
  Deno.test(`selection, local: ${name}`, async () => await test(await make()));
  Deno.test(`selection, over the socket: ${name}`, async () => {
    const state = await Deno.makeTempDir({ prefix: "postrider-control-" });
    const made = await make();
    const server = await ControlServer.open({
      ...{ state, queue: made.queue, clock: systemClock, log: memoryLog() },
    });
    try {
      const queue = await findServer(state);
      ok(queue !== "nobody");
      await test({ ...made, queue });
    } finally {
      await server.close();
      await Deno.remove(state, { recursive: true });
    }
  });
}

const listed = async (queue: QueueControl, where: string) =>
  (await Array.fromAsync(queue.list(where))).map((
    { id, recipients },
  ) => [id, recipients.map((one) => one.address)]);

both("a list has only the recipients that were chosen", async ({ queue }) => {
  deepEqual(await listed(queue, "domain = there.example"), [
    [deferred, ["bob@there.example", "carol@there.example"]],
  ]);
  deepEqual(await listed(queue, "attempts > 2"), [[deferred, ["bob@there.example"]]]);
  deepEqual(await listed(queue, "state = held or age < 1m"), [
    [held, ["someone.with.a.long.name@far-away.example"]],
    [strange, ["東京@日本.example"]],
  ]);
  deepEqual(await listed(queue, "domain = 日本.example"), [[strange, ["東京@日本.example"]]]);
  deepEqual(await listed(queue, "recipient = dora@x.example"), []); // it has its copy
  await rejects(async () => await Array.fromAsync(queue.list("nonsense")), /nothing that can be asked about/);
});

both(
  "a count tells of messages, recipients, held ones, and of those of which others wait",
  async ({ queue }) => {
    deepEqual(await queue.count("attempts > 2 or state = held", now), {
      ...{ messages: 2, recipients: 2, partial: 1, held: 1 },
    });
    deepEqual(await queue.count("age >= 0s", now - hour), {
      ...{ messages: 2, recipients: 3, partial: 0, held: 1 },
    });
  },
);

both(
  "delete takes the recipients that were chosen, and leaves the others of the message",
  async ({ queue, spool, deliveries }) => {
    deliveries.active.add(deferred!);
    deepEqual(await queue.change({ action: "delete" }, "recipient ~ bob or state = held", now), {
      ...{ messages: 2, recipients: 2, partial: 1, held: 0, underWay: 1 },
    });
    equal(await spool.get(held!), undefined);
    deepEqual((await spool.get(deferred!))?.states.map(({ state }) => state), ["failed", "due", "delivered"]);
    deepEqual(deliveries.changes.toSorted(), [held, deferred].toSorted());
    equal(deliveries.roused, 0);
    await queue.change({ action: "delete" }, "recipient ~ carol", now);
    equal(await spool.get(deferred!), undefined);
  },
);

both("hold and retry pass over what is held, release doesn't", async ({ queue, spool, deliveries }) => {
  const all = "age >= 0s";
  deepEqual(await queue.change({ action: "hold", reason: "a test" }, all, now), {
    ...{ messages: 2, recipients: 3, partial: 0, held: 1, underWay: 0 },
  });
  deepEqual((await Array.fromAsync(spool.list())).map((one) => one.held), [
    "by an operator",
    "a test",
    "a test",
  ]);
  equal((await queue.change({ action: "retry" }, all, now)).messages, 0);
  equal(deliveries.roused, 0);
  equal((await queue.change({ action: "release" }, all, now)).messages, 3);
  equal(deliveries.roused, 1);
  deepEqual((await Array.fromAsync(spool.list())).map((one) => one.held), [undefined, undefined, undefined]);
});

both("what came after the count is left alone", async ({ queue, spool }) => {
  await keep(spool, "LATER", { age: -1000, to: ["a@there.example"] });
  equal((await queue.change({ action: "delete" }, "domain = there.example", now)).messages, 1);
  ok(await spool.get("LATER"));
});

both(
  "redirect by expression: those who were chosen, the others go where they went",
  async ({ queue, spool }) => {
    const changed = await queue.change(
      { action: "redirect", way: { host: { host: "mx.relay.example", port: 2525 } } },
      "recipient ~ carol",
      now,
    );
    deepEqual(changed, { messages: 1, recipients: 1, partial: 1, held: 0, underWay: 0 });
    const { envelope, states } = (await spool.get(deferred!))!;
    deepEqual(envelope.recipients.map(({ address, via, hops }) => [address, via, hops]), [
      ["bob@there.example", "smtp", undefined],
      ["carol@there.example", "smtp", [{ host: "mx.relay.example", port: 2525 }]],
      ["dora@x.example", "smtp", undefined],
    ]);
    deepEqual(states[1], { state: "due", due: now, attempts: 0, reply: "" });
    deepEqual(await listed(queue, "destination = mx.relay.example:2525"), [[deferred, [
      "carol@there.example",
    ]]]);
  },
);

both(
  "redirect by id: to an address as the plugins know it, a held one stays held",
  async ({ queue, spool, deliveries }) => {
    deepEqual(await queue.redirect({ to: "archive@here.example" }, [held!, "NOBODY"]), [
      { id: held, outcome: "done", underWay: false, stays: "held" },
      { id: "NOBODY", outcome: "unknown", underWay: false },
    ]);
    const queued = await spool.get(held!);
    deepEqual([queued?.held, queued?.envelope.recipients[0]], [
      "by an operator",
      {
        address: "archive@here.example",
        original: "someone.with.a.long.name@far-away.example",
        via: "maildir",
      },
    ]);
    equal(deliveries.roused, 1);
    await queue.redirect({ to: "a@far.example", host: { host: "192.0.2.1" } }, [held!]);
    await queue.redirect({ via: "smtp" }, [held!]);
    const { address, via, hops } = (await spool.get(held!))!.envelope.recipients[0]!;
    deepEqual([address, via, hops], ["a@far.example", "smtp", undefined]);
  },
);

both("redirect to nowhere says why, and does nothing", async ({ queue, spool }) => {
  const before = await spool.get(deferred!);
  const ways: [Parameters<QueueControl["redirect"]>[0], RegExp][] = [
    [{ to: "team@here.example" }, /is several: a@x\.example, b@x\.example\. Redirect to one of them/],
    [{ to: "nobody@here.example" }, /Nobody takes mail for nobody@here\.example: No such mailbox/],
    [{ to: "busy@here.example" }, /Nobody can say now/],
    [{ to: "not an address" }, /is not an address such as/],
    [{ to: "<>" }, /is not an address such as/],
    [{ via: "pigeon" }, /There is no transport "pigeon": there are smtp, maildir/],
  ];
  for (const [way, sentence] of ways) {
    await rejects(queue.redirect(way, [deferred!]), sentence);
    await rejects(queue.change({ action: "redirect", way }, "age >= 0s", now), sentence);
  }
  deepEqual(await spool.get(deferred!), before);
});

both("a summary by destination, by age as qshape has it, and by reason", async ({ queue, spool }) => {
  for (const [i, age] of [4, 5, 9, 1279, 1280, 99_999].entries()) {
    await keep(spool, `R${i}`, { age: age * minute, to: ["a@there.example"] });
    const reply = `421 4.7.0 [TSS0${i}] Messages from 192.0.2.${i} are deferred`;
    await spool.record([{
      id: `R${i}`,
      recipient: 0,
      state: { state: "due", due: now + i, attempts: 1, reply },
    }]);
  }
  const { messages, total, rows } = await queue.summary("destination");
  deepEqual([messages, total.recipients, rows.map(({ name }) => name)], [
    9,
    10,
    ["there.example", "far-away.example", "xn--wgv71a.example"],
  ]);
  deepEqual(rows[0], {
    name: "there.example",
    recipients: 8,
    //     5 10 20 40 80 160 320 640 1280 older
    ages: [1, 2, 0, 0, 0, 0, 2, 0, 1, 2],
    states: { ready: 2, active: 0, deferred: 6, held: 0 },
    reasons: [
      { reason: "421 4.7.0 … Messages from … are deferred", recipients: 6 },
      { reason: "451 4.7.1 Greylisted, please try again in five minutes", recipients: 2 },
    ],
  });
  deepEqual((await queue.summary("sender", "domain = there.example")).rows.map(({ name }) => name), [
    "here.example",
  ]);
});

Deno.test("selection: reasons keep their codes, and lose what differs from one reply to the next", () => {
  const cases: [string, string][] = [
    ["550 5.1.1 <bob@x.example>: no such user", "550 5.1.1 … no such user"],
    ["4.4.1 Connection to 192.0.2.1:25 refused", "4.4.1 Connection to … refused"],
    ["451-4.7.1 try 12 3 times", "451-4.7.1 try … times"],
    ["421", "…"],
    ["", "not tried yet"],
  ];
  for (const [reply, reason] of cases) equal(reasonOf(reply, "deferred"), reason);
  equal(reasonOf("damaged: x", "held"), "held damaged: x");
});
