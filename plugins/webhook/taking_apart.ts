/** Makes messages into JSON without holding up anybody: small ones here, the others in a thread, one at a time. */
import type { Host } from "../../server/plugin.ts";
import { Thread } from "../gateway/thread.ts";
import { Slots } from "../slots.ts";
import { makePayload, type Source } from "./payload.ts";

/** Octets up to which it takes no longer than a step of the event loop may, whatever stands in them. */
const small = 8 * 1024;

/**
 * Milliseconds for one message. Ten megabytes of honest mail take a tenth of a second; HTML that is made for it takes a time that
 * grows with its square, hours, and all other mail would wait for it.
 */
const longest = 10_000;

/** See the top of this file. */
export class TakingApart {
  readonly #clock: Pick<Host["clock"], "sleep">;
  readonly #turns = new Slots(1);
  readonly #thread = new Thread<Source, Uint8Array<ArrayBuffer>>(() =>
    new Worker(new URL("./payload_worker.ts", import.meta.url), { type: "module" })
  );

  constructor(clock: Pick<Host["clock"], "sleep">) {
    this.#clock = clock;
  }

  /**
   * The body of a post. The content is used up.
   *
   * @throws {Error} where the thread fails: another time it may not. The signal's reason, where it has no turn before.
   */
  async make(source: Source, signal: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
    const { content, ...others } = source;
    if (!content || content.length <= small) return await makePayload(source);
    const give = await this.#turns.take(signal);
    const over = new AbortController();
    let isLate = false;
    this.#clock.sleep(longest, over.signal).then(() => {
      isLate = true;
      this.#thread.close(); // only its end ends what it does
    }, () => {});
    try {
      return await this.#thread.ask(source, [content.buffer]);
    } catch (error) {
      if (!isLate) throw error;
      return await makePayload({ ...others, unread: "not readable: taking it apart takes too long" });
    } finally {
      over.abort();
      give();
    }
  }

  close(): void {
    this.#thread.close();
  }
}
