/**
 * After the final dot: `data`, `dataFor` for each recipient, then whoever keeps the message: a `queue` plugin, an inline
 * transport or the spool. `250` is said only when one of them has it safe (promise 1); everything else leaves nothing behind.
 */
import type { Ruling } from "./chain.ts";
import type { Clock } from "./clock.ts";
import type { Envelope, EnvelopeRecipient } from "./envelope.ts";
import type { Generation } from "./generation.ts";
import { Keeping, type KeepingSpool, removedByAll, type Tellings, type Told } from "./keeping.ts";
import type { Log } from "./log.ts";
import type { Body } from "./message/content.ts";
import { makeField } from "./message/field.ts";
import { EditableMessage } from "./message/message.ts";
import { countReceived, received } from "./message/received.ts";
import { completeSubmission, removeForgedResults } from "./message/submission.ts";
import type { Phases } from "./phases.ts";
import type { Incoming, Transport } from "./plugin.ts";
import { objected } from "./ruling.ts";
import { isPositive, isTemporary, replies, type Reply } from "./smtp/reply.ts";
import { inWords, turnAt } from "./turn.ts";

/** What the intake of a server needs. */
export interface IntakeOptions {
  readonly hostname: string;
  readonly clock: Clock;
  /** `limits.hops`: how many `Received` fields a message may have. */
  readonly hops: number;
  /** Where a plugin's `replaceBody` writes to. */
  readonly newBody: (id: string) => Body;
  /** What nobody else takes is kept here. */
  readonly spool: KeepingSpool;
}

/** One message on its way in. */
export interface Arriving {
  readonly phases: Phases;
  readonly envelope: Envelope;
  readonly body: Body;
  readonly log: Log;
  /** Aborts when the client goes: then nobody hears a yes, and nothing may become visible. */
  readonly gone: AbortSignal;
}

/** Decides about messages that have arrived whole. */
export class Intake {
  readonly #keeping: Keeping;

  constructor(readonly options: IntakeOptions) {
    this.#keeping = new Keeping(options);
  }

  /** The same answer for each accepted RCPT. */
  notKept(envelope: Envelope, reply: Reply): readonly Reply[] {
    return envelope.accepted.map(() => reply);
  }

  /** One reply for each accepted RCPT, in order. Never throws: what fails is a temporary refusal. */
  async take(arriving: Arriving): Promise<readonly Reply[]> {
    const { envelope, body, log, phases } = arriving;
    let message: EditableMessage | undefined;
    let edited = 0; // each plugin may replace the body, and all of them are kept until the end
    try {
      message = new EditableMessage(
        envelope.id,
        await body.finish(),
        () => this.options.newBody(`${envelope.id}-edited-${++edited}`),
        this.options.hostname,
      );
      return await this.#decide(arriving, message);
    } catch (error) { // the disk, or a bug of ours
      log.error("cannot keep the message", {
        id: envelope.id,
        error: error instanceof Error ? error.stack : String(error),
      });
      const reply = isFull(error) ? replies.noRoom : replies.notStored;
      return this.notKept(envelope, phases.refuse("data", "core", reply, {}));
    } finally {
      await message?.discard();
    }
  }

  async #decide(arriving: Arriving, message: EditableMessage): Promise<readonly Reply[]> {
    const { envelope, phases } = arriving;
    const about = { from: envelope.sender.address };
    if (countReceived(message.received) > this.options.hops) {
      return this.notKept(envelope, phases.refuse("data", "core", replies.looping, about));
    }
    this.#complete(phases, message);
    const objection = objected("data", await this.#askData(arriving, message));
    if (objection) {
      return this.notKept(
        envelope,
        phases.refuse("data", objection.by, objection.reply, about, undefined, objection.verdict),
      );
    }
    const told = await this.#askForEach(arriving, message);
    const later = phases.session.protocol === "lmtp" ? [] : reconcile(envelope, told);
    const open = envelope.recipients.filter((recipient) =>
      !told.has(recipient) && !later.includes(recipient)
    );
    if (open.length > 0) {
      const received = this.#received(arriving);
      await this.#keeping.keep(arriving, { message, received, open, later }, told);
    } else if (told.size === 0) {
      this.#keeping.noteNobody(arriving, message);
      await this.#keeping.keepCopies(arriving, { message, received: this.#received(arriving), open, later });
    }
    return this.#answers(arriving, message, told);
  }

