/**
 * Token buckets. They are counted in memory, so that no client waits for the disk, and written behind to the store, so
 * that a restart forgives nobody: a crash may forget what was counted in the last second.
 */
import type { Host } from "../../server/plugin.ts";
import { lasting, type Rate } from "./rate.ts";

/** How many are in memory; the ones longest unused are read again from the store. */
const mostInMemory = 100_000;
/** The pause between two writes, in milliseconds. */
const pause = 1_000;

/** What is left in a bucket, and when that was so. */
type Bucket = readonly [tokens: number, at: number];

/** One bucket that something is taken from. */
export interface Drawn {
  /** Whose it is, unique among all buckets. */
  readonly key: string;
  readonly rate: Rate;
}

/** The buckets of one instance of the plugin. */
export class Buckets {
  readonly #host: Pick<Host, "store" | "cache" | "clock" | "log">;
  readonly #kept = new Map<string, Bucket>();
  readonly #reading = new Map<string, Promise<void>>();
  /** Changed since they were written, each with the milliseconds after which it is full again. */
  #changed = new Map<string, number>();
  #writing: Promise<void> | undefined;
  readonly #over = new AbortController();
  #storeFails = false;

  constructor(host: Pick<Host, "store" | "cache" | "clock" | "log">) {
    this.#host = host;
  }

  /**
   * Takes one from each, or, where one of them is empty, nothing from any.
   *
   * @returns the first that is empty; `undefined`: there was enough.
   */
  async take<D extends Drawn>(drawn: readonly D[]): Promise<D | undefined> {
    await Promise.all(drawn.map(({ key }) => this.#load(key)));
    // From here on without a pause, so that two sessions never take the same token.
    const empty = drawn.find((one) => this.#left(one) < 1);
    if (!empty) { for (const one of drawn) this.#put(one, this.#left(one) - 1); }
    return empty;
  }

  /** Fills a bucket again. */
  async fill(one: Drawn): Promise<void> {
    await this.#load(one.key);
    this.#put(one, one.rate.count);
  }

  /** Writes what isn't written yet. */
  async close(): Promise<void> {
    this.#over.abort();
    await this.#writing;
    await this.#writeOnce();
  }

  #left({ key, rate }: Drawn): number {
    const now = this.#host.clock.now();
    const [tokens, at] = this.#kept.get(key) ?? [rate.count, now];
    const since = Math.max(0, now - at); // a clock that was set back gives nothing
    return Math.min(rate.count, tokens + since * rate.count / rate.period);
  }

  #put({ key, rate }: Drawn, tokens: number): void {
    this.#keep(key, [tokens, this.#host.clock.now()]);
    this.#changed.set(key, rate.period);
    // For the next generation, whose first look may come before what this one has still to write.
    this.#host.cache.set(key, this.#kept.get(key)!, { ttl: lasting(rate.period) }).catch((error) =>
      this.#tell(error)
    );
    this.#writing ??= this.#write().finally(() => this.#writing = undefined);
  }

  #keep(key: string, bucket: Bucket): void {
    this.#kept.delete(key); // to the end: the first ones are those longest unused
    this.#kept.set(key, bucket);
    if (this.#kept.size <= mostInMemory) return;
    for (const oldest of this.#kept.keys()) {
      if (this.#changed.has(oldest)) continue;
      this.#kept.delete(oldest);
      return;
    }
  }

  #load(key: string): Promise<void> | undefined {
    if (this.#kept.has(key)) return undefined;
    const underWay = this.#reading.get(key);
    if (underWay) return underWay;
    const reading = this.#read(key).finally(() => this.#reading.delete(key));
    this.#reading.set(key, reading);
    return reading;
  }

  /** What can't be read is a full bucket: a store in trouble makes nobody wait. */
  async #read(key: string): Promise<void> {
    try {
      const { cache, store } = this.#host;
      const bucket = await cache.get<Bucket>(key) ?? await store.get<Bucket>(key);
      if (bucket) this.#keep(key, bucket);
    } catch (error) {
      this.#tell(error);
    }
  }

  async #write(): Promise<void> {
    while (this.#changed.size > 0 && !this.#over.signal.aborted) {
      await this.#writeOnce();
      await this.#host.clock.sleep(pause, this.#over.signal).catch(() => {});
    }
  }

  async #writeOnce(): Promise<void> {
    const batch = this.#changed;
    this.#changed = new Map();
    try {
      await Promise.all([...batch].map(async ([key, period]) => {
        const bucket = this.#kept.get(key);
        if (bucket) await this.#host.store.set(key, bucket, { ttl: lasting(period) });
      }));
      this.#storeFails = false;
    } catch (error) {
      this.#tell(error);
    }
  }

  /** Once for each time of trouble. */
  #tell(error: unknown): void {
    if (this.#storeFails) return;
    this.#storeFails = true;
    this.#host.log.warning("limits are counted in memory only: the store fails", { error: String(error) });
  }
}
