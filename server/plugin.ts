/**
 * THE PLUGIN API: what a plugin author reads. A plugin is a default export made by {@linkcode definePlugin}: in
 * `setup` it registers handlers for hooks; a handler returns a verdict, or nothing for "no opinion: the next one speaks".
 *
 * @module
 */
import { z } from "zod";
import type { Address } from "./smtp/address.ts";
import type {
  Accept,
  AnswerClaim,
  AuthClaim,
  CommandClaim,
  Defer,
  HostHop,
  NoClaim,
  Objection,
  Outcome,
  QueueClaim,
  Reject,
  RelayClaim,
  ResolveClaim,
  RouteClaim,
  ViaClaim,
} from "./verdict.ts";
import type { Query } from "./dns.ts";
import type { Duration } from "./options.ts";

export { z };
export type { Address };
export type { DnsFailure, DnsResult, Query, RecordData, RecordType } from "./dns.ts";
export * from "./verdict.ts";
export { cidr, duration, path, size, transport } from "./options.ts";
export type { Cidr, Duration, OptionMaker, OptionSchema, Size } from "./options.ts";

// ── Hooks ──────────────────────────────────────────────────────────────────────────────────────────

/** A handler's result: a verdict this hook may give, or nothing. */
export type Says<V = never> = V | void | Promise<V | void>;
/** The result at a gate: an objection, or nothing. */
export type Gate = Says<Objection>;
/** The result where something can also be claimed. */
export type Claim<C> = Says<Objection | Accept<C>>;

/** Every hook, what its handler is given, and which verdicts it may give. Asked in the configuration's order. */
export interface Hooks {
  /** A client has connected; nothing is known but its address. Nobody objects: greeted with 220. */
  connect(session: Session, call: ConnectCall): Gate;
  /** EHLO, HELO or LHLO. */
  helo(session: Session, name: string, call: Call): Gate;
  /** Each attempt to log in. The first verdict ends it; nobody speaks: 535. */
  auth(session: Session, credentials: Credentials, call: Call): Claim<AuthClaim>;
  /** MAIL: may this client send as this sender? */
  mail(session: Session, transaction: Transaction, call: Call): Gate;
  /** Each RCPT, about the address as given. `accept()`: this client may send there though it isn't ours. */
  rcpt(session: Session, recipient: Recipient, transaction: Transaction, call: Call): Claim<NoClaim>;
  /** Where does this address go? No session: also asked for targets of an expansion, `submit`, bounces, VRFY. */
  resolve(recipient: Address, call: Call): Says<Reject | Defer | Accept<ResolveClaim>>;
  /** The message has arrived whole. What is edited here is seen by later plugins and by all recipients. */
  data(session: Session, message: Editable, transaction: OpenTransaction, call: DataCall): Gate;
  /** After `data`, once for each recipient; LMTP says the verdict to each, SMTP where they agree. */
  dataFor(
    session: Session,
    recipient: Recipient,
    message: Incoming,
    transaction: Transaction,
    call: Call,
  ): Says<Reject | Defer | Accept<ViaClaim>>;
  /** Before the spool: takes the whole message, which is then this plugin's to keep. */
  queue(session: Session, message: Message, transaction: Transaction, call: Call): Claim<QueueClaim>;
  /** Each attempt of transport `smtp`: the hosts to try, in order. */
  route(recipient: Address, message: Message, call: Call): Says<Reject | Defer | Accept<RouteClaim>>;
  /** VRFY. Nobody speaks: 252, which tells nothing. */
  vrfy(session: Session, text: string, call: Call): Claim<AnswerClaim>;
  /** EXPN. Nobody speaks: 502. */
  expn(session: Session, text: string, call: Call): Claim<AnswerClaim>;
  /** A verb the core does not know. Nobody speaks: 500. */
  command(session: Session, verb: string, argument: string, call: Call): Claim<CommandClaim>;
  /** Report: a connection is over. */
  disconnect(event: Disconnected): Says;
  /** Report: something was refused. */
  rejected(event: Rejected): Says;
  /** Report: a recipient has its copy. */
  delivered(event: Delivery): Says;
  /** Report: an attempt failed and there will be another. */
  deferred(event: Delivery & { readonly nextAttempt: number }): Says;
  /** Report: a recipient failed for good. */
  bounced(event: Delivery): Says;
}

/** Registers a handler; only during `setup`, once for each hook. */
export type On = <K extends keyof Hooks>(hook: K, handler: Hooks[K]) => void;

// ── What a handler sees ────────────────────────────────────────────────────────────────────────────

