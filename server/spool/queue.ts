/** The queue's index in memory: for each message where it is, when it is due, where it goes (DESIGN §8: at most 400 octets). */
import type { Segment } from "./segment.ts";
import type { Census, Due, QueuedRecipient } from "./spool.ts";
import { type MessageSummary, type RedirectSummary, type Standing, StateCode } from "./summary.ts";

/** Numbers of one recipient in `Entry.marks`: code + 4 × attempts, due, and the record with the words: segment, offset. */
export const stride = 4;
/** More destinations than this are not kept in memory. */
const mostDestinations = 16;
const unscheduled = -1;
const gone = -2;

/** Where a record stands. */
export interface Place {
  readonly segment: number;
  readonly offset: number;
}

/** One message. Its fields are many and small: there may be a million of them. */
export class Entry {
  readonly id: string;
  readonly received: number;
  /** How many. */
  readonly recipients: number;
  destinations: readonly string[];
  /** The file of its content; `undefined` where that is in the record. */
  file: string | undefined;
  /** Octets of the content. */
  size: number;
  /** Not less than that of any copy on the disk: outcomes carry it, so that they count for all of them. */
  generation: number;
  segment: Segment;
  offset: number;
  /** Octets of the record before the body. */
  head: number;
  /** Other segments that may hold a copy, as long as their files exist. */
  copies: Segment[] | undefined = undefined;
  /** Absent while all recipients are new. Never changed, only replaced: who reads it later sees whether it is still so. */
  marks: readonly number[] | undefined;
  held: string | undefined;
  /** The record of where its recipients go now, where that is not its own any more. */
  redirected: Place | undefined = undefined;
  /** When it is due, as the queue has it. */
  at = Infinity;
  /** Where in the heap. */
  place = unscheduled;

  constructor(message: MessageSummary, segment: Segment, offset: number, head: number) {
    this.id = message.id;
    this.received = message.received;
    this.recipients = message.recipients;
    this.destinations = message.destinations;
    this.file = message.file;
    this.size = message.size;
    this.generation = message.generation;
    this.held = message.held;
    this.segment = segment;
    this.offset = offset;
    this.head = head;
    this.marks = message.standings && marksOf(message.standings, { segment: segment.number, offset });
  }

  /** Octets of its record. */
  get octets(): number {
    return this.head + (this.file === undefined ? this.size : 0);
  }

  get isGone(): boolean {
    return this.place === gone;
  }

  standing(recipient: number): Standing {
    const { marks } = this;
    if (!marks) return { code: StateCode.due, attempts: 0, due: this.received };
    const packed = marks[recipient * stride]!;
    return { code: packed & 3, attempts: packed >>> 2, due: marks[recipient * stride + 1]! };
  }

  /** The record with the words about this recipient; `undefined` where there are none. */
  words(recipient: number): Place | undefined {
    const segment = this.marks?.[recipient * stride + 2] ?? -1;
    return segment < 0 ? undefined : { segment, offset: this.marks![recipient * stride + 3]! };
  }

  /** Those who are delivered or failed stay so, whatever comes. */
  mark(outcomes: readonly (readonly [recipient: number, standing: Standing])[], place: Place): void {
    const marks = this.marks ? [...this.marks] : freshMarks(this);
    for (const [recipient, { code, attempts, due }] of outcomes) {
      if (recipient >= this.recipients) continue;
      const at = recipient * stride;
      if ((marks[at]! & 3) !== StateCode.due) continue;
      marks[at] = attempts * 4 + code;
      marks[at + 1] = due;
      marks[at + 2] = place.segment;
      marks[at + 3] = place.offset;
    }
    this.marks = marks;
  }

  /** Its recipients go where that record says, and those who went elsewhere begin anew. */
  redirect({ outcomes, destinations }: RedirectSummary, place: Place): void {
    this.mark(outcomes, place);
    this.destinations = share(destinations);
    this.redirected = place;
  }

  /** Makes all that are to be tried due no later than `at`. */
  hurry(at: number): void {
    const marks = this.marks ? [...this.marks] : freshMarks(this);
    for (let i = 0; i < marks.length; i += stride) marks[i + 1] = Math.min(marks[i + 1]!, at);
    this.marks = marks;
  }

  /** Whoever has read it sees that it isn't as it was. */
  touch(): void {
    this.marks = this.marks ? [...this.marks] : freshMarks(this);
  }

  /** Moves to where it was rewritten. What is said of new recipients stays said nowhere. @param amended What it has become by it. */
  moved(
    segment: Segment,
    offset: number,
    head: number,
    amended?: Pick<MessageSummary, "destinations" | "file" | "size">,
  ): void {
    this.segment.leave(this);
    if (amended) {
      this.destinations = share(amended.destinations);
      [this.file, this.size] = [amended.file, amended.size];
    }
    this.head = head;
    this.segment = segment;
    this.offset = offset;
    this.redirected = undefined;
    segment.settle(this);
    const { marks } = this;
    this.marks = marks?.map((value, i) =>
      i % stride === 2 ? segment.number : i % stride === 3 ? offset : value
    );
  }

  /** No recipient is to be tried any more. */
  get isFinished(): boolean {
    const { marks } = this;
    if (!marks) return this.recipients === 0;
    for (let i = 0; i < marks.length; i += stride) if ((marks[i]! & 3) === StateCode.due) return false;
    return true;
  }

  /** The earliest time some recipient is to be tried. */
  get earliest(): number {
    if (this.held !== undefined) return Infinity;
    const { marks } = this;
    if (!marks) return this.received;
    let earliest = Infinity;
    for (let i = 0; i < marks.length; i += stride) {
      if ((marks[i]! & 3) === StateCode.due && marks[i + 1]! < earliest) earliest = marks[i + 1]!;
    }
    return earliest;
  }
}

