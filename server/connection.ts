/**
 * THE STORY of one connection: bytes in → session → ask the plugins → bytes out. The protocol is `smtp/session`'s, what is
 * allowed is the plugins', what becomes of a message is `intake`'s; here they meet the network and the clock.
 */
import type { Channel } from "./channel/channel.ts";
import { ChannelLost } from "./channel/channel.ts";
import type { Chain, Hearing } from "./chain.ts";
import type { Clock } from "./clock.ts";
import type { Passing } from "./delivery/passing.ts";
import { whoWaitsFor } from "./draining.ts";
import { spokenWithin } from "./early.ts";
import { ClientSession } from "./envelope.ts";
import type { Ids } from "./ids.ts";
import type { Metrics } from "./admin/metrics.ts";
import type { Log } from "./log.ts";
import type { Body } from "./message/content.ts";
import type { Observations } from "./observe/observations.ts";
import { Phases } from "./phases.ts";
import type { Disconnected, Session } from "./plugin.ts";
import type { Mechanism } from "./smtp/sasl.ts";
import type { BelievedLogin, ProxiedClient } from "./smtp/xclient.ts";
import { type Event, type Question, SmtpSession } from "./smtp/session.ts";
import { format, isPositive, replies, type Reply } from "./smtp/reply.ts";
import type { Intake } from "./intake.ts";

/** How a listener's sessions are treated. */
export interface ListenerTraits {
  readonly role: Session["role"];
  readonly protocol: "smtp" | "lmtp";
  /** `AUTH` may be offered; on role submission it always is. */
  readonly auth: boolean;
  /** …even without TLS, to clients on loopback. */
  readonly allowPlain: boolean;
}

/** What every connection of a server shares. */
export interface ConnectionOptions {
  readonly hostname: string;
  readonly limits: {
    readonly message: number;
    readonly recipients: number;
    readonly errors: number;
    readonly refusedRecipients: number;
    readonly bareNewlines: "normalize" | "reject";
  };
  /** Milliseconds. */
  readonly timeouts: { readonly command: number; readonly data: number };
  /** What AUTH offers, by the plugins there are. */
  readonly mechanisms: readonly Mechanism[];
  readonly clock: Clock;
  readonly log: Log;
  readonly ids: Ids;
  /** Where a message's octets go while they arrive. */
  readonly newBody: (id: string) => Body;
  readonly noRoom: () => Reply | undefined;
  readonly intake: Intake;
  readonly metrics: Metrics;
  /** Who passes on what a proxy claims. */
  readonly passing?: Passing | undefined;
  /** Where it is noted what observed plugins say; absent: nowhere. */
  readonly observations?: Observations;
  /** `explain`: nothing is kept or reported, this hears all, and this user has logged in. */
  readonly dry?: { readonly hear: Hearing; readonly user?: Session["user"] };
  readonly isTrusted: (address: string) => boolean;
  /** The client network of an address, as `Session.remote.network`. */
  readonly networkOf: (address: string) => string;
  /** Aborts when the server is going down. */
  readonly draining: AbortSignal;
}

/** A client that may say whose the connection is (XCLIENT). */
export interface Introducer {
  /** Whether it may say who has logged in. */
  readonly login: BelievedLogin;
  /** Counts the connection as this client's from now on. */
  countAs(address: string): "admitted" | "too-many-from-you";
}

/** What stands for the address of a client whose proxy doesn't know it: in no network, and nobody's. */
const unknownAddress = "unknown";

/** Replies that gather before they are written all the same (CASES P03). */
const outputLimit = 16_384;
/** When somebody thinks so long, in milliseconds, it is looked whether the client is still there. */
const longThought = 1_000;
/** How long a client may take to read our last words. */
const lastWords = 5_000;
/** How long a transaction may wait for its client while the server goes down: then it still hears why (CASES Q07). */
const drainPatience = 20_000;
/** DESIGN §6, timeouts.data: after a minute 1 KB/s on average, and an hour in all. */
const slowAfter = 60_000, slowRate = 1024, longestContent = 3_600_000;

const utf8 = new TextEncoder();