/** The last argument of every hook but reports. */
export interface Call {
  /** Aborts at the plugin's time-out and when the client goes. */
  readonly signal: AbortSignal;
  /** Nothing will be delivered: `explain` asks. */
  readonly dryRun: boolean;
}

/** What `connect` is given: nobody has spoken yet, so it can be heard whether the client keeps quiet. */
export interface ConnectCall extends Call {
  /**
   * Waits, at most `ms` milliseconds, whether the client speaks before it is greeted, which it must not (RFC 5321 §3.1). What it
   * says is not lost. `spoke`: at once when it does; `silent`: it did not, or it is gone, or the plugin's time is over.
   */
  listen(ms: number): Promise<"spoke" | "silent">;
}

/** What `data` is given: whoever has others look through a message may need longer than was thought. */
export interface DataCall extends Call {
  /**
   * Work goes on: the plugin's time-out begins anew. It is for who knows so, such as of a filter that says it; after ten times the
   * time-out the plugin is late all the same, since the client waits for its reply.
   */
  progress(): void;
}

/** A client's connection. */
export interface Session {
  /** Stands on every log line of this connection. */
  readonly id: string;
  /** `mx`: strangers bring mail for us; `submission`: our users send. */
  readonly role: "mx" | "submission";
  /** `internal`: `host.submit()` and our own bounces. */
  readonly protocol: "smtp" | "lmtp" | "internal";
  /** `network`: the /24 of an IPv4 address, the /64 of an IPv6 one, as a CIDR. */
  readonly remote: { readonly address: string; readonly network: string; readonly port: number };
  /** The name the client greeted with, as given. */
  readonly helo: string | undefined;
  /** Its address is in `trustedNetworks`, or it is the server itself: nobody to be suspicious of. */
  readonly trusted: boolean;
  /** Absent in the clear. */
  readonly tls:
    | {
      readonly version: string;
      readonly cipher: string;
      /** The certificate that the client has shown, where the listener asks for one; it has its key. */
      readonly client?: ClientCertificate | undefined;
    }
    | undefined;
  /** Who logged in, and what else it may send as (`x@d`, `*@d`, `*`). */
  readonly user: { readonly name: string; readonly sendAs: readonly string[] } | undefined;
}

/** A client's certificate. */
export interface ClientCertificate {
  /** SHA-256 of the certificate, as 64 hexadecimal digits in lower case. */
  readonly fingerprint: string;
  /** Its subject, such as `O=Example, CN=printer`: for people. */
  readonly subject: string;
  /** The DNS names and mail addresses it is for, lower case: worth something only where it is trusted. */
  readonly names: readonly string[];
  /** Whether an authority of the listener has issued it, and it is still valid. */
  readonly trust: "trusted" | "expired" | "untrusted";
}

/** One mail transaction (RFC 5321 §3.3): its envelope, as far as it has come. */
export interface Transaction {
  /** Also the message's queue id. */
  readonly id: string;
  /** The envelope's, of MAIL; all of it is `""` in a bounce. */
  readonly sender: Address;
  /** Those accepted so far, in order. */
  readonly recipients: readonly Recipient[];
  /** MAIL's parameters, keywords in upper case; a keyword without value maps to `""`. */
  readonly params: ReadonlyMap<string, string>;
}

/** A transaction as `data` sees it, where the envelope may be changed. Each change is in the trace. */
export interface OpenTransaction extends Transaction {
  /** Replaces the envelope sender; `""` is the null sender. @throws {TypeError} when the address does not parse. */
  setSender(address: string): void;
  /** Resolved like any recipient, not asked of `rcpt`. @throws {TypeError} when the address does not parse. */
  addRecipient(address: string): Promise<void>;
  /**
   * A copy for this plugin's own purposes, such as an archive: durable before the client hears 250, tried again like any mail. It is no
   * recipient: it changes nothing about what the client is told, other plugins don't see it, no report about it goes to the sender
   * (RFC 3461 NOTIFY=NEVER), and where the message is refused there is none.
   *
   * @param address Where to; what stands in the queue and in the log, where a transport of the plugin's own takes it.
   * @param how `via`: the transport, whatever the address; without it the address is resolved, and `onward` takes it where nobody here
   * has it (default: `smtp`). `note`: what the transport needs to know besides the message: {@linkcode Target.note}; part of the
   * queue's record, so keep it small.
   * @throws {TypeError} when the address does not parse.
   * @example
   * ```ts
   * import { definePlugin, delivered } from "postrider";
   * import { mailboxes, testServer } from "postrider/testing";
   * import { deepStrictEqual as deepEqual } from "node:assert/strict";
   * const seen: unknown[] = [];
   * const journal = definePlugin({
   *   name: "journal",
   *   setup(on, _options, host) {
   *     const via = host.transport("journal", (_message, [copy]) => {
   *       seen.push(copy?.note);
   *       return Promise.resolve(delivered("noted"));
   *     });
   *     on("data", async (session, _message, transaction) => {
   *       const note = { ip: session.remote.address, to: transaction.recipients.map(String) };
   *       await transaction.addCopy("journal@localhost", { via, note });
   *     });
   *   },
   * });
   * await using server = await testServer({ plugins: [journal, mailboxes(["example.org"])] });
   * await server.send({ to: "alice@example.org" });
   * deepEqual(seen, [{ ip: "192.0.2.1", to: ["alice@example.org"] }]);
   * ```
   */
  addCopy(
    address: string,
    how?: { readonly via?: Transport; readonly onward?: Transport; readonly note?: Json },
  ): Promise<void>;
  /** Removes the recipient with this `id`; what it had been told (250) stands. */
  removeRecipient(id: string): void;
  /**
   * Keeps the message back: it is taken, and waits in the queue, held, until an operator releases or deletes it. No `queue` handler, no
   * proxy's next hop and no transport gets it before.
   *
   * @param reason For `queue list` and `track`: one line.
   */
  hold(reason: string): void;
}

