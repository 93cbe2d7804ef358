/** How much runs at a time, shared by plugins that start something for each message; who comes when there is enough waits, in order. */
import type { Host } from "../server/plugin.ts";

export class Slots {
  #free: number;
  readonly #waiting = new Set<() => void>();

  constructor(free: number) {
    this.#free = free;
  }

  /** Resolves with what gives the slot back. @throws the signal's reason when it aborts first. */
  async take(signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted();
    if (this.#free > 0) this.#free--;
    else await this.#turn(signal); // whoever gives one back hands it on
    return () => this.#give();
  }

  /** The same, unless none is free in so many milliseconds, or nobody waits any more: `undefined`. */
  async takeWithin(
    patience: number,
    clock: Host["clock"],
    signal: AbortSignal,
  ): Promise<(() => void) | undefined> {
    const [late, had] = [new AbortController(), new AbortController()];
    clock.sleep(patience, had.signal).then(() => late.abort(), () => {});
    try {
      return await this.take(AbortSignal.any([signal, late.signal]));
    } catch {
      return undefined;
    } finally {
      had.abort();
    }
  }

  #turn(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const gone = () => {
        this.#waiting.delete(next);
        reject(signal.reason);
      };
      const next = () => {
        signal.removeEventListener("abort", gone);
        resolve();
      };
      this.#waiting.add(next);
      signal.addEventListener("abort", gone, { once: true });
    });
  }

  #give(): void {
    const [next] = this.#waiting;
    if (!next) {
      this.#free++;
      return;
    }
    this.#waiting.delete(next);
    next();
  }
}
