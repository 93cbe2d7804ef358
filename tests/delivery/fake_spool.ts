/** The queue in memory, watched, that fails when it is told to. */
import type { Clock } from "../../server/clock.ts";
import { type Content, memoryContent } from "../../server/message/content.ts";
import { noEdits } from "../../server/message/edits.ts";
import { MemorySpool } from "../../server/spool/memory.ts";
import type {
  Due,
  Queued,
  QueuedEnvelope,
  QueuedRecipient,
  RecipientState,
  RecordedOutcome,
} from "../../server/spool/spool.ts";

export class FakeSpool extends MemorySpool {
  /** Every outcome that was recorded, in order. */
  readonly recorded: RecordedOutcome[] = [];
  /** How many came together. */
  readonly batches: number[] = [];
  /** Messages that attempts were announced of. */
  readonly announced: string[] = [];
  reads = 0;
  scans = 0;
  /** Throws for a disk that fails, waits for one that is slow. */
  beforeRecord: () => void | Promise<void> = () => {};
  /** What was read is old by then. */
  afterRead: () => void | Promise<void> = () => {};
  beforeKeep: (envelope: QueuedEnvelope) => void = () => {};
  beforeContent: (id: string) => void = () => {};
  /** Envelopes that an operator has changed. */
  readonly changed = new Map<string, QueuedEnvelope>();

  constructor(clock: Pick<Clock, "now">) {
    super(clock);
  }

  override async keep(envelope: QueuedEnvelope, content: Content): Promise<void> {
    this.beforeKeep(envelope);
    await super.keep(envelope, content);
  }

  override async record(outcomes: readonly RecordedOutcome[]): Promise<void> {
    await undefined;
    await this.beforeRecord();
    this.batches.push(outcomes.length);
    this.recorded.push(...outcomes);
    await super.record(outcomes);
  }

  override async get(id: string): Promise<Queued | undefined> {
    this.reads++;
    const queued = await super.get(id);
    await this.afterRead();
    const envelope = this.changed.get(id);
    return queued && envelope ? { ...queued, envelope } : queued;
  }

  override async content(id: string): Promise<Content | undefined> {
    await undefined;
    this.beforeContent(id);
    return await super.content(id);
  }

  override due(now: number, limit: number): readonly Due[] {
    this.scans++;
    return super.due(now, limit);
  }

  override attempting(ids: readonly string[] = []): void {
    this.announced.push(...ids);
  }

  async ids(): Promise<string[]> {
    return (await Array.fromAsync(this.list())).map(({ envelope }) => envelope.id);
  }

  /** How a message's recipients stand. */
  async states(id: string): Promise<readonly RecipientState[] | undefined> {
    return (await super.get(id))?.states;
  }
}

const encoder = new TextEncoder();

/** A message for the queue. */
export function queuedMessage(
  id: string,
  to: readonly (string | Partial<QueuedRecipient> & { address: string })[],
  more: Partial<QueuedEnvelope> & { received: number; text?: string },
): { envelope: QueuedEnvelope; content: Content } {
  const { text = "Subject: hello\r\n\r\nbody\r\n", ...rest } = more;
  const recipients = to.map((one): QueuedRecipient => {
    const given = typeof one === "string" ? { address: one } : one;
    return { original: given.address, via: "smtp", ...given };
  });
  return {
    envelope: {
      id,
      sender: "sender@here.example",
      utf8: false,
      edits: noEdits,
      top: [],
      recipients,
      ...rest,
    },
    content: memoryContent(encoder.encode(text)),
  };
}
