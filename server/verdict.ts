/**
 * Verdicts: what a plugin may say. Each is plain data made by a function of the same name; which of them a
 * hook may give is in that hook's type ({@linkcode Hooks} in `plugin.ts`).
 */
import type { Transport } from "./plugin.ts";

/** An enhanced status code of permanent failure (RFC 3463 §3), such as `5.7.1`. */
export type Permanent = `5.${number}.${number}`;
/** An enhanced status code of temporary failure (RFC 3463 §3), such as `4.3.0`. */
export type Temporary = `4.${number}.${number}`;

/** The reply codes a permanent refusal may carry (RFC 5321 §4.2.3). */
export type PermanentCode =
  | 501
  | 502
  | 503
  | 504
  | 521
  | 530
  | 535
  | 538
  | 550
  | 551
  | 552
  | 553
  | 554
  | 555
  | 556;
/** The reply codes a temporary refusal may carry; `421` is {@linkcode disconnect}'s. */
export type TemporaryCode = 450 | 451 | 452 | 454 | 455 | 458 | 459;

/** A permanent refusal; see {@linkcode reject}. */
export interface Reject {
  /** Which verdict this is. */
  readonly verdict: "reject";
  /** Enhanced status code (RFC 3463). */
  readonly status: Permanent;
  /** What the client is told. */
  readonly text: string;
  /** The reply code; absent: the hook's default. */
  readonly code?: PermanentCode;
  /** See {@linkcode because}. */
  readonly rule?: string;
}

/** A temporary refusal; see {@linkcode defer}. */
export interface Defer {
  /** Which verdict this is. */
  readonly verdict: "defer";
  /** Enhanced status code (RFC 3463). */
  readonly status: Temporary;
  /** What the client is told. */
  readonly text: string;
  /** The reply code; absent: the hook's default. */
  readonly code?: TemporaryCode;
  /** See {@linkcode because}. */
  readonly rule?: string;
  /** See {@linkcode retryAfter}. */
  readonly after?: number;
}

/** A refusal that ends the connection; see {@linkcode disconnect}. */
export interface Disconnect {
  /** Which verdict this is. */
  readonly verdict: "disconnect";
  /** Enhanced status code (RFC 3463). */
  readonly status: Permanent | Temporary;
  /** What the client is told. */
  readonly text: string;
  /** See {@linkcode because}. */
  readonly rule?: string;
}

/** A yes, with what is claimed by it; see {@linkcode accept}. */
export interface Accept<C = unknown> {
  /** Which verdict this is. */
  readonly verdict: "accept";
  /** What is claimed; empty for a plain yes. */
  readonly claim: C;
  /** See {@linkcode because}. */
  readonly rule?: string;
}

/** A no, of any kind. */
export type Objection = Reject | Defer | Disconnect;

/** Any verdict. */
export type Verdict = Objection | Accept;

/** What became of one recipient of a delivery: delivered, failed for good, or to be tried again. */
export type Outcome = Delivered | Reject | Defer;

/** A recipient that was delivered; see {@linkcode delivered}. */
export interface Delivered {
  /** Which outcome this is. */
  readonly verdict: "delivered";
  /** Where it went, for the log and `track`. */
  readonly text: string;
}

/**
 * No, and never: the client returns the message to its author. Without `code` it is 550 (`connect`: 554, `auth`: 535).
 *
 * @param status Enhanced status code, `5.x.y` (RFC 3463).
 * @param text What the client is told, one line of printable text.
 * @param code The reply code, where another than the default fits better.
 * @returns The verdict, to be returned from a handler.
 *
 * @example
 * ```ts
 * import { definePlugin, reject } from "postrider";
 * export default definePlugin({
 *   name: "no-strangers",
 *   setup(on) {
 *     on("mail", (_session, { sender }) => {
 *       if (sender.domain === "spam.example") return reject("5.7.1", "Not from you");
 *     });
 *   },
 * });
 * ```
 */
export function reject(status: Permanent, text: string, code?: PermanentCode): Reject {
  return { verdict: "reject", status, text, ...(code && { code }) };
}

/**
 * Not now: the client keeps the message and tries again. Without `code` it is 451 (`connect`: 421, `auth`: 454).
 *
 * @param status Enhanced status code, `4.x.y` (RFC 3463).
 * @param text What the client is told, one line of printable text.
 * @param code The reply code, where another than the default fits better.
 * @returns The verdict, to be returned from a handler.
 *
 * @example
 * ```ts
 * import { defer } from "postrider";
 * import { strictEqual as equal } from "node:assert/strict";
 * equal(defer("4.7.1", "Greylisted, please try again later").verdict, "defer");
 * ```
 */