/** One recipient of a transaction: the address as given. */
export interface Recipient extends Address {
  /** Unique in its transaction. */
  readonly id: string;
  /** RCPT's parameters, keywords in upper case. */
  readonly params: ReadonlyMap<string, string>;
  /** What `resolve` made of it, once it was accepted. */
  readonly targets: readonly { readonly address: string; readonly via: string; readonly by: string }[];
  /** Puts a header field on this one's copy only. @throws {TypeError} on CR, LF, NUL or a bad name. */
  prependHeader(name: string, value: string): void;
}

/** A message: its content is bytes, of which only the header is ever read by the server. */
export interface Message {
  /** The queue id. */
  readonly id: string;
  /** Octets of the content, edits included. */
  readonly size: number;
  /** The header section, read when first asked for. */
  readonly headers: Headers;
  /** The whole of it in memory. @throws {RangeError} when it is more than `max` (default 1 MiB): stream it then. */
  bytes(max?: number): Promise<Uint8Array<ArrayBuffer>>;
  /** The content in pieces, with CRLF line ends. */
  stream(): ReadableStream<Uint8Array<ArrayBuffer>>;
  /** Each line with its CRLF. */
  lines(): AsyncIterable<Uint8Array<ArrayBuffer>>;
}

/** A message's header section. Names compare without case. */
export interface Headers {
  /** The first one, unfolded and trimmed, as UTF-8 (bad bytes replaced). */
  get(name: string): string | undefined;
  /** All of this name, from the top down. */
  all(name: string): readonly string[];
  /** Every field, from the top down, names as they are written. */
  [Symbol.iterator](): Iterator<readonly [name: string, value: string]>;
}

/** A message that has arrived and is not kept yet: its header may be changed. */
export interface Incoming extends Message {
  /**
   * Puts a field on top. A value is one line of text, folded as it needs; one that is folded already stays as it is, for a signature.
   *
   * @throws {TypeError} on another CR or LF, on NUL, or a bad name.
   */
  prependHeader(name: string, value: string): void;
  /**
   * Removes every field of this name; with `which` only the one with this index among them, 0 on top. @throws {TypeError} when
   * the name or the index is none.
   */
  removeHeader(name: string, which?: number): void;
  /** Without anybody's edits. */
  readonly asReceived: Message;
}

/** A message as `data` sees it, where more than additions are possible. */
export interface Editable extends Incoming {
  /**
   * Replaces the first field of this name and removes the others; appends it where there is none. With `which` only the one with
   * this index among them is replaced, 0 on top, and where there is none nothing is.
   */
  replaceHeader(name: string, value: string, which?: number): void;
  /** Puts a field before the `index`th (0: on top); an index past the end appends. */
  insertHeader(index: number, name: string, value: string): void;
  /**
   * Adds to the message's one `Authentication-Results` field in this server's name, which stands on top; all plugins' results
   * stand in it. @throws {TypeError} when the method, the result or a property's name is none.
   */
  addResult(result: AuthenticationResult): void;
  /**
   * Replaces all that follows the header; resolves when it is read to its end. Line ends of a text become CRLF, those of octets must be.
   * @throws {TypeError} on octets with a CR or LF alone.
   */
  replaceBody(
    content: string | Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array<ArrayBuffer>>,
  ): Promise<void>;
}

