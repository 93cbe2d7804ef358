/** A clock that stands still until a test moves it. */
import { setImmediate } from "node:timers";
import type { Clock } from "../clock.ts";
import { type Duration, readDuration } from "../options.ts";

export type { Clock };

interface Timer {
  readonly due: number;
  readonly callback: () => void;
}

/**
 * A {@linkcode Clock} for tests: time passes only in {@linkcode FakeClock.advance}, and then at once.
 *
 * @example
 * ```ts
 * import { FakeClock } from "postrider/testing";
 * import { strictEqual as equal } from "node:assert/strict";
 * const clock = new FakeClock();
 * let woken = false;
 * clock.after(60_000, () => woken = true);
 * await clock.advance("1m");
 * equal(woken, true);
 * ```
 */
export class FakeClock implements Clock {
  #wall: number;
  // Not 0, so that code which takes the monotonic clock for the wall clock, or for an age, is found out.
  #monotonic = 1_000_000;
  /** In the order of being due; those due at the same moment in the order they were set. */
  readonly #timers: Timer[] = [];
  readonly #watchers = new Set<() => void>();

  /**
   * Makes a clock.
   *
   * @param now The wall clock at the start, milliseconds since 1970; default 2026-11-21T22:00:00Z.
   */
  constructor(now: number = Date.UTC(2026, 10, 21, 22)) {
    this.#wall = now - this.#monotonic;
  }

  /** The wall clock: milliseconds since 1970. */
  now(): number {
    return this.#wall + this.#monotonic;
  }

  /** Milliseconds that only grow, untouched by {@linkcode FakeClock.step}. */
  monotonic(): number {
    return this.#monotonic;
  }

  /** Resolves once the clock was advanced by `ms`; rejects with the signal's reason when that comes first. */
  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const stop = () => {
        cancel();
        reject(signal!.reason);
      };
      const cancel = this.after(ms, () => {
        signal?.removeEventListener("abort", stop);
        resolve();
      });
      signal?.addEventListener("abort", stop, { once: true });
    });
  }

  /** Calls `callback` once the clock was advanced by `ms`; what is returned cancels it. */
  after(ms: number, callback: () => void): () => void {
    const timer: Timer = { due: this.#monotonic + Math.max(0, ms), callback };
    const later = this.#timers.findIndex((other) => other.due > timer.due);
    this.#timers.splice(later < 0 ? this.#timers.length : later, 0, timer);
    for (const check of this.#watchers) check();
    return () => {
      const index = this.#timers.indexOf(timer);
      if (index >= 0) this.#timers.splice(index, 1);
    };
  }

  /** How many milliseconds from now each pending timer is due, soonest first. */
  get pending(): readonly number[] {
    return this.#timers.map((timer) => timer.due - this.#monotonic);
  }

  /**
   * Lets time pass, given as text (`5m`) or in milliseconds: runs what comes due, in order, each at its own moment, and lets promises settle
   * before and after each. Timers set on the way are run too where they come due in time.
   */
  async advance(time: Duration | number): Promise<void> {
    const ms = typeof time === "number" ? time : readDuration(time);
    if (ms === undefined) throw new TypeError(`advance("${time}"): write it as 500ms, 30s, 5m, 36h or 5d`);
    await turn();
    const end = this.#monotonic + ms;
    for (let next = this.#timers[0]; next !== undefined && next.due <= end; next = this.#timers[0]) {
      this.#timers.shift();
      this.#monotonic = Math.max(this.#monotonic, next.due);
      next.callback();
      await turn();
    }
    this.#monotonic = Math.max(this.#monotonic, end);
  }

  /** Steps the wall clock by `ms`, which may be negative, as NTP or an administrator does: no timer moves. */
  step(ms: number): void {
    this.#wall += ms;
  }

  /** Resolves once at least `count` timers are pending: for code that does real I/O before it waits. */
  untilPending(count: number): Promise<void> {
    return new Promise((resolve) => {
      const check = () => {
        if (this.#timers.length < count) return;
        this.#watchers.delete(check);
        resolve();
      };
      this.#watchers.add(check);
      check();
    });
  }
}

/**
 * One turn of the event loop: every promise that can settle without I/O has settled when it resolves. (A timer of 0 ms would do,
 * too, but takes two of them: most of what a message through a test server would cost.)
 */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
