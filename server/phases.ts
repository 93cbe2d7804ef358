/**
 * The phases of a session: each question of the protocol is put to the plugins, and what they say becomes the reply.
 * What a refusal means to the log and to `rejected` handlers is decided here, once for all phases.
 */
import { type AskedHook, type Chain, type Hearing, type Ruling, summary, type Turn } from "./chain.ts";
import {
  type AddedHow,
  type ClientSession,
  Envelope,
  type EnvelopeRecipient,
  type FinalTarget,
} from "./envelope.ts";
import type { Instance } from "./generation.ts";
import type { Ids } from "./ids.ts";
import type { Metrics } from "./admin/metrics.ts";
import { Logins, type Proofs } from "./logins.ts";
import type { Log } from "./log.ts";
import type { Passing } from "./delivery/passing.ts";
import type { Address, Call, ConnectCall, Objection } from "./plugin.ts";
import { type HopSaid, nameToNextHop } from "./proxying.ts";
import { type Resolution, resolve, smtpTransport } from "./resolve.ts";
import type { Fate, Observations } from "./observe/observations.ts";
import { Watching } from "./observe/watching.ts";
import { printable, toObjection, toReply } from "./ruling.ts";
import type { Question } from "./smtp/session.ts";
import { isPositive, replies, type Reply, reply } from "./smtp/reply.ts";

/** What the phases need besides the plugins. */
export interface PhaseOptions {
  readonly log: Log;
  readonly ids: Ids;
  /** Aborts when the client goes. */
  readonly gone: AbortSignal;
  /** Says why no message can be kept now, at MAIL; `undefined` when there is room. */
  readonly noRoom: () => Reply | undefined;
  /** Who counts; absent: nobody. */
  readonly metrics?: Metrics;
  /** Who passes on what a proxy claims; absent: it is kept in the queue. */
  readonly passing?: Passing | undefined;
  /** Waits whether the client speaks before it is greeted; absent: nobody is there who could. */
  readonly listen?: ((ms: number, signal: AbortSignal) => Promise<"spoke" | "silent">) | undefined;
  /** Nothing will be kept: plugins are told so, `rejected` handlers hear nothing, and this hears all. */
  readonly dry?: Hearing | undefined;
  /** Where it is noted what observed plugins say; absent: nowhere. */
  readonly observations?: Observations | undefined;
  /** What logins can be bound to. */
  readonly proofs?: Proofs;
}

type Envelopes = Exclude<Question, { about: "message" }>;

/** One session's way through the phases. */
export class Phases {
  /** The open transaction. */
  envelope: Envelope | undefined;
  readonly #logins: Logins;
  /** Absent where nobody is observed. */
  readonly #watching: Watching | undefined;

