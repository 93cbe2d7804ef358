/** A bounded set of label values: each is a time series that a monitor keeps, and mail goes to any number of destinations. */
import type { Clock } from "../clock.ts";

/** Everything without a name of its own. */
const other = "other";
/** Occurrences after which a value gets its name. */
const worthIt = 20;
/** Values that are counted before they have one; when there are more, the counting begins anew. */
const mostCandidates = 1000;
/** A name that was not heard of for so long can be given away, milliseconds. */
const stale = 6 * 3_600_000;

/** Gives the values that come often their names, and calls the others `other`. */
export class BoundedLabels {
  readonly #clock: Pick<Clock, "monotonic">;
  readonly #most: number;
  readonly #forget: (value: string) => void;
  readonly #named = new Map<string, { isHeard: boolean }>();
  /** Since when `isHeard` is noted. */
  #since: number;
  readonly #candidates = new Map<string, number>();

  /**
   * @param most Names at a time.
   * @param forget A name was given away: its series ends.
   */
  constructor(clock: Pick<Clock, "monotonic">, most: number, forget: (value: string) => void) {
    this.#clock = clock;
    this.#most = most;
    this.#forget = forget;
    this.#since = clock.monotonic();
  }

  /** The label for this occurrence of the value. */
  labelOf(value: string): string {
    const named = this.#named.get(value);
    if (named) {
      named.isHeard = true;
      return value;
    }
    const count = (this.#candidates.get(value) ?? 0) + 1;
    if (count >= worthIt && this.#makeRoom()) {
      this.#candidates.delete(value);
      this.#named.set(value, { isHeard: true });
      return value;
    }
    if (this.#candidates.size >= mostCandidates) this.#candidates.clear();
    this.#candidates.set(value, count % worthIt);
    return other;
  }

  /** Gives away the names that were silent; looks for such rarely, so that to be heard costs nothing. */
  #makeRoom(): boolean {
    if (this.#named.size < this.#most) return true;
    const now = this.#clock.monotonic();
    if (now - this.#since < stale) return false;
    this.#since = now;
    for (const [value, named] of this.#named) {
      if (named.isHeard) {
        named.isHeard = false;
        continue;
      }
      this.#named.delete(value);
      this.#forget(value);
    }
    return this.#named.size < this.#most;
  }
}
