/**
 * Who is next: attempts wait by destination, and each gets its share of the slots, so that one that hangs delays only itself
 * (CASES O07). One that can't be reached sleeps (DESIGN §8, Size). Pure: time comes in as monotonic milliseconds.
 */
import type { Result } from "./attempt.ts";
import { Fifo } from "./fifo.ts";
import type { Random } from "./schedule.ts";

/** Attempts at a time (`outbound.concurrency`). */
export interface Concurrency {
  readonly total: number;
  readonly perDestination: number;
}

/** A destination that isn't tried for a while. */
export interface Sleep {
  readonly destination: string;
  /** When it was found to be unreachable last, monotonic milliseconds. */
  readonly since: number;
  /** Monotonic milliseconds. */
  readonly until: number;
  /** What the last connection came to. */
  readonly why: Result;
}

/** Attempts at a time at a destination of which nothing is known; each success makes room for one more. */
const firstWindow = 5;
/** Connections that failed in a row. */
const failuresToSleep = 3;
const [shortestSleep, longestSleep] = [60_000, 3_600_000];
/** Sleeps are drawn this far around their length. */
const jitter = 0.05;
/** Destinations that are remembered, where nothing waits at them, for their windows and failures. */
const mostIdle = 10_000;

class Destination<J> {
  active = 0;
  window: number;
  /** Connections that failed since the last that didn't. */
  failures = 0;
  /** Sleeps since the last connection that didn't fail. */
  sleeps = 0;
  sleep: Sleep | undefined;
  /** Stands in the round. */
  listed = false;
  readonly waiting = new Fifo<J>();

  constructor(readonly name: string, window: number) {
    this.window = window;
  }

  get isIdle(): boolean {
    return this.active === 0 && this.waiting.length === 0;
  }
}

/** Attempts that wait for a slot, and the slots that are taken. */
export class Destinations<J> {
  readonly #all = new Map<string, Destination<J>>();
  /** Destinations where something waits and a slot may be had, in turn. */
  readonly #round = new Fifo<Destination<J>>();
  #active = 0;
  #waiting = 0;
  #forgetAt = mostIdle;

  constructor(public limits: Concurrency, readonly random: Random) {}

  /** Slots that are taken. */
  get active(): number {
    return this.#active;
  }

  /** Attempts that wait for one. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Destinations that are remembered. */
  get known(): number {
    return this.#all.size;
  }

  /** How many wait at this destination. */
  waitingAt(name: string): number {
    return this.#all.get(name)?.waiting.length ?? 0;
  }

  /** An attempt waits for its turn. */
  add(name: string, attempt: J): void {
    const there = this.#open(name);
    there.waiting.push(attempt);
    this.#waiting++;
    this.#list(there);
  }

  /** Takes a slot for the next attempt; `undefined` when there is none, or nothing waits that may have one. */
  next(): J | undefined {
    const free = this.limits.total - this.#active;
    if (free <= 0) return undefined;
    for (let left = this.#round.length; left > 0; left--) {
      const there = this.#round.shift()!;
      there.listed = false;
      if (there.waiting.length === 0 || there.active >= this.#windowOf(there)) continue; // listed again by `free`
      if (!this.#hasShare(there, free)) {
        this.#list(there);
        continue;
      }
      const attempt = there.waiting.shift()!;
      this.#waiting--;
      there.active++;
      this.#active++;
      this.#list(there);
      return attempt;
    }
    return undefined;
  }

  /** Gives a slot back. */
  free(name: string): void {
    const there = this.#all.get(name);
    if (!there) return;
    there.active--;
    this.#active--;
    this.#list(there);
  }

  /** A connection came about. */
  reached(name: string): void {
    const there = this.#all.get(name);
    if (!there) return;
    there.failures = there.sleeps = 0;
    there.sleep = undefined;
    if (there.window < this.limits.perDestination) there.window++;
    this.#list(there);
  }

  /** A connection failed. Answers the sleep that begins with it, if one does. */
  unreachable(name: string, now: number, why: Result): Sleep | undefined {
    const there = this.#open(name);
    // Those that were under way when it fell asleep say nothing new.
    if (there.sleep && now < there.sleep.until) return undefined;
    there.window = 1;
    if (++there.failures < failuresToSleep) return undefined;
    const length = Math.min(longestSleep, shortestSleep * 2 ** there.sleeps++);
    const until = now + length * (1 + jitter * (2 * this.random() - 1));
    return there.sleep = { destination: name, since: now, until, why };
  }

  /** The destination's sleep, where it isn't over. */
  sleepOf(name: string, now: number): Sleep | undefined {
    const sleep = this.#all.get(name)?.sleep;
    return sleep && now < sleep.until ? sleep : undefined;
  }

  /** Takes all that wait at a destination: it sleeps. */
  drain(name: string): J[] {
    const there = this.#all.get(name);
    if (!there) return [];
    const all: J[] = [];
    for (let one = there.waiting.shift(); one !== undefined; one = there.waiting.shift()) all.push(one);
    this.#waiting -= all.length;
    return all;
  }

  /** Wakes one, or all: whoever asks for it knows better. */
  rouse(name?: string): void {
    if (name === undefined) { for (const there of this.#all.values()) there.sleep = undefined; }
    else {
      const there = this.#all.get(name);
      if (there) there.sleep = undefined;
    }
  }

  /** All that sleep, for people. */
  asleep(now: number): Sleep[] {
    return [...this.#all.values()].flatMap(({ sleep }) => sleep && now < sleep.until ? [sleep] : []);
  }

  #open(name: string): Destination<J> {
    const known = this.#all.get(name);
    if (known) return known;
    if (this.#all.size >= this.#forgetAt) this.#forget();
    const made = new Destination<J>(name, Math.min(firstWindow, this.limits.perDestination));
    this.#all.set(name, made);
    return made;
  }

  /** Forgets idle ones among the older half. */
  #forget(): void {
    let many = this.#all.size / 2;
    for (const [name, there] of this.#all) {
      if (many-- <= 0) break;
      if (there.isIdle) this.#all.delete(name);
    }
    this.#forgetAt = Math.max(mostIdle, this.#all.size * 2);
  }

  #list(there: Destination<J>): void {
    if (there.listed || there.waiting.length === 0 || there.active >= this.#windowOf(there)) return;
    there.listed = true;
    this.#round.push(there);
  }

  #windowOf(there: Destination<J>): number {
    return Math.min(there.window, this.limits.perDestination);
  }

  /** The last quarter of the slots is for those who have none: while some hang, others still get their first. */
  #hasShare(there: Destination<J>, free: number): boolean {
    return free > this.limits.total / 4 || there.active === 0;
  }
}
