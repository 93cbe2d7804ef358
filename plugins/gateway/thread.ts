/** Work for which the event loop has no time: done by a Worker that is started when there is some. */
import { assertRoomForWorker } from "../worker_room.ts";

/** What a Worker is asked; it answers with the same number. */
export interface Asked<Q> {
  readonly number: number;
  readonly question: Q;
}

/** What it says. */
export type Said<A> =
  | { readonly number: number; readonly answer: A }
  | { readonly number: number; readonly failed: string };

interface Waiting<A> {
  resolve(answer: A): void;
  reject(error: Error): void;
}

/** A Worker, and who waits for it. */
export class Thread<Q, A> {
  #worker: Worker | undefined;
  #last = 0;
  readonly #waiting = new Map<number, Waiting<A>>();

  /** @param start Starts it; whoever is asked next starts another where one has failed. */
  constructor(readonly start: () => Worker) {}

  /** @param given What is handed over, and gone from here. @throws {Error} where the Worker fails. */
  ask(question: Q, given: Transferable[]): Promise<A> {
    return new Promise((resolve, reject) => {
      const number = ++this.#last;
      const worker = this.#running();
      worker.postMessage({ number, question } satisfies Asked<Q>, given);
      this.#waiting.set(number, { resolve, reject }); // who could not be asked is not waited for
    });
  }

  close(why = "it is closed"): void {
    this.#worker?.terminate();
    this.#worker = undefined;
    for (const { reject } of this.#waiting.values()) reject(new Error(why));
    this.#waiting.clear();
  }

  #running(): Worker {
    if (this.#worker) return this.#worker;
    assertRoomForWorker();
    const worker = this.start();
    worker.addEventListener("message", ({ data }: MessageEvent<Said<A>>) => {
      const waiting = this.#waiting.get(data.number);
      this.#waiting.delete(data.number);
      if ("answer" in data) waiting?.resolve(data.answer);
      else waiting?.reject(new Error(data.failed));
    });
    worker.addEventListener("error", (event) => {
      event.preventDefault(); // else it ends the process
      if (this.#worker === worker) this.close(`its thread failed: ${event.message}`);
    });
    return this.#worker = worker;
  }
}
