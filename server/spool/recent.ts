/** Messages that were just kept: their first attempt, which follows at once, needs no disk. */
import type { Content } from "../message/content.ts";
import type { QueuedEnvelope } from "./spool.ts";

/** A message as it was kept. */
export interface RecentMessage {
  readonly envelope: QueuedEnvelope;
  /** Where it waited in memory. */
  readonly content: Content | undefined;
}

/** What an envelope takes, about. */
const envelopeSize = 2048;

/** The last messages, as many as fit. */
export class Recent {
  readonly #messages = new Map<string, RecentMessage>();
  readonly #most: number;
  #octets = 0;

  /** @param most Octets. */
  constructor(most: number) {
    this.#most = most;
  }

  get(id: string): RecentMessage | undefined {
    return this.#messages.get(id);
  }

  add(envelope: QueuedEnvelope, content: Content): void {
    const message = { envelope, content: content.memory && content };
    const octets = sizeOf(message);
    if (octets > this.#most) return;
    this.#messages.set(envelope.id, message);
    this.#octets += octets;
    for (const id of this.#messages.keys()) {
      if (this.#octets <= this.#most) return;
      this.remove(id);
    }
  }

  remove(id: string): void {
    const message = this.#messages.get(id);
    if (!message) return;
    this.#messages.delete(id);
    this.#octets -= sizeOf(message);
  }
}

/** A content may be the beginning of a larger buffer, which stays with it. */
function sizeOf({ content }: RecentMessage): number {
  return envelopeSize + (content?.memory?.buffer.byteLength ?? 0);
}
