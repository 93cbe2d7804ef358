/**
 * Copies that plugins want for themselves (`transaction.addCopy`): in the queue before the client hears 250, and never a part of
 * what becomes of the message. Where it goes into the queue, they go with it; where somebody else is asked to keep it, they wait in
 * a record of their own for what they say.
 */
import type { Clock } from "./clock.ts";
import type { Envelope } from "./envelope.ts";
import type { Arriving } from "./intake.ts";
import type { Keepable, KeepingSpool } from "./keeping.ts";
import type { Content } from "./message/content.ts";
import { mailboxKey } from "./smtp/address.ts";
import type { QueuedRecipient } from "./spool/spool.ts";
import { originOf, traceOf } from "./trace.ts";

/** What waits in the queue for somebody's word is forgotten with it, or due at once; after a crash it is due then. */
export const untilHeard = 60 * 60_000;

/** Copies that wait. */
export interface Held {
  /** Their queue id. */
  readonly id: string;
  readonly count: number;
}

/** As the queue keeps them, one for each mailbox. */
export function queuedCopies({ copies }: Envelope): readonly QueuedRecipient[] {
  const all = new Map<string, QueuedRecipient>();
  for (const { address, via, note } of copies) {
    all.set(`${via} ${mailboxKey(address)}`, {
      ...{ address: address.address, original: address.address, via },
      notify: "NEVER",
      copy: true,
      ...(note !== undefined && { note }),
    });
  }
  return [...all.values()];
}

/** Keeps copies apart from their message. */
export class Copying {
  constructor(readonly options: { readonly clock: Clock; readonly spool: KeepingSpool }) {}

  /** @throws what the spool throws. */
  async hold({ phases, envelope }: Arriving, { message, received }: Keepable): Promise<Held> {
    const recipients = queuedCopies(envelope);
    const id = phases.options.ids.message();
    const now = this.options.clock.now();
    await this.options.spool.keep(
      {
        id,
        received: now,
        sender: envelope.sender.address,
        utf8: envelope.smtputf8,
        edits: message.edits,
        top: [received],
        recipients,
        from: originOf(phases),
        trace: traceOf(phases, envelope, message),
      },
      ofItsOwn(message.content),
      recipients.map(() => now + untilHeard),
    );
    return { id, count: recipients.length };
  }

  /** Due now. What the disk does to that isn't the client's: in an hour they are due all the same. */
  letGo({ log }: Arriving, { id, count }: Held): void {
    const due = this.options.clock.now();
    const outcomes = Array.from({ length: count }, (_, recipient) => ({
      id,
      recipient,
      state: { state: "due" as const, due, attempts: 0, reply: "" },
    }));
    this.options.spool.record(outcomes).catch((error) =>
      log.error("copies wait for an hour", { id, error: String(error) })
    );
  }

  /** The message is nobody's. */
  async takeBack({ log }: Arriving, { id }: Held): Promise<void> {
    try {
      await this.options.spool.remove(id);
    } catch (error) {
      log.error("a copy stays of a message that was refused", { id, error: String(error) });
    }
  }
}

/** A content whose file, if it has one, is not taken over: the message itself needs it. */
function ofItsOwn(content: Content): Content {
  const { size, memory, head } = content;
  return { size, memory, head, read: (offset, pieces) => content.read(offset, pieces) };
}