/** What a check found about a message, for its `Authentication-Results` field (RFC 8601 §2.2). */
export interface AuthenticationResult {
  /** What was checked: `spf`, `dkim`, `dmarc`, `arc`, `iprev`, or another method that is registered. */
  readonly method: string;
  /** What came of it: `pass`, `fail`, `none`, `temperror`, … */
  readonly result: string;
  /** For people. */
  readonly comment?: string;
  /** Why the result is what it is. */
  readonly reason?: string;
  /** What the check was about, such as `{ "header.d": "example.org" }`; an empty value is left out. */
  readonly properties?: Readonly<Record<string, string>>;
}

/** What a client offered to log in with. */
export type Credentials =
  | { readonly mechanism: "PLAIN" | "LOGIN"; readonly user: string; readonly password: Secret }
  | { readonly mechanism: "XOAUTH2" | "OAUTHBEARER"; readonly user: string; readonly token: Secret }
  /**
   * SCRAM: the password doesn't come, but a proof of it. Asked twice: `awaited`, whose answer is `accept({ user, sendAs, keys })`; then
   * with what came of the proof, so that it can be counted, or objected to. `right` and no objection: in, as the first answer said.
   */
  | {
    readonly mechanism: "SCRAM-SHA-256" | "SCRAM-SHA-256-PLUS";
    readonly user: string;
    readonly proof: "awaited" | "right" | "wrong";
  }
  /** Nothing to check but whether the account exists: a proxy that is believed says who has logged in there. */
  | { readonly mechanism: "EXTERNAL"; readonly by: "proxy"; readonly user: string };

/** Not text, so that no log line takes it by accident. */
export interface Secret {
  /** The text itself: to be compared or sent on, never kept. */
  reveal(): string;
}

/** The report of a connection's end. */
export interface Disconnected {
  /** The very object the other hooks were given, so that its notes are found. */
  readonly session: Session;
  /** `refused`: by us; `lost`: the client went without QUIT. */
  readonly reason: "quit" | "lost" | "timeout" | "refused";
  /** How many messages were accepted on it. */
  readonly messages: number;
}

/** The report of a refusal. */
export interface Rejected {
  /** The very object the other hooks were given. */
  readonly session: Session;
  /** The hook whose turn it was. */
  readonly phase: keyof Hooks;
  /** Who objected; `core` for the server itself. */
  readonly plugin: string;
  /** What it said. */
  readonly verdict: Objection;
  /** Whom it concerned; absent where it was the session or the whole message. */
  readonly recipient?: Address;
}

/** The report of what became of one recipient. */
export interface Delivery {
  /** The queue id. */
  readonly id: string;
  /** The envelope sender's address, `""` for bounces. */
  readonly sender: string;
  /** The final recipient. */
  readonly recipient: Address;
  /** The name of the transport that was asked. */
  readonly transport: string;
  /** How many attempts there have been, this one included. */
  readonly attempts: number;
  /** What the transport or the peer said. */
  readonly reply: string;
  /** It is a plugin's own copy: {@linkcode OpenTransaction.addCopy}. */
  readonly copy?: true;
}

/** Something that became of a message, as the queue's log has it: {@linkcode Host.history}. Plugins' own copies aren't told. */
export interface MailEvent {
  /** The same whenever it is told again: by it, doubles are known. */
  readonly key: string;
  /** `accepted`: it was received; `deleted`: by an operator, from the queue. */
  readonly kind: "accepted" | "delivered" | "deferred" | "bounced" | "deleted";
  /** Milliseconds since 1970. */
  readonly at: number;
  /** The queue id. */
  readonly id: string;
  /** The envelope sender, `""` for bounces; absent where the message came before there was a record. */
  readonly sender?: string;
  /** The message's own, with its brackets. */
  readonly messageId?: string;
  /** The final recipient; absent where it is about the whole message. */
  readonly recipient?: string;
  /** The recipient as the client gave it. */
  readonly original?: string;
  /** The transport's name. */
  readonly transport?: string;
  /** 1 for the first. */
  readonly attempt?: number;
  /** The host that was spoken with. */
  readonly host?: string;
  /** What the transport or the peer said. */
  readonly reply?: string;
  /** When it is tried again, milliseconds since 1970. */
  readonly nextAttempt?: number;
}

/** A piece of the history. */
export interface MailHistory {
  /** In the order in which they were recorded. */
  readonly events: readonly MailEvent[];
  /** Where the next piece begins; to be kept. */
  readonly place: string;
  /** There is more already. */
  readonly more: boolean;
  /** What came next was forgotten meanwhile (`tracking.keep`), or lost with the database. */
  readonly missed: boolean;
}

// ── The host ───────────────────────────────────────────────────────────────────────────────────────

/** What can be stored, logged and told to other plugins. */
export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };

