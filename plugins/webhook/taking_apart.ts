/** Makes messages into JSON without holding up anybody: small ones here, the others in a Worker that is started when one comes. */
import { makePayload, type Source } from "./payload.ts";

/** What the Worker is asked. */
export interface Asked {
  readonly number: number;
  readonly source: Source;
}

/** What the Worker says. */
export type Made =
  | { readonly number: number; readonly body: Uint8Array<ArrayBuffer> }
  | { readonly number: number; readonly failed: string };

/** Octets up to which it takes no longer than a step of the event loop may. */
const small = 64 * 1024;

interface Waiting {
  resolve(body: Uint8Array<ArrayBuffer>): void;
  reject(error: Error): void;
}

/** See the top of this file. */
export class TakingApart {
  #worker: Worker | undefined;
  #last = 0;
  readonly #waiting = new Map<number, Waiting>();

  /** The body of a post. The content is used up. @throws {Error} where the Worker fails: another time it may not. */
  make(source: Source): Promise<Uint8Array<ArrayBuffer>> {
    const { content } = source;
    if (!content || content.length <= small) return makePayload(source);
    return new Promise((resolve, reject) => {
      const number = ++this.#last;
      this.#waiting.set(number, { resolve, reject });
      this.#running().postMessage({ number, source } satisfies Asked, [content.buffer]);
    });
  }

  close(why = "the webhook is closed"): void {
    this.#worker?.terminate();
    this.#worker = undefined;
    for (const { reject } of this.#waiting.values()) reject(new Error(why));
    this.#waiting.clear();
  }

  #running(): Worker {
    if (this.#worker) return this.#worker;
    const worker = new Worker(new URL("./payload_worker.ts", import.meta.url), { type: "module" });
    worker.addEventListener("message", ({ data }: MessageEvent<Made>) => {
      const waiting = this.#waiting.get(data.number);
      this.#waiting.delete(data.number);
      if ("body" in data) waiting?.resolve(data.body);
      else waiting?.reject(new Error(`the message can't be taken apart: ${data.failed}`));
    });
    worker.addEventListener("error", (event) => {
      event.preventDefault(); // else it ends the process; the next message starts a new Worker
      if (this.#worker === worker) {
        this.close(`the Worker that takes messages apart failed: ${event.message}`);
      }
    });
    return this.#worker = worker;
  }
}
