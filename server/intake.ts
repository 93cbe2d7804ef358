/**
 * After the final dot: `data`, `dataFor` for each recipient, then whoever keeps the message: a `queue` plugin or an inline
 * transport. `250` is said only when one of them has it safe (promise 1); everything else leaves nothing behind.
 */
import type { Chain, Ruling, Turn } from "./chain.ts";
import type { Clock } from "./clock.ts";
import { carry } from "./delivery/carry.ts";
import type { Envelope, EnvelopeRecipient, FinalTarget } from "./envelope.ts";
import type { Instance } from "./generation.ts";
import type { Log } from "./log.ts";
import type { Body } from "./message/content.ts";
import { makeField } from "./message/field.ts";
import { type Edit, EditableMessage, type SealedMessage } from "./message/message.ts";
import { countReceived, received } from "./message/received.ts";
import { completeSubmission, removeForgedResults } from "./message/submission.ts";
import type { Phases } from "./phases.ts";
import type { Delivery, Incoming, Objection, Outcome, Target, Transport } from "./plugin.ts";
import { printable, toObjection, toReply } from "./ruling.ts";
import { mailboxKey } from "./smtp/address.ts";
import { isPositive, isTemporary, replies, type Reply } from "./smtp/reply.ts";

/** What the intake of a server needs. */
export interface IntakeOptions {
  readonly hostname: string;
  readonly clock: Clock;
  /** `limits.hops`: how many `Received` fields a message may have. */
  readonly hops: number;
  /** Where a plugin's `replaceBody` writes to. */
  readonly newBody: (id: string) => Body;
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

/** What a recipient is told, and by whom it was decided. */
interface Told {
  readonly reply: Reply;
  readonly by: string;
}

/** Decides about messages that have arrived whole. */
export class Intake {
  constructor(readonly options: IntakeOptions) {}

  /** Whether a transaction of several final recipients can be kept whole. */
  keepsMany(chain: Chain): boolean {
    // An observed one keeps nothing: each message of two recipients would be deferred for good.
    return chain.generation.instances.some(({ handlers, observe }) => handlers.queue && !observe);
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
      );
      return await this.#decide(arriving, message);
    } catch (error) { // the disk, or a bug of ours
      log.error("cannot keep the message", {
        id: envelope.id,
        error: error instanceof Error ? error.stack : String(error),
      });
      return this.notKept(envelope, phases.refuse("data", "core", replies.noRoom, {}));
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
    if (phases.session.protocol !== "lmtp") reconcile(envelope, told);
    const open = envelope.recipients.filter((recipient) => !told.has(recipient));
    if (open.length > 0) await this.#keep(arriving, message, open, told);
    return this.#answers(arriving, message, told);
  }

  /** What the server itself changes (RFC 8601 §5; RFC 6409 §8 on submission). */
  #complete({ session }: Phases, message: EditableMessage): void {
    const { hostname, clock } = this.options;
    removeForgedResults(message.header, hostname);
    if (session.role === "submission") completeSubmission(message.header, { hostname, now: clock.now() });
  }

  // ── What the plugins say ─────────────────────────────────────────────────────────────────────────

  #askData({ phases, envelope, gone }: Arriving, message: EditableMessage): Ruling | Promise<Ruling> {
    const matter = {
      session: phases.session,
      gone,
      heard: phases.hearing(envelope),
      turn: turnAt(envelope, message),
    };
    return phases.chain.ask(
      "data",
      matter,
      (handler, call, turn) => handler(phases.session, turn.message!, envelope, call),
    );
  }

  /** Those that a plugin objected to, with what they are told; `accept({ via })` moves a recipient's copy. */
  async #askForEach(
    { phases, envelope, gone }: Arriving,
    message: EditableMessage,
  ): Promise<Map<EnvelopeRecipient, Told>> {
    const told = new Map<EnvelopeRecipient, Told>();
    if (!phases.chain.has("dataFor")) return told;
    for (const recipient of envelope.recipients) {
      const matter = {
        session: phases.session,
        gone,
        heard: phases.hearing(envelope),
        turn: turnAt(envelope, message),
      };
      const ruling = await phases.chain.ask(
        "dataFor",
        matter,
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

  // ── Who keeps it ─────────────────────────────────────────────────────────────────────────────────

  async #keep(
    arriving: Arriving,
    message: EditableMessage,
    open: readonly EnvelopeRecipient[],
    told: Map<EnvelopeRecipient, Told>,
  ): Promise<void> {
    const sealed = message.sealed([this.#received(arriving)]);
    const queued = await this.#askQueue(arriving, sealed, told);
    if (queued) {
      for (const recipient of open) told.set(recipient, queued);
      return;
    }
    // SMTP has one reply, so one recipient may be tried before it; LMTP has one for each (RFC 2033 §4.2).
    const inline = open.length === 1 || arriving.phases.session.protocol === "lmtp";
    const delivered = new Map<string, Told>(); // two recipients may lead to one mailbox: it gets one copy
    for (const recipient of open) {
      const [target] = recipient.finals;
      if (!inline || !target || recipient.finals.length !== 1) {
        told.set(recipient, nowhere);
        continue;
      }
      const key = `${target.via} ${mailboxKey(target.address)}`;
      const answer = delivered.get(key) ?? await this.#deliver(arriving, sealed, recipient, target);
      delivered.set(key, answer);
      told.set(recipient, answer);
    }
  }

  /** @param told Who was refused already: whoever keeps the message must not keep it for them (LMTP has said so). */
  async #askQueue(
    { phases, envelope, gone }: Arriving,
    sealed: SealedMessage,
    told: ReadonlyMap<EnvelopeRecipient, Told>,
  ): Promise<Told | undefined> {
    if (!phases.chain.has("queue")) return undefined;
    for (const recipient of told.keys()) envelope.leaveOut(recipient);
    const matter = { session: phases.session, gone, heard: phases.hearing(envelope) };
    const ruling = await phases.chain.ask(
      "queue",
      matter,
      (handler, call) => handler(phases.session, sealed, envelope, call),
    );
    const objection = objected("queue", ruling);
    if (objection) {
      phases.refuse(
        "queue",
        objection.by,
        objection.reply,
        { from: envelope.sender.address },
        undefined,
        objection.verdict,
      );
      return objection;
    }
    if (ruling.kind !== "claim") return undefined;
    const { id } = ruling.claim as { id: string };
    return { reply: replies.accepted(printable(id)), by: ruling.by.name };
  }

  /** The inline attempt: its outcome is the reply. */
  async #deliver(
    { phases, envelope, log, gone }: Arriving,
    sealed: SealedMessage,
    recipient: EnvelopeRecipient,
    { address, via, by }: FinalTarget,
  ): Promise<Told> {
    const transport = phases.chain.generation.transports.get(via);
    if (!transport?.inline) {
      log.warning("nothing keeps mail for this transport", {
        id: envelope.id,
        to: recipient.address,
        transport: via,
      });
      return nowhere;
    }
    const target = makeTarget(address, envelope.sender.address, recipient.address);
    const copy = recipient.top.length > 0 ? sealed.withTop(recipient.top) : sealed;
    const [outcome] = await carry(transport, copy, [target], {
      clock: this.options.clock,
      log,
      attempt: 1,
      gone,
    });
    report(phases.chain, outcome!, {
      id: envelope.id,
      sender: envelope.sender.address,
      recipient: address,
      transport: via,
      attempts: 1,
    });
    return { reply: outcomeReply(outcome!, envelope.id), by };
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
      const otherwise = kept ?? (told.size === 0 ? removed(envelope) : nowhere);
      return envelope.accepted.map((recipient) => (told.get(recipient) ?? otherwise).reply);
    }
    const objection = each.find(({ reply }) => isTemporary(reply)) ??
      each.find(({ reply }) => !isPositive(reply));
    return this.notKept(envelope, (kept ?? objection ?? removed(envelope)).reply);
  }

  #log(
    { envelope, phases: { session }, log }: Arriving,
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
      });
    }
  }
}

