/** How many commands run at a time; who comes when there are enough waits, in order. */
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
