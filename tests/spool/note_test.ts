/** Notes for `track`: they cost mail nothing, neither a sync nor its acceptance. */
import { deepStrictEqual as deepEqual, ok, strictEqual as equal } from "node:assert/strict";
import { LogSpool } from "../../server/spool/log.ts";
import type { PassedBy } from "../../server/spool/spool.ts";
import { FakeClock } from "../../server/testing/clock.ts";
import { memoryLog } from "../../server/testing/log.ts";
import { contentOf, delivered, envelopeOf } from "../contract/spool.ts";
import { Random } from "./random.ts";
import { SimReader } from "./reader.ts";
import { diskError, SimDisk } from "./sim_disk.ts";

const folder = "/state/spool";

function passedOf(id: string): PassedBy {
  const { edits: _edits, top: _top, ...envelope } = envelopeOf(id);
  return { envelope, size: 3, keeper: { kind: "transport", via: "maildir", reply: "kept" } };
}

async function open(disk: SimDisk) {
  const [log, reader, clock] = [memoryLog(), new SimReader(folder), new FakeClock()];
  const spool = await LogSpool.open(folder, {
    clock,
    log,
    disk,
    reserve: 0,
    room: 0,
    spares: "none",
    follower: reader,
  });
  return { spool, log, reader, clock };
}

/** Lets what was begun end: the simulated disk needs no time. */
async function settled(): Promise<void> {
  for (let step = 0; step < 50; step++) await undefined;
}

Deno.test("notes: one write and no sync for those of a moment, one sync for all that is kept with them, and a kill takes none that was written", async () => {
  const disk = new SimDisk(new Random(1));
  const { spool, clock } = await open(disk);
  await spool.keep(envelopeOf("Q1"), contentOf("x"));
  const done: string[] = [];
  disk.before = (operation) => void done.push(operation);
  for (const id of ["N1", "N2"]) {
    spool.note(passedOf(id));
    await settled();
  }
  deepEqual(done, []);
  await clock.advance(100);
  await settled();
  deepEqual(done.splice(0), ["write"]);
  spool.note(passedOf("N3"));
  await spool.keep(envelopeOf("Q2"), contentOf("x"));
  deepEqual(done.splice(0), ["write", "sync"]);
  const after = disk.kill();
  const again = await open(after);
  await again.reader.follow(again.spool, after);
  deepEqual([...again.reader.seen].sort(), ["N1", "N2", "N3", "Q1", "Q2"]);
  equal(again.spool.size, 2);
  equal(again.log.entries.filter(({ level }) => level === "error").length, 0);
});

Deno.test("notes: a power cut may take them, and never what was kept before or after", async () => {
  for (let seed = 1; seed <= 40; seed++) {
    const random = new Random(seed);
    const disk = new SimDisk(random);
    const { spool } = await open(disk);
    if (seed % 2 === 0) await spool.keep(envelopeOf("Q1"), contentOf("one"));
    for (let i = 0; i < 5; i++) {
      spool.note(passedOf(`N${i}`));
      await spool.flush();
    }
    if (seed % 3 === 0) await spool.keep(envelopeOf("Q2"), contentOf("two"));
    spool.note(passedOf("N9"));
    await spool.flush();
    const after = disk.crash(random);
    const again = await open(after);
    const expected = [seed % 2 === 0 ? "Q1" : "", seed % 3 === 0 ? "Q2" : ""].filter((id) => id !== "");
    const kept = (await Array.fromAsync(again.spool.list())).map(({ envelope }) => envelope.id);
    deepEqual(kept, expected, `seed ${seed}`);
    await again.reader.follow(again.spool, after);
    if (seed % 3 === 0) {
      ok(again.reader.seen.has("N4"), `seed ${seed}: it was written before what was synced`);
    }
    equal(again.log.entries.filter(({ level }) => level === "error").length, 0, `seed ${seed}`);
  }
});

Deno.test("notes: Q03 a disk that can't take one takes the next mail, if it can", async () => {
  for (const code of ["EIO", "ENOSPC", "EROFS"] as const) {
    const disk = new SimDisk(new Random(1));
    const { spool, log, reader } = await open(disk);
    await spool.keep(envelopeOf("Q1"), contentOf("x"));
    disk.before = (operation) => {
      if (operation === "write") throw diskError(code);
    };
    spool.note(passedOf("N1"));
    await spool.flush();
    equal(log.of("spool: can't note deliveries for `track`").length, 1);
    disk.before = () => {};
    equal(spool.room(), "room", code);
    await spool.keep(envelopeOf("Q2"), contentOf("x"));
    await spool.record([{ id: "Q1", recipient: 0, state: delivered }]);
    await reader.follow(spool, disk);
    deepEqual([...reader.seen].sort(), ["Q1", "Q2"]);
    await spool.close();
    equal((await open(disk.kill())).spool.size, 1);
  }
});

Deno.test("notes: they don't pile up before a disk that hangs, and nobody follows: nobody notes", async () => {
  const disk = new SimDisk(new Random(1));
  const clock = new FakeClock();
  const spool = await LogSpool.open(folder, {
    clock,
    log: memoryLog(),
    disk,
    reserve: 0,
    room: 0,
    spares: "none",
  });
  const { operations } = disk;
  spool.note(passedOf("N1"));
  await spool.flush();
  equal(disk.operations, operations);
  await spool.close();
  const followed = await open(disk.kill());
  for (let i = 0; i < 12_000; i++) followed.spool.note(passedOf(`M${i}`));
  await followed.spool.close();
  const last = await open(disk.kill());
  await last.reader.follow(last.spool, disk);
  equal(last.reader.seen.size <= 10_000, true);
});

Deno.test("following: Q03 where space is short, nothing is kept for who follows, and mail is taken again", async () => {
  const disk = new SimDisk(new Random(1));
  const [log, reader, clock] = [memoryLog(), new SimReader(folder), new FakeClock()];
  const options = {
    clock,
    log,
    disk,
    reserve: 0,
    spares: "none",
    follower: reader,
    segment: 20_000,
  } as const;
  const spool = await LogSpool.open(folder, { ...options, room: 100_000 });
  for (let i = 0; i < 40; i++) {
    await spool.keep(envelopeOf(`Q${i}`), contentOf("x".repeat(5_000)));
    await spool.record([{ id: `Q${i}`, recipient: 0, state: delivered }]);
  }
  await settled();
  equal(reader.misses, 0);
  const before = disk.paths.length;
  ok(before > 8, "nobody has read them");
  disk.capacity = 250_000;
  for (let look = 0; look < 20; look++) {
    spool.room();
    await clock.advance(2_000);
  }
  equal(spool.room(), "room");
  ok(reader.misses > 0 && disk.paths.length < before);
  await spool.close();
});