  constructor(readonly session: ClientSession, readonly chain: Chain, readonly options: PhaseOptions) {
    const { observations, metrics } = options;
    this.#logins = new Logins({
      session,
      log: options.log,
      proofs: options.proofs,
      ask: (credentials) =>
        chain.ask("auth", this.matter(), (handler, call) => handler(session, credentials, call)),
      object: (ruling, about) => this.#object("auth", ruling, about),
      refuse: (reply, about) => this.refuse("auth", "core", reply, about),
    });
    if (observations && chain.observes) this.#watching = new Watching(observations, metrics);
  }

  /** The greeting's objection. */
  connect(): Promise<Reply | undefined> | Reply | undefined {
    const asked = this.#gate(
      "connect",
      this.chain.ask(
        "connect",
        this.matter(),
        (handler, call) => handler(this.session, new Connecting(call, this.options.listen)),
      ),
    );
    return this.#watching ? this.#watched(this.#watching, "session", asked) : asked;
  }

  /** Answers a question of the protocol: an objection, a reply, or nothing: go on. */
  answer(question: Envelopes): Promise<Reply | undefined> | Reply | undefined {
    const answer = this.#answer(question);
    if (!this.#watching) return answer;
    const { about } = question;
    return this.#watched(
      this.#watching,
      about === "mail" || about === "rcpt" ? "transaction" : "session",
      answer,
    );
  }

  #watched(
    watching: Watching,
    scope: "session" | "transaction",
    answer: Promise<Reply | undefined> | Reply | undefined,
  ): Promise<Reply | undefined> | Reply | undefined {
    if (answer instanceof Promise) return answer.then((late) => this.#watched(watching, scope, late));
    watching.answered(scope, answer !== undefined && answer.code >= 400);
    return answer;
  }

  #answer(question: Envelopes): Promise<Reply | undefined> | Reply | undefined {
    switch (question.about) {
      case "helo":
        return this.#helo(question);
      case "auth":
        return this.#logins.secret(question.credentials);
      case "proof":
        return this.#logins.proof(question);
      case "mail":
        return this.#mail(question);
      case "rcpt":
        return this.#rcpt(question);
      case "vrfy":
      case "expn":
        return this.#lookUp(question.about, question.text);
      case "command":
        return this.#command(question.verb, question.argument);
    }
  }

  /** What plugins offer to this session in EHLO. */
  extensions(): readonly string[] {
    const { session, options: { log } } = this;
    return (this.chain.generation.offers ?? []).filter(({ by, to }) => {
      if (!by.roles.includes(session.role)) return false;
      try {
        return to(session);
      } catch (error) {
        log.error("plugin failed", { plugin: by.name, hook: "offers", error: String(error) });
        return false;
      }
    }).map(({ extension }) => extension);
  }

  /** The transaction is over, or was given up: also at a proxy's next hop. @param fate What became of its message. */
  forget(fate: Fate = "none"): void {
    this.envelope?.binding?.release();
    this.envelope = undefined;
    this.#watching?.transactionOver(fate);
  }

  /** The session is over. @param messages How many were accepted on it. */
  over(messages: number): void {
    this.#watching?.sessionOver(messages);
  }

  // ── The phases, in their order ───────────────────────────────────────────────────────────────────

  #helo({ name, extended }: Question & { about: "helo" }): Promise<Reply | undefined> | Reply | undefined {
    const { helo: before, extended: wasExtended } = this.session;
    this.session.helo = name;
    this.session.extended = extended;
    const asked = this.chain.ask(
      "helo",
      this.matter(),
      (handler, call) => handler(this.session, name, call),
    );
    return undoIfRefused(this.#gate("helo", asked), () => { // a failed EHLO changes nothing (CASES S02)
      this.session.helo = before;
      this.session.extended = wasExtended;
    });
  }

  /** Somebody who is believed says that this user has logged in: whoever knows the account says yes. */
  vouched(user: string): Promise<Reply | undefined> {
    return this.#logins.vouched(user);
  }

  #mail({ sender, params }: Question & { about: "mail" }): Promise<Reply | undefined> | Reply | undefined {
    const full = this.options.noRoom();
    if (full) return this.refuse("mail", "core", full, { from: sender.address });
    const envelope = new Envelope(
      this.options.ids.message(),
      sender,
      params,
      (address, how) => this.resolveAdded(address, how),
    );
    this.envelope = envelope;
    const matter = this.matter(envelope);
    const asked = this.chain.ask("mail", matter, (handler, call) => handler(this.session, envelope, call));
    return undoIfRefused(this.#gate("mail", asked), () => this.forget());
  }

  #rcpt(
    { recipient: address, params }: Question & { about: "rcpt" },
  ): Promise<Reply | undefined> | Reply | undefined {
    const envelope = this.envelope!;
    const recipient = envelope.candidate(address, params);
    const asked = this.chain.ask(
      "rcpt",
      this.matter(envelope, turnAt(envelope), recipient.address),
      (handler, call) => handler(this.session, recipient, envelope, call),
    );
    return asked instanceof Promise
      ? asked.then((ruling) => this.#resolve(envelope, recipient, address, ruling))
      : this.#resolve(envelope, recipient, address, asked);
  }

  /** Where the recipient goes, unless `rcpt` objected. */
  #resolve(
    envelope: Envelope,
    recipient: EnvelopeRecipient,
    address: Address,
    ruling: Ruling,
  ): Promise<Reply | undefined> | Reply | undefined {
    if (ruling.kind === "objection" || ruling.kind === "failure") {
      return this.#object("rcpt", ruling, { to: address.address }, recipient);
    }
    const answer = resolve(this.chain, address, this.#asking(envelope));
    return answer instanceof Promise
      ? answer.then((resolution) => this.#settle(envelope, recipient, ruling, resolution))
      : this.#settle(envelope, recipient, ruling, answer);
  }

  /** The one reply to RCPT, from what `rcpt` and `resolve` said (DESIGN §7, order). */
  #settle(
    envelope: Envelope,
    recipient: EnvelopeRecipient,
    ruling: Ruling & { kind: "silence" | "claim" },
    resolution: Resolution,
  ): Promise<Reply | undefined> | Reply | undefined {
    const to = { to: recipient.address };
    switch (resolution.kind) {
      case "refused":
        return this.refuse("resolve", resolution.by, resolution.reply, to, recipient);
      case "claimed":
        for (const { address, reply, by } of resolution.refused) {
          this.options.log.warning("alias target refused", {
            ...to,
            target: address,
            by,
            reply: reply.lines.join(" "),
          });
        }
        return this.#keep(envelope, recipient, resolution.targets);
      case "foreign": {
        if (ruling.kind === "claim") {
          const { onward } = resolution;
          const by = ruling.by.name;
          return this.#keep(envelope, recipient, [onward ?? { address: recipient, via: smtpTransport, by }]);
        }
        const unsure = ruling.unsure || resolution.unsure;
        return this.refuse(
          "rcpt",
          "core",
          unsure ? replies.pluginFailed : replies.relayDenied,
          to,
          recipient,
        );
      }
    }
  }

  /** Accepts a recipient, unless its transaction or a proxy's next hop has a word on it. */
  #keep(
    envelope: Envelope,
    recipient: EnvelopeRecipient,
    finals: readonly FinalTarget[],
  ): Promise<Reply | undefined> | Reply | undefined {
    recipient.finals = finals;
    const said = nameToNextHop(this.session, envelope, recipient, this.chain, this.options);
    if (said) {
      return said instanceof Promise
        ? said.then((late) => this.#heardFrom(late, envelope, recipient))
        : this.#heardFrom(said, envelope, recipient);
    }
    envelope.accept(recipient);
    return undefined;
  }

  /** A next hop's word on a recipient is the client's answer. */
  #heardFrom(
    { reply: said, by, host, verdict }: HopSaid,
    envelope: Envelope,
    recipient: EnvelopeRecipient,
  ): Reply {
    if (isPositive(said)) {
      envelope.accept(recipient);
      return said;
    }
    const about = { to: recipient.address, ...(host !== undefined && { host }) };
    return this.refuse("rcpt", by, said, about, recipient, verdict);
  }

  /** A recipient of mail of our own: resolved, not asked of `rcpt`. Answers why it cannot be one. */
  async own(address: Address): Promise<Reply | undefined> {
    const envelope = this.envelope!;
    const recipient = envelope.candidate(address);
    const resolution = await resolve(this.chain, address, this.#asking(envelope));
    switch (resolution.kind) {
      case "refused":
        return resolution.reply;
      case "claimed":
        return this.#keep(envelope, recipient, resolution.targets);
      case "foreign":
        if (resolution.unsure) return replies.pluginFailed;
        return this.#keep(envelope, recipient, [leaving(address, resolution)]);
    }
  }

  /** Where a recipient goes that a plugin adds. @throws {Error} when it is refused. */
  async resolveAdded(address: Address, { via, onward }: AddedHow = {}): Promise<readonly FinalTarget[]> {
    if (via) return [{ address, via: via.transport, by: "core" }];
    const resolution = await resolve(this.chain, address, this.#asking());
    if (resolution.kind === "refused") {
      throw new Error(`${address} is refused: ${resolution.reply.lines.join(" ")}`);
    }
    if (resolution.kind === "claimed") return resolution.targets;
    if (resolution.unsure) throw new Error(`no plugin could say whose mailbox ${address} is`);
    return onward ? [{ address, via: onward.transport, by: "core" }] : [leaving(address, resolution)];
  }

  async #lookUp(hook: "vrfy" | "expn", text: string): Promise<Reply> {
    const ruling = await this.chain.ask(
      hook,
      this.matter(),
      (handler, call) => handler(this.session, text, call),
    );
    switch (ruling.kind) {
      case "claim": {
        const { reply: lines } = ruling.claim as { reply: string | readonly string[] };
        return reply(250, "2.1.5", ...(typeof lines === "string" ? [lines] : lines).map(printable));
      }
      case "objection":
        return this.refuse(hook, ruling.by, toReply(hook, ruling.verdict), {}, undefined, ruling.verdict);
      default:
        return hook === "vrfy"
          ? replies.cannotVerify
          : ruling.kind === "failure"
          ? replies.pluginFailed
          : replies.notImplemented;
    }
  }

  async #command(verb: string, argument: string): Promise<Reply> {
    const ruling = await this.chain.ask(
      "command",
      this.matter(),
      (handler, call) => handler(this.session, verb, argument, call),
    );
    switch (ruling.kind) {
      case "claim": {
        const { reply: text, code } = ruling.claim as { reply: string; code: number };
        return reply(code, "2.0.0", printable(text));
      }
      case "silence":
        return ruling.unsure ? replies.pluginFailed : replies.unknownCommand;
      default:
        return this.#object("command", ruling, { verb });
    }
  }

  // ── Refusing ─────────────────────────────────────────────────────────────────────────────────────

  #gate(
    hook: "connect" | "helo" | "mail",
    asked: Ruling | Promise<Ruling>,
  ): Promise<Reply | undefined> | Reply | undefined {
    if (asked instanceof Promise) return asked.then((ruling) => this.#gate(hook, ruling));
    if (asked.kind === "objection" || asked.kind === "failure") {
      const from: Record<string, string> = this.envelope ? { from: this.envelope.sender.address } : {};
      return this.#object(hook, asked, from);
    }
    return undefined;
  }

  #object(
    hook: AskedHook,
    ruling: Ruling & { kind: "objection" | "failure" },
    about: Record<string, string>,
    recipient?: EnvelopeRecipient,
  ): Reply {
    if (ruling.kind === "objection") {
      return this.refuse(hook, ruling.by, toReply(hook, ruling.verdict), about, recipient, ruling.verdict);
    }
    const closes = hook === "connect" || hook === "helo";
    const said = closes
      ? replies.pluginFailedClosing
      : hook === "auth"
      ? replies.loginFailedTemporarily
      : replies.pluginFailed;
    return this.refuse(hook, ruling.by, said, about, recipient);
  }

  /** Logs a refusal with who decided it, tells `rejected`, and hands the reply back. */
  refuse(
    phase: AskedHook,
    by: string,
    said: Reply,
    about: Record<string, string>,
    recipient?: Address,
    verdict: Objection = toObjection(said),
  ): Reply {
    const transaction = this.envelope?.id;
    this.options.metrics?.replied(phase, by, said.code);
    this.options.log.info("refused", {
      id: transaction,
      phase,
      by,
      ...about,
      code: said.code,
      verdict: summary(verdict),
      ...(verdict.rule !== undefined && { rule: verdict.rule }),
    });
    if (!this.options.dry) {
      this.chain.report("rejected", {
        session: this.session,
        phase,
        plugin: by,
        verdict,
        ...(recipient && { recipient }),
      });
    }
    return said;
  }

  #asking(envelope?: Envelope, about?: string) {
    const { gone, dry } = this.options;
    const dryRun = dry !== undefined;
    return { gone, dryRun, hearsAll: dryRun, heard: this.#hearing(envelope), about };
  }

  /** What plugins are asked about: the session, and its transaction where there is one. */
  matter(envelope?: Envelope, turn = envelope && turnAt(envelope), about?: string) {
    return { ...this.#asking(envelope, about), session: this.session, turn };
  }

  /** Notes who spoke: for the log line of the message, for who explains, and for who judges observed plugins. */
  #hearing(envelope: Envelope | undefined): Hearing | undefined {
    const { dry } = this.options;
    const watching = this.#watching;
    if (!envelope && !dry && !watching) return undefined;
    return (heard) => {
      const { hook, plugin, said, observed } = heard;
      if (said !== "nothing") {
        envelope?.said.push(
          `${hook} ${plugin} ${said === "failed" ? said : summary(said)}${observed ? " (observed)" : ""}`,
        );
      }
      dry?.(heard);
      if (!observed || !watching) return;
      watching.heard(heard, { ip: this.session.remote.address, sender: envelope?.sender.address });
    };
  }
}