/** Replies are ASCII, whose octets are written faster than the runtime's encoder is called. */
function encode(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code > 0x7f) return utf8.encode(text);
    bytes[i] = code;
  }
  return bytes;
}

/** Why calls abort when their client goes. Made once: an error's stack costs more than a command, and nobody reads this one's. */
const clientGone = new ChannelLost("the client has gone");

type Reason = Disconnected["reason"];

/**
 * Speaks with one client until one of both has enough; resolves when the channel is closed. Never rejects.
 *
 * @param proxy Where the client may speak for another: then the connection begins anew as that one's.
 */
export async function converse(
  channel: Channel,
  traits: ListenerTraits,
  chain: Chain,
  options: ConnectionOptions,
  proxy?: Introducer,
): Promise<void> {
  const introduced = await new Connection(channel, traits, chain, options, { proxy }).run();
  if (introduced) await new Connection(channel, traits, chain, options, { introduced }).run();
}

/** A read that was begun before the bytes are wanted, and what it has brought. */
interface Ahead {
  readonly reading: Promise<Uint8Array | undefined> | undefined;
  octets: number;
}

/** How a connection came to its client: by itself, where that is a proxy perhaps; or by what a proxy said. */
interface Coming {
  readonly proxy?: Introducer | undefined;
  readonly introduced?: ProxiedClient;
}

class Connection {
  readonly #channel: Channel;
  readonly #coming: Coming;
  readonly #options: ConnectionOptions;
  readonly #log: Log;
  readonly #session: ClientSession;
  readonly #smtp: SmtpSession;
  readonly #phases: Phases;
  readonly #gone = new AbortController();
  #body: Body | undefined;
  /** Why the body could not be written: the answer to the whole message. */
  #bodyFailed: Error | undefined;
  /** Since when the open message's content comes, and how much there was of it, dropped octets included. */
  #content: { readonly since: number; octets: number } | undefined;
  /** What was read while we thought, so that a client that goes is noticed (`Call.signal`). */
  #ahead: Ahead = { reading: undefined, octets: 0 };
  #messages = 0;
  #reason: Reason = "lost";
  #waiting: "for-client" | "for-us" = "for-us";
  #deadline = Infinity;
  #timer: { readonly at: number; readonly cancel: () => void } | undefined;