  /** What the server itself changes (RFC 8601 §5; RFC 6409 §8 on submission). */
  #complete({ session }: Phases, message: EditableMessage): void {
    const { hostname, clock } = this.options;
    removeForgedResults(message.header, hostname);
    if (session.role === "submission") completeSubmission(message.header, { hostname, now: clock.now() });
  }

  // ── What the plugins say ─────────────────────────────────────────────────────────────────────────

  #askData({ phases, envelope }: Arriving, message: EditableMessage): Ruling | Promise<Ruling> {
    return phases.chain.ask(
      "data",
      phases.matter(envelope, turnAt(envelope, message)),
      (handler, call, turn) => handler(phases.session, turn.message!, envelope, call),
    );
  }

  /** Those that a plugin objected to, with what they are told; `accept({ via })` moves a recipient's copy. */
  async #askForEach(
    { phases, envelope }: Arriving,
    message: EditableMessage,
  ): Promise<Tellings> {
    const told: Tellings = new Map();
    if (!phases.chain.has("dataFor")) return told;
    for (const recipient of envelope.recipients) {
      const ruling = await phases.chain.ask(
        "dataFor",
        phases.matter(envelope, turnAt(envelope, message), recipient.address),
        (handler, call, turn) => handler(phases.session, recipient, turn.message as Incoming, envelope, call),
      );
      const objection = objected("dataFor", ruling);
      if (objection) {
        const about = { from: envelope.sender.address, to: recipient.address };
        phases.refuse("dataFor", objection.by, objection.reply, about, recipient, objection.verdict);
        told.set(recipient, objection);
      } else if (ruling.kind === "claim") {
        const { via } = ruling.claim as { via: Transport };
        recipient.finals = [{ address: recipient, via: via.transport, by: ruling.by.name }];
      }
    }
    return told;
  }

  #received({ phases: { session }, envelope }: Arriving): string {
    const { hostname, clock } = this.options;
    return received({
      helo: session.helo,
      address: session.remote.address,
      hostname,
      protocol: session.protocol === "smtp" ? (session.extended ? "esmtp" : "smtp") : session.protocol,
      utf8: envelope.smtputf8,
      tls: session.tls,
      authenticated: session.user !== undefined,
      id: envelope.id,
      recipients: envelope.recipients.map((recipient) => recipient.address),
      now: clock.now(),
    });
  }

  // ── What the client is told ──────────────────────────────────────────────────────────────────────

  #answers(
    arriving: Arriving,
    message: EditableMessage,
    told: ReadonlyMap<EnvelopeRecipient, Told>,
  ): readonly Reply[] {
    const { envelope, phases } = arriving;
    const each = [...told.values()];
    const kept = each.find(({ reply }) => isPositive(reply));
    this.#log(arriving, message, told);
    if (phases.session.protocol === "lmtp") {
      // A recipient that a plugin removed was promised nothing more than that somebody decides: it did.
      const otherwise = kept ?? (told.size === 0 ? removedByAll(envelope) : nobody);
      return envelope.accepted.map((recipient) => (told.get(recipient) ?? otherwise).reply);
    }
    const objection = each.find(({ reply }) => isTemporary(reply)) ??
      each.find(({ reply }) => !isPositive(reply));
    return this.notKept(envelope, (kept ?? objection ?? removedByAll(envelope)).reply);
  }

  #log(
    { envelope, phases: { chain, session, options: { metrics } }, log }: Arriving,
    message: EditableMessage,
    told: ReadonlyMap<EnvelopeRecipient, Told>,
  ): void {
    for (
      const [verdict, ours] of Map.groupBy(
        told,
        ([, { reply }]) => isPositive(reply) ? "accepted" : "refused",
      )
    ) {
      const by = [...new Set(ours.map(([, told]) => told.by))];
      if (verdict === "accepted") metrics?.replied("message", by[0]!, 250);
      log.info(`message ${verdict}`, {
        id: envelope.id,
        from: envelope.sender.address,
        to: ours.map(([recipient]) => recipient.address),
        size: message.content.size,
        tls: session.tls?.version,
        user: session.user?.name,
        by,
        reply: ours[0]![1].reply.lines.join(" "),
        said: [...envelope.said, ...message.trace.map(inWords)],
        ...factsOf(chain.generation, session, envelope),
      });
    }
  }
}

/** Whether it was the disk's being full, as the system or whoever met it says. */
function isFull(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (/\b(ENOSPC|EDQUOT)\b|No space left|quota exceeded|is full/i.test(cause.message)) return true;
  }
  return false;
}

/** What plugins found out, as the log shows it; nothing where there is nothing. */
function factsOf({ facts }: Generation, ...about: readonly object[]): { facts?: readonly string[] } {
  const found = about.flatMap((one) => [...facts?.about(one) ?? []]);
  return found.length === 0
    ? {}
    : { facts: found.map(([name, value]) => `${name}=${JSON.stringify(value)}`) };
}

const nobody: Told = { reply: replies.notStored, by: "core" };

/**
 * SMTP has one reply for all recipients, so where they differ nobody may be lost: those who were deferred are tried later;
 * a refusal is written on that recipient's copy, which is delivered (DESIGN §7, after the dot).
 *
 * @returns Those to be tried later. Where all object there is nothing to reconcile.
 */
function reconcile(envelope: Envelope, told: Tellings): readonly EnvelopeRecipient[] {
  const { recipients } = envelope;
  if (told.size === 0 || told.size === recipients.length) return [];
  const later: EnvelopeRecipient[] = [];
  for (const [recipient, { reply, by }] of [...told]) {
    told.delete(recipient);
    if (isTemporary(reply)) later.push(recipient);
    else recipient.top.unshift(makeField("X-Refused", `${reply.status ?? reply.code} ${by}`));
  }
  return later;
}
