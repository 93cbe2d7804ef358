/** What is under way and nobody waits for: an error becomes a log line, and a stop knows when all is over. */
import type { Log } from "../log.ts";

/** Work that runs on its own. */
export class Tasks {
  #running = 0;
  #idle: (() => void)[] = [];

  constructor(readonly log: Log) {}

  /** Runs it now. @param id The message it is about, for the log. */
  run(id: string, task: () => Promise<void>): void {
    this.#running++;
    task().catch((error) => {
      this.log.error("the queue's runner failed", {
        id,
        error: error instanceof Error ? error.stack : String(error),
      });
    }).finally(() => {
      if (--this.#running > 0) return;
      for (const resolve of this.#idle.splice(0)) resolve();
    });
  }

  /** Resolves when nothing runs any more. */
  idle(): Promise<void> {
    if (this.#running === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }
}
