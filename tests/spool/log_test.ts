import { deepStrictEqual as deepEqual, match, ok, rejects, strictEqual as equal } from "node:assert/strict";
import { memoryContent } from "../../server/message/content.ts";
import { BodyFailed } from "../../server/spool/body.ts";
import { LogSpool, type LogSpoolOptions, SpoolLocked } from "../../server/spool/log.ts";
import { MemoryDisk } from "../../server/spool/memory_disk.ts";
import { UnknownVersion } from "../../server/spool/replay.ts";
import { checksum } from "../../server/spool/checksum.ts";
import { Damaged, type Spool } from "../../server/spool/spool.ts";
import { SpoolFailed } from "../../server/spool/writer.ts";
import { FakeClock } from "../../server/testing/clock.ts";
import { memoryLog } from "../../server/testing/log.ts";
import { contentOf, deferred, delivered, envelopeOf, octetsOf, spoolContract } from "../contract/spool.ts";
import { Random } from "./random.ts";
import { diskError, type Operation, SimDisk } from "./sim_disk.ts";

const folder = "/state/spool";

async function open(options: Partial<LogSpoolOptions> = {}) {
  const log = memoryLog();
  const disk = new MemoryDisk();
  const spool = await LogSpool.open(folder, {
    clock: new FakeClock(),
    log,
    disk,
    segment: 50_000, // and the spare, which a simulated disk copies all the time
    reserve: 0,
    room: 0,
    ...options,
  });
  return Object.assign(spool, { log, [Symbol.asyncDispose]: () => spool.close() });
}

async function idsOf(spool: Spool): Promise<string[]> {
  return (await Array.fromAsync(spool.list())).map(({ envelope }) => envelope.id);
}

async function textOf(spool: Spool, id: string): Promise<string> {
  return new TextDecoder().decode(await octetsOf(await spool.content(id)));
}

const filesIn = (disk: SimDisk) => disk.paths.filter((path) => path.startsWith(`${folder}/body/`));
const segments = (disk: SimDisk) => disk.paths.filter((path) => /\.(hot|cold)$/.test(path));

spoolContract("log", (clock) => open({ clock }));
// Nothing stays in memory, segments are closed all the time.
spoolContract("log of tiny segments", (clock) => {
  return open({ clock, recent: 0, segment: 2_000, patience: 0, rate: Infinity });
});
spoolContract("log on a real disk", async (clock) => {
  const state = await Deno.makeTempDir();
  const real = await LogSpool.open(`${state}/spool`, {
    ...{ clock, log: memoryLog(), recent: 0, segment: 20_000, reserve: 100_000, room: 0 },
  });
  return Object.assign(real, {
    async [Symbol.asyncDispose]() {
      await real.close();
      await Deno.remove(state, { recursive: true });
    },
  });
});

Deno.test("log: Q01 killed or cut off, everything acknowledged is there, with what became of it", async () => {
  for (const end of ["kill", "crash"] as const) {
    const disk = new SimDisk(new Random(1));
    const spool = await open({ disk });
    const large = new Uint8Array(300_000).fill(65);
    await spool.keep(envelopeOf("Q1", ["a@x", "b@x"]), contentOf("one"));
    await spool.keep(envelopeOf("Q2"), memoryContent(large));
    await spool.keep(envelopeOf("Q3"), contentOf("three"));
    await spool.record([{ id: "Q1", recipient: 0, state: delivered }, {
      id: "Q1",
      recipient: 1,
      state: deferred(7),
    }]);
    await spool.record([{ id: "Q3", recipient: 0, state: delivered }]);
    await spool.hold("Q2", "why");
    await using again = await open({ disk: end === "kill" ? disk.kill() : disk.crash(new Random(2)) });
    deepEqual(await idsOf(again), ["Q1", "Q2"]);
    deepEqual((await again.get("Q1"))?.states, [delivered, deferred(7)]);
    equal((await again.get("Q2"))?.held, "why");
    deepEqual(await octetsOf(await again.content("Q2")), large);
    equal(await textOf(again, "Q1"), "one");
  }
});

