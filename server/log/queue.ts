/**
 * Lines on their way to a target that may be slow, stuck or gone: bounded, written many at a time, and never waited for by
 * those who log. Mail goes on while nobody reads the log (CASES X04).
 */
import type { Clock } from "../clock.ts";

/** Writes all of the bytes, or rejects. One call at a time. */
export type LogTarget = (bytes: Uint8Array) => Promise<void>;

export interface QueueLimits {
  /** Lines that may wait. */
  readonly lines: number;
  /** UTF-16 units that may wait, which for mail's ASCII are bytes. */
  readonly size: number;
  /** Milliseconds between two writes, in which lines gather. A write costs as much as some twenty lines. */
  readonly pause: number;
}

const defaults: QueueLimits = { lines: 10_000, size: 4 * 1024 ** 2, pause: 10 };

export class LineQueue {
  readonly #encoder = new TextEncoder();
  #waiting: string[] = [];
  /** Of the waiting lines, those that someone logged. */
  #logged = 0;
  /** Of lines that wait or are being written. */
  #size = 0;
  /** Lines lost that no line has told of yet. */
  #lost = 0;
  /** Lines lost that a waiting line tells of. */
  #told = 0;
  #running: Promise<void> | undefined;
  #endPause: (() => void) | undefined;
  #hurry = false;

  /** @param lossLine Makes the line that says how many lines were lost before it. */
  constructor(
    private readonly target: LogTarget,
    private readonly clock: Clock,
    private readonly lossLine: (count: number) => string,
    private readonly limits: QueueLimits = defaults,
  ) {}

  /** Takes a line, its LF included; where there is no room it is dropped and counted. */
  push(line: string): void {
    const { lines, size } = this.limits;
    if (this.#waiting.length >= lines || this.#size + line.length > size) {
      this.#lost++;
      return;
    }
    this.#tellLoss();
    this.#waiting.push(line);
    this.#logged++;
    this.#size += line.length;
    this.#running ??= this.#run();
  }

  /** Resolves when nothing waits any more, or after `patience` ms: a stuck target can't hold up the end of the process. */
  async flush(patience: number): Promise<void> {
    this.#tellLoss();
    if (this.#waiting.length > 0) this.#running ??= this.#run();
    if (this.#running === undefined) return;
    this.#hurry = true;
    this.#endPause?.();
    const over = new AbortController();
    await Promise.race([
      this.#running.then(() => over.abort()),
      this.clock.sleep(patience, over.signal).catch(() => {}),
    ]);
    this.#hurry = false;
  }

  /** Writes until nothing waits. */
  async #run(): Promise<void> {
    await Promise.resolve(); // what is logged together is written together
    while (this.#waiting.length > 0) {
      await this.#writeOnce();
      if (!this.#hurry) await this.#pause();
    }
    this.#running = undefined;
  }

  async #writeOnce(): Promise<void> {
    this.#tellLoss();
    const text = this.#waiting.join("");
    const lost = this.#logged + this.#told;
    this.#waiting = [];
    this.#logged = this.#told = 0;
    try {
      await this.target(this.#encoder.encode(text));
    } catch {
      // Told with the next line that comes: there is no other place to tell it. What this batch told is lost with it.
      this.#lost += lost;
    }
    this.#size -= text.length;
  }

  /** Lines are lost while the queue is full, hence between the last that waits and the next to come. */
  #tellLoss(): void {
    if (this.#lost === 0) return;
    const line = this.lossLine(this.#lost);
    this.#told += this.#lost;
    this.#lost = 0;
    this.#waiting.push(line);
    this.#size += line.length;
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      const end = () => {
        this.#endPause = undefined;
        cancel();
        resolve();
      };
      const cancel = this.clock.after(this.limits.pause, end);
      this.#endPause = end;
    });
  }
}

/** The process's standard error. Its writes run on a thread of their own, so that a full pipe stops no one else. */
export function standardError(clock: Clock): LogTarget {
  return async (bytes) => {
    for (let at = 0; at < bytes.length;) {
      try {
        at += await Deno.stderr.write(bytes.subarray(at));
      } catch (error) {
        // Another process that shares the pipe may have made it non-blocking.
        if (!(error instanceof Deno.errors.WouldBlock)) throw error;
        await clock.sleep(10);
      }
    }
  };
}
