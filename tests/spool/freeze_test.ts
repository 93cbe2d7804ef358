/** A copy of a spool that is at work: what was acknowledged before is in it, and nothing that a start could trip over. */
import { deepStrictEqual as deepEqual, ok, strictEqual as equal } from "node:assert/strict";
import { LogSpool } from "../../server/spool/log.ts";
import { memoryContent } from "../../server/message/content.ts";
import { FakeClock } from "../../server/testing/clock.ts";
import { memoryLog } from "../../server/testing/log.ts";
import { delivered, envelopeOf } from "../contract/spool.ts";
import { octetsOf } from "../contract/spool.ts";
import type { Disk } from "../../server/spool/disk.ts";
import type { FrozenFile } from "../../server/spool/freeze.ts";
import type { RecipientState } from "../../server/spool/spool.ts";
import { Random } from "./random.ts";
import { diskError, SimDisk } from "./sim_disk.ts";
import { folder, Workload } from "./workload.ts";

/** Copies as `backup` does: so many octets of each file. */
async function copy(from: SimDisk, files: readonly FrozenFile[]): Promise<SimDisk> {
  const to = new SimDisk(new Random(1));
  await to.makeFolder(`${folder}/body`);
  for (const { name, octets, needed } of files) {
    if (needed === "maybe" && !from.paths.includes(`${folder}/${name}`)) continue;
    const bytes = new Uint8Array(octets);
    equal(await from.readRange(`${folder}/${name}`, 0, bytes), octets, name);
    const file = await to.openNew(`${folder}/${name}`);
    await file.write(bytes);
    await file.sync();
    file.close();
  }
  return to;
}

function open(disk: Disk, more: object = {}): Promise<LogSpool> {
  const quick = { segment: 2_000, inLog: 700, bodies: { each: 700 }, recent: 0, rate: Infinity, patience: 0 };
  return LogSpool.open(folder, {
    ...{ clock: new FakeClock(), log: memoryLog(), disk, reserve: 0, room: 0, ...quick, ...more },
  });
}

for (const faults of [false, true]) {
  Deno.test(`freeze: 150 copies of spools at work${faults ? " on a disk that fails" : ""} hold what was acknowledged, as it stood`, async () => {
    let checked = 0;
    for (let seed = 1; seed <= 150; seed++) {
      const random = new Random(seed);
      const workload = new Workload(random);
      const disk = new SimDisk(random);
      const spool = await workload.open(disk);
      if (faults) {
        disk.before = (operation) => {
          if (operation !== "lock" && random.chance(0.01)) throw diskError("EIO");
        };
      }
      await workload.run(disk, 20 + random.below(200));
      const freeze = spool.freeze();
      await workload.run(disk, random.below(60));
      // What nobody changes at this moment has to be in the copy just so.
      const settled = [...workload.model.messages.values()].filter((message) =>
        message.kept === "yes" && !message.isBusy && message.mustBe
      ).map(({ id, version, states, held }) => ({
        id,
        octets: version.values[0]!.octets,
        held: held.values[0],
        states: states.map(({ values }) => values[0]!),
      }));
      const gone = [...workload.model.messages.values()].filter((message) =>
        !message.isBusy && message.mayNotBe
      );
      disk.before = () => {};
      const files = await freeze.cut();
      await workload.run(disk, random.below(200));
      equal(freeze.state, "whole");
      const copied = await open(await copy(disk, files));
      for (const { id, octets, states, held } of settled) {
        checked++;
        const queued = await copied.get(id);
        ok(queued, `seed ${seed}: ${id} is missing`);
        deepEqual(queued.held, held);
        const plain = (all: readonly RecipientState[]) => all.map(({ state, reply }) => [state, reply]);
        deepEqual(plain(queued.states), plain(states), `seed ${seed}: ${id}`);
        deepEqual(await octetsOf(await copied.content(id)), octets, `seed ${seed}: ${id}`);
      }
      for (const { id } of gone) {
        equal(await copied.get(id), undefined, `seed ${seed}: ${id} has risen again`);
      }
      for await (const { envelope, held } of copied.list()) {
        ok(!held?.startsWith("damaged"), `seed ${seed}: ${envelope.id} ${held}`);
      }
      await copied.close();
      freeze.release();
      await workload.settle(disk);
      await spool.close();
    }
    ok(checked > 400, `${checked}`);
  });
}

const bodiesOf = (disk: SimDisk) => disk.paths.filter((path) => path.includes("/body/"));
const segmentsOf = (disk: SimDisk) => disk.paths.filter((path) => /\.(hot|cold)$/.test(path));

Deno.test("freeze: files stay until it is released, and go then", async () => {
  const [disk, clock] = [new SimDisk(new Random(1)), new FakeClock()];
  const spool = await open(disk, { clock });
  for (let i = 0; i < 20; i++) {
    await spool.keep(envelopeOf(`Q${i}`, ["a@x"]), memoryContent(new Uint8Array(i % 2 ? 2_000 : 300)));
  }
  const [first, second] = [spool.freeze(), spool.freeze()];
  const before = segmentsOf(disk);
  equal(bodiesOf(disk).length, 10);
  for (let i = 0; i < 20; i++) await spool.record([{ id: `Q${i}`, recipient: 0, state: delivered }]);
  await clock.advance(120_000);
  first.release();
  first.release();
  await clock.advance(120_000);
  ok(before.every((path) => disk.paths.includes(path)));
  equal(bodiesOf(disk).length, 10);
  equal((await copy(disk, await second.cut())).paths.length > 0, true);
  second.release();
  await clock.advance(120_000);
  await spool.close();
  deepEqual([bodiesOf(disk), segmentsOf(disk).filter((path) => before.includes(path))], [[], []]);
});

Deno.test("freeze: where the disk becomes full, space is worth more than a copy, and the copy is told", async () => {
  const [disk, clock] = [new SimDisk(new Random(1)), new FakeClock()];
  const spool = await open(disk, { clock, reserve: 4_000 });
  for (let i = 0; i < 10; i++) {
    await spool.keep(envelopeOf(`Q${i}`, ["a@x"]), memoryContent(new Uint8Array(2_000)));
  }
  const freeze = spool.freeze();
  disk.before = (operation) => {
    if (operation === "write") throw diskError("ENOSPC");
  };
  await spool.keep(envelopeOf("Q99", ["a@x"]), memoryContent(new Uint8Array(9))).catch(() => {});
  for (let i = 0; i < 10; i++) void spool.record([{ id: `Q${i}`, recipient: 0, state: delivered }]);
  disk.before = () => {};
  await clock.advance(120_000);
  equal(freeze.state, "thawed");
  equal(bodiesOf(disk).length, 0);
  freeze.release();
  await spool.close();
});
