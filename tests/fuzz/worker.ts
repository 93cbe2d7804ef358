/** One thread of fuzzing: tries inputs until it is told to end, and says what went wrong. The main thread sees when it hangs. */
import { type Failure, tried } from "./tries.ts";
import { targets } from "./targets/mod.ts";

/** What a thread is to do. */
export interface Order {
  readonly targets: readonly string[];
  /** The first try's; each following one has the next of this thread's. */
  readonly seed: number;
  readonly step: number;
  /** Milliseconds; 0: one try of each target. */
  readonly time: number;
  /** Where the thread says what it is at: tries so far, index of the target, its seed. */
  readonly at: SharedArrayBuffer;
}

/** What it has to say at the end. */
export interface Said {
  readonly tries: Readonly<Record<string, number>>;
  readonly failures: readonly Failure[];
}

/** Tries of a target before the next one has its turn. */
const inARow = 50;
async function work({ targets: names, seed, step, time, at }: Order): Promise<Said> {
  const place = new Uint32Array(at);
  const chosen = targets.filter(({ name }) => names.includes(name));
  const tries: Record<string, number> = Object.fromEntries(chosen.map(({ name }) => [name, 0]));
  const failures: Failure[] = [];
  const end = performance.now() + time;
  let next = seed;
  do {
    for (const target of chosen) {
      if (failures.some((one) => one.target === target.name)) continue;
      for (let n = 0; n < (time === 0 ? 1 : inARow); n++) {
        [place[1], place[2]] = [targets.indexOf(target), next + n * step];
        Atomics.add(place, 0, 1);
        const failure = await tried(target, next + n * step);
        tries[target.name]!++;
        if (failure) {
          failures.push(failure);
          break;
        }
      }
    }
    next += inARow * step;
  } while (performance.now() < end);
  return { tries, failures };
}

const thread = self as unknown as {
  onmessage: (event: MessageEvent<Order>) => void;
  postMessage(said: Said | "ready"): void;
};
thread.onmessage = async ({ data }) => thread.postMessage(await work(data));
thread.postMessage("ready"); // what is said to a module that still awaits its imports is lost
