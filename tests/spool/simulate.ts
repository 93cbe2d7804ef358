/**
 * Promise 1 on a disk that is cut off: `deno run -A tests/spool/simulate.ts [SEEDS] [FIRST] [trace]` runs thousands of lives of a
 * spool; each is the same again with the same seed.
 */
import { deepStrictEqual as deepEqual, strictEqual as equal } from "node:assert/strict";
import { diskError, SimDisk } from "./sim_disk.ts";
import { Random } from "./random.ts";
import { folder, Workload } from "./workload.ts";

/** Says what was seen, for people who wonder whether it looks at anything. */
export interface Tally {
  readonly cuts: number;
  readonly checks: number;
  readonly messages: number;
}

/** One seed: some lives, each ended by a power cut or a kill at a random operation; then all is delivered. @throws where a promise is broken. */
export async function simulate(
  seed: number,
  { faults = false, trace = (_line: string) => {} } = {},
): Promise<Tally> {
  const random = new Random(seed);
  const workload = new Workload(random);
  let disk = new SimDisk(random);
  workload.trace = disk.trace = trace;
  const lives = 3 + random.below(4);
  for (let life = 0; life < lives; life++) {
    workload.isCut = () => false;
    disk = await openThrough(workload, disk);
    await workload.model.check(workload.spool);
    disk = await liveAndDie(workload, disk, faults);
  }
  await deliverAll(workload, disk);
  return { cuts: lives, checks: workload.model.checks, messages: workload.model.messages.size };
}

/** A start may be cut off, too, several times. Gives the disk it succeeds on. */
async function openThrough(workload: Workload, disk: SimDisk): Promise<SimDisk> {
  const { random } = workload;
  while (random.chance(0.3)) {
    const end = disk.operations + random.below(60);
    let after: SimDisk | undefined;
    disk.before = () => {
      if (disk.operations < end) return;
      after ??= random.chance(0.2) ? disk.kill() : disk.crash(random);
      disk.isDown = true;
    };
    await workload.open(disk).catch(() => {}); // the cut
    after ??= disk.crash(random);
    disk.isDown = true;
    workload.forget();
    disk = after;
  }
  await workload.open(disk);
  return disk;
}

async function liveAndDie(workload: Workload, disk: SimDisk, faults: boolean): Promise<SimDisk> {
  const { random } = workload;
  const end = disk.operations + random.below(random.pick([20, 200, 800]));
  let after: SimDisk | undefined;
  const chance = faults ? random.pick([0.002, 0.02, 0.2]) : 0;
  const window = { from: disk.operations + random.below(200), length: random.below(100) };
  workload.isCut = () => after !== undefined;
  disk.before = (operation) => {
    if (disk.operations >= end) {
      after ??= random.chance(0.2) ? disk.kill() : disk.crash(random);
      disk.isDown = true;
      return;
    }
    const at = disk.operations - window.from;
    if (at < 0 || at > window.length || !random.chance(chance) || operation === "lock") return;
    throw diskError(random.pick(["ENOSPC", "EIO", "EMFILE", "EROFS", "EDQUOT"]));
  };
  await workload.run(disk, 300);
  if (!after && random.chance(0.5)) {
    await workload.settle(disk);
    if (!disk.isDown) await workload.spool.close();
  }
  after ??= disk.crash(random);
  disk.isDown = true;
  workload.forget();
  if (workload.failures[0]) throw workload.failures[0];
  return after;
}

/** In the end everything can be delivered, and nothing is left on the disk. */
async function deliverAll(workload: Workload, disk: SimDisk): Promise<void> {
  workload.isCut = () => false;
  disk.before = () => {};
  const spool = await workload.open(disk);
  await workload.model.check(spool);
  const state = { state: "delivered", reply: "250 at last" } as const;
  for await (const { envelope, states } of spool.list()) {
    await spool.record(states.map((_, recipient) => ({ id: envelope.id, recipient, state })));
  }
  equal(spool.size, 0);
  await workload.reader.follow(spool, disk);
  workload.reader.check(workload.acknowledged);
  await spool.close();
  const again = await workload.open(disk);
  equal(again.size, 0);
  await workload.reader.follow(again, disk);
  await workload.clock.advance(120_000);
  await again.close();
  deepEqual(disk.paths.filter((path) => !/\/(lock|attempts)$|\/corrupt\//.test(path)), [], folder);
}

if (import.meta.main) {
  const [seeds = "1000", first = "1", how] = Deno.args;
  const isTraced = how === "trace";
  const sum = { cuts: 0, checks: 0 };
  const began = performance.now();
  for (let seed = Number(first); seed < Number(first) + Number(seeds); seed++) {
    for (const faults of [false, true]) {
      try {
        const { cuts, checks } = await simulate(seed, { faults, ...(isTraced && { trace: console.log }) });
        sum.cuts += cuts;
        sum.checks += checks;
      } catch (error) {
        console.error(`seed ${seed}${faults ? " with faults" : ""}:`, error);
        Deno.exit(1);
      }
    }
  }
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  console.log(
    `${seeds} seeds, ${sum.cuts} cuts, ${sum.checks} messages checked, nothing lost, partial or repeated, ${seconds} s`,
  );
}
