/** Whether work takes time in proportion to its input: what is made four times as long may take four times as long, not sixteen. */
import process from "node:process";
import type { Random } from "../spool/random.ts";
import { unit, written } from "./mutate.ts";
import { must, type Target } from "./target.ts";

const small = 16 * 1024, factor = 4;
/** Quadratic time is 16 times as much. */
const tooMuch = 9;
/** Milliseconds below which nothing is told from noise. */
const noise = 50;
/** Milliseconds of measuring, after which what takes so long is believed. */
const patience = 2000;

/** Makes an input long by repeating something short, and sees how the time grows. @throws {Error} that shows what was repeated. */
export function mustBeLinear({ work, seeds }: Target, random: Random): void {
  if (!work) return;
  const seed = random.pick(seeds);
  const at = random.below(seed.length + 1);
  const [before, after] = [seed.subarray(0, at), random.chance(0.5) ? seed.subarray(at) : new Uint8Array(0)];
  const one = unit(seeds, random);
  const long = (octets: number) => {
    const times = Math.ceil(octets / one.length);
    const bytes = new Uint8Array(before.length + times * one.length + after.length);
    bytes.set(before);
    for (let n = 0; n < times; n++) bytes.set(one, before.length + n * one.length);
    bytes.set(after, before.length + times * one.length);
    return bytes;
  };
  const [short, larger] = [long(small), long(small * factor)];
  // Collecting garbage makes single times long, never the least of several.
  for (const rounds of [1, 3, 8, 25]) {
    const time = least(() => work(larger), rounds);
    if (time < noise || time < tooMuch * least(() => work(short), rounds + 2)) return;
    if (time * rounds > patience) break;
  }
  must(
    false,
    () => `time grows faster than the input: ${written(before)}, then ${written(one)} again and again`,
  );
}

function least(run: () => void, times: number): number {
  let found = Infinity;
  for (let n = 0; n < times; n++) {
    const began = spent();
    run();
    found = Math.min(found, spent() - began);
  }
  return found;
}

/** Milliseconds that this thread has worked: on a busy machine a clock would count what others do, of long work most of all. */
function spent(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}
