/**
 * Failed logins across connections (CASES U04). A pair of client network and account has to wait longer after each
 * failure; nobody's failures make others wait for the same account elsewhere.
 */
import type { Host } from "../../server/plugin.ts";

/** This many failures of a pair cost nothing. */
const free = 2;
/** The wait after the next one, doubled by each further one, in milliseconds. */
const first = 5_000;
/** The longest wait. */
const longest = 900_000;
/** A pair's failures are forgotten this long after its first one. */
const memory = "1h";

/** Counts failures in the host's cache, so that they outlive a reload. */
export class Backoff {
  readonly #host: Pick<Host, "cache" | "clock" | "log">;

  constructor(host: Pick<Host, "cache" | "clock" | "log">) {
    this.#host = host;
  }

  /** @returns how many milliseconds this pair has still to wait; 0: it may try. */
  async left(network: string, account: string): Promise<number> {
    const until = await this.#host.cache.get<number>(`until ${network} ${account}`);
    const left = (until ?? 0) - this.#host.clock.now();
    return left > 0 && left <= longest ? left : 0; // more than the longest: the clock was set back
  }

  /** Notes a failure. */
  async failed(network: string, account: string): Promise<void> {
    const { cache, clock, log } = this.#host;
    const count = await cache.increment(`failures ${network} ${account}`, 1, { ttl: memory });
    if (count > free) {
      const wait = Math.min(longest, first * 2 ** (count - free - 1));
      await cache.set(`until ${network} ${account}`, clock.now() + wait, { ttl: `${wait}ms` });
    }
    const everywhere = await cache.increment(`account ${account}`, 1, { ttl: memory });
    // 10, 100, 1000, …: a guess spread over many networks is for the operator to see, not to lock the owner out for.
    if (everywhere >= 10 && Number.isInteger(Math.log10(everywhere))) {
      log.warning("many failed logins for one account within an hour", {
        user: account,
        failures: everywhere,
      });
    }
  }

  /** Forgets the pair's failures. */
  async succeeded(network: string, account: string): Promise<void> {
    const { cache } = this.#host;
    await cache.delete(`until ${network} ${account}`);
    await cache.delete(`failures ${network} ${account}`);
  }
}

/**
 * One at a time for each key. Without it, a hundred guesses on as many connections would all pass before the first
 * failure is counted.
 */
export class Turns {
  readonly #waiting = new Map<string, (() => void)[]>();
  readonly #most: number;

  /** @param most How many may wait for one key. */
  constructor(most = 64) {
    this.#most = most;
  }

  /**
   * Runs `work` when those before it with this key are done.
   *
   * @throws the signal's reason when it aborts first.
   */
  async take<T>(key: string, signal: AbortSignal, work: () => Promise<T>): Promise<T | "busy"> {
    const queue = this.#waiting.get(key);
    if (!queue) this.#waiting.set(key, []);
    else if (queue.length >= this.#most) return "busy";
    else await arrival(queue, signal);
    try {
      return await work();
    } finally {
      const next = this.#waiting.get(key)!.shift();
      if (next) next();
      else this.#waiting.delete(key);
    }
  }
}

function arrival(queue: (() => void)[], signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const start = () => {
      signal.removeEventListener("abort", leave);
      resolve();
    };
    const leave = () => {
      queue.splice(queue.indexOf(start), 1);
      reject(signal.reason);
    };
    queue.push(start);
    signal.addEventListener("abort", leave, { once: true });
  });
}
