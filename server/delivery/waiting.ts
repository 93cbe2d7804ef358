/**
 * Messages that are due and aren't read yet, because enough for their destination wait already: only their ids are held, so
 * that 100,000 messages for one slow host neither fill the memory nor stand in the way of others.
 */
import { pluginDestination } from "./attempt.ts";
import type { Courier } from "./attempt.ts";
import type { Destinations, Sleep } from "./destinations.ts";
import { Fifo } from "./fifo.ts";
import type { Job } from "./round.ts";
import type { Due } from "../spool/spool.ts";

/** Messages of one destination that are read before their turn. */
const enough = 50;
/** Messages of sleeping destinations that are looked at in one turn of the event loop. */
const mostRoused = 2000;

/** Ids, by destination. */
export class Waiting {
  readonly #parked = new Map<string, Fifo<string>>();
  /** Of destinations that fell asleep: they have to hear of it. */
  readonly #leaving: Fifo<string>[] = [];
  /** Taken since `begin`, so that what is still being read counts. */
  readonly #taken = new Map<string, number>();

  constructor(
    readonly destinations: Destinations<Job>,
    readonly options: { readonly builtIn: ReadonlyMap<string, Courier> },
  ) {}

  /** A new look at what is due. */
  begin(): void {
    this.#taken.clear();
  }

  /** Whether the message waits here from now on; else its time has come. */
  park({ id, destinations: [only, another] }: Due, now: number): boolean {
    if (only === undefined || another !== undefined) return false;
    const name = this.nameOf(only);
    const before = this.#parked.get(name);
    const coming = this.destinations.waitingAt(name) + (this.#taken.get(name) ?? 0);
    if (!before && (coming < enough || this.destinations.sleepOf(name, now))) {
      this.#count(name);
      return false;
    }
    if (before) before.push(id);
    else this.#parked.set(name, new Fifo<string>([id]));
    return true;
  }

  /** The sleep of the only destination that a message has, where nobody but its domain says where it goes. */
  sleepOf({ destinations: [only, another] }: Due, now: number): Sleep | undefined {
    if (only === undefined || another !== undefined) return undefined;
    return this.destinations.sleepOf(this.nameOf(only), now);
  }

  /** Those whose destination has fallen asleep; they wait here no longer. */
  *leaving(now: number): Generator<string> {
    for (const [name, parked] of this.#parked) {
      if (!this.destinations.sleepOf(name, now)) continue;
      this.#parked.delete(name);
      this.#leaving.push(parked);
    }
    for (let left = mostRoused; left > 0; left--) {
      const id = this.#leaving[0]?.shift();
      if (id === undefined) return;
      if (this.#leaving[0]!.length === 0) this.#leaving.shift();
      yield id;
    }
  }

  /** The next one whose destination has room. */
  next(): string | undefined {
    for (const [name, parked] of this.#parked) {
      const taken = this.#taken.get(name) ?? 0;
      if (taken >= enough / 2 - this.destinations.waitingAt(name)) continue;
      const id = parked.shift();
      if (parked.length === 0) this.#parked.delete(name);
      this.#count(name);
      return id;
    }
    return undefined;
  }

  #count(name: string): void {
    this.#taken.set(name, (this.#taken.get(name) ?? 0) + 1);
  }

  /** From the spool's `smtp example.org` to the name slots are counted under. */
  nameOf(destination: string): string {
    const space = destination.indexOf(" ");
    const via = destination.slice(0, space);
    return destinationName(via, this.options.builtIn.get(via)?.destinationOf(destination.slice(space + 1)));
  }
}

/** The name slots are counted under: names of different transports don't meet. */
export function destinationName(via: string, destination: string = pluginDestination): string {
  return destination === pluginDestination ? via : `${via} ${destination}`;
}
