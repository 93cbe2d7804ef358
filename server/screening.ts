/**
 * Asks plugins about messages that are in the queue already (`when: queued`): their `data` and `dataFor`, after the reply and before
 * the first attempt, so that a slow scanner delays nobody's reply. Whom to ask stands in the message's record, and goes out of it
 * together with what they have changed: a crash in between asks again, and nothing is tried unasked.
 */
import type { Chain, Hearing, Ruling } from "./chain.ts";
import { summary } from "./chain.ts";
import type { Metrics } from "./admin/metrics.ts";
import { type Result, resultOf } from "./delivery/attempt.ts";
import type { Bounds, Objected, Screened } from "./delivery/screening.ts";
import { ClientSession, Envelope, type EnvelopeRecipient } from "./envelope.ts";
import type { Log } from "./log.ts";
import type { Body, Content } from "./message/content.ts";
import { composed, type Edits } from "./message/edits.ts";
import { EditableMessage } from "./message/message.ts";
import { overlaid } from "./message/render.ts";
import type { Observations } from "./observe/observations.ts";
import { Watching } from "./observe/watching.ts";
import type { Incoming, Objection, Transport } from "./plugin.ts";
import { type Address, mailboxKey, parseAddress } from "./smtp/address.ts";
import type { Queued, QueuedEnvelope, QueuedRecipient, Screening, Spool } from "./spool/spool.ts";
import { inWords, turnAt } from "./turn.ts";

/** Messages that are looked at at a time: a scanner has as much to do as it has places for, and memory stays bounded. */
const mostAtOnce = 20;

/** What asking needs. */
export interface ScreensOptions {
  readonly spool: Pick<Spool, "content" | "amend" | "record" | "hold">;
  readonly log: Log;
  /** What the server is called, now. */
  readonly hostname: () => string;
  /** Where a plugin's `replaceBody` writes to. */
  readonly newBody: (id: string) => Body;
  /** Where it is noted what observed plugins say; absent: nowhere. */
  readonly observations?: Observations | undefined;
  readonly metrics?: Metrics | undefined;
}

/** What the record keeps for those who are asked later. */
export function screeningOf(
  { id, role, trusted, remote, user }: ClientSession,
  { params }: Envelope,
  by: readonly string[],
  recipients: number,
): Screening {
  const { network, port } = remote;
  const sendAs = user?.sendAs ?? [];
  return {
    by,
    about: "message",
    recipients: Array.from({ length: recipients }, (_, index) => index),
    session: { id, role, trusted, network, port, ...(sendAs.length > 0 && { sendAs }) },
    params: [...params],
  };
}

/** One message while it is looked at. */
interface Looking {
  readonly queued: Queued;
  readonly screening: Screening;
  readonly chain: Chain;
  /** Who is asked. */
  readonly only: readonly string[];
  readonly session: ClientSession;
  readonly envelope: Envelope;
  /** By index of the queue's recipients; those that come from one RCPT share theirs. */
  readonly views: ReadonlyMap<number, EnvelopeRecipient>;
  readonly base: Base;
  readonly message: EditableMessage;
  readonly stopping: AbortSignal;
  readonly watching: Watching | undefined;
}

/** Asks, a bounded number of messages at a time. */
export class Screens {
  #free = mostAtOnce;
  readonly #waiting: (() => void)[] = [];

  constructor(readonly options: ScreensOptions) {}

  /** See `Screen`. Never rejects: what fails defers, and costs no attempt. */
  async screen(queued: Queued, due: readonly number[], { stopping, begin }: Bounds): Promise<Screened> {
    await this.#place();
    try {
      const chain = begin();
      if (!chain) return { kind: "withheld" };
      return await this.#screen(queued, due, chain, stopping);
    } catch (error) { // the disk, or a bug of ours: a plugin's failure is caught where it is asked
      if (stopping.aborted) return { kind: "withheld" };
      this.options.log.error("cannot have the message looked at", {
        id: queued.envelope.id,
        error: error instanceof Error ? error.stack : String(error),
      });
      return objectedBy(due, { result: unreadable, kind: "hindrance" });
    } finally {
      this.#leave();
    }
  }

