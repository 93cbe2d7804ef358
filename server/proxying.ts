/**
 * Proxy mode: a client's transaction goes to its next hop while the client speaks, and the next hop's answers are the client's.
 * The first recipient that the next hop takes binds the transaction to it; whoever goes another way wants another transaction.
 */
import type { Clock } from "./clock.ts";
import { inTime, inWords, TransportCall } from "./delivery/carry.ts";
import type { Answer, Passage, Passing } from "./delivery/passing.ts";
import type { Chain } from "./chain.ts";
import type { ClientSession, Envelope, EnvelopeRecipient, FinalTarget } from "./envelope.ts";
import { isProxy, type ProxyTransport } from "./generation.ts";
import type { Log } from "./log.ts";
import type { SealedMessage } from "./message/message.ts";
import type { Accept, Address, Hop, Objection, RouteClaim } from "./plugin.ts";
import { readVerdict, toObjection, toReply } from "./ruling.ts";
import { mailboxKey } from "./smtp/address.ts";
import type { ClientRecipient } from "./smtp/client.ts";
import type { ClientIdentity } from "./smtp/client_identity.ts";
import { passOn } from "./smtp/passed_on.ts";
import { isPositive, replies, type Reply, reply } from "./smtp/reply.ts";

/** What a binding needs. */
export interface BindingOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly passing: Passing;
  /** Aborts when the client goes. */
  readonly gone: AbortSignal;
}

/** What a recipient is told; `host`: who said it, where somebody there did. */
export interface HopSaid {
  readonly reply: Reply;
  readonly by: string;
  readonly host?: string | undefined;
  /** The verdict as `rejected` handlers see it. */
  readonly verdict: Objection | undefined;
}

/** A recipient that the next hop has taken. */
interface Named {
  readonly there: ClientRecipient;
  readonly said: HopSaid;
}

/**
 * Names a recipient to the proxy's next hop that it goes to.
 *
 * @returns What the recipient is told; `undefined`: it goes by no proxy, and nothing stands against it.
 */
export function nameToNextHop(
  session: ClientSession,
  envelope: Envelope,
  recipient: EnvelopeRecipient,
  chain: Chain,
  how: Pick<BindingOptions, "log" | "gone"> & {
    readonly passing?: Passing | undefined;
    /** A dry run: no next hop is asked. */
    readonly dry?: unknown;
  },
): HopSaid | Promise<HopSaid> | undefined {
  const { passing, dry } = how;
  const [target, ...more] = recipient.finals;
  // With several targets there would be several answers: they are kept here, and go on from the queue.
  const transport = more.length === 0 && target ? chain.generation.transports.get(target.via) : undefined;
  const isPassed = passing && !dry && isProxy(transport) && session.protocol !== "internal";
  const isBound = envelope.binding?.isBound ?? false;
  if (!isPassed) return isBound ? core(replies.anotherWay) : undefined;
  if (!isBound && envelope.accepted.length > 0) return core(replies.anotherWay);
  envelope.binding ??= new Binding(session, envelope, { ...how, clock: chain.clock, passing });
  return envelope.binding.rcpt(recipient, target!, transport);
}

/** One transaction's binding to a next hop. */
export class Binding {
  readonly #options: BindingOptions;
  readonly #session: ClientSession;
  readonly #envelope: Envelope;
  /** Transport and next hop. */
  #key = "";
  #transport: ProxyTransport | undefined;
  #passage: Passage | undefined;
  /** By target's mailbox. */
  readonly #named = new Map<string, Named>();
  /** What the next hop said to MAIL: no recipient will change that. */
  #noSender: HopSaid | undefined;

  constructor(session: ClientSession, envelope: Envelope, options: BindingOptions) {
    this.#session = session;
    this.#envelope = envelope;
    this.#options = options;
  }

  /** Whether some recipient was taken there. */
  get isBound(): boolean {
    return this.#named.size > 0;
  }

  /** The transport's name, once it is bound. */
  get via(): string {
    return this.#transport?.name ?? "";
  }

  /** Who proxies. */
  get by(): string {
    return this.#transport?.by.name ?? "";
  }

  get host(): string | undefined {
    return this.#passage?.host;
  }

  get tls(): string | undefined {
    return this.#passage?.tls?.version;
  }