/** A literal's general type: `5` → `number`, so that what was stored can be compared with anything of its kind. */
export type Widen<T> = T extends number ? number
  : T extends string ? string
  : T extends boolean ? boolean
  : T;

/** Keys and values of this plugin's own; each write says how long it is worth keeping. */
export interface Store {
  /** What is there and has not expired. */
  get<T extends Json>(key: string): Promise<T | undefined>;
  /** Puts a value there, whatever was before. */
  set(key: string, value: Json, how: { ttl: Duration }): Promise<void>;
  /** The value that is there, else stores and answers this one; atomic. */
  getOrSet<T extends Json>(key: string, value: T, how: { ttl: Duration }): Promise<Widen<T>>;
  /** Adds to a number (absent: 0) and answers the sum; atomic. The `ttl` runs from the first addition. */
  increment(key: string, by: number, how: { ttl: Duration }): Promise<number>;
  /** Removes it, if it is there. */
  delete(key: string): Promise<void>;
}

/** A way onward, made by `host.transport()`; the `transport()` option is another plugin's. */
export interface Transport {
  /** The name it is registered under. */
  readonly transport: string;
}

/** A final recipient of a delivery: one of the targets that `resolve` made of the address as given. */
export interface Target extends Address {
  /** The envelope sender, `""` for bounces. */
  readonly sender: string;
  /** The recipient's address as the client gave it. */
  readonly original: string;
  /** What the plugin noted that added this copy: {@linkcode OpenTransaction.addCopy}. */
  readonly note?: Json;
}

/** Delivers: one outcome for all recipients, or one for each, in order; a missing one is a `defer`. */
export type Deliver = (
  message: Message,
  recipients: readonly Target[],
  call: Call & { readonly attempt: number },
) => Promise<Outcome | readonly Outcome[]>;

/**
 * Says how a copy leaves by a relay, at each attempt; nothing: as by the transport `smtp`. A throw or a time-out defers the copy,
 * and it is never given up for that.
 */
export type RelayRoute = (
  recipient: Target,
  message: Message,
  call: Call,
) => Says<Reject | Defer | Accept<RelayClaim>>;

/**
 * Says where a proxy passes mail for this address on to: hosts that speak SMTP, tried in order. Asked at RCPT, and at each attempt of
 * what had to go by the queue.
 */
export type ProxyRoute = (
  recipient: Address,
  call: Call,
) => Reject | Defer | Accept<RouteClaim> | Promise<Reject | Defer | Accept<RouteClaim>>;

/** A typed key under which one plugin tells others what it found; made by {@linkcode fact}. */
export interface Fact<T extends Json, S extends object> {
  /** Its name, unique among all plugins. */
  readonly fact: string;
  /** Never there: carries the types of the value and of what it is about. */
  readonly "~types"?: (of: S) => T;
}

/** DNS, asked of the configured servers. */
export interface Dns {
  /** IPv4 and IPv6 addresses. No such name or record: `[]`. @throws {Error} when it could not be asked: whoever forgets, defers. */
  a(name: string, signal?: AbortSignal): Promise<string[]>;
  /** Each record's strings joined. */
  txt(name: string, signal?: AbortSignal): Promise<string[]>;
  /** In order of preference. */
  mx(name: string, signal?: AbortSignal): Promise<{ preference: number; host: string }[]>;
  /** The names of an IP address. */
  ptr(ip: string, signal?: AbortSignal): Promise<string[]>;
  /** One question, and all that came of it: why there is none, for how long it holds, whether it was validated. */
  readonly query: Query;
}