export function defer(status: Temporary, text: string, code?: TemporaryCode): Defer {
  return { verdict: "defer", status, text, ...(code && { code }) };
}

/**
 * Says when a transport's deferred recipients are worth another attempt: not before, though the queue's schedule may say later. At
 * most the schedule's longest wait; to a client that waits for the reply it makes no difference.
 *
 * @param ms Milliseconds from now.
 * @param verdict What is said.
 * @returns The outcome, to be returned from a transport's deliver function.
 *
 * @example
 * ```ts
 * import { defer, retryAfter } from "postrider";
 * import { strictEqual as equal } from "node:assert/strict";
 * equal(retryAfter(90_000, defer("4.3.2", "The receiver is busy")).after, 90_000);
 * ```
 */
export function retryAfter(ms: number, verdict: Defer): Defer {
  return { ...verdict, after: ms };
}

/**
 * Says it and closes the connection: `4.x.y` is reply 421, `5.x.y` is 554.
 *
 * @param status Enhanced status code (RFC 3463).
 * @param text What the client is told, one line of printable text.
 * @returns The verdict, to be returned from a handler.
 *
 * @example
 * ```ts
 * import { disconnect } from "postrider";
 * import { strictEqual as equal } from "node:assert/strict";
 * equal(disconnect("4.7.0", "Too many connections").status, "4.7.0");
 * ```
 */
export function disconnect(status: Permanent | Temporary, text: string): Disconnect {
  return { verdict: "disconnect", status, text };
}

/** Every key that some claim has. */
export type ClaimKey =
  | "user"
  | "sendAs"
  | "via"
  | "to"
  | "onward"
  | "id"
  | "reply"
  | "code"
  | "keys"
  | "hops"
  | "sender"
  | "headers";
/** A claim with these keys and none of the others', so that a claim of another hook does not compile. */
export type Only<T> = T & { readonly [K in Exclude<ClaimKey, keyof T>]?: never };

/** A plain yes, as `rcpt` gives it. */
export type NoClaim = Only<object>;
/**
 * `auth`: who it is, and the other addresses this account may send as (`x@d`, `*@d`, `*`). `keys`: where the client is to prove its
 * password by SCRAM, of which only these are known.
 */
export type AuthClaim = Only<
  { readonly user: string; readonly sendAs?: readonly string[]; readonly keys?: ScramKeys }
>;
/** What is kept of a password for SCRAM-SHA-256 (RFC 5802 §3, RFC 7677). */
export interface ScramKeys {
  /** Octets that the password was salted with. */
  readonly salt: Uint8Array;
  /** How often it was hashed: 4,096 at least (RFC 7677 §4). */
  readonly iterations: number;
  /** 32 octets, to check the client's proof with. */
  readonly storedKey: Uint8Array;
  /** 32 octets, for the server's own proof. */
  readonly serverKey: Uint8Array;
}
/** `dataFor`: this recipient's copy goes to another transport. */
export type ViaClaim = Only<{ readonly via: Transport }>;
/**
 * `resolve`: delivered as it is by a transport, or replaced by other addresses, each resolved in turn. `onward`: the transport of
 * those that nobody here claims, instead of `smtp`; and of what becomes of the others, unless whoever replaces them says another.
 * `onward` alone claims nothing: where the address is nobody's here, and the client may send there, it leaves by that transport.
 */
export type ResolveClaim =
  | ViaClaim
  | Only<{ readonly onward: Transport }>
  | Only<{ readonly to: readonly string[]; readonly onward?: Transport }>;
/** `queue`: the plugin has kept the message, under this id. */
export type QueueClaim = Only<{ readonly id: string }>;
/** `vrfy` and `expn`: the addresses to answer with, a line each. */
export type AnswerClaim = Only<{ readonly reply: string | readonly string[] }>;
/** `command`: the answer to a verb that the core does not know. */
export type CommandClaim = Only<{ readonly reply: string; readonly code: 211 | 214 | 250 | 251 | 252 | 253 }>;
/** `route`: the next hops, tried in order. */
export type RouteClaim = Only<{ readonly hops: readonly Hop[] }>;
/**
 * A relay's route (`host.relay`): how this recipient's copy leaves. `hops` as above; absent: as the transport `smtp` would send it.
 * `sender` is said in MAIL instead of the envelope's, which still gets the reports. `headers` stand on top of this copy.
 */