  /** Asks the next hop about a recipient. Never rejects: what fails is a temporary refusal. */
  async rcpt(
    recipient: EnvelopeRecipient,
    { address }: FinalTarget,
    transport: ProxyTransport,
  ): Promise<HopSaid> {
    const hops = await this.#hopsOf(transport, address);
    if ("reply" in hops) return hops;
    const key = `${transport.name} ${this.#options.passing.keyOf(hops)}`;
    if (this.isBound && key !== this.#key) return core(replies.anotherWay);
    if (key !== this.#key) this.#turnTo(key, transport);
    const before = this.#named.get(mailboxKey(address))?.said ?? this.#noSender;
    if (before) return before;
    const there = { address: address.address, original: recipient.address, ...recipient.dsn };
    const said = await this.#name(there, hops, transport);
    if (isPositive(said.reply)) this.#named.set(mailboxKey(address), { there, said });
    return said;
  }

  /**
   * Whether this recipient's copy goes the proxy's way: not where it differs from the others' copies, and not where a report of
   * success was asked for that the next hop won't make (RFC 3461 §5.2.2).
   */
  carries(recipient: EnvelopeRecipient): boolean {
    const [final, ...more] = recipient.finals;
    if (final === undefined || more.length > 0 || recipient.top.length > 0) return false;
    if (recipient.dsn.notify?.includes("SUCCESS") && !this.#passage?.offersDsn) return false;
    return final.via === this.via && this.#named.has(mailboxKey(final.address));
  }

  /** Sends the message to these recipients, whom it carries; what the next hop says to it. Never rejects. */
  async send(message: SealedMessage, recipients: readonly EnvelopeRecipient[]): Promise<HopSaid> {
    const there = recipients.map(({ finals }) => this.#named.get(mailboxKey(finals[0]!.address))!.there);
    const passage = this.#passage!;
    const answer = await passage.send({
      sender: this.#envelope.sender.address,
      size: message.size,
      content: () => message.render("lent"),
      recipients: [...new Set(there)],
      signal: this.#options.gone,
    });
    return this.#told(answer, passage.host);
  }

  /** The transaction is over, or goes another way. Harmless at any time. */
  release(): void {
    this.#passage?.release();
  }

  // ── At RCPT

  #turnTo(key: string, transport: ProxyTransport): void {
    this.release();
    this.#passage = undefined;
    this.#noSender = undefined;
    this.#key = key;
    this.#transport = transport;
  }

  /** At most as long as the plugin's entry allows, and until the client goes. */
  async #name(there: ClientRecipient, hops: readonly Hop[], { by, proxy }: ProxyTransport): Promise<HopSaid> {
    const { gone, clock, passing } = this.#options;
    const over = new AbortController();
    const end = () => over.abort();
    const cancel = clock.after(by.timeout, end);
    gone.addEventListener("abort", end, { once: true });
    if (gone.aborted) end();
    try {
      if (this.#passage) return this.#told(await this.#passage.rcpt(there, over.signal), this.#passage.host);
      const { sender: { address: sender }, smtputf8: utf8, announced: size, dsn } = this.#envelope;
      const opened = await passing.open({
        hops,
        mail: { sender, size, utf8, ...dsn },
        first: there,
        client: this.#client(),
        ...proxy,
        signal: over.signal,
      });
      if (opened.kind === "open") {
        this.#passage = opened.passage;
        return this.#told(opened.answer, opened.passage.host);
      }
      const said = this.#told(opened.answer, opened.host);
      if (opened.answer.kind === "said") this.#noSender = said;
      return said;
    } finally {
      cancel();
      gone.removeEventListener("abort", end);
    }
  }

  #client(): ClientIdentity {
    const { remote: { address, port }, helo, extended, protocol, user } = this.#session;
    return {
      address,
      port,
      helo,
      protocol: extended || protocol === "lmtp" ? "ESMTP" : "SMTP",
      login: user?.name,
      id: this.#envelope.id,
    };
  }

  /** The plugin's word on where this address goes. */
  async #hopsOf(transport: ProxyTransport, address: Address): Promise<readonly Hop[] | HopSaid> {
    const { by, name, hopsOf } = transport;
    const { clock, log, gone } = this.#options;
    const call = new TransportCall(1);
    try {
      const said = Promise.resolve(hopsOf(address, call));
      const verdict = readVerdict("route", await inTime(by, said, call, { clock, gone }));
      if (verdict === undefined) throw new Error("the proxy was not told where to: accept({ hops })");
      if (verdict.verdict === "accept") return smtpOnly((verdict as Accept<RouteClaim>).claim.hops);
      return { reply: toReply("rcpt", verdict), by: by.name, verdict };
    } catch (error) {
      if (!gone.aborted) {
        log.error("plugin failed", { plugin: by.name, transport: name, hook: "rcpt", error: inWords(error) });
      }
      // A claim that nobody else makes: `skip` is no way out (DESIGN §7, failing).
      const said = by.onError === "reject" ? replies.pluginBroken : replies.pluginFailed;
      return { reply: said, by: by.name, verdict: toObjection(said) };
    }
  }

  // ── What the client is told

  #told(answer: Answer, host: string | undefined): HopSaid {
    const said = replyOf(answer);
    if (answer.kind === "deferred") {
      // The text says where and how: that is the operator's to know, not a stranger's.
      const { reply: error, reason } = answer.deferral;
      this.#options.log.warning("not passed on", {
        id: this.#envelope.id,
        transport: this.via,
        host,
        reason,
        error,
      });
    }
    return { reply: said, by: this.by, host, verdict: isPositive(said) ? undefined : toObjection(said) };
  }
}

/** One client has one reply for all recipients, LMTP has one for each: what one of them lacks, nobody could be told. */
function smtpOnly(hops: readonly Hop[]): readonly Hop[] {
  if (hops.every(({ protocol }) => protocol !== "lmtp")) return hops;
  throw new Error("a proxy's next hop speaks SMTP: mail for one that speaks LMTP goes by a relay");
}

function core(said: Reply): HopSaid {
  return { reply: said, by: "core", verdict: toObjection(said) };
}

/** The reply that an answer becomes. */
export function replyOf(answer: Answer): Reply {
  switch (answer.kind) {
    case "said":
      return passOn(answer.reply);
    case "impossible":
      return reply(impossibleCodes[answer.status] ?? 550, answer.status, answer.text);
    case "deferred": {
      const { status, reason } = answer.deferral;
      return reply(451, status, reason === "possible-duplicate" ? unsure : unreachable);
    }
  }
}

const impossibleCodes: Readonly<Record<string, number>> = {
  "5.3.4": 552,
  "5.6.7": 553,
  "5.6.3": 554,
  "5.1.7": 553,
};
const unreachable = "The next server does not answer now, please try again later";
const unsure = "The next server did not say whether it has the message, please try again";