Deno.test("log: Q06 a second server is refused, and the first one's end lets it in", async () => {
  const disk = new MemoryDisk();
  const first = await open({ disk });
  await rejects(open({ disk }), (error) => {
    ok(error instanceof SpoolLocked);
    match(error.message, /^Another server is using \/state\/spool\. Stop it first/);
    return true;
  });
  await first.close();
  await (await open({ disk })).close();
});

Deno.test("log: an unknown version stops the start, and nothing is touched", async () => {
  const disk = new SimDisk(new Random(1));
  const spool = await open({ disk });
  await spool.keep(envelopeOf("Q1"), contentOf("1"));
  await spool.close();
  const path = segments(disk)[0]!;
  disk.tamper(path, (bytes) => {
    new DataView(bytes.buffer).setUint16(8, 2, true);
    new DataView(bytes.buffer).setUint32(44, checksum(bytes.subarray(0, 44)), true);
    return bytes;
  });
  const before = disk.paths.map((file) => [file, disk.contents(file)]);
  await rejects(open({ disk }), (error) => {
    ok(error instanceof UnknownVersion);
    match(error.message, /is of version 2; this program knows version 1\. Nothing was changed/);
    return true;
  });
  deepEqual(disk.paths.map((file) => [file, disk.contents(file)]), before);
});

/** Three messages in a segment of their own, closed as given. */
async function three(how: "sealed" | "killed"): Promise<SimDisk> {
  const disk = new SimDisk(new Random(1));
  const spool = await open({ disk });
  for (const id of ["Q1", "Q2", "Q3"]) {
    await spool.keep(envelopeOf(id, ["a@x", "b@x"]), contentOf(`content of ${id}`));
  }
  await spool.record([{ id: "Q2", recipient: 0, state: delivered }]);
  if (how === "killed") return disk.kill();
  await spool.close();
  return disk;
}

for (const how of ["sealed", "killed"] as const) {
  Deno.test(`log: Q02 any octet of a ${how} segment flipped costs one message at most, and is set aside`, async () => {
    const size = sizeOf(await three(how));
    let unharmed = 0;
    for (let at = 0; at < size; at++) {
      const disk = await three(how);
      disk.tamper(segments(disk)[0]!, (bytes) => {
        bytes[at]! ^= 1 << (at % 8);
        return bytes;
      });
      const whole = await readAll(disk);
      ok(whole.length >= 2, `octet ${at}: only ${whole}`);
      if (whole.length === 3) unharmed++;
    }
    ok(unharmed > 48, "damage to what is there twice harms nothing");
  });

  Deno.test(`log: Q02 a ${how} segment cut anywhere keeps what lies before`, async () => {
    const size = sizeOf(await three(how));
    let most = 0;
    for (let at = 0; at <= size; at++) {
      const disk = await three(how);
      disk.tamper(segments(disk)[0]!, (bytes) => bytes.slice(0, at));
      const whole = await readAll(disk, false); // a cut between two records can't be seen
      ok(whole.length >= most, `cut at ${at}: ${whole} after ${most}`);
      deepEqual(whole, ["Q1", "Q2", "Q3"].slice(0, whole.length));
      most = whole.length;
    }
    equal(most, 3);
  });
}

function sizeOf(disk: SimDisk): number {
  return disk.contents(segments(disk)[0]!).length;
}

/** Opens it, and a second time; the ids of messages that can be delivered. All others are held, or gone with a line in the log. */
async function readAll(disk: SimDisk, mustTell = true): Promise<string[]> {
  const whole: string[] = [];
  for (let start = 0; start < 2; start++) {
    const spool = await open({ disk, recent: 0 });
    whole.length = 0;
    for (const { id } of spool.due(Infinity, 10)) {
      const queued = await spool.get(id).catch(isDamaged);
      const content = queued && await spool.content(id).catch(isDamaged);
      if (!queued || !content) continue;
      equal(new TextDecoder().decode(await octetsOf(content)), `content of ${id}`);
      if (id !== "Q2") deepEqual(queued.states.map(({ state }) => state), ["due", "due"]);
      whole.push(id);
    }
    const told = spool.log.entries.some(({ level }) => level === "error" || level === "warning");
    if (mustTell && whole.length < 3 && start === 0) ok(told);
    await spool.close();
  }
  return whole;
}