  async #place(): Promise<void> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  #leave(): void {
    const next = this.#waiting.shift();
    if (next) next();
    else this.#free++;
  }

  async #screen(
    queued: Queued,
    due: readonly number[],
    chain: Chain,
    stopping: AbortSignal,
  ): Promise<Screened> {
    const { spool, hostname, newBody, observations, metrics } = this.options;
    const { envelope: { id, screening } } = queued;
    const asked = due.filter((index) => screening?.recipients.includes(index));
    if (!screening || asked.length === 0) return { kind: "passed" }; // who was let pass is asked about no more
    const only = this.#stillThere(id, screening, chain);
    if (only.length === 0) {
      await spool.amend(id, (envelope) => screenedAs(envelope, undefined));
      return { kind: "passed" };
    }
    const stored = await spool.content(id);
    if (!stored) return { kind: "withheld" };
    // A name of its own each time: what an aborted one wrote may still be there.
    const makeBody = () => newBody(`${id}-${crypto.randomUUID().slice(0, 13)}`);
    const base = await baseOf(stored, queued.envelope.edits, makeBody);
    const message = new EditableMessage(id, base.content, makeBody, hostname());
    try {
      return await this.#look({
        ...{ queued, screening, chain, only, base, message, stopping },
        ...standIns(queued, screening),
        watching: observations && chain.observes ? new Watching(observations, metrics) : undefined,
      }, asked);
    } finally {
      await message.discard();
      await base.body?.discard();
    }
  }

  /** A plugin that an operator has taken out of the configuration isn't waited for. */
  #stillThere(id: string, { by }: Screening, { generation }: Chain): readonly string[] {
    const there = by.filter((name) =>
      generation.instances.some((one) => one.name === name && (one.handlers.data || one.handlers.dataFor))
    );
    const gone = by.filter((name) => !there.includes(name));
    if (gone.length > 0) {
      this.options.log.warning("not looked at: the plugin is not in the configuration any more", {
        id,
        by: gone,
      });
    }
    return there;
  }

  async #look(looking: Looking, due: readonly number[]): Promise<Screened> {
    const { queued: { envelope: { id } }, only, watching, envelope, message } = looking;
    const objection = await this.#askAboutMessage(looking);
    looking.stopping.throwIfAborted(); // then the failure is the server's, and no plugin's
    if (objection) {
      watching?.transactionOver("refused");
      return objectedBy(due, objection);
    }
    const objections = await this.#askAboutRecipients(looking);
    looking.stopping.throwIfAborted();
    await this.#keep(looking, objections);
    watching?.transactionOver(due.every((index) => objections.has(index)) ? "refused" : "accepted");
    this.options.log.info("looked at in the queue", {
      id,
      by: only,
      said: [...envelope.said, ...message.trace.map(inWords)],
    });
    if (envelope.held !== undefined) return { kind: "withheld" };
    return objections.size > 0 ? { kind: "objected", objections } : { kind: "passed" };
  }

  // ── What the plugins say

  async #askAboutMessage(looking: Looking): Promise<Objected | undefined> {
    const { chain, session, envelope } = looking;
    const ruling = await chain.ask(
      "data",
      matterOf(looking),
      (handler, call, turn) => handler(session, turn.message!, envelope, call),
    );
    return this.#objection(looking, "data", ruling);
  }

  /**
   * Those that a plugin objects to, by index; `accept({ via })` moves a copy. All are asked about, due or not, and each time after the
   * message: what a plugin noted in `data` it finds in `dataFor`.
   */
  async #askAboutRecipients(looking: Looking): Promise<ReadonlyMap<number, Objected>> {
    const { chain, session, envelope, views } = looking;
    const objections = new Map<number, Objected>();
    for (const view of [...envelope.recipients]) {
      const ruling = await chain.ask(
        "dataFor",
        matterOf(looking, view.address),
        (handler, call, turn) => handler(session, view, turn.message as Incoming, envelope, call),
      );
      const objection = this.#objection(looking, "dataFor", ruling, view.address);
      if (objection) {
        for (const [index, one] of views) if (one === view) objections.set(index, objection);
      } else if (ruling.kind === "claim") {
        const { via } = ruling.claim as { via: Transport };
        view.finals = [{ address: view, via: via.transport, by: ruling.by.name }];
      }
    }
    return objections;
  }

  #objection(
    { queued: { envelope: { id, sender } } }: Looking,
    phase: "data" | "dataFor",
    ruling: Ruling,
    to?: string,
  ): Objected | undefined {
    const about = { id, phase, from: sender, ...(to !== undefined && { to }) };
    if (ruling.kind === "failure") { // has been logged, with why
      return { result: { ...failed(ruling.by), reason: ruling.by }, kind: "hindrance" };
    }
    if (ruling.kind !== "objection") return undefined;
    const { by, verdict } = ruling;
    const { rule } = verdict;
    this.options.log.info("refused in the queue", {
      ...{ ...about, by, verdict: summary(verdict) },
      ...(rule !== undefined && { rule }),
    });
    return { result: { ...resultOf(outcomeOf(verdict)), reason: by }, kind: "attempt" };
  }

  // ── What becomes of it

  /** What is held and who is removed comes first: a crash before the rest asks again, and tries nobody meanwhile. */
  async #keep(looking: Looking, objections: ReadonlyMap<number, Objected>): Promise<void> {
    const { spool } = this.options;
    const { queued, screening, envelope, views, message, base, chain, only } = looking;
    const { id } = queued.envelope;
    if (envelope.held !== undefined) await spool.hold(id, envelope.held);
    const there = new Set(envelope.recipients);
    const removed = [...views].filter(([, view]) => !there.has(view)).map(([recipient]) => ({
      id,
      recipient,
      state: { state: "failed" as const, reply: "5.7.1 A plugin has removed this recipient" },
    }));
    if (removed.length > 0) await spool.record(removed);
    const asksEach = chain.generation.instances.some(({ name, handlers }) =>
      only.includes(name) && handlers.dataFor
    );
    const left = asksEach ? screening.recipients.filter((index) => objections.has(index)) : [];
    // Asked again for some, the message is what it was made the first time: others may have it already.
    const isFirst = screening.about === "message";
    const isReplaced = message.content !== base.content;
    const content = !isFirst ? undefined : isReplaced ? message.content : base.body && base.content;
    const edits = content ? message.edits : composed(queued.envelope.edits, message.edits);
    await spool.amend(id, (now) => ({
      ...screenedAs(
        now,
        left.length > 0 ? { ...screening, about: "recipients", recipients: left } : undefined,
      ),
      ...(isFirst && { edits, sender: envelope.sender.address }),
      recipients: now.recipients.map((recipient, index) => changed(recipient, views.get(index))),
    }), content);
  }
}