/** A call that can hear the client; its signal is made as late as the call's own. */
class Connecting implements ConnectCall {
  readonly #call: Call;
  readonly #listen: PhaseOptions["listen"];

  constructor(call: Call, listen: PhaseOptions["listen"]) {
    this.#call = call;
    this.#listen = listen;
  }

  get dryRun(): boolean {
    return this.#call.dryRun;
  }

  get signal(): AbortSignal {
    return this.#call.signal;
  }

  listen(ms: number): Promise<"spoke" | "silent"> {
    return this.#listen?.(ms, this.signal) ?? Promise.resolve("silent");
  }
}

/** Takes back what a refused command has changed, now or when its answer has come. */
function undoIfRefused(
  answer: Promise<Reply | undefined> | Reply | undefined,
  undo: () => void,
): Promise<Reply | undefined> | Reply | undefined {
  if (answer instanceof Promise) return answer.then((late) => undoIfRefused(late, undo));
  if (answer) undo();
  return answer;
}

/** How an address of somebody else's leaves. */
function leaving(address: Address, { onward }: Resolution & { kind: "foreign" }): FinalTarget {
  return onward ?? { address, via: smtpTransport, by: "core" };
}

/** A plugin's turn at the envelope alone: the message has not come yet. */
function turnAt({ gate }: Envelope): (instance: Instance) => Turn {
  return (instance) => {
    gate.open(instance.name, instance.observe);
    return { edits: () => gate.made, close: () => gate.close() };
  };
}
