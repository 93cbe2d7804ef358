/**
 * What observed plugins (`observe: true`) would have said, and what became of the mail without them: counted by the hour, with a
 * few examples, in the store. A plugin under trial is to be judged by days of real mail, and those outlive a restart.
 */
import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";
import type { Json, Store } from "../plugin.ts";
import type { Stores } from "../store.ts";

/** What became of the mail that an observed plugin spoke about: `none` where the client left without sending any. */
export type Fate = "accepted" | "refused" | "none";

/** One word of an observed plugin. */
export interface Observation {
  /** The instance. */
  readonly plugin: string;
  readonly hook: string;
  /** `reject 5.7.1`, `accept`, `failed`, `edits`. */
  readonly said: string;
  /** All of what it said, or which fields it would have edited. */
  readonly text: string;
  /** Whom and what it was about, in a few words: for an example. */
  readonly about: string;
}

/** The same word, counted. */
export interface Counted {
  readonly plugin: string;
  readonly hook: string;
  readonly said: string;
  readonly fates: Readonly<Record<Fate, number>>;
  /** The first ones of their hour. */
  readonly examples: readonly Example[];
}

/** One case. */
export interface Example {
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly about: string;
  readonly text: string;
  readonly fate: Fate;
}

/** An hour, as it is stored. */
interface Hour {
  readonly [key: string]: { [K in keyof Counted]: Counted[K] };
}

/** No plugin can have this name, so none reads or writes what stands under it. */
export const storeName = "core:observe";
const hour = 3_600_000;
/** How long an hour is kept. */
const kept = "14d";
/** Milliseconds that counts wait in memory: what `kill -9` may cost. */
const flushEvery = 5_000;
/** Words that are told apart in an hour; what comes then is counted together. */
const mostWords = 200;
/** Examples of each word in an hour. */
const mostExamples = 3;
/** Characters of an example's texts, most of which a stranger chooses. */
const longest = 160;

/** Key of the hour that a time is in. */
export const keyOf = (time: number): string => `hour ${Math.floor(time / hour)}`;

/** Takes note. Nothing here throws or waits. */
export class Observations {
  readonly #store: Store;
  readonly #clock: Pick<Clock, "now" | "after">;
  readonly #log: Log;
  /** What isn't stored yet, by hour. */
  #fresh = new Map<string, Map<string, Counted>>();
  #cancel: (() => void) | undefined;
  #flushing: Promise<void> = Promise.resolve();

  constructor(stores: Pick<Stores, "for">, clock: Pick<Clock, "now" | "after">, log: Log) {
    this.#store = stores.for(storeName);
    this.#clock = clock;
    this.#log = log;
  }

  /** Counts one. */
  note({ plugin, hook, said, text, about }: Observation, fate: Fate): void {
    const time = this.#clock.now();
    let words = this.#fresh.get(keyOf(time));
    if (!words) this.#fresh.set(keyOf(time), words = new Map());
    const one: Counted = {
      plugin,
      hook,
      said,
      fates: { accepted: 0, refused: 0, none: 0, [fate]: 1 },
      examples: [{ time, about: clipped(about), text: clipped(text), fate }],
    };
    add(words, one);
    this.#cancel ??= this.#clock.after(flushEvery, () => {
      this.#cancel = undefined;
      void this.flush();
    });
  }

  /** Stores what was counted. Never rejects: what can't be stored is lost, and said. */
  flush(): Promise<void> {
    return this.#flushing = this.#flushing.then(() => this.#flush());
  }

  /** Stores the rest. */
  async close(): Promise<void> {
    this.#cancel?.();
    this.#cancel = undefined;
    await this.flush();
  }

  async #flush(): Promise<void> {
    const fresh = this.#fresh;
    this.#fresh = new Map();
    for (const [key, words] of fresh) {
      try {
        const all = readHour(await this.#store.get(key));
        for (const one of words.values()) add(all, one);
        await this.#store.set(key, Object.fromEntries(all) as unknown as Json, { ttl: kept });
      } catch (error) {
        this.#log.warning("what observed plugins said can't be kept", { error: String(error) });
      }
    }
  }
}

/**
 * Sums up what was noted.
 *
 * @param since Milliseconds since 1970; counted from the beginning of that hour.
 * @returns By plugin, hook and word, the most frequent first.
 */
export async function sumUp(store: Pick<Store, "get">, since: number, now: number): Promise<Counted[]> {
  const all = new Map<string, Counted>();
  for (let time = since; keyOf(time) <= keyOf(now) || time <= now; time += hour) {
    for (const one of readHour(await store.get(keyOf(time))).values()) add(all, one, Infinity, 5);
  }
  const sum = ({ fates }: Counted) => fates.accepted + fates.refused + fates.none;
  return [...all.values()].sort((a, b) =>
    compare(a.plugin, b.plugin) || compare(a.hook, b.hook) || sum(b) - sum(a) || compare(a.said, b.said)
  );
}

const compare = (a: string, b: string) => a < b ? -1 : a > b ? 1 : 0;

function readHour(stored: unknown): Map<string, Counted> {
  return new Map(Object.entries((stored ?? {}) as Hour));
}

/** Adds counts to those of the same word. */
function add(words: Map<string, Counted>, one: Counted, most = mostWords, examples = mostExamples): void {
  let key = JSON.stringify([one.plugin, one.hook, one.said]);
  if (!words.has(key) && words.size >= most) {
    one = { ...one, plugin: "others", hook: "", said: "", examples: [] };
    key = "others";
  }
  const before = words.get(key);
  words.set(key, {
    plugin: one.plugin,
    hook: one.hook,
    said: one.said,
    fates: {
      accepted: (before?.fates.accepted ?? 0) + one.fates.accepted,
      refused: (before?.fates.refused ?? 0) + one.fates.refused,
      none: (before?.fates.none ?? 0) + one.fates.none,
    },
    examples: [...before?.examples ?? [], ...one.examples].slice(0, examples),
  });
}

function clipped(text: string): string {
  return text.length > longest ? `${text.slice(0, longest - 1)}…`.toWellFormed() : text;
}
