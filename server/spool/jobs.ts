/** What is recorded, each as a job of the writer: how it is encoded, and what it changes in memory once it is durable. */
import type { Content } from "../message/content.ts";
import { FileContent } from "./body.ts";
import { destinationsOf, Entry, type Place } from "./queue.ts";
import { RecordType } from "./record.ts";
import { release } from "./replay.ts";
import type { PassedBy, QueuedEnvelope, QueuedRecipient, RecipientState } from "./spool.ts";
import {
  encodeAbout,
  encodeMessage,
  encodeOutcomes,
  encodeRedirect,
  type MessageSummary,
  type OutcomeSummary,
  type RedirectSummary,
  type Standing,
  standingOf,
  StateCode,
} from "./summary.ts";
import type { Batch, Job } from "./writer.ts";

/** The detail of a message record. */
export interface MessageDetail {
  readonly envelope: QueuedEnvelope;
  /** By index of the recipients; absent where all are new. */
  readonly states?: readonly RecipientState[];
}

/** What a message record holds besides its summary. */
export interface MessageParts {
  /** A {@linkcode MessageDetail} as JSON. */
  readonly detail: string;
  /** The content, where it is in the record. */
  readonly body: Uint8Array | undefined;
  /** The checksum of the content, where that is known. */
  readonly check: number | undefined;
}

/** Encodes a message record. @returns Octets of it before the body. */
export function encodeMessageRecord(
  into: Batch,
  entry: Entry,
  summary: MessageSummary,
  parts: MessageParts,
): number {
  const { record } = into;
  const start = into.begin(RecordType.message, entry);
  encodeMessage(record.into, summary);
  record.detail();
  record.into.text(parts.detail);
  record.body();
  const head = into.offset - start;
  if (parts.body) record.into.raw(parts.body);
  into.end(parts.check);
  return head;
}

/** What is known of a message that was just received; `due`: first times that are later than that. */
export function newMessage(
  { id, received, recipients }: QueuedEnvelope,
  content: Content,
  due: readonly (number | undefined)[] | undefined,
  held: string | undefined,
): MessageSummary {
  const isLater = due?.some((time) => time !== undefined) ?? false;
  const first = (i: number): Standing => ({ code: StateCode.due, attempts: 0, due: due?.[i] ?? received });
  return {
    id,
    generation: 0,
    received,
    recipients: recipients.length,
    destinations: destinationsOf(recipients),
    file: content instanceof FileContent ? content.id : undefined,
    size: content.size,
    held,
    standings: isLater ? recipients.map((_, i) => first(i)) : undefined,
  };
}

/** Tells whoever waits. */
export interface Waiter {
  resolve(): void;
  reject(error: Error): void;
}

/** A new message. */
export class KeepJob implements Job {
  readonly octets: number;
  readonly afterFault = "refuse";
  #entry: Entry | undefined;

  constructor(
    readonly summary: MessageSummary,
    readonly parts: MessageParts,
    readonly kept: (entry: Entry) => void,
    /** `isWritten`: it may be on the disk, all the same. */
    readonly refused: (error: Error, isWritten: boolean) => void,
  ) {
    this.octets = parts.detail.length + (parts.body?.length ?? 0) + 200;
  }

  encode(into: Batch): void {
    const entry = new Entry(this.summary, into.segment, into.offset, 0);
    entry.head = encodeMessageRecord(into, entry, this.summary, this.parts);
    this.#entry = entry;
  }

