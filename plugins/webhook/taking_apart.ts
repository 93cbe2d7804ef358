/** Makes messages into JSON without holding up anybody: small ones here, the others in a thread. */
import { Thread } from "../gateway/thread.ts";
import { makePayload, type Source } from "./payload.ts";

/** Octets up to which it takes no longer than a step of the event loop may. */
const small = 64 * 1024;

/** See the top of this file. */
export class TakingApart {
  readonly #thread = new Thread<Source, Uint8Array<ArrayBuffer>>(() =>
    new Worker(new URL("./payload_worker.ts", import.meta.url), { type: "module" })
  );

  /** The body of a post. The content is used up. @throws {Error} where the thread fails: another time it may not. */
  async make(source: Source): Promise<Uint8Array<ArrayBuffer>> {
    const { content } = source;
    if (!content || content.length <= small) return await makePayload(source);
    return await this.#thread.ask(source, [content.buffer]);
  }

  close(): void {
    this.#thread.close();
  }
}