function isDamaged(error: unknown): undefined {
  ok(error instanceof Damaged);
}

Deno.test("log: Q02 a message whose content is damaged is held, and stays so", async () => {
  const disk = await three("sealed");
  disk.tamper(segments(disk)[0]!, (bytes) => {
    bytes[new TextDecoder("latin1").decode(bytes).indexOf("content of Q2")]! ^= 1;
    return bytes;
  });
  const spool = await open({ disk });
  await rejects(spool.content("Q2"), { name: "Damaged", message: /^The message Q2 is not what was written/ });
  match((await spool.get("Q2"))?.held ?? "", /^damaged: /);
  await spool.close();
  await using again = await open({ disk });
  deepEqual(again.due(Infinity, 10).map(({ id }) => id), ["Q1", "Q3"]);
  match((await again.get("Q2"))?.held ?? "", /^damaged: /);
});

Deno.test("log: Q02 a message whose envelope is damaged is set aside with a line in the log", async () => {
  const disk = await three("sealed");
  disk.tamper(segments(disk)[0]!, (bytes) => {
    const text = new TextDecoder("latin1").decode(bytes);
    bytes[text.indexOf('"sender"', text.indexOf('"id":"Q2"'))]! ^= 1;
    return bytes;
  });
  await using spool = await open({ disk });
  await rejects(spool.get("Q2"), { name: "Damaged" });
  deepEqual(await idsOf(spool), ["Q1", "Q3"]);
  equal(spool.log.of("spool: damage set aside").length, 1);
  ok(disk.paths.includes(`${folder}/corrupt/Q2`));
});

for (const how of ["read", "rewritten"]) {
  Deno.test(`log: Q02 where a message was redirected to is damaged: it is held when it is ${how}, and not sent where it was to go before`, async () => {
    const disk = await three("sealed");
    {
      await using spool = await open({ disk });
      await spool.redirect("Q2", [{ recipient: 1, address: "new@example.com", via: "smtp" }]);
    }
    disk.tamper(segments(disk)[1]!, (bytes) => {
      bytes[new TextDecoder("latin1").decode(bytes).indexOf("new@example.com")]! ^= 1;
      return bytes;
    });
    const clock = new FakeClock();
    const spool = await open({ disk, clock, ...(how === "rewritten" && { patience: 0, rate: Infinity }) });
    if (how === "rewritten") {
      for (const id of ["Q1", "Q3"]) {
        await spool.record([0, 1].map((recipient) => ({ id, recipient, state: delivered })));
      }
      while (!segments(disk).some((path) => path.endsWith(".cold"))) await clock.advance(1_000);
    } else await spool.get("Q2"); // as an attempt would
    deepEqual(spool.due(Infinity, 10).filter(({ id }) => id === "Q2"), []);
    match((await spool.get("Q2"))?.held ?? "", /^damaged: where it was redirected to/);
    await spool.redirect("Q2", [{ recipient: 1, address: "newer@example.com", via: "smtp" }]);
    await spool.release("Q2");
    await spool.close();
    await using again = await open({ disk });
    const queued = await again.get("Q2");
    deepEqual([queued?.held, queued?.envelope.recipients[1]?.address], [undefined, "newer@example.com"]);
  });
}

Deno.test("log: a body file that is missing or damaged holds its message", async () => {
  const disk = new SimDisk(new Random(1));
  const spool = await open({ disk });
  for (const id of ["Q1", "Q2"]) await spool.keep(envelopeOf(id), memoryContent(new Uint8Array(300_000)));
  await spool.close();
  await disk.unlink(`${folder}/body/Q1`);
  disk.tamper(`${folder}/body/Q2`, (bytes) => bytes.fill(1, 200_000, 200_001));
  await using again = await open({ disk });
  match((await again.get("Q1"))?.held ?? "", /body\/Q1, is missing/);
  await rejects(again.content("Q2"), { name: "Damaged" });
  match((await again.get("Q2"))?.held ?? "", /^damaged/);
});