export type RelayClaim = Only<
  {
    readonly hops?: readonly Hop[];
    readonly sender?: string;
    readonly headers?: readonly (readonly [name: string, value: string])[];
  }
>;
/** Whatever can be claimed by some hook. */
export type AnyClaim =
  | AuthClaim
  | ResolveClaim
  | QueueClaim
  | AnswerClaim
  | CommandClaim
  | RouteClaim
  | RelayClaim;

/** Where to hand a message on to: a host, or a Unix socket of this machine. */
export type Hop = HostHop | SocketHop;

/** A host to hand a message on to. */
export interface HostHop {
  /** A host name or an IP address. */
  readonly host: string;
  /** There is none. */
  readonly path?: undefined;
  /** 1 to 65535; default: the port of `outbound.port`, 25. LMTP has no port of its own (RFC 2033 §5): say one. */
  readonly port?: number | undefined;
  /**
   * `required`: a verified certificate, or nothing is sent; `implicit`: that, from the first byte on. Default: with `auth`
   * `required`, at port 465 `implicit`, else what `outbound.tls` says of the destination.
   */
  readonly tls?: "opportunistic" | "required" | "none" | "implicit" | undefined;
  /** How to log in there; in the clear only with `tls: "none"`. */
  readonly auth?: HopAuth | undefined;
  /** Default `smtp`. */
  readonly protocol?: "smtp" | "lmtp" | undefined;
}

/** A server of this machine that listens on a Unix socket: never encrypted. */
export interface SocketHop {
  /** There is none. */
  readonly host?: undefined;
  /** The socket's absolute path. */
  readonly path: string;
  /** How to log in there. */
  readonly auth?: HopAuth | undefined;
  /** Default `smtp`. */
  readonly protocol?: "smtp" | "lmtp" | undefined;
}

/** An account at the next hop; one of `password` and `passwordFile`. */
export interface HopAuth {
  /** The account's name. */
  readonly user: string;
  /** Its password. */
  readonly password?: string | undefined;
  /** The absolute path of a file that holds it on one line; read at each login. */
  readonly passwordFile?: string | undefined;
}

/**
 * Yes. What may be claimed with it depends on the hook it is returned from: {@linkcode Hooks} says which.
 *
 * @example
 * ```ts
 * import { accept, definePlugin } from "postrider";
 * export default definePlugin({
 *   name: "sales-alias",
 *   setup(on) {
 *     on("resolve", ({ user, domain }) => {
 *       if (user === "sales" && domain === "example.org") return accept({ to: ["alice@example.org"] });
 *     });
 *   },
 * });
 * ```
 */
export function accept(): Accept<NoClaim>;
/**
 * Yes, and this is claimed.
 *
 * @param claim What is claimed; a key that no hook knows does not compile.
 * @returns The verdict, to be returned from a handler.
 */
export function accept<C extends AnyClaim>(
  claim: C & { [K in Exclude<keyof C, ClaimKey>]: never },
): Accept<C>;
export function accept(claim: unknown = {}): Accept {
  return { verdict: "accept", claim };
}

/**
 * Says which option or rule decided: for `explain`, the log and who reads them. The client is never told.
 *
 * @param rule In an operator's words, as the configuration has it: `networks: 10.0.0.0/8`.
 * @param verdict What was decided.
 * @returns The verdict, to be returned from a handler.
 *
 * @example
 * ```ts
 * import { because, definePlugin, reject, z } from "postrider";
 * export default definePlugin({
 *   name: "no-senders",
 *   options: z.object({ senders: z.array(z.string()) }),
 *   setup(on, { senders }) {
 *     on("mail", (_session, { sender }) => {
 *       const listed = senders.find((one) => one === sender.address);
 *       if (listed) return because(`senders: ${listed}`, reject("5.7.1", "Not from you"));
 *     });
 *   },
 * });
 * ```
 */
export function because<V extends Verdict>(rule: string, verdict: V): V {
  return { ...verdict, rule };
}

/**
 * The outcome of a transport that has the message safe: for this recipient there is nothing left to do.
 *
 * @param text For the log and `track`: where it went, or what the peer said.
 * @returns The outcome, to be returned from a transport's deliver function.
 *
 * @example
 * ```ts
 * import { delivered } from "postrider";
 * import { strictEqual as equal } from "node:assert/strict";
 * equal(delivered("queued as 4711").text, "queued as 4711");
 * ```
 */
export function delivered(text = "delivered"): Delivered {
  return { verdict: "delivered", text };
}
