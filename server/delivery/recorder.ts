/** Brings outcomes into the spool, many at a time; while it can't, nothing new is tried (DESIGN §8, Faults). */
import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";
import type { RecordedOutcome, Spool } from "../spool/spool.ts";

const [firstPause, longestPause] = [1_000, 30_000];

/** What waits for the next record. */
interface Batch {
  outcomes: RecordedOutcome[];
  done: PromiseWithResolvers<void>;
}

/** Records outcomes. */
export class Recorder {
  #next: Batch | undefined;
  #writing = false;
  #stuck = false;

  /** @param recovered Called when outcomes could be recorded again. */
  constructor(
    readonly spool: Pick<Spool, "record">,
    readonly clock: Pick<Clock, "sleep">,
    readonly log: Log,
    readonly recovered: () => void,
  ) {}

  /** The last record failed, and none has succeeded since: no new attempt may begin. */
  get isStuck(): boolean {
    return this.#stuck;
  }

  /** Resolves when these are durable, however long that takes. Those that come while others are written go together. */
  record(outcomes: readonly RecordedOutcome[]): Promise<void> {
    const batch = this.#next ??= { outcomes: [], done: Promise.withResolvers() };
    for (const outcome of outcomes) batch.outcomes.push(outcome);
    if (!this.#writing) {
      this.#writing = true;
      queueMicrotask(() => this.#write()); // so that outcomes of one moment are one batch
    }
    return batch.done.promise;
  }

  async #write(): Promise<void> {
    for (let batch = this.#take(); batch; batch = this.#take()) {
      for (let pause = firstPause;; pause = Math.min(longestPause, pause * 2)) {
        try {
          await this.spool.record(batch.outcomes);
          break;
        } catch (error) {
          this.log.error("cannot record outcomes, no new attempts until it can be done", {
            outcomes: batch.outcomes.length,
            error: error instanceof Error ? error.stack : String(error),
          });
          this.#stuck = true;
          await this.clock.sleep(pause);
        }
      }
      batch.done.resolve();
      if (!this.#stuck) continue;
      this.#stuck = false;
      this.recovered();
    }
    this.#writing = false;
  }

  #take(): Batch | undefined {
    const batch = this.#next;
    this.#next = undefined;
    return batch;
  }
}