/** The hooks' matter: there is no client who could go, only a server that may stop. */
function matterOf({ session, envelope, message, stopping, only, watching, queued }: Looking, about?: string) {
  const heard: Hearing = (one) => {
    if (one.said !== "nothing") {
      const words = one.said === "failed" ? one.said : summary(one.said);
      envelope.said.push(`${one.hook} ${one.plugin} ${words}${one.observed ? " (observed)" : ""}`);
    }
    const { sender, from } = queued.envelope;
    if (one.observed) watching?.heard(one, { ip: from?.ip ?? "internal", sender });
  };
  return { session, gone: stopping, turn: turnAt(envelope, message), only, heard, about };
}

/** What the content's own edits make of it: what plugins are shown, and what theirs are of. */
interface Base {
  readonly content: Content;
  /** It is a copy, which takes the content's place. */
  readonly body?: Body;
}

async function baseOf(stored: Content, edits: Edits, makeBody: () => Body): Promise<Base> {
  const isOdd = edits.rest === 0 && edits.pieces.length > 0 &&
    (stored.head[0] === 0x20 || stored.head[0] === 0x09);
  if (!isOdd) return { content: overlaid(stored, edits) };
  // A body alone that would continue our fields: what keeps them apart is no edit that two overlays could be made one of.
  const body = makeBody();
  for await (const piece of overlaid(stored, edits).read()) await body.write(piece);
  return { content: await body.finish(), body };
}