function freshMarks({ recipients, received }: Entry): number[] {
  const marks: number[] = [];
  for (let i = 0; i < recipients; i++) marks.push(0, received, -1, 0);
  return marks.slice(); // without the room that pushing leaves: a hundred octets for each message
}

function marksOf(standings: readonly Standing[], { segment, offset }: Place): number[] {
  const marks: number[] = [];
  for (const { code, attempts, due } of standings) marks.push(attempts * 4 + code, due, segment, offset);
  return marks.slice();
}

/** Equal texts become one: a million messages go to far fewer destinations. */
const shared = new Map<string, readonly string[]>();

/**
 * The destinations of a message, each once; none where there are too many to hold in memory, or an operator named the hosts: an
 * address tells nothing of those.
 */
export function destinationsOf(recipients: readonly QueuedRecipient[]): readonly string[] {
  if (recipients.some(({ hops }) => hops !== undefined)) return [];
  const first = recipients[0];
  if (recipients.length === 1 && first) return share([destinationOf(first)]);
  const all = new Set<string>();
  for (const recipient of recipients) {
    all.add(destinationOf(recipient));
    if (all.size > mostDestinations) return [];
  }
  return share([...all]);
}

/** Where a recipient's copy goes, as far as its address tells: the transport and the domain, `smtp example.org`. */
export function destinationOf({ via, address }: QueuedRecipient): string {
  return `${via} ${address.slice(address.lastIndexOf("@") + 1).toLowerCase()}`;
}

export function share(destinations: readonly string[]): readonly string[] {
  const only = destinations.length === 1 ? destinations[0]! : undefined;
  if (only === undefined) return destinations;
  const known = shared.get(only);
  if (known) return known;
  if (shared.size >= 10_000) shared.clear(); // it only saves memory
  shared.set(only, destinations);
  return destinations;
}

/** All messages, and a heap of those that are due some time. */
export class Queue {
  readonly #entries = new Map<string, Entry>();
  readonly #heap: Entry[] = [];

  get size(): number {
    return this.#entries.size;
  }

  get(id: string): Entry | undefined {
    return this.#entries.get(id);
  }

  /** In the order in which they were added. */
  entries(): IterableIterator<Entry> {
    return this.#entries.values();
  }

  add(entry: Entry): void {
    this.#entries.set(entry.id, entry);
    entry.segment.settle(entry);
  }

  remove(entry: Entry): void {
    this.schedule(entry, Infinity);
    entry.place = gone;
    entry.segment.leave(entry);
    this.#entries.delete(entry.id);
  }

  /** Orders them by age, after a start that found rewritten ones out of their order. */
  sort(): void {
    const sorted = [...this.#entries.values()].sort((a, b) => a.received - b.received);
    this.#entries.clear();
    for (const entry of sorted) this.#entries.set(entry.id, entry);
  }

  /** Counts them; see `Spool.census`. */
  census(now: number): Census {
    const counts = { ready: 0, deferred: 0, held: 0 };
    let oldest: number | undefined;
    for (const entry of this.#entries.values()) {
      counts[entry.held !== undefined ? "held" : entry.earliest <= now ? "ready" : "deferred"]++;
      if (oldest === undefined || entry.received < oldest) oldest = entry.received;
    }
    return { ...counts, oldest };
  }

  /** When the next one is due. */
  get next(): number {
    return this.#heap[0]?.at ?? Infinity;
  }

  /** Sets when a message is due; `Infinity`: never. */
  schedule(entry: Entry, at: number): void {
    if (entry.isGone) return;
    entry.at = at;
    if (entry.place === unscheduled) {
      if (at === Infinity) return;
      entry.place = this.#heap.push(entry) - 1;
      return this.#rise(entry);
    }
    if (at !== Infinity) {
      this.#rise(entry);
      return this.#sink(entry);
    }
    const last = this.#heap.pop()!;
    if (last !== entry) {
      this.#put(last, entry.place);
      this.#rise(last);
      this.#sink(last);
    }
    entry.place = unscheduled;
  }

  /** Those due at or before `now`, by time; reads only as much of the heap as it gives. */
  due(now: number, limit: number): Due[] {
    const found: Due[] = [];
    const next: Entry[] = []; // those whose parents are in `found`, the earliest last
    const consider = (place: number) => {
      const entry = this.#heap[place];
      if (!entry || entry.at > now) return;
      let [low, high] = [0, next.length];
      while (low < high) {
        const middle = (low + high) >> 1;
        if (next[middle]!.at > entry.at) low = middle + 1;
        else high = middle;
      }
      next.splice(low, 0, entry);
    };
    consider(0);
    while (found.length < limit) {
      const entry = next.pop();
      if (!entry) break;
      found.push({ id: entry.id, at: entry.at, received: entry.received, destinations: entry.destinations });
      consider(entry.place * 2 + 1);
      consider(entry.place * 2 + 2);
    }
    return found;
  }

  #put(entry: Entry, place: number): void {
    this.#heap[place] = entry;
    entry.place = place;
  }

  #rise(entry: Entry): void {
    while (entry.place > 0) {
      const parent = this.#heap[(entry.place - 1) >> 1]!;
      if (parent.at <= entry.at) return;
      const place = parent.place;
      this.#put(parent, entry.place);
      this.#put(entry, place);
    }
  }

  #sink(entry: Entry): void {
    for (;;) {
      const left = this.#heap[entry.place * 2 + 1];
      const right = this.#heap[entry.place * 2 + 2];
      const least = left && right && right.at < left.at ? right : left;
      if (!least || least.at >= entry.at) return;
      const place = least.place;
      this.#put(least, entry.place);
      this.#put(entry, place);
    }
  }
}
