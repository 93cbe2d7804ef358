/**
 * When messages are due, as the queue has it: as their recipients say, or later, where somebody postponed them, where they were due
 * long before a start, or where they are under suspicion of ending the process.
 */
import type { Clock } from "../clock.ts";
import type { Attempts } from "./attempts.ts";
import type { Entry, Queue } from "./queue.ts";

/** What was due longer ago than this at a start is spread out: so much for each, at most so long for all, milliseconds. */
const [overdue, spreadEach, spreadAll] = [60_000, 2, 300_000];

export class Schedule {
  readonly #queue: Queue;
  readonly #attempts: Attempts;
  readonly #clock: Pick<Clock, "now">;
  readonly #listeners: (() => void)[] = [];
  #isTelling = false;
  /** Under suspicion: only the first of them is due, so that the next end of the process tells which it was. */
  readonly #suspects: string[] = [];

  constructor(queue: Queue, attempts: Attempts, clock: Pick<Clock, "now">) {
    this.#queue = queue;
    this.#attempts = attempts;
    this.#clock = clock;
  }

  /**
   * Schedules all messages.
   *
   * @param crashes So many ends of the process during attempts of one message are too many.
   * @returns The messages with so many, to be held.
   */
  begin(crashes: number): (readonly [Entry, count: number])[] {
    const poison: (readonly [Entry, number])[] = [];
    for (const [id, count] of this.#attempts.suspects) {
      const entry = this.#queue.get(id);
      if (!entry || entry.held !== undefined) continue;
      if (count < crashes) this.#suspects.push(id);
      else poison.push([entry, count]);
    }
    this.#spread();
    for (const id of this.#suspects.slice(1)) this.#queue.schedule(this.#queue.get(id)!, Infinity);
    return poison;
  }

  /** What was due long ago comes little by little, the oldest first: not all at once on everybody. */
  #spread(): void {
    const now = this.#clock.now();
    const late: Entry[] = [];
    for (const entry of this.#queue.entries()) {
      const { earliest } = entry;
      if (earliest < now - overdue) late.push(entry);
      else this.#queue.schedule(entry, earliest);
    }
    const each = Math.min(spreadEach, spreadAll / late.length);
    for (const [i, entry] of late.entries()) this.#queue.schedule(entry, now + Math.floor(i * each));
  }

  /** It is due as its recipients say; whoever waits is told. */
  reset(entry: Entry): void {
    const before = this.#queue.next;
    this.#queue.schedule(entry, entry.earliest);
    const isNews = entry.at < before || entry.at <= this.#clock.now();
    if (!isNews || this.#isTelling || this.#listeners.length === 0) return;
    this.#isTelling = true;
    queueMicrotask(() => { // once for a whole batch
      this.#isTelling = false;
      for (const listener of this.#listeners) listener();
    });
  }

  /** See `Spool.postpone`. */
  postpone(entry: Entry, at: number): void {
    if (entry.held !== undefined) return;
    this.#queue.schedule(entry, Math.max(at, entry.earliest));
    if (at === Infinity) return; // it is being tried
    this.#attempts.giveUp(entry.id);
    this.#nextSuspect(entry.id);
  }

  /** See `Spool.attempting`. */
  attempting(ids: readonly string[]): void {
    const entries: Entry[] = [];
    for (const id of ids) {
      const entry = this.#queue.get(id);
      if (entry) entries.push(entry);
    }
    if (entries.length > 0) this.#attempts.begin(entries);
  }

  /** Something was recorded of a message. */
  cleared(id: string): void {
    this.#attempts.clear(id);
    this.#nextSuspect(id);
  }

  onDue(callback: () => void): void {
    this.#listeners.push(callback);
  }

  close(): void {
    this.#attempts.close();
  }

  /** One suspect is done with: the next may be tried. */
  #nextSuspect(id: string): void {
    if (this.#suspects[0] !== id) return;
    for (;;) {
      this.#suspects.shift();
      const next = this.#suspects[0];
      if (next === undefined) return;
      const entry = this.#queue.get(next);
      if (entry) return this.reset(entry);
    }
  }
}
