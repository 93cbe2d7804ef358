import { deepStrictEqual as deepEqual, ok, rejects, strictEqual as equal } from "node:assert/strict";
import { join } from "node:path";
import { systemClock } from "../../server/clock.ts";
import { findServer } from "../../server/control/client.ts";
import { LocalQueue, type QueueControl } from "../../server/control/operations.ts";
import { readLines, writeAll } from "../../server/control/protocol.ts";
import { ControlFailed, controlPath, ControlServer } from "../../server/control/server.ts";
import { findQueue } from "../../server/control/stopped.ts";
import { concat } from "../../server/message/render.ts";
import { LogSpool } from "../../server/spool/log.ts";
import { MemorySpool } from "../../server/spool/memory.ts";
import { FakeClock } from "../../server/testing/clock.ts";
import { memoryLog } from "../../server/testing/log.ts";
import { FakeDeliveries, fakeWays, fill, keep, minute, now } from "./kit.ts";

interface Rig {
  readonly queue: QueueControl;
  readonly spool: MemorySpool;
  readonly deliveries: FakeDeliveries;
}

async function folder(): Promise<{ path: string } & AsyncDisposable> {
  const path = await Deno.makeTempDir({ prefix: "postrider-control-" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

/** The same on the queue itself and over the socket. */
function both(name: string, test: (rig: Rig) => Promise<void>): void {
  const make = async () => {
    const clock = new FakeClock(now);
    const spool = new MemorySpool(clock);
    await fill(spool);
    const deliveries = new FakeDeliveries();
    return { spool, deliveries, queue: new LocalQueue(spool, clock, deliveries, { ways: fakeWays }) };
  };
  Deno.test(`queue, local: ${name}`, async () => await test(await make()));
  Deno.test(`queue, over the socket: ${name}`, async () => {
    await using state = await folder();
    const made = await make();
    const server = await ControlServer.open({
      state: state.path,
      queue: made.queue,
      clock: systemClock,
      log: memoryLog(),
    });
    try {
      const queue = await findServer(state.path);
      ok(queue !== "nobody");
      await test({ ...made, queue });
    } finally {
      await server.close();
    }
  });
}

both("a list tells of those who wait, oldest first", async ({ queue }) => {
  const listed = await Array.fromAsync(queue.list());
  deepEqual(listed.map(({ id, state }) => [id, state]), [
    ["1M806DNB400W1VEH", "held"],
    ["1M806DNHX00W1VEH", "ready"],
    ["1M806DZZZ00W1VEH", "ready"],
  ]);
  const reply = "451 4.7.1 Greylisted, please try again in five minutes";
  deepEqual(listed[1], {
    id: "1M806DNHX00W1VEH",
    received: now - 5 * 3_600_000,
    sender: "alice@here.example",
    size: 24,
    state: "ready",
    held: null,
    recipients: [
      {
        address: "bob@there.example",
        state: "deferred",
        attempts: 3,
        nextAttempt: now + 12 * minute,
        lastReply: reply,
      },
      {
        address: "carol@there.example",
        state: "ready",
        attempts: 2,
        nextAttempt: now - 1000,
        lastReply: reply,
      },
    ],
  });
  deepEqual(listed[0]?.recipients.map(({ state, nextAttempt }) => [state, nextAttempt]), [["held", null]]);
});

both(
  "a message that is being tried is active, as far as its recipients are due",
  async ({ queue, deliveries }) => {
    deliveries.active.add("1M806DNHX00W1VEH");
    const [, active] = await Array.fromAsync(queue.list());
    equal(active?.state, "active");
    deepEqual(active?.recipients.map(({ state, nextAttempt }) => [state, nextAttempt]), [
      ["deferred", now + 12 * minute],
      ["active", null],
    ]);
  },
);

both("show tells everything, also of recipients that are done with", async ({ queue }) => {
  const shown = await queue.show("1M806DNHX00W1VEH");
  deepEqual(
    shown?.recipients.map(({ address, original, state, attempts, delayNoticed }) => ({
      ...{ address, original, state, attempts, delayNoticed },
    })),
    [
      ...[["bob@there.example", "bob@there.example", "deferred", 3, true]],
      ...[["carol@there.example", "team@here.example", "ready", 2, false]],
      ...[["dora@x.example", "dora@x.example", "delivered", null, false]],
    ].map(([address, original, state, attempts, delayNoticed]) => ({
      ...{ address, original, state, attempts, delayNoticed },
    })),
  );
  deepEqual([shown?.envid, shown?.ret, shown?.from?.user], ["E1", "HDRS", "alice@here.example"]);
  equal(shown?.header, "Received: from client.example\r\n\tby mx.here.example\r\nSubject: hello\r\n");
  equal(await queue.show("NOBODY"), undefined);
});

both("the content is the message as it goes out, of any size", async ({ queue, spool }) => {
  const text = `A: 1\r\n\r\n${"é\x80\n".repeat(100_000)}`;
  await keep(spool, "LARGE", { age: 0, to: ["a@x.example"], text });
  const large = concat(await Array.fromAsync(queue.content("LARGE")));
  ok(new TextDecoder().decode(large) === `Received: from client.example\r\n\tby mx.here.example\r\n${text}`);
  deepEqual(await Array.fromAsync(queue.content("NOBODY")), []);
});

both("retry makes all open recipients due, and wakes what sleeps", async ({ queue, spool, deliveries }) => {
  deepEqual(await queue.act("retry", ["1M806DNHX00W1VEH"]), [
    { id: "1M806DNHX00W1VEH", outcome: "done", underWay: false },
  ]);
  const states = (await spool.get("1M806DNHX00W1VEH"))?.states ?? [];
  ok(states.every((state) => state.state !== "due" || state.due <= now));
  equal(deliveries.roused, 1);
});

both("retry of a held one says so and does nothing", async ({ queue, spool, deliveries }) => {
  deepEqual(await queue.act("retry", ["1M806DNB400W1VEH"]), [
    { id: "1M806DNB400W1VEH", outcome: "held", underWay: false },
  ]);
  equal((await spool.get("1M806DNB400W1VEH"))?.held, "by an operator");
  equal(deliveries.roused, 0);
});

both("hold, release, delete; what is not there is unknown, the others are done", async ({ queue, spool }) => {
  const [first, second] = ["1M806DNHX00W1VEH", "1M806DZZZ00W1VEH"];
  const outcomes = async (...asked: Parameters<QueueControl["act"]>) =>
    (await queue.act(...asked)).map(({ outcome }) => outcome);
  deepEqual(await outcomes("hold", [first, "NOBODY", second], "looks like spam"), [
    "done",
    "unknown",
    "done",
  ]);
  equal((await spool.get(first))?.held, "looks like spam");
  deepEqual(await outcomes("hold", [first], "another reason"), ["held"]);
  equal((await spool.get(first))?.held, "looks like spam");
  deepEqual(await outcomes("release", [first]), ["done"]);
  const released = await spool.get(first);
  equal(released?.held, undefined);
  ok(released?.states.every((state) => state.state !== "due" || state.due <= now));
  deepEqual(await outcomes("delete", [first, second]), ["done", "done"]);
  equal(spool.size, 1);
});

both("an attempt that is under way is told of", async ({ queue, deliveries }) => {
  deliveries.active.add("1M806DZZZ00W1VEH");
  deepEqual(await queue.act("delete", ["1M806DZZZ00W1VEH"]), [
    { id: "1M806DZZZ00W1VEH", outcome: "done", underWay: true },
  ]);
});

both("retryAll makes everything due but what is held", async ({ queue, spool, deliveries }) => {
  equal(await queue.retryAll(), 2);
  deepEqual(spool.census(now), { ready: 2, deferred: 0, held: 1, oldest: now - 73 * 60 * minute });
  const states = (await spool.get("1M806DNHX00W1VEH"))?.states ?? [];
  ok(states.every((state) => state.state !== "due" || state.due <= now));
  equal(deliveries.roused, 1);
});

both("the overview counts, and names destinations that sleep", async ({ queue, deliveries }) => {
  deliveries.asleep = [{
    destination: "smtp there.example",
    until: now + minute,
    why: { reply: "4.4.1 refused" },
  }];
  deepEqual(await queue.overview(), {
    ...{ ready: 2, deferred: 0, held: 1, oldest: now - 73 * 60 * minute },
    asleep: [{ destination: "smtp there.example", until: now + minute, reply: "4.4.1 refused" }],
  });
});

both("what the disk says becomes the command's error", async ({ queue, spool }) => {
  spool.hold = () => Promise.reject(new Error("The spool can't write to /x: No space left."));
  await rejects(queue.act("hold", ["1M806DNHX00W1VEH"]), /No space left/);
});

// ── The socket ─────────────────────────────────────────────────────────────────────────────────────

function empty(): LocalQueue {
  return new LocalQueue(new MemorySpool(systemClock), systemClock, new FakeDeliveries());
}

async function raw(path: string, text: string): Promise<unknown[]> {
  using conn = await Deno.connect({ transport: "unix", path });
  await writeAll(conn, text);
  await conn.closeWrite();
  return (await Array.fromAsync(readLines(conn))).map((line) => JSON.parse(line) as unknown);
}

Deno.test("control: the socket is for its owner alone, replaces a dead one, and goes with the server", async () => {
  await using state = await folder();
  const path = controlPath(state.path);
  await Deno.writeTextFile(path, "left by a crash");
  const options = { state: state.path, queue: empty(), clock: systemClock, log: memoryLog() };
  const server = await ControlServer.open(options);
  const info = await Deno.lstat(path);
  equal(info.isSocket, true);
  equal(info.mode! & 0o777, 0o600);
  await rejects(ControlServer.open(options), ControlFailed);
  deepEqual(await raw(path, '{"do":"overview"}\n'), [
    { item: { ready: 0, deferred: 0, held: 0, oldest: null, asleep: [] } },
    { end: true },
  ]);
  await server.close();
  deepEqual(await Array.fromAsync(Deno.readDir(state.path)), []);
});

Deno.test("Q06 control: a server that goes never removes the socket of the one that came after it", async () => {
  await using state = await folder();
  const options = { state: state.path, queue: empty(), clock: systemClock, log: memoryLog() };
  const first = await ControlServer.open(options);
  await Deno.remove(first.path);
  const second = await ControlServer.open(options);
  await first.close();
  ok(await findServer(state.path) !== "nobody");
  await second.close();
  equal(await findServer(state.path), "nobody");
});

Deno.test("control: a path that is too long for a socket is told in a sentence", async () => {
  await using state = await folder();
  const long = join(state.path, "x".repeat(100));
  await Deno.mkdir(long);
  const options = { state: long, queue: empty(), clock: systemClock, log: memoryLog() };
  await rejects(ControlServer.open(options), /too long for the system.*Choose a shorter `state`/);
});

Deno.test("control: nonsense is answered with a sentence, and the next one is served", async () => {
  await using state = await folder();
  const options = { state: state.path, queue: empty(), clock: systemClock, log: memoryLog() };
  const server = await ControlServer.open(options);
  deepEqual(await raw(server.path, "GET / HTTP/1.1\r\n"), [{ error: "The request is not JSON." }]);
  const strange = await raw(server.path, '{"do":"dance"}\n') as { error: string }[];
  ok(/another version/.test(strange[0]!.error));
  deepEqual(await raw(server.path, '{"do":"list"'), []);
  deepEqual(await raw(server.path, '{"do":"list"}\n'), [{ end: true }]);
  await server.close();
});

Deno.test("control: who says nothing is let go, who goes in the middle harms nobody", async () => {
  await using state = await folder();
  const clock = new FakeClock(now);
  const spool = new MemorySpool(clock);
  for (let i = 0; i < 2000; i++) await keep(spool, `M${i}`, { age: 0, to: ["a@x.example"] });
  const queue = new LocalQueue(spool, clock, new FakeDeliveries());
  const server = await ControlServer.open({ state: state.path, queue, clock, log: memoryLog() });
  using silent = await Deno.connect({ transport: "unix", path: server.path });
  {
    using impatient = await Deno.connect({ transport: "unix", path: server.path });
    await writeAll(impatient, '{"do":"list"}\n');
    ok(await impatient.read(new Uint8Array(10)) !== null);
  }
  const remote = await findServer(state.path);
  ok(remote !== "nobody");
  equal((await Array.fromAsync(remote.list())).length, 2000); // by then the silent one was accepted, too
  await clock.advance("10s");
  equal(await silent.read(new Uint8Array(1)).catch(() => null), null);
  await server.close();
});

Deno.test("control: an answer that is cut off is an error, not a shorter list", async () => {
  await using state = await folder();
  using listener = Deno.listen({ transport: "unix", path: controlPath(state.path) });
  const serving = (async () => {
    (await listener.accept()).close(); // the look whether somebody is there
    using conn = await listener.accept();
    await conn.read(new Uint8Array(1000));
    await writeAll(conn, '{"item":{"id":"A"}}\n{"item":');
  })();
  const remote = await findServer(state.path);
  ok(remote !== "nobody");
  await rejects(Array.fromAsync(remote.list()), /before its answer was complete/);
  await serving;
});

// ── A stopped server ───────────────────────────────────────────────────────────────────────────────

Deno.test("queue, stopped: the command opens the spool itself, and what it does is there for the next start", async () => {
  await using state = await folder();
  const edges = { clock: systemClock, log: memoryLog() };
  const before = await LogSpool.open(join(state.path, "spool"), { ...edges, reserve: 0 });
  await fill(before);
  await before.close();
  await Deno.writeTextFile(controlPath(state.path), "left by a crash");
  const found = await findQueue(state.path, edges);
  equal(found.state, "stopped");
  equal(found.queue.server, "stopped");
  equal((await Array.fromAsync(found.queue.list())).length, 3);
  await found.queue.act("hold", ["1M806DNHX00W1VEH"], "for a test");
  await found.queue.act("delete", ["1M806DNB400W1VEH"]);
  await rejects(findQueue(state.path, edges), /no server answers.*Try again in a moment/);
  await found.queue.close();
  const after = await LogSpool.open(join(state.path, "spool"), edges);
  equal((await after.get("1M806DNHX00W1VEH"))?.held, "for a test");
  equal(await after.get("1M806DNB400W1VEH"), undefined);
  equal(after.size, 2);
  await after.close();
});

Deno.test("queue, stopped: where no server has run nothing is made", async () => {
  await using state = await folder();
  const found = await findQueue(join(state.path, "state"), { clock: systemClock, log: memoryLog() });
  equal(found.state, "never");
  deepEqual(await Array.fromAsync(found.queue.list()), []);
  await found.queue.close();
  deepEqual(await Array.fromAsync(Deno.readDir(state.path)), []);
});