const operations: readonly Operation[] = ["openNew", "write", "sync", "syncFolder"];
for (const operation of operations) {
  for (const code of ["ENOSPC", "EIO", "EROFS", "EMFILE", "EDQUOT"] as const) {
    Deno.test(`log: Q03 ${code} at ${operation}: refused, nothing half-made, and it recovers by itself`, async () => {
      const clock = new FakeClock();
      const disk = new SimDisk(new Random(1));
      const spool = await open({ disk, clock });
      await spool.keep(envelopeOf("Q1", ["a@x", "b@x"]), contentOf("1"));
      if (operation === "openNew" || operation === "syncFolder") { // only a new segment needs these
        disk.before = (asked) => fail(asked === "sync", "EIO");
        await rejects(spool.keep(envelopeOf("Q2"), contentOf("2")), SpoolFailed);
      }
      disk.before = (asked) => fail(asked === operation, code);
      await rejects(spool.keep(envelopeOf("Q3"), contentOf("3")), SpoolFailed);
      const isFull = (code === "ENOSPC" || code === "EDQUOT") && operation !== "openNew" &&
        operation !== "syncFolder";
      equal(spool.room(), isFull ? "full" : "failing"); // where two faults came, by the first
      await rejects(spool.keep(envelopeOf("Q4"), memoryContent(new Uint8Array(300_000))), (error) => {
        return error instanceof SpoolFailed || error instanceof BodyFailed;
      });
      let recorded = false;
      const recording = spool.record([{ id: "Q1", recipient: 0, state: delivered }]).then(() =>
        recorded = true
      );
      await clock.advance(5_000);
      equal(recorded, false, "what has happened waits");
      disk.before = () => {};
      await clock.advance(60_000);
      await recording;
      equal(spool.room(), "room");
      await spool.keep(envelopeOf("Q5"), contentOf("5"));
      await using again = await open({ disk: disk.crash(new Random(3)) });
      deepEqual(await idsOf(again), ["Q1", "Q5"]);
      deepEqual((await again.get("Q1"))?.states[0], delivered);
      await spool.close();
    });
  }
}

Deno.test("log: an amendment that can't be made durable leaves both contents, whichever a start finds", async () => {
  for (const then of ["killed", "repeated", "delivered"] as const) {
    const disk = new SimDisk(new Random(1));
    const spool = await open({ disk });
    const kept = spool.bodies.create("Q1");
    await kept.write(new Uint8Array(300_000).fill(97));
    await spool.keep(envelopeOf("Q1"), await kept.finish());
    await kept.discard();
    const amend = async (name: string, octet: number) => {
      const body = spool.bodies.create(name);
      try {
        await body.write(new Uint8Array(300_000).fill(octet));
        await spool.amend("Q1", (envelope) => envelope, await body.finish());
      } finally {
        await body.discard();
      }
    };
    disk.before = (asked, path) => fail(asked === "sync" && path.endsWith(".cold"), "EIO");
    await rejects(amend("Q1-a", 98), SpoolFailed);
    disk.before = () => {};
    equal((await textOf(spool, "Q1"))[0], "a");
    if (then === "repeated") await amend("Q1-b", 99);
    if (then === "delivered") await spool.record([{ id: "Q1", recipient: 0, state: delivered }]);
    await new Promise((resolve) => setImmediate(resolve)); // what is unlinked, is
    await using again = await open({ disk: disk.kill() });
    if (then === "delivered") deepEqual([await idsOf(again), filesIn(disk)], [[], []]);
    else {
      equal((await again.get("Q1"))?.held, undefined);
      match((await textOf(again, "Q1"))[0]!, then === "killed" ? /[ab]/ : /c/);
    }
    equal(filesIn(disk).length, { killed: 2, repeated: 1, delivered: 0 }[then]);
  }
});

