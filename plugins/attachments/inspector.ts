/** Has messages looked into by a Worker, one at a time; the others wait, unread. */
import type { Message } from "../../server/plugin.ts";
import { assertRoomForWorker } from "../worker_room.ts";
import type { Inspection, Limits } from "./findings.ts";
import type { Answer, Question } from "./inspect_worker.ts";

/** A Worker, started when it is first needed, and ended where a message takes it too long. */
export class Inspector {
  readonly #limits: Limits;
  #worker: Worker | undefined;
  /** Resolves once the message before is done with. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  /** @throws the signal's reason when it aborts; {Error} when the Worker fails. */
  async inspect(message: Message, signal: AbortSignal): Promise<Inspection> {
    const before = this.#last;
    const { promise: done, resolve: finish } = Promise.withResolvers<void>();
    this.#last = before.then(() => done);
    try {
      await turn(before, signal);
      return await this.#ask(await message.bytes(Infinity), signal);
    } finally {
      finish();
    }
  }

  close(): void {
    this.#worker?.terminate();
    this.#worker = undefined;
  }

  async #ask(message: Uint8Array<ArrayBuffer>, signal: AbortSignal): Promise<Inspection> {
    const worker = this.#worker ??= startWorker();
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const stop = () => reject(signal.reason);
    worker.onmessage = ({ data }: MessageEvent<Answer>) => resolve(data);
    worker.onerror = (event) => {
      event.preventDefault(); // else it ends the process
      reject(new Error(`the Worker failed: ${event.message}`));
    };
    signal.addEventListener("abort", stop, { once: true });
    try {
      signal.throwIfAborted();
      worker.postMessage({ message, limits: this.#limits } satisfies Question, [message.buffer]);
      const answer = await promise;
      if ("failed" in answer) throw new Error(`the message could not be looked into: ${answer.failed}`);
      return answer;
    } catch (error) {
      this.close(); // it may be at it for a long time yet
      throw error;
    } finally {
      signal.removeEventListener("abort", stop);
    }
  }
}

function startWorker(): Worker {
  assertRoomForWorker();
  return new Worker(new URL("./inspect_worker.ts", import.meta.url), { type: "module" });
}

/** Waits for `before`, or throws the signal's reason. */
async function turn(before: Promise<unknown>, signal: AbortSignal): Promise<void> {
  const { promise, reject } = Promise.withResolvers<never>();
  const stop = () => reject(signal.reason);
  signal.addEventListener("abort", stop, { once: true });
  try {
    signal.throwIfAborted();
    await Promise.race([before, promise]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}