  constructor(
    channel: Channel,
    traits: ListenerTraits,
    chain: Chain,
    options: ConnectionOptions,
    coming: Coming,
  ) {
    this.#channel = channel;
    this.#coming = coming;
    this.#options = options;
    const { address, port } = channel.remote;
    const id = options.ids.session();
    const trusted = options.isTrusted(address);
    const remote = { address, network: options.networkOf(address), port };
    this.#session = new ClientSession(id, traits.role, traits.protocol, remote, trusted);
    const { tls } = channel;
    // A certificate that was shown before XCLIENT is the proxy's own: its clients are not to relay by it.
    this.#session.tls = tls && coming.introduced ? { ...tls, client: undefined } : tls;
    this.#session.user = options.dry?.user;
    this.#log = options.log.with({ session: id, ip: address });
    const offersAuth = traits.role === "submission" || traits.auth;
    this.#smtp = new SmtpSession({
      hostname: options.hostname,
      protocol: traits.protocol,
      role: traits.role,
      limits: options.limits,
      bareNewlines: options.limits.bareNewlines,
      canStartTls: channel.canStartTls,
      encrypted: channel.tls !== undefined,
      auth: {
        mechanisms: offersAuth ? options.mechanisms : [],
        inClear: traits.allowPlain && isLoopback(address),
        canBind: () => channel.tls?.endPoint !== undefined,
      },
      authenticated: this.#session.user !== undefined,
      trusted,
      proxy: coming.proxy?.login,
      extensions: () => this.#phases.extensions(),
      unread: () => channel.buffered + this.#ahead.octets,
    });
    this.#phases = new Phases(this.#session, chain, {
      proofs: { endPoint: () => channel.tls?.endPoint, mechanisms: offersAuth ? options.mechanisms : [] },
      log: this.#log,
      ids: options.ids,
      gone: this.#gone.signal,
      noRoom: options.noRoom,
      metrics: options.metrics,
      passing: options.passing,
      observations: options.observations,
      dry: options.dry?.hear,
      listen: options.dry ? undefined : (ms, signal) => this.#listen(ms, signal),
    });
  }

  /** @returns Whose the connection is from now on, where a proxy has said so; else the channel is closed. */
  async run(): Promise<ProxiedClient | undefined> {
    this.#log.debug("connected", { role: this.#session.role, tls: this.#session.tls?.version });
    const drain = () => this.#drain();
    const waiting = whoWaitsFor(this.#options.draining);
    waiting.add(drain);
    try {
      await this.#greet();
      return await this.#serve();
    } catch (error) {
      if (error instanceof ChannelLost) {
        this.#channel.close(); // a handshake that failed leaves our end open
      } else { // a bug of ours: this client is lost, nobody else
        this.#log.error("connection failed", { error: error instanceof Error ? error.stack : String(error) });
        this.#channel.abort();
      }
    } finally {
      waiting.delete(drain);
      this.#timer?.cancel();
      await this.#over();
    }
    return undefined;
  }

  async #greet(): Promise<void> {
    const { introduced } = this.#coming;
    let objection = await this.#phases.connect();
    if (introduced?.login !== undefined) objection ??= await this.#vouched(introduced.login);
    // What came behind XCLIENT before our reply is nobody's commands (CASES P02).
    const early = introduced && this.#channel.buffered + this.#ahead.octets > 0;
    this.#smtp.greet(objection ?? (early ? replies.tooEarly : undefined));
  }

  /** The proxy says who has logged in: somebody here has to know that account. */
  async #vouched(user: string): Promise<Reply | undefined> {
    const objection = await this.#phases.vouched(user);
    if (!objection) this.#smtp.vouched();
    return objection;
  }

  /** Does what the machine says until it says `close`. What need not wait doesn't: most steps make no Promise. */
  async #serve(): Promise<ProxiedClient | undefined> {
    for (;;) {
      const event = this.#smtp.next();
      if (this.#smtp.outputSize > outputLimit) await this.#flush();
      switch (event.type) {
        case "more":
          if (!await this.#read()) return undefined;
          break;
        case "ask": {
          const asking = this.#ask(event);
          if (asking) await asking;
          break;
        }
        case "content": {
          const taking = this.#take(event.bytes);
          if (taking) await taking;
          break;
        }
        case "reset": {
          if (event.refused) this.#tellRefused(event.refused);
          const forgetting = this.#forget();
          if (forgetting) await forgetting;
          break;
        }
        case "starttls":
          await this.#startTls();
          break;
        case "xclient":
          if (await this.#introduce(event.client) === "introduced") return event.client;
          break;
        case "close":
          if (this.#reason === "lost") this.#reason = event.reason;
          await this.#flush();
          this.#channel.close(event.reason === "quit" ? "done" : undefined);
          return undefined;
      }
    }
  }

  // ── The channel ──────────────────────────────────────────────────────────────────────────────────

  /** Writes what is to be said, then waits for the client; false when it has closed its side. */
  async #read(): Promise<boolean> {
    const flushing = this.#flush();
    if (flushing) await flushing;
    this.#waiting = "for-client";
    const content = this.#smtp.inContent;
    this.#due(content ? this.#options.timeouts.data : this.#options.timeouts.command);
    if (this.#options.draining.aborted) this.#drain();
    const bytes = await (this.#ahead.reading ?? this.#channel.read(content ? "content" : undefined));
    this.#ahead = { reading: undefined, octets: 0 };
    this.#waiting = "for-us";
    if (!bytes) {
      this.#channel.close();
      return false;
    }
    if (!this.#smtp.inContent) {
      if (!this.#smtp.inTransaction) this.#content = undefined;
    } else if (this.#tooSlow(bytes.length)) {
      this.#reason = "timeout";
      this.#smtp.end(replies.timeout);
      return true;
    }
    this.#smtp.receive(bytes);
    return true;
  }

  #flush(): Promise<void> | undefined {
    if (this.#smtp.outputSize === 0) return undefined;
    this.#due(this.#options.timeouts.command); // a client that doesn't read is cut off too (CASES P03)
    return this.#channel.write(encode(this.#smtp.takeOutput()));
  }

  async #startTls(): Promise<void> {
    // A read that is under way would bring what came in the clear as if it had been encrypted (CASES T01). Only a client that
    // sent STARTTLS behind a command that ends a group has one (RFC 2920 §3.1).
    if (this.#ahead.reading) return this.#smtp.end(replies.tooEarly);
    await this.#flush();
    this.#due(this.#options.timeouts.command);
    const outcome = await this.#channel.startTls(utf8.encode(format(replies.readyForTls)));
    if (outcome === "early-bytes") return this.#smtp.end(replies.tooEarly);
    this.#smtp.encrypted();
    this.#session.tls = this.#channel.tls;
    this.#session.helo = undefined;
    this.#session.user = undefined;
  }

  async #introduce(client: ProxiedClient): Promise<"introduced" | "refused"> {
    const { address, port, destination } = client;
    if (this.#ahead.reading) this.#smtp.end(replies.tooEarly); // as for STARTTLS
    else if (address !== undefined && this.#coming.proxy!.countAs(address) !== "admitted") {
      this.#smtp.end(replies.tooManyConnections);
    } else {
      await this.#flush();
      this.#channel.speakFor({
        remote: { address: address ?? unknownAddress, port },
        ...(destination && { local: destination }),
      });
      this.#log.debug("a proxy tells of its client", {
        client: address ?? unknownAddress,
        login: client.login,
      });
      this.#reason = "quit"; // this session of the proxy's own has come to its end
      return "introduced";
    }
    return "refused";
  }

  /** Sets when this wait is over. The timer is moved when it fires, or for a shorter wait: a busy session touches none. */
  #due(ms: number): void {
    this.#deadline = this.#options.clock.monotonic() + ms;
    if (this.#timer && this.#timer.at <= this.#deadline) return;
    this.#timer?.cancel();
    this.#arm(ms);
  }

  #arm(ms: number): void {
    const { clock } = this.#options;
    const cancel = clock.after(ms, () => {
      this.#timer = undefined;
      const left = this.#deadline - clock.monotonic();
      if (left <= 0) this.#late();
      else if (left < Infinity) this.#arm(left);
    });
    this.#timer = { at: clock.monotonic() + ms, cancel };
  }

  #late(): void {
    if (this.#waiting === "for-client") {
      if (this.#options.draining.aborted) this.#interrupt("refused", replies.shutdown);
      else this.#interrupt("timeout", replies.timeout);
    } else {
      this.#reason = "timeout";
      this.#channel.abort();
    }
  }

  #drain(): void {
    if (this.#waiting !== "for-client") return;
    if (!this.#smtp.inTransaction) this.#interrupt("refused", replies.shutdown);
    else if (this.#deadline - this.#options.clock.monotonic() > drainPatience) this.#due(drainPatience);
  }

  /** Ends a session that waits for its client: says why, and closes, which ends the wait. */
  #interrupt(reason: Reason, reply: Reply): void {
    if (this.#reason !== "lost") return;
    this.#reason = reason;
    this.#smtp.end(reply);
    const cancel = this.#options.clock.after(lastWords, () => this.#channel.abort());
    this.#channel.write(utf8.encode(this.#smtp.takeOutput())).catch(() => {}).finally(() => {
      cancel();
      this.#channel.close();
    });
  }

  // ── The message ──────────────────────────────────────────────────────────────────────────────────

  #ask({ question }: Event & { type: "ask" }): Promise<void> | undefined {
    // While a plugin thinks no deadline of the client's runs; the plugin has its own.
    this.#deadline = Infinity;
    const answer = question.about === "message"
      ? this.#message()
      : this.#phases.answer(question.about === "helo" ? this.#asClient(question) : question);
    if (answer instanceof Promise) {
      // Most answers come at once, and a read that is begun for nothing costs more than they do.
      const cancel = this.#options.clock.after(longThought, () => this.#readAhead());
      return answer.then((late) => this.#smtp.answer(late)).finally(cancel);
    }
    this.#smtp.answer(answer);
    return undefined;
  }

  /** The proxy's EHLO: the client's own is what it told of, if it did. */
  #asClient(question: Question & { about: "helo" }): Question & { about: "helo" } {
    const { helo = question.name, protocol } = this.#coming.introduced ?? {};
    return { ...question, name: helo, extended: protocol ? protocol === "ESMTP" : question.extended };
  }

  #listen(ms: number, signal: AbortSignal): Promise<"spoke" | "silent"> {
    this.#readAhead();
    return spokenWithin(this.#ahead.reading!, ms, signal, this.#options.clock);
  }

  /** While somebody thinks, the client may go: only a read would say so. What it brings is taken by the next `#read`. */
  #readAhead(): void {
    if (this.#ahead.reading) return;
    this.#smtp.settle();
    const reading = this.#channel.read();
    const ahead: Ahead = { reading, octets: 0 };
    this.#ahead = ahead;
    reading.then(
      (bytes) => ahead.octets = bytes?.length ?? 0,
      () => this.#gone.abort(clientGone),
    );
  }

  /** Whether the client sends its message slower than anybody who means it. */
  #tooSlow(octets: number): boolean {
    const now = this.#options.clock.monotonic();
    this.#content ??= { since: now, octets: 0 };
    this.#content.octets += octets;
    const elapsed = now - this.#content.since;
    const slow = elapsed > slowAfter && this.#content.octets / elapsed < slowRate / 1000;
    return slow || elapsed > longestContent;
  }

  #take(bytes: Uint8Array): Promise<void> | undefined {
    this.#body ??= this.#begin();
    if (this.#bodyFailed) return undefined;
    const failed = (error: unknown) => { // the disk: the client is told when it has sent all of it
      this.#bodyFailed = error as Error;
      this.#log.error("cannot take the message", { id: this.#phases.envelope?.id, error: String(error) });
    };
    try {
      return this.#body.write(bytes)?.catch(failed);
    } catch (error) {
      failed(error);
      return undefined;
    }
  }

  #begin(): Body {
    return this.#options.newBody(this.#phases.envelope!.id);
  }

  /** After the final dot: one reply, for LMTP one for each accepted RCPT. */
  async #message(): Promise<readonly Reply[]> {
    const envelope = this.#phases.envelope!;
    const body = this.#body ?? this.#begin();
    this.#body = undefined;
    this.#content = undefined;
    const failed = this.#bodyFailed;
    this.#bodyFailed = undefined;
    let fate: "accepted" | "refused" = "refused";
    try {
      const taken = failed
        ? this.#options.intake.notKept(envelope, this.#phases.refuse("data", "core", replies.noRoom, {}))
        : await this.#options.intake.take({
          phases: this.#phases,
          envelope,
          body,
          log: this.#log,
          gone: this.#gone.signal,
        });
      const accepted = taken.some(isPositive);
      if (accepted) {
        this.#messages++;
        fate = "accepted";
      }
      this.#options.metrics.messageEnded(accepted ? "accepted" : "refused", body.size);
      return this.#session.protocol === "lmtp" ? taken : taken.slice(0, 1);
    } finally {
      await body.discard();
      this.#phases.forget(fate);
    }
  }

  /** The content was not taken: an operator is to find that in the log, as every other refusal. */
  #tellRefused(reply: Reply): void {
    const from = this.#phases.envelope?.sender.address ?? "";
    this.#phases.refuse("data", "core", reply, { from });
  }

  #forget(): Promise<void> | undefined {
    const body = this.#body;
    this.#body = undefined;
    this.#bodyFailed = undefined;
    this.#content = undefined;
    this.#phases.forget();
    return body?.discard();
  }

  /** Nothing of the connection is left behind (CASES C12). */
  async #over(): Promise<void> {
    const open = this.#smtp.inTransaction;
    this.#gone.abort(clientGone);
    await this.#forget();
    this.#log[open ? "info" : "debug"]("disconnected", { reason: this.#reason, messages: this.#messages });
    this.#phases.over(this.#messages);
    if (this.#options.dry) return;
    this.#phases.chain.report("disconnect", {
      session: this.#session,
      reason: this.#reason,
      messages: this.#messages,
    });
  }
}

const isLoopback = (address: string): boolean =>
  address.startsWith("127.") || address === "::1" || address === "unix";