/** What the server does for a plugin: the third argument of `setup`. */
export interface Host {
  /** The instance's name: `as:` of the configuration, else the plugin's. */
  readonly name: string;
  /** What the server is called (`hostname` of the configuration): in its banner, its `Received`, its `Authentication-Results`. */
  readonly hostname: string;
  /** `observe: true` stands beside it: what it says counts for nothing, so it should leave out what else it does, such as waiting. */
  readonly observed: boolean;
  /**
   * `when: queued` stands beside it: only `data` and `dataFor` are asked, after the reply, before the first attempt. Of the session
   * there is what the queue keeps of it; what is rejected is returned to the sender. It may be asked again after a crash.
   */
  readonly queued: boolean;
  /** Recipients in these domains are this plugin's to know: claimed by nobody's `resolve` → 550 5.1.1. */
  owns(domains: readonly string[]): void;
  /** `now()` is milliseconds since 1970. Tests decide what time it is. */
  readonly clock: { now(): number; sleep(ms: number, signal?: AbortSignal): Promise<void> };
  /** One event a line, with the plugin's name; passwords and bodies don't belong there. */
  readonly log: Record<
    "debug" | "info" | "warning" | "error",
    (text: string, fields?: Record<string, Json>) => void
  >;
  /** Durable. */
  readonly store: Store;
  /** In memory, bounded; outlives a reload. */
  readonly cache: Store;
  /** Asks the configured servers; the answers are cached for their TTL. */
  readonly dns: Dns;
  /** A directory of its own, absolute; made when first asked for. */
  readonly state: string;
  /**
   * Registers a transport, during `setup`.
   *
   * @param name Unique in the configuration; an instance named by `as:` carries that name instead.
   * @param how `inline`: may be tried before the reply to the final dot. `batch`: recipients a call (default 1). `timeout`:
   * milliseconds an attempt may take, where that is not what one answer of the plugin may take.
   */
  transport(
    name: string,
    deliver: Deliver,
    how?: { inline?: boolean; batch?: number; timeout?: number },
  ): Transport;
  /**
   * Registers a transport that hands mail on by SMTP or LMTP, during `setup`. The server's own client carries it: from the queue,
   * with kept connections, TLS as the hop says, an outcome for each recipient, and retries until it is delivered or given up.
   *
   * @param name Unique in the configuration; an instance named by `as:` carries that name instead.
   * @param route Where each recipient's copy goes, under which sender, with which fields on top.
   * @example
   * ```ts
   * import { accept, definePlugin } from "postrider";
   * import { testServer } from "postrider/testing";
   * import { deepStrictEqual as deepEqual } from "node:assert/strict";
   * const dovecot = definePlugin({
   *   name: "dovecot",
   *   setup(on, _options, host) {
   *     const lmtp = { path: "/run/dovecot/lmtp", protocol: "lmtp" } as const;
   *     const via = host.relay("dovecot", () => accept({ hops: [lmtp] }));
   *     on("resolve", ({ domain }) => domain === "example.org" ? accept({ via }) : undefined);
   *   },
   * });
   * await using server = await testServer({ plugins: [dovecot] });
   * await server.send({ to: "alice@example.org" });
   * deepEqual(server.sent[0]?.hops, [{ path: "/run/dovecot/lmtp", protocol: "lmtp" }]);
   * ```
   */
  relay(name: string, route: RelayRoute): Transport;
  /**
   * Registers a transport that passes a client's transaction on while it goes on, during `setup`: the next hop hears MAIL with the
   * first recipient and the message after all `data` handlers, and what it says at RCPT and at the final dot is what the client hears.
   * Nothing of that is in the queue. A transaction goes to one next hop; a recipient elsewhere is told `452 4.5.3`. What has no client
   * that waits (our own mail, one of an alias's several targets) goes by the queue, as by `relay`.
   *
   * @param name Unique in the configuration; an instance named by `as:` carries that name instead.
   * @param route Where to.
   * @param how `xclient`, `xforward`: tells the next hop who our client is, where it offers that (Postfix' extensions).
   * @example
   * ```ts
   * import { accept, definePlugin, reject } from "postrider";
   * import { testServer } from "postrider/testing";
   * import { strictEqual as equal } from "node:assert/strict";
   * const gateway = definePlugin({
   *   name: "gateway",
   *   setup(on, _options, host) {
   *     const via = host.proxy("gateway", () => accept({ hops: [{ host: "inside.example.org" }] }));
   *     on("resolve", ({ domain }) => domain === "example.org" ? accept({ via }) : undefined);
   *   },
   * });
   * await using server = await testServer({
   *   plugins: [gateway],
   *   nextHop: ({ to }) => to === "nobody@example.org" ? reject("5.1.1", "No such user") : undefined,
   * });
   * equal((await server.send({ to: "nobody@example.org" })).reply.text, "No such user");
   * await server.send({ to: "alice@example.org" });
   * equal(server.sent[0]?.to[0], "alice@example.org");
   * equal((await server.queue()).length, 0);
   * ```
   */
  proxy(name: string, route: ProxyRoute, how?: { xclient?: boolean; xforward?: boolean }): Transport;
  /**
   * Asks a next hop whether it would take mail for an address: MAIL with the null sender, RCPT, and no message, ever (RFC 5321 §3.3).
   * Its yes is `accept()`, its permanent no to RCPT is `reject` with its status and code; everything else is `defer`, also a no to the
   * connection or to MAIL, which says nothing of the address. Its words are the operator's to know, not a client's.
   *
   * @param address Whom it is asked about.
   * @param how `hops`: hosts that speak SMTP, tried in order, as `host.proxy` has them. `signal`: nobody waits any more.
   * @throws {TypeError} when the address does not parse.
   * @example
   * ```ts
   * import { definePlugin, reject } from "postrider";
   * import { mailboxes, testServer } from "postrider/testing";
   * import { strictEqual as equal } from "node:assert/strict";
   * const ask = definePlugin({
   *   name: "ask",
   *   setup(on, _options, host) {
   *     on("resolve", async ({ address }, { signal }) => {
   *       const said = await host.verify(address, { hops: [{ host: "inside.example.org" }], signal });
   *       if (said.verdict === "reject") return reject("5.1.1", "No such user here");
   *       if (said.verdict === "defer") throw new Error(said.text);
   *     });
   *   },
   * });
   * await using server = await testServer({
   *   plugins: [ask, mailboxes(["example.org"])],
   *   nextHop: ({ to }) => to === "alice@example.org" ? undefined : reject("5.1.1", "Unknown"),
   * });
   * equal((await server.send({ to: "nobody@example.org" })).reply.text, "No such user here");
   * equal((await server.send({ to: "alice@example.org" })).outcome, "accepted");
   * ```
   */
  verify(
    address: string,
    how: { readonly hops: readonly HostHop[]; readonly signal: AbortSignal },
  ): Promise<Accept<NoClaim> | Reject | Defer>;
  /**
   * Sends a message of our own; resolves once it is kept. @throws {Error} when it was refused: its `code` is the reply's, 4xx for now, 5xx for good.
   *
   * @param mail `utf8`: its header may be UTF-8 (RFC 6532), so that it goes on under SMTPUTF8 where it has to. `refused`: told of each recipient that nobody here takes, for good or for now, before the message is kept for the
   * others; without it, one such recipient refuses the whole, as all of them do in any case.
   */
  submit(mail: {
    sender: string;
    recipients: readonly string[];
    content: string | Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array<ArrayBuffer>>;
    utf8?: boolean;
    refused?: (recipient: string, why: Reject | Defer) => void;
  }): Promise<{ id: string }>;
  /** The queue, as far as a plugin may move it. */
  readonly queue: {
    /**
     * Tries what waits for a domain now, held messages aside: the first step of ETRN, of a "my server is back" button.
     *
     * @param domain The recipients', as text.
     * @param how `subdomains`: those below it, too.
     * @returns How many messages that is. @throws {TypeError} when it is not a domain.
     */
    retry(domain: string, how?: { subdomains?: boolean }): Promise<{ messages: number }>;
  };
  /** What became of mail: the queue's own record of it, read at the reader's pace. */
  readonly history: {
    /**
     * Reads on. Whoever keeps `place` once it has done its part misses nothing, though the process is killed at any moment; what was
     * read last may come again. Nothing waits for who reads: it lags behind the queue by about a second, and is remembered for
     * `tracking.keep`.
     *
     * @param place Where the piece before ended; `undefined`: from now on, with no events yet.
     * @param limit How many messages' news at most; each may have several events.
     * @throws {Error} when it can't be had now, or the configuration has `tracking: { enabled: false }`.
     */
    after(place: string | undefined, limit: number): Promise<MailHistory>;
  };
  /**
   * Says, during `setup`, what runs besides the handlers: a listener, a timer. It begins when this generation of plugins is in use, so
   * never in `check` or `explain`, nor where `observe: true` stands; and ends as soon as another one is or the server stops, though
   * sessions may hold this generation longer.
   *
   * @param begin Begins it, and gives what ends it: its part up to the first `await` has to let go of what the next generation needs.
   * A throw refuses to start; at a reload it is logged.
   * @example
   * ```ts
   * import { definePlugin } from "postrider";
   * import { testServer } from "postrider/testing";
   * import { strictEqual as equal } from "node:assert/strict";
   * let port = 0;
   * const status = definePlugin({
   *   name: "status",
   *   setup(_on, _options, host) {
   *     host.runs(() => {
   *       const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, () => new Response("up"));
   *       port = server.addr.port;
   *       return () => server.shutdown();
   *     });
   *   },
   * });
   * await using server = await testServer({ plugins: [status] });
   * equal(await (await fetch(`http://127.0.0.1:${port}`)).text(), "up");
   * ```
   */
  runs(begin: () => Dispose | Promise<Dispose>): void;
  /**
   * Announces a service extension in EHLO (RFC 5321 §2.2), during `setup`. Where it brings a command of the same name, that is
   * answered by the hook `command`: the server refuses it before EHLO and during a transaction (503).
   *
   * @param extension The keyword in upper case, perhaps with parameters behind it.
   * @param to Asked at each EHLO, and when the command comes: whether this session may use it.
   * @example
   * ```ts
   * import { accept, definePlugin } from "postrider";
   * import { testServer } from "postrider/testing";
   * import { ok, strictEqual as equal } from "node:assert/strict";
   * const flush = definePlugin({
   *   name: "flush",
   *   setup(on, _options, host) {
   *     host.offers("XFLUSH", ({ remote }) => remote.address === "192.0.2.1");
   *     on("command", async ({ remote }, verb, domain) => {
   *       if (verb !== "XFLUSH" || remote.address !== "192.0.2.1") return;
   *       const { messages } = await host.queue.retry(domain);
   *       return accept({ reply: `${messages} messages are tried now`, code: 250 });
   *     });
   *   },
   * });
   * await using server = await testServer({ plugins: [flush] });
   * const client = server.connect({ ip: "192.0.2.1" });
   * const hello = await client.command("EHLO client.example");
   * ok(hello.lines.includes("XFLUSH"));
   * equal((await client.command("XFLUSH example.net")).code, 250);
   * ```
   */
  offers(extension: string, to: (session: Session) => boolean): void;
  /** Private typed state of a session, transaction or recipient, made when first asked for; gone with its owner. */
  notes<S extends Session | Transaction | Recipient, T extends object>(make: (of: S) => T): (of: S) => T;
  /** Tells other plugins; `check` demands that who provides stands above who needs. */
  provides<T extends Json, S extends object>(fact: Fact<T, S>): (of: S, value: T) => void;
  /** Reads what a plugin above told; `undefined` where it said nothing about this one. `optional`: it need not be there. */
  needs<T extends Json, S extends object>(
    fact: Fact<T, S>,
    how?: { optional?: boolean },
  ): (of: S) => T | undefined;
}