function fail(when: boolean, code: Parameters<typeof diskError>[0]): void {
  if (when) throw diskError(code);
}

Deno.test("log: Q03 a full disk takes no mail, but outcomes, thanks to the reserve, and refills that", async () => {
  const clock = new FakeClock();
  const disk = new SimDisk(new Random(1));
  disk.capacity = 100_000;
  const spool = await open({
    disk,
    clock,
    reserve: 20_000,
    room: 10_000,
    segment: 1e6,
    patience: 0,
    rate: Infinity,
  });
  let kept = 0;
  await rejects(async () => {
    for (;; kept++) await spool.keep(envelopeOf(`Q${kept}`), memoryContent(new Uint8Array(5_000)));
  }, SpoolFailed);
  ok(kept > 10);
  equal(spool.room(), "full");
  await rejects(spool.keep(envelopeOf("R1"), contentOf("1")), {
    message: `The disk with ${folder} is full.`,
  });
  for (let i = 0; i < kept; i++) await spool.record([{ id: `Q${i}`, recipient: 0, state: delivered }]);
  equal(spool.size, 0);
  equal((await open({ disk: disk.crash(new Random(2)), reserve: 0 })).size, 0, "they are recorded");
  await clock.advance(60_000);
  equal(spool.room(), "room");
  await spool.keep(envelopeOf("R2"), contentOf("1"));
  ok(disk.paths.includes(`${folder}/reserve-hot`) && disk.paths.includes(`${folder}/reserve-cold`));
  await spool.close();
});

Deno.test("log: too little free space is no room, the contents under way counted", async () => {
  const clock = new FakeClock();
  const disk = new MemoryDisk();
  disk.octetsFree = 1_000_000;
  await using spool = await open({ disk, clock, room: 900_000 });
  equal(spool.room(), "room");
  const body = spool.bodies.create("Q1");
  await body.write(new Uint8Array(150_000));
  equal(spool.room(), "full");
  await body.discard();
  disk.octetsFree = 800_000;
  await clock.advance(2_000);
  spool.room();
  await clock.advance(0);
  equal(spool.room(), "full");
});

Deno.test("log: Q08 what is delivered leaves the disk, long-deferred mail gathers, and all of it is right after a start", async () => {
  const disk = new SimDisk(new Random(1));
  const clock = new FakeClock();
  const spool = await open({ disk, clock, segment: 10_000, patience: 0, rate: Infinity });
  const slow: string[] = [];
  for (let i = 0; i < 400; i++) {
    await spool.keep(envelopeOf(`Q${i}`, ["a@x", "b@x"], i), contentOf("x".repeat(500)));
    await spool.record([{ id: `Q${i}`, recipient: 0, state: delivered }]);
    if (i % 20 === 0) slow.push(`Q${i}`);
    else await spool.record([{ id: `Q${i}`, recipient: 1, state: delivered }]);
    for (const id of slow) {
      if (i % 50 === 0) await spool.record([{ id, recipient: 1, state: deferred(i, i) }]);
    }
  }
  await clock.advance(0);
  ok(disk.paths.filter((path) => path.endsWith(".cold")).length >= 1);
  const octets = segments(disk).reduce((sum, path) => sum + disk.contents(path).length, 0);
  ok(octets < 120_000, `${octets} octets for 20 messages of 1,000`);
  await using again = await open({ disk: disk.crash(new Random(1)) });
  deepEqual(await idsOf(again), slow);
  deepEqual((await again.get("Q0"))?.states, [delivered, deferred(350, 350)]);
  await spool.close();
});

