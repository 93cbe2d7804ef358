/** A list of keys in a store, which can't be listed itself: spread over buckets, so that each stays small. */
import type { Duration } from "../options.ts";
import type { Store } from "../plugin.ts";

const buckets = 64;
/** Keys of one bucket: what fits into one value, whatever their length. */
const mostKeys = 900;

/** Domains that something is kept of. */
export class DomainIndex {
  readonly #store: Store;
  readonly #name: string;
  readonly #ttl: Duration;
  readonly #known = new Map<number, Promise<Set<string>>>();
  #writing: Promise<void> = Promise.resolve();

  /**
   * @param name Tells apart several in one store.
   * @param ttl How long a bucket is kept after its last change.
   */
  constructor(store: Store, name: string, ttl: Duration) {
    this.#store = store;
    this.#name = name;
    this.#ttl = ttl;
  }

  /** Adds it; one too many for its bucket is left out. */
  async add(domain: string): Promise<void> {
    const bucket = bucketOf(domain);
    const domains = await this.#load(bucket);
    if (domains.has(domain) || domains.size >= mostKeys) return;
    domains.add(domain);
    await this.#save(bucket, domains);
  }

  async delete(domain: string): Promise<void> {
    const bucket = bucketOf(domain);
    const domains = await this.#load(bucket);
    if (domains.delete(domain)) await this.#save(bucket, domains);
  }

  /** All of them. */
  async *all(): AsyncGenerator<string> {
    for (let bucket = 0; bucket < buckets; bucket++) yield* [...await this.#load(bucket)];
  }

  #load(bucket: number): Promise<Set<string>> {
    let domains = this.#known.get(bucket);
    if (domains === undefined) {
      domains = this.#store.get<string[]>(this.#keyOf(bucket)).then((found) => new Set(found));
      this.#known.set(bucket, domains);
      domains.catch(() => this.#known.delete(bucket));
    }
    return domains;
  }

  /** One write after the other: the last has it all. */
  #save(bucket: number, domains: ReadonlySet<string>): Promise<void> {
    const saved = this.#writing.then(() =>
      this.#store.set(this.#keyOf(bucket), [...domains], { ttl: this.#ttl })
    );
    this.#writing = saved.catch(() => {});
    return saved;
  }

  #keyOf(bucket: number): string {
    return `${this.#name} ${bucket}`;
  }
}

function bucketOf(domain: string): number {
  let sum = 0;
  for (let at = 0; at < domain.length; at++) sum = (sum * 31 + domain.charCodeAt(at)) >>> 0;
  return sum % buckets;
}