// ── The definition ─────────────────────────────────────────────────────────────────────────────────

/** Called when a generation of plugins ends: closes what `setup` opened. */
export type Dispose = () => void | Promise<void>;

/** A plugin, as {@linkcode definePlugin} takes and gives it. */
export interface Plugin<O extends z.ZodType = z.ZodType> {
  /** Lower case, what the log and `check` call it. */
  readonly name: string;
  /** Plugins that must stand above this one if they are there: checked at load, never re-ordered. */
  readonly after?: readonly string[];
  /** The schema of `with:`; absent: there are no options. */
  readonly options?: O;
  /** Asked on these roles unless the configuration's `roles:` says otherwise; default: all. */
  readonly roles?: readonly Session["role"][];
  /** For a plugin with an `auth` handler: what AUTH offers because of it; default: PLAIN and LOGIN. */
  readonly mechanisms?:
    | readonly Credentials["mechanism"][]
    | ((options: z.output<O>) => readonly Credentials["mechanism"][]);
  /** Registers handlers and opens what they need; what it returns is called at the end. A throw refuses the configuration. */
  setup(on: On, options: z.output<O>, host: Host): void | Dispose | Promise<void | Dispose>;
}

/**
 * Defines a plugin; the module's default export. Options are inferred from the schema.
 *
 * @param plugin Its name, its options' schema and its `setup`.
 * @returns The same, typed.
 *
 * @example
 * ```ts
 * import { defer, definePlugin, duration, z } from "postrider";
 * export default definePlugin({
 *   name: "greylist",
 *   options: z.object({ wait: duration("5m") }),
 *   setup(on, { wait }, { clock, store }) {
 *     on("rcpt", async (session, rcpt, transaction) => {
 *       if (session.user) return;
 *       const triple = `${session.remote.network} ${transaction.sender} ${rcpt}`;
 *       const first = await store.getOrSet(triple, clock.now(), { ttl: "36h" });
 *       if (clock.now() - first < wait) return defer("4.7.1", "Greylisted, please try again later");
 *     });
 *   },
 * });
 * ```
 */
export function definePlugin<O extends z.ZodType = z.ZodObject<Record<never, never>, z.core.$strict>>(
  plugin: Plugin<O>,
): Plugin<O> {
  return plugin;
}

/**
 * A typed key for `host.provides` and `host.needs`; well-known ones are in `postrider/facts`.
 *
 * @param name Unique among all plugins.
 *
 * @example
 * ```ts
 * import { fact, type Session } from "postrider";
 * import { strictEqual as equal } from "node:assert/strict";
 * const country = fact<string, Session>("country");
 * equal(country.fact, "country");
 * ```
 */
export function fact<T extends Json, S extends Session | Transaction = Transaction>(
  name: string,
): Fact<T, S> {
  return { fact: name };
}

/** What `export default ({ definePlugin, reject, z }: Api) => definePlugin(…)` is given: needs no import at run time. */
export type Api = typeof import("./plugin.ts");
