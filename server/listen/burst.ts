import type { Clock } from "../clock.ts";

/** Tells of the first of many like events at once, of the others once a minute: a flood must not fill the log. */
export class Burst {
  readonly #clock: Clock;
  readonly #tell: (count: number, latest: string) => void;
  #count = 0;
  #latest = "";
  #cancel: (() => void) | undefined;

  /** @param tell Writes the line: how many there were since the last one, and the latest of them. */
  constructor(clock: Clock, tell: (count: number, latest: string) => void) {
    this.#clock = clock;
    this.#tell = tell;
  }

  add(what: string): void {
    this.#count++;
    this.#latest = what;
    if (!this.#cancel) this.#say();
  }

  /** Tells what it has not told yet, and ends. */
  stop(): void {
    this.#cancel?.();
    if (this.#count > 0) this.#tell(this.#count, this.#latest);
  }

  #say(): void {
    this.#tell(this.#count, this.#latest);
    this.#count = 0;
    this.#cancel = this.#clock.after(60_000, () => {
      this.#cancel = undefined;
      if (this.#count > 0) this.#say();
    });
  }
}