Deno.test("log: a message that was being tried when the process ended twice is held; others are tried alone", async () => {
  const disk = new SimDisk(new Random(1));
  const clock = new FakeClock();
  let spool = await open({ disk, clock });
  for (const id of ["Q1", "Q2", "Q3", "Q4"]) {
    await spool.keep(envelopeOf(id, ["a@x"], clock.now()), contentOf("1"));
  }
  const due = () => spool.due(Infinity, 10).map(({ id }) => id);
  spool.attempting(["Q1", "Q2"]);
  spool.attempting(["Q3"]);
  spool.postpone("Q2", clock.now() + 10); // its destination sleeps: it was not tried
  await spool.record([{ id: "Q3", recipient: 0, state: deferred(clock.now(), 1) }]);
  spool.attempting(["Q3", "Q4"]);

  spool = await open({ disk: disk.kill(), clock }); // the first time: Q1, Q3, Q4 are under suspicion
  deepEqual(due().sort(), ["Q1", "Q2"]);
  spool.attempting(["Q1", "Q2"]);
  await spool.record([{ id: "Q1", recipient: 0, state: deferred(clock.now(), 1) }]);
  deepEqual(due().sort(), ["Q1", "Q2", "Q3"]);
  spool.attempting(["Q3"]);
  const cleanly = disk.kill();

  spool = await open({ disk: cleanly, clock });
  equal((await spool.get("Q4"))?.held, undefined);
  await spool.close();
});

Deno.test("log: the second crash during an attempt holds the message, an outcome between clears it", async () => {
  const clock = new FakeClock();
  let disk = new SimDisk(new Random(1));
  const start = async () => await open({ disk, clock });
  let spool = await start();
  for (const id of ["Q1", "Q2"]) await spool.keep(envelopeOf(id, ["a@x"], clock.now()), contentOf("1"));
  spool.attempting(["Q1", "Q2"]);
  disk = disk.kill();
  spool = await start();
  deepEqual(spool.due(Infinity, 10).map(({ id }) => id), ["Q1"]);
  spool.attempting(["Q1"]);
  await spool.record([{ id: "Q1", recipient: 0, state: deferred(clock.now(), 1) }]);
  spool.attempting(["Q1", "Q2"]);
  disk = disk.kill();
  spool = await start();
  equal((await spool.get("Q1"))?.held, undefined);
  match((await spool.get("Q2"))?.held ?? "", /ended 2 times while this message was being delivered/);
  await spool.release("Q2");
  ok(spool.due(clock.now(), 10).some(({ id }) => id === "Q2"));
  await spool.close();
});

Deno.test("log: what was due long ago is spread out at a start", async () => {
  const disk = new MemoryDisk();
  const clock = new FakeClock();
  const spool = await open({ disk, clock });
  const now = clock.now();
  for (let i = 0; i < 100; i++) await spool.keep(envelopeOf(`Q${i}`, ["a@x"], now - 1e9), contentOf("1"));
  await spool.keep(envelopeOf("R1", ["a@x"], now - 10), contentOf("1"));
  await spool.keep(envelopeOf("R2", ["a@x"], now + 50), contentOf("1"));
  await spool.close();
  await using again = await open({ disk, clock });
  deepEqual(again.due(now, 10).map(({ id }) => id), ["R1", "Q0"]);
  const dues = again.due(now + 1_000, 1_000).map(({ at }) => at - now);
  deepEqual([dues.length, dues.at(-1)], [102, 198]);
});

Deno.test("log: what can't be an id is refused", async () => {
  await using spool = await open();
  for (const id of ["", "../x", "a b", "é", "x".repeat(101)]) {
    await rejects(spool.keep(envelopeOf(id), contentOf("1")), TypeError);
  }
});

Deno.test("log: closed, nothing is kept any more, and what is under way is", async () => {
  const disk = new MemoryDisk();
  const spool = await open({ disk });
  const keeping = Promise.all(["Q1", "Q2", "Q3"].map((id) => spool.keep(envelopeOf(id), contentOf(id))));
  await Promise.all([keeping, spool.close()]);
  await rejects(spool.keep(envelopeOf("Q4"), contentOf("4")), SpoolFailed);
  await using again = await open({ disk });
  deepEqual(await idsOf(again), ["Q1", "Q2", "Q3"]);
});