/** An edit as the log shows it, beside what plugins said. */
const inWords = ({ plugin, edit, name }: Edit): string => `data ${plugin} ${edit} ${name ?? "body"}`;

const nowhere: Told = { reply: replies.nowhere, by: "core" };

/** Every recipient was removed by plugins: they have decided that it goes nowhere. */
const removed = (envelope: Envelope): Told => ({ reply: replies.accepted(envelope.id), by: "core" });

/**
 * SMTP has one reply for all recipients, so where they differ nobody may be lost: a temporary objection becomes everyone's;
 * a permanent one is written on that recipient's copy, which is delivered (DESIGN §7, after the dot).
 */
function reconcile(envelope: Envelope, told: Map<EnvelopeRecipient, Told>): void {
  const { recipients } = envelope;
  if (told.size === 0 || told.size === recipients.length) return;
  const later = [...told.values()].find(({ reply }) => isTemporary(reply));
  for (const recipient of recipients) {
    const own = told.get(recipient);
    if (later) told.set(recipient, later);
    else if (own) {
      recipient.top.unshift(makeField("X-Refused", `${own.reply.status ?? own.reply.code} ${own.by}`));
      told.delete(recipient);
    }
  }
}

/** An objection or a failure as what the client is told. */
function objected(
  hook: "data" | "dataFor" | "queue",
  ruling: Ruling,
): Told & { verdict: Objection } | undefined {
  if (ruling.kind === "objection") {
    return { by: ruling.by, reply: toReply(hook, ruling.verdict), verdict: ruling.verdict };
  }
  if (ruling.kind === "failure") {
    return { by: ruling.by, reply: replies.pluginFailed, verdict: toObjection(replies.pluginFailed) };
  }
  // Passed over at its own wish, but nobody else took the message: only `queue` has such a no.
  return undefined;
}

/** The view of the message and the envelope in one plugin's turn. */
function turnAt({ gate }: Envelope, message: EditableMessage): (instance: Instance) => Turn {
  return (instance) => {
    gate.open(instance.name, instance.observe);
    const own = instance.observe ? message.fork() : message;
    const editing = own.editing(instance.name);
    return {
      message: editing.view,
      close() {
        editing.close();
        gate.close();
        if (own !== message) own.discard().catch(() => {});
      },
    };
  };
}

function makeTarget(address: Target | FinalTarget["address"], sender: string, original: string): Target {
  const { address: text, local, user, tag, domain } = address;
  return { address: text, local, user, tag, domain, sender, original, toString: () => text };
}

/** An outcome as the reply to the final dot. */
function outcomeReply(outcome: Outcome, id: string): Reply {
  return outcome.verdict === "delivered" ? replies.deliveredNow(id) : toReply("data", outcome);
}

/** Tells the plugins what became of a recipient. A refusal before the reply is the client's to bounce, not ours. */
function report(chain: Chain, outcome: Outcome, delivery: Omit<Delivery, "reply">): void {
  if (outcome.verdict === "delivered") chain.report("delivered", { ...delivery, reply: outcome.text });
}
