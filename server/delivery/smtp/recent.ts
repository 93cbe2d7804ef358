/** What was learnt of peers not long ago. */
import type { Clock } from "../../clock.ts";

/** Facts that hold for a while, of which the oldest go when there are too many. */
export class Recent<T> {
  readonly #clock: Clock;
  readonly #limit: number;
  readonly #facts = new Map<string, { readonly value: T; readonly until: number }>();

  /** @param limit Facts that are kept at most. */
  constructor(clock: Clock, limit: number) {
    this.#clock = clock;
    this.#limit = limit;
  }

  get(key: string): T | undefined {
    const fact = this.#facts.get(key);
    if (fact === undefined) return undefined;
    if (fact.until > this.#clock.monotonic()) return fact.value;
    this.#facts.delete(key);
    return undefined;
  }

  /** @param ttl Milliseconds that it holds. */
  set(key: string, value: T, ttl: number): void {
    this.#facts.delete(key); // so that it stands last: a Map keeps the order of insertion
    this.#facts.set(key, { value, until: this.#clock.monotonic() + ttl });
    if (this.#facts.size > this.#limit) this.#facts.delete(this.#facts.keys().next().value!);
  }

  delete(key: string): void {
    this.#facts.delete(key);
  }
}
