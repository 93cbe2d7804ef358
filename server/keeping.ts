/**
 * Who keeps a message that was let pass: a `queue` plugin, a proxy's next hop, an inline transport, else the spool. Whoever it is,
 * it is durable there before anybody is told so (promise 1).
 */
import type { Chain } from "./chain.ts";
import type { Clock } from "./clock.ts";
import { Copying, type Held, queuedCopies, untilHeard } from "./copying.ts";
import { carry } from "./delivery/carry.ts";
import type { Envelope, EnvelopeRecipient, FinalTarget } from "./envelope.ts";
import type { DeliveringTransport } from "./generation.ts";
import type { Arriving } from "./intake.ts";
import type { EditableMessage, SealedMessage } from "./message/message.ts";
import type { Delivery, Outcome, Target } from "./plugin.ts";
import type { Binding, HopSaid } from "./proxying.ts";
import { objected, printable, toReply } from "./ruling.ts";
import { mailboxKey } from "./smtp/address.ts";
import { isPositive, replies, type Reply } from "./smtp/reply.ts";
import type { PassedBy, QueuedRecipient, Spool } from "./spool/spool.ts";
import { screeningOf } from "./screening.ts";
import { originOf, traceOf } from "./trace.ts";

/** What a recipient is told, and by whom it was decided. */
export interface Told {
  readonly reply: Reply;
  readonly by: string;
}

/** What becomes of each recipient, as far as it is known. */
export type Tellings = Map<EnvelopeRecipient, Told>;

/** What is to be kept. */
export interface Keepable {
  readonly message: EditableMessage;
  /** `Received`, a raw field. */
  readonly received: string;
  /** Recipients that nobody objected to. */
  readonly open: readonly EnvelopeRecipient[];
  /** Recipients for whom some plugin said "not now", where others go on: tried later. */
  readonly later: readonly EnvelopeRecipient[];
  /** Plugins' own copies, where they are kept with the message. */
  readonly copies?: readonly QueuedRecipient[];
}

/** When those are tried for whom a plugin said "not now", in milliseconds. */
const notNow = 15 * 60_000;

/** What keeping needs of a spool. */
export type KeepingSpool = Pick<Spool, "keep" | "record" | "remove" | "note">;

/** Finds a keeper. */
export class Keeping {
  readonly #copying: Copying;

  constructor(readonly options: { readonly clock: Clock; readonly spool: KeepingSpool }) {
    this.#copying = new Copying(options);
  }

  /** Keeps the message for its open recipients, and says in `told` what came of it. @throws what the spool throws. */
  async keep(arriving: Arriving, keepable: Keepable, told: Tellings): Promise<void> {
    const { open, later } = keepable;
    if (arriving.phases.options.dry) {
      const copies = queuedCopies(arriving.envelope);
      const pretended = await this.#pretend(arriving, { ...keepable, copies });
      for (const recipient of [...open, ...later]) told.set(recipient, pretended);
      return;
    }
    // What is to be looked at in the queue goes there first, and what is held stays there: nobody gets it before.
    if (arriving.envelope.held !== undefined || screenedBy(arriving).length > 0) {
      const kept = await this.#spool(arriving, { ...keepable, copies: queuedCopies(arriving.envelope) });
      for (const recipient of [...open, ...later]) told.set(recipient, kept);
      return;
    }
    if (arriving.envelope.copies.length === 0) return await this.#findKeeper(arriving, keepable, told);
    if (this.#goesToSpool(arriving, keepable)) {
      const copies = queuedCopies(arriving.envelope);
      return await this.#findKeeper(arriving, { ...keepable, copies }, told);
    }
    let held: Held | undefined = await this.#copying.hold(arriving, keepable);
    try {
      await this.#findKeeper(arriving, keepable, told);
      const isKept = (reply: Reply | undefined) => reply !== undefined && isPositive(reply);
      if (![...open, ...later].some((recipient) => isKept(told.get(recipient)?.reply))) return;
      this.#copying.letGo(arriving, held);
      held = undefined;
    } finally {
      if (held) await this.#copying.takeBack(arriving, held);
    }
  }

  /** Of a message that no recipient is left of. @throws what the spool throws. */
  async keepCopies(arriving: Arriving, keepable: Keepable): Promise<void> {
    if (arriving.envelope.copies.length === 0 || arriving.phases.options.dry) return;
    this.#copying.letGo(arriving, await this.#copying.hold(arriving, keepable));
  }

