/**
 * Time-outs of many connections by one timer. Each reply pushes its connection's deadline ahead, thousands of times a second;
 * a timer set and cancelled for each would cost more than the reading.
 */
import type { Clock } from "../../clock.ts";

/** Who has a deadline. */
export interface Timed {
  /** Monotonic milliseconds; `Infinity`: none. Set by {@linkcode Deadlines.set}. */
  deadline: number;
  /** The deadline has passed; by up to a second. */
  expired(): void;
}

/** Nothing is so urgent that it is looked for more often. */
const coarseness = 1000;

/** Watches deadlines. */
export class Deadlines {
  readonly #clock: Clock;
  readonly #timed = new Set<Timed>();
  #armedFor = Infinity;
  #cancel: (() => void) | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  add(timed: Timed): void {
    this.#timed.add(timed);
  }

  delete(timed: Timed): void {
    this.#timed.delete(timed);
    if (this.#timed.size > 0) return;
    this.#cancel?.();
    this.#cancel = undefined;
    this.#armedFor = Infinity;
  }

  /** @param ms From now; `Infinity` takes the deadline away. */
  set(timed: Timed, ms: number): void {
    if (ms === Infinity) {
      timed.deadline = Infinity;
      return;
    }
    const deadline = timed.deadline = this.#clock.monotonic() + ms;
    if (deadline < this.#armedFor && this.#timed.has(timed)) this.#arm(deadline);
  }

  #arm(deadline: number): void {
    this.#cancel?.();
    this.#armedFor = deadline;
    this.#cancel = this.#clock.after(deadline - this.#clock.monotonic(), () => this.#look());
  }

  #look(): void {
    const now = this.#clock.monotonic();
    this.#armedFor = Infinity;
    this.#cancel = undefined;
    let next = Infinity;
    for (const timed of [...this.#timed]) {
      if (timed.deadline <= now) timed.expired();
      else if (timed.deadline < next) next = timed.deadline;
    }
    // What `expired` did may have armed it already.
    if (next < this.#armedFor) this.#arm(Math.max(next, now + coarseness));
  }
}