  done(): void {
    this.kept(this.#entry!);
  }

  fail(error: Error): void {
    this.refused(error, this.#entry !== undefined);
  }
}

/** Outcomes of one message. */
export interface MessageOutcomes {
  readonly entry: Entry;
  readonly outcomes: OutcomeSummary;
  /** The states, by index of `outcomes`, as JSON. */
  readonly detail: string;
}

export function outcomesOf(
  entry: Entry,
  outcomes: readonly { readonly recipient: number; readonly state: RecipientState }[],
): MessageOutcomes {
  return {
    entry,
    outcomes: outcomes.map(({ recipient, state }) => [recipient, standingOf(state)] as const),
    detail: JSON.stringify(outcomes.map(({ state }) => state)),
  };
}

/** Outcomes, of any number of messages. */
export class OutcomesJob implements Job {
  readonly octets: number;
  readonly afterFault = "repeat";
  readonly #places: { segment: number; offset: number }[] = [];

  constructor(
    readonly messages: readonly MessageOutcomes[],
    readonly recorded: (entry: Entry) => void,
    readonly waiter: Waiter,
  ) {
    this.octets = messages.reduce(
      (sum, { detail, outcomes }) => sum + detail.length + outcomes.length * 20 + 70,
      0,
    );
  }

  encode(into: Batch): void {
    const { record } = into;
    for (const [i, { entry, outcomes, detail }] of this.messages.entries()) {
      if (entry.isGone) continue;
      const offset = into.begin(RecordType.outcome, entry);
      this.#places[i] = { segment: into.segment.number, offset };
      encodeAbout(record.into, entry.id, entry.generation);
      encodeOutcomes(record.into, outcomes);
      record.detail();
      record.into.text(detail);
      record.body();
      into.end();
    }
  }

  done(): void {
    for (const [i, { entry, outcomes }] of this.messages.entries()) {
      if (entry.isGone) continue; // removed, in the same batch
      entry.mark(outcomes, this.#places[i]!);
      this.recorded(entry);
    }
    this.waiter.resolve();
  }

  fail(error: Error): void {
    this.waiter.reject(error);
  }
}

/** What an operator, or the server, does with a message. */
export type Change =
  & (
    | { readonly to: "held"; readonly reason: string }
    | { readonly to: "released" }
    /** Due, unless it is held. */
    | { readonly to: "hastened" }
    | { readonly to: "removed" }
  )
  /** Milliseconds since 1970. */
  & { readonly at: number };

/** The detail of a record of a {@linkcode Change}. Logs written before there was one have none. */
export interface ChangeDetail {
  readonly at: number;
}

/** The detail of a note. */
export interface NoteDetail extends PassedBy {
  readonly at: number;
}

/** Notes a message that others keep. Nobody waits for it, and nothing depends on it. */
export class NoteJob implements Job {
  readonly octets: number;
  readonly afterFault = "drop";

  constructor(readonly id: string, readonly detail: string, readonly ended: () => void) {
    this.octets = detail.length + 70;
  }

  encode(into: Batch): void {
    const { record } = into;
    into.beginOwn(RecordType.note);
    encodeAbout(record.into, this.id, 0);
    record.detail();
    record.into.text(this.detail);
    record.body();
    into.end();
  }

  done(): void {
    this.ended();
  }

  fail(): void {
    this.ended();
  }
}

const changeTypes = {
  held: RecordType.hold,
  released: RecordType.release,
  hastened: RecordType.release,
  removed: RecordType.remove,
} as const;

/** Holds, releases or removes a message. */
export class ChangeJob implements Job {
  readonly octets = 300;
  readonly afterFault = "refuse";

  constructor(
    readonly entry: Entry,
    readonly change: Change,
    readonly changed: (entry: Entry, change: Change) => void,
    readonly waiter: Waiter,
  ) {}

  encode(into: Batch): void {
    const { entry, change } = this;
    if (entry.isGone || (change.to === "hastened" && entry.held !== undefined)) return;
    const { record } = into;
    into.begin(changeTypes[change.to], entry);
    encodeAbout(record.into, entry.id, entry.generation);
    if (change.to === "held") record.into.short(change.reason);
    if (change.to === "released" || change.to === "hastened") record.into.f64(change.at);
    record.detail();
    record.into.text(JSON.stringify({ at: change.at } satisfies ChangeDetail));
    record.body();
    into.end();
  }

  done(): void {
    const { entry, change } = this;
    if (!entry.isGone) {
      if (change.to === "held") entry.held = change.reason;
      if (change.to === "released") release(entry, change.at);
      if (change.to === "hastened") entry.hurry(change.at);
      this.changed(entry, change);
    }
    this.waiter.resolve();
  }

  fail(error: Error): void {
    this.waiter.reject(error);
  }
}

/** The detail of a redirect. */
export interface RedirectDetail {
  /** All of the message's, as they are from now on: nothing older has to be read to know them. */
  readonly recipients: readonly QueuedRecipient[];
  /** By index of the summary's outcomes. */
  readonly states: readonly RecipientState[];
}

/** Sends recipients of a message elsewhere. */
export class RedirectJob implements Job {
  readonly octets: number;
  readonly afterFault = "refuse";
  readonly #detail: string;
  readonly #summary: RedirectSummary;
  #place: Place | undefined;

  /** @param states Of those who begin anew, by index of the recipients. */
  constructor(
    readonly entry: Entry,
    recipients: readonly QueuedRecipient[],
    states: readonly { readonly recipient: number; readonly state: RecipientState }[],
    readonly redirected: (entry: Entry) => void,
    readonly waiter: Waiter,
  ) {
    const { outcomes } = outcomesOf(entry, states);
    this.#summary = { outcomes, destinations: destinationsOf(recipients) };
    this.#detail = JSON.stringify(
      { recipients, states: states.map(({ state }) => state) } satisfies RedirectDetail,
    );
    this.octets = this.#detail.length + states.length * 20 + 300;
  }

  encode(into: Batch): void {
    const { entry } = this;
    this.#place = undefined;
    if (entry.isGone) return;
    const { record } = into;
    const offset = into.begin(RecordType.redirect, entry);
    this.#place = { segment: into.segment.number, offset };
    encodeAbout(record.into, entry.id, entry.generation);
    encodeRedirect(record.into, this.#summary);
    record.detail();
    record.into.text(this.#detail);
    record.body();
    into.end();
  }

  done(): void {
    const { entry } = this;
    if (this.#place && !entry.isGone) {
      entry.redirect(this.#summary, this.#place);
      this.redirected(entry);
    }
    this.waiter.resolve();
  }

  fail(error: Error): void {
    this.waiter.reject(error);
  }
}

/** What a message becomes. */
export type Amended = Pick<MessageSummary, "destinations" | "file" | "size">;

/** A message that lives, written again so that its old segment can go, or as it is to be from now on. */
export class SnapshotJob implements Job {
  readonly octets: number;
  readonly afterFault = "refuse";
  readonly #marks: readonly number[] | undefined;
  readonly #amended: Amended | undefined;
  #place: { readonly into: Batch; readonly offset: number; readonly head: number } | undefined;

  /**
   * @param entry As it was when `parts` was made; where it is another by then, nothing is written.
   * @param amended What it becomes by it; absent: it stays as it is.
   */
  constructor(
    readonly entry: Entry,
    readonly parts: MessageParts,
    readonly waiter: Waiter,
    amended?: Amended,
  ) {
    this.#amended = amended;
    this.octets = parts.detail.length + (parts.body?.length ?? 0) + 200;
    this.#marks = entry.marks;
  }

  encode(into: Batch): void {
    const { entry } = this;
    this.#place = undefined;
    if (entry.isGone || entry.marks !== this.#marks) return;
    // Whoever rewrites the message meanwhile sees by its marks that what he has read is no more.
    if (this.#amended) entry.touch();
    // From here on there may be a copy in that segment, whatever becomes of the batch.
    entry.generation++;
    (entry.copies ??= []).push(into.segment);
    const { offset } = into;
    const head = encodeMessageRecord(into, entry, { ...summaryOf(entry), ...this.#amended }, this.parts);
    this.#place = { into, offset, head };
  }

  done(): void {
    const { entry } = this;
    if (this.#place && !entry.isGone) {
      const { into, offset, head } = this.#place;
      entry.copies = [entry.segment, ...(entry.copies ?? []).filter((copy) => copy !== into.segment)]
        .filter((copy) => copy.state !== "gone");
      entry.moved(into.segment, offset, head, this.#amended);
    }
    this.waiter.resolve();
  }

  fail(error: Error): void {
    this.waiter.reject(error);
  }

  /** Whether it was written, or may have been: else it was another by then. */
  get isWritten(): boolean {
    return this.#place !== undefined;
  }
}

function summaryOf(entry: Entry): MessageSummary {
  const standings: Standing[] = [];
  for (let i = 0; i < entry.recipients; i++) standings.push(entry.standing(i));
  return { ...pick(entry), standings: entry.marks && standings };
}

function pick({ id, generation, received, recipients, destinations, file, size, held }: Entry) {
  return { id, generation, received, recipients, destinations, file, size, held };
}