  /** Whether nobody else is asked. */
  #goesToSpool(arriving: Arriving, keepable: Keepable): boolean {
    const { envelope: { binding }, phases: { chain } } = arriving;
    return !chain.has("queue") && !binding?.isBound && !inlineWay(arriving, keepable);
  }

  async #findKeeper(arriving: Arriving, keepable: Keepable, told: Tellings): Promise<void> {
    const { message, received, open, later } = keepable;
    const queued = await this.#askQueue(arriving, keepable, message.sealed([received]), told);
    const { binding } = arriving.envelope;
    if (!queued && binding?.isBound) return await this.#passOn(arriving, keepable, binding, told);
    const answer = queued ?? await this.#askInline(arriving, keepable) ??
      await this.#spool(arriving, keepable);
    for (const recipient of [...open, ...later]) told.set(recipient, answer);
  }

  // ── A proxy's next hop

  /**
   * The next hop's word is the client's. What can't go its way (a copy unlike the others, a recipient that a plugin has added or
   * moved, one to be tried later) is in the queue before, since nothing can be taken back from a next hop; and out of it again where
   * that says no. What is in the queue is due when the next hop has spoken.
   */
  async #passOn(arriving: Arriving, keepable: Keepable, binding: Binding, told: Tellings): Promise<void> {
    const { message, received, open, later } = keepable;
    const through = open.filter((recipient) => binding.carries(recipient));
    const rest = open.filter((recipient) => !through.includes(recipient));
    const others = [...rest, ...later];
    if (through.length === 0) {
      binding.release(); // its connection need not wait for our disk
      const kept = await this.#spool(arriving, keepable);
      for (const one of others) told.set(one, kept);
      return;
    }
    const waiting = others.length > 0 && await this.#spool(arriving, { ...keepable, open: rest }, untilHeard);
    const said = await binding.send(message.sealed([received]), through);
    const isTaken = isPositive(said.reply);
    for (const one of through) told.set(one, said);
    this.#reportPassed(arriving, binding, through, said);
    if (isTaken) this.#notePassed(arriving, keepable, binding, through, said, waiting ? "part" : "whole");
    if (!waiting) return;
    // LMTP has a reply for each: what is kept of the others doesn't hang on these.
    const isKept = isTaken || arriving.phases.session.protocol === "lmtp";
    for (const one of others) told.set(one, isKept ? waiting : said);
    await (isKept ? this.#letGo(arriving, rest, later) : this.#takeBack(arriving));
  }

  /** Due as if it had been kept just now. What the disk does to that isn't the client's: in an hour it is due all the same. */
  #letGo(
    { envelope, log }: Arriving,
    rest: readonly EnvelopeRecipient[],
    later: readonly EnvelopeRecipient[],
  ): void {
    const now = this.options.clock.now();
    const due = [...copiesOf(rest, later, now + notNow).values()];
    const outcomes = due.map((at, recipient) => ({
      id: envelope.id,
      recipient,
      state: { state: "due" as const, due: at ?? now, attempts: 0, reply: "" },
    }));
    this.options.spool.record(outcomes).catch((error) =>
      log.error("recipients wait for an hour", { id: envelope.id, error: String(error) })
    );
  }

  async #takeBack({ envelope, log }: Arriving): Promise<void> {
    try {
      await this.options.spool.remove(envelope.id);
    } catch (error) { // the disk: they get it now, and again when the client comes back
      log.error("possible duplicate", { id: envelope.id, error: String(error) });
    }
  }

  #reportPassed(
    { phases: { chain }, envelope, log }: Arriving,
    { via, host = "", tls }: Binding,
    recipients: readonly EnvelopeRecipient[],
    { reply: said }: HopSaid,
  ): void {
    if (!isPositive(said)) return;
    const text = `${said.code} ${said.status} ${said.lines.join(" ")}`;
    const sender = envelope.sender.address;
    const to = recipients.map(({ address }) => address);
    log.info("passed on", { id: envelope.id, from: sender, to, transport: via, host, tls, reply: text });
    for (const { finals } of recipients) {
      const recipient = finals[0]!.address;
      chain.report("delivered", {
        id: envelope.id,
        sender,
        recipient,
        transport: via,
        attempts: 1,
        reply: text,
      });
    }
  }

  /** @param told Who was refused already: whoever keeps the message must not keep it for them (LMTP has said so). */
  async #askQueue(
    arriving: Arriving,
    keepable: Keepable,
    sealed: SealedMessage,
    told: ReadonlyMap<EnvelopeRecipient, Told>,
  ): Promise<Told | undefined> {
    const { phases, envelope } = arriving;
    if (!phases.chain.has("queue")) return undefined;
    for (const recipient of told.keys()) envelope.leaveOut(recipient);
    const ruling = await phases.chain.ask(
      "queue",
      phases.matter(envelope, undefined),
      (handler, call) => handler(phases.session, sealed, envelope, call),
    );
    const objection = objected("queue", ruling);
    if (objection) {
      const { by, reply, verdict } = objection;
      phases.refuse("queue", by, reply, { from: envelope.sender.address }, undefined, verdict);
      return objection;
    }
    if (ruling.kind !== "claim") return undefined;
    const { id } = ruling.claim as { id: string };
    this.#note(arriving, keepable, { kind: "plugin", plugin: ruling.by.name, name: id });
    return { reply: replies.accepted(printable(id)), by: ruling.by.name };
  }

  /** A dry run's: who takes a message whole isn't asked, for it would. @returns What a real session would be told. */
  async #pretend(arriving: Arriving, keepable: Keepable): Promise<Told> {
    const told = await this.#spool(arriving, keepable);
    const inline = arriving.envelope.held === undefined && screenedBy(arriving).length === 0
      ? inlineWay(arriving, keepable)
      : undefined;
    return inline ? { reply: replies.deliveredNow(arriving.envelope.id), by: inline.target.by } : told;
  }

  /** One final recipient, whose transport may be tried before the reply: its outcome is the reply, nothing is queued. */
  async #askInline(arriving: Arriving, keepable: Keepable): Promise<Told | undefined> {
    const way = inlineWay(arriving, keepable);
    if (!way) return undefined;
    const { message, received } = keepable;
    const { recipient, target, transport } = way;
    const sealed = message.sealed([received, ...recipient.top]);
    const { told, outcome } = await this.#deliver(arriving, sealed, recipient, target, transport);
    if (outcome.verdict === "delivered") {
      this.#note(arriving, keepable, { kind: "transport", via: target.via, reply: outcome.text });
    }
    return told;
  }

  async #deliver(
    { phases, envelope, log, gone }: Arriving,
    sealed: SealedMessage,
    recipient: EnvelopeRecipient,
    { address, via, by }: FinalTarget,
    transport: DeliveringTransport,
  ): Promise<{ told: Told; outcome: Outcome }> {
    const target = makeTarget(address, envelope.sender.address, recipient.address);
    const [outcome] = await carry(transport, sealed, [target], {
      clock: this.options.clock,
      log,
      attempt: 1,
      gone,
    });
    const sender = envelope.sender.address;
    report(phases.chain, outcome!, {
      id: envelope.id,
      sender,
      recipient: address,
      transport: via,
      attempts: 1,
    });
    return { told: { reply: outcomeReply(outcome!, envelope.id), by }, outcome: outcome! };
  }

  /** For `track`, of what never comes into the queue. */
  #note(
    { phases, envelope }: Arriving,
    { message, open, later }: Keepable,
    keeper: PassedBy["keeper"],
  ): void {
    const recipients = [...copiesOf(open, later, 0).keys()].map(({ address, original, via }) => ({
      address,
      original,
      via,
    }));
    this.options.spool.note({
      envelope: {
        id: envelope.id,
        received: this.options.clock.now(),
        sender: envelope.sender.address,
        utf8: envelope.smtputf8,
        recipients,
        from: originOf(phases),
        trace: traceOf(phases, envelope, message),
      },
      size: message.content.size,
      keeper,
    });
  }

  #notePassed(
    arriving: Arriving,
    keepable: Keepable,
    { via, host, tls }: Binding,
    through: readonly EnvelopeRecipient[],
    { reply: said }: HopSaid,
    extent: "whole" | "part",
  ): void {
    const reply = [said.code, said.status, ...said.lines].filter((part) => part !== undefined).join(" ");
    this.#note(arriving, { ...keepable, open: through, later: [] }, {
      ...{ kind: "hop", via, extent, reply },
      ...(host !== undefined && { host }),
      ...(tls !== undefined && { tls }),
    });
  }

  /** For `track`, of a message whose recipients were all removed by plugins. */
  noteNobody(arriving: Arriving, message: EditableMessage): void {
    this.#note(arriving, { message, received: "", open: [], later: [] }, { kind: "nobody" });
  }

  /** @param wait Milliseconds until it is due. */
  async #spool(arriving: Arriving, keepable: Keepable, wait?: number): Promise<Told> {
    const { phases, envelope } = arriving;
    const { message, received, open, later, copies = [] } = keepable;
    const by = screenedBy(arriving);
    const now = this.options.clock.now();
    const due = copiesOf(open, later, now + notNow);
    const times = wait === undefined ? [...due.values()] : [...due.values()].map(() => now + wait);
    times.push(...copies.map(() => undefined));
    await this.options.spool.keep(
      {
        id: envelope.id,
        received: now,
        sender: envelope.sender.address,
        utf8: envelope.smtputf8,
        ...envelope.dsn,
        edits: message.edits,
        top: [received],
        recipients: [...due.keys(), ...copies],
        from: originOf(phases),
        trace: traceOf(phases, envelope, message),
        ...(by.length > 0 && { screening: screeningOf(phases.session, envelope, by, due.size) }),
      },
      message.content,
      times,
      envelope.held,
    );
    const claimed = [...new Set(open.flatMap(({ finals }) => finals.map((one) => one.by)))];
    return { reply: replies.accepted(envelope.id), by: claimed.join(" ") || "core" };
  }
}