/** The session and the envelope as they were, as far as the queue knows. */
function standIns(
  { envelope: { id, sender, utf8, from, recipients, ret, envid }, states }: Queued,
  { session: { id: session, role, trusted, network, port, sendAs = [] }, params, recipients: asked }:
    Screening,
): Pick<Looking, "session" | "envelope" | "views"> {
  const remote = { address: from?.ip ?? "internal", network, port };
  const client = new ClientSession(session, role, from?.protocol ?? "internal", remote, trusted);
  const [version, cipher] = from?.tls?.split(" ") ?? [];
  client.helo = from?.helo;
  if (version !== undefined && cipher !== undefined) client.tls = { version, cipher };
  if (from?.user !== undefined) client.user = { name: from.user, sendAs };
  const said = {
    ...{ kind: "params" as const, params: new Map(params), smtputf8: utf8 },
    ...{ ...(ret && { ret }), ...(envid !== undefined && { envid }) },
  };
  const envelope = new Envelope(
    id,
    addressOf(sender),
    said,
    () =>
      Promise.reject(
        new Error("a message that is in the queue gets no more recipients: send them one by host.submit()"),
      ),
  );
  const views = new Map<number, EnvelopeRecipient>();
  const known = new Map<string, EnvelopeRecipient>();
  for (const [index, { address, original, via, notify, orcpt, copy }] of recipients.entries()) {
    if (copy || states[index]?.state !== "due" || !asked.includes(index)) continue;
    const given = addressOf(original);
    const key = mailboxKey(given);
    let view = known.get(key);
    if (!view) {
      const dsn = { ...(notify && { notify }), ...(orcpt && { orcpt }) };
      view = envelope.candidate(given, { kind: "params", params: new Map(), ...dsn });
      envelope.accept(view);
      known.set(key, view);
    }
    view.finals = [...view.finals, { address: addressOf(address), via, by: via }];
    views.set(index, view);
  }
  return { session: client, envelope, views };
}

/** `<postmaster>` has no domain (RFC 5321 §4.5.1); and whatever else stands there, nobody's mail may hang on it. */
function addressOf(text: string): Address {
  return parseAddress(text) ??
    {
      address: text,
      local: text,
      user: text.toLowerCase(),
      tag: undefined,
      domain: "",
      toString: () => text,
    };
}

/** A recipient's copy, with what plugins said of it. */
function changed(recipient: QueuedRecipient, view: EnvelopeRecipient | undefined): QueuedRecipient {
  if (!view) return recipient;
  const { top, finals: [first] } = view;
  const own = [...top, ...recipient.own ?? []];
  // Only `accept({ via })` leads back to the address as given itself.
  const address = view.domain === "" ? recipient.address : view.address;
  const moved = first?.address === (view as Address) ? { address, via: first.via } : {};
  return { ...recipient, ...moved, ...(own.length > 0 && { own }) };
}

function screenedAs(
  { screening: _, ...envelope }: QueuedEnvelope,
  left: Screening | undefined,
): QueuedEnvelope {
  return left ? { ...envelope, screening: left } : envelope;
}

function outcomeOf({ verdict, status, text }: Objection) {
  return verdict === "reject" || (verdict === "disconnect" && status.startsWith("5"))
    ? { verdict: "reject" as const, status: status as `5.${number}.${number}`, text }
    : { verdict: "defer" as const, status: status as `4.${number}.${number}`, text };
}

const objectedBy = (due: readonly number[], objected: Objected): Screened => ({
  kind: "objected",
  objections: new Map(due.map((index) => [index, objected])),
});

const failed = (by: string): Result => ({
  outcome: "deferred",
  status: "4.3.0",
  reply: `4.3.0 The plugin ${by} could not look at the message`,
});

const unreadable: Result = {
  outcome: "deferred",
  status: "4.3.0",
  reply: "4.3.0 The message could not be looked at",
  reason: "local",
};
