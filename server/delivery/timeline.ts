/**
 * The queue's time: what the wall clock says, and what happens to waits when it is set (CASES Q04). Due times are kept as wall
 * time, because a restart has nothing else; while the server runs, a wait ends when its milliseconds are over, whatever
 * becomes of the wall clock meanwhile.
 */
import type { Clock } from "../clock.ts";
import type { Due, Spool } from "../spool/spool.ts";
import type { Random } from "./schedule.ts";

/** Less than this is a clock being slewed, or two clocks that differ in their rate: due times follow. */
const step = 5_000;
/** Later than any due time, and never: those that are held are at `Infinity`. */
const forEver = Number.MAX_SAFE_INTEGER;

/** A message that is due before the spool would say so. */
export interface Early {
  readonly id: string;
  readonly at: number;
  /** What is to be added to the due times it is recorded with; negative. */
  readonly shift: number;
}

type DueSpool = Pick<Spool, "due" | "postpone">;

/** Says what time it is, and moves what waits when that changes. */
export class Timeline {
  /** Wall clock less monotonic clock, as far as it is believed. */
  #offset: number;
  /** How far the clock was set forward, and when: mail from before is younger than it seems. */
  readonly #leaps: { readonly before: number; readonly by: number }[] = [];
  readonly #early = new Map<string, Early>();
  /** By time, the next one last. */
  #order: Early[] = [];

  constructor(readonly clock: Pick<Clock, "now" | "monotonic">, readonly spool: DueSpool) {
    this.#offset = clock.now() - clock.monotonic();
  }

  /** Milliseconds since 1970. */
  now(): number {
    return this.#offset + this.clock.monotonic();
  }

  /** How long ago something was received; a clock that was set forward since adds nothing to it. */
  ageOf(received: number): number {
    let age = this.now() - received;
    for (const { before, by } of this.#leaps) if (received <= before) age -= by;
    return age;
  }

  /**
   * At the start: what is due impossibly far ahead was put there by a wrong clock. (What is overdue, the spool spreads out.)
   *
   * @param ahead How far ahead a due time can be, milliseconds.
   */
  begin(ahead: number, random: Random): void {
    const now = this.now();
    this.#advance(
      this.spool.due(forEver, Infinity).filter(({ at }) => at > now + ahead),
      (at) => now + ahead * random() - at,
    );
  }

  /** Notices that the clock was set: what waited before goes on waiting exactly as long as it would have. */
  check(): "steady" | "set" {
    const offset = this.clock.now() - this.clock.monotonic();
    const by = offset - this.#offset;
    if (Math.abs(by) < step) {
      this.#offset = offset;
      return "steady";
    }
    const before = this.now();
    this.#offset = offset;
    const now = before + by;
    for (const [id, early] of this.#early) {
      this.#early.set(id, { ...early, at: early.at + by, shift: early.shift + by });
    }
    if (by > 0) this.#setForward(before, by, now);
    else this.#setBack(by, now);
    return "set";
  }

  /** The next early message whose time has come; it is forgotten here. */
  take(): Early | undefined {
    const next = this.#first();
    if (!next || next.at > this.now()) return undefined;
    this.#early.delete(next.id);
    return next;
  }

  /** The message was taken for another reason. */
  forget(id: string): void {
    if (this.#early.size > 0) this.#early.delete(id);
  }

  /** When the next early one is due; `Infinity` when there is none. */
  get next(): number {
    return this.#first()?.at ?? Infinity;
  }

  #setForward(before: number, by: number, now: number): void {
    this.#leaps.push({ before, by });
    for (const { id, at } of this.spool.due(now - step, Infinity)) { // what came since, just now, is not old mail that waits
      if (at > before) this.spool.postpone(id, at + by);
    }
    this.#order = [...this.#early.values()].sort(latestFirst);
  }

  #setBack(by: number, now: number): void {
    // First it undoes what it was set forward.
    let back = -by;
    while (back > 0) {
      const last = this.#leaps.pop();
      if (!last) break;
      if (last.by > back) this.#leaps.push({ before: last.before, by: last.by - back });
      back -= last.by;
    }
    this.#advance(
      this.spool.due(forEver, Infinity).filter(({ id, at }) => at > now + step && !this.#early.has(id)),
      () => by,
    );
  }

  #advance(messages: readonly Due[], shiftOf: (at: number) => number): void {
    for (const { id, at } of messages) {
      const shift = shiftOf(at);
      this.#early.set(id, { id, at: at + shift, shift });
    }
    this.#order = [...this.#early.values()].sort(latestFirst);
  }

  #first(): Early | undefined {
    for (let last = this.#order.at(-1); last; last = this.#order.at(-1)) {
      if (this.#early.get(last.id) === last) return last;
      this.#order.pop();
    }
    return undefined;
  }
}

const latestFirst = (a: Early, b: Early) => b.at - a.at;