/** Who is asked once it is in the queue (`when: queued`). */
const screenedBy = ({ phases: { chain, session } }: Arriving): readonly string[] => chain.queuedFor(session);

/** The way of a message that may be tried before the reply; `undefined`: it is spooled first. */
interface InlineWay {
  readonly recipient: EnvelopeRecipient;
  readonly target: FinalTarget;
  readonly transport: DeliveringTransport;
}

function inlineWay(
  { phases: { chain, session } }: Arriving,
  { open, later }: Keepable,
): InlineWay | undefined {
  const [recipient, ...others] = open;
  const [target, ...targets] = recipient?.finals ?? [];
  if (!recipient || !target || others.length + targets.length + later.length > 0) return undefined;
  if (session.protocol === "internal") return undefined; // nobody is there to try again: it is kept, then tried
  if (recipient.dsn.notify?.includes("SUCCESS")) return undefined; // the runner tells the sender (RFC 3461 §4.1)
  const transport = chain.generation.transports.get(target.via);
  return transport && "deliver" in transport && transport.inline
    ? { recipient, target, transport }
    : undefined;
}

/**
 * A recipient for each target, and when it is due; two that lead to one mailbox are one delivery, and whoever may have it now
 * has it now.
 */
function copiesOf(
  open: readonly EnvelopeRecipient[],
  later: readonly EnvelopeRecipient[],
  then: number,
): ReadonlyMap<QueuedRecipient, number | undefined> {
  const mailboxes = new Set<string>();
  const copies = new Map<QueuedRecipient, number | undefined>();
  const add = (recipient: EnvelopeRecipient, due: number | undefined) => {
    for (const { address, via } of recipient.finals) {
      const key = `${via} ${mailboxKey(address)}`;
      if (mailboxes.has(key)) continue;
      mailboxes.add(key);
      copies.set({
        address: address.address,
        original: recipient.address,
        via,
        ...recipient.dsn,
        ...(recipient.top.length > 0 && { own: recipient.top }),
      }, due);
    }
  };
  for (const recipient of open) add(recipient, undefined);
  for (const recipient of later) add(recipient, then);
  return copies;
}

function makeTarget(address: FinalTarget["address"], sender: string, original: string): Target {
  const { address: text, local, user, tag, domain } = address;
  return { address: text, local, user, tag, domain, sender, original, toString: () => text };
}

/** An outcome as the reply to the final dot. */
function outcomeReply(outcome: Outcome, id: string): Reply {
  return outcome.verdict === "delivered" ? replies.deliveredNow(id) : toReply("data", outcome);
}

/** Tells the plugins of a delivery. A refusal before the reply is the client's to bounce, not ours. */
function report(chain: Chain, outcome: Outcome, delivery: Omit<Delivery, "reply">): void {
  if (outcome.verdict === "delivered") chain.report("delivered", { ...delivery, reply: outcome.text });
}

/** For an envelope all of whose recipients were removed by plugins: they have decided that it goes nowhere. */
export const removedByAll = (envelope: Envelope): Told => ({
  reply: replies.accepted(envelope.id),
  by: "core",
});
