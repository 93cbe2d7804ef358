/** One try of a target, and what is to be known of one that went wrong. */
import { Random } from "../spool/random.ts";
import { mustBeLinear } from "./linear.ts";
import { mutated, shortened, written } from "./mutate.ts";
import type { Target } from "./target.ts";

/** What went wrong. */
export interface Failure {
  readonly target: string;
  readonly seed: number;
  readonly message: string;
  /** As a dialog writes it. */
  readonly input: string;
}

/** One in so many tries looks at the time that grows with the input. */
const timed = 400;

/** The input and what else is drawn for a try, from its seed alone. */
async function attempt(target: Target, seed: number, instead?: Uint8Array): Promise<void> {
  const random = new Random(seed);
  const input = mutated(target.seeds, random);
  await target.try(instead ?? input, random);
}

/** Tries one seed; gives what went wrong, with the shortest input found. */
export async function tried(target: Target, seed: number): Promise<Failure | undefined> {
  try {
    await attempt(target, seed);
    if (target.work && seed % timed === 0) mustBeLinear(target, new Random(seed));
    return undefined;
  } catch (error) {
    const message = (error as Error).message ?? String(error);
    const random = new Random(seed);
    const input = mutated(target.seeds, random);
    const shortest = await shortened(
      input,
      (bytes) => attempt(target, seed, bytes).then(() => false, () => true),
    );
    return { target: target.name, seed, message, input: written(shortest) };
  }
}
