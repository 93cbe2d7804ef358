/** What goes in and out of the session machine besides bytes: its options, its questions, its events. */
import type { Address } from "./address.ts";
import type { MailParams, RcptParams } from "./params.ts";
import type { Reply } from "./reply.ts";
import type { Mechanism, ProofMechanism, SaslCredentials } from "./sasl.ts";
import type { BelievedLogin, ProxiedClient } from "./xclient.ts";

/** What a session needs to know of its listener. */
export interface SessionOptions {
  readonly hostname: string;
  readonly protocol: "smtp" | "lmtp";
  readonly role: "mx" | "submission";
  readonly limits: {
    /** Octets of a message. */
    readonly message: number;
    readonly recipients: number;
    readonly errors: number;
    readonly refusedRecipients: number;
  };
  readonly bareNewlines: "normalize" | "reject";
  /** Whether STARTTLS can be offered. */
  readonly canStartTls: boolean;
  /** Whether the connection is encrypted from its first byte. */
  readonly encrypted: boolean;
  /** What AUTH offers; `inClear`: even without TLS, which only loopback may have. */
  readonly auth: {
    readonly mechanisms: readonly Mechanism[];
    readonly inClear: boolean;
    /** Whether a login can be bound to the connection now; absent: never. */
    readonly canBind?: () => boolean;
  };
  /** Whether somebody is taken to have logged in from the beginning. */
  readonly authenticated?: boolean;
  /** The client is in a trusted network: it may go on talking behind its HELO (CASES P02). */
  readonly trusted: boolean;
  /** The client is a proxy that may say whose the connection is (XCLIENT), and whether it may say who has logged in. Absent: it may not. */
  readonly proxy?: BelievedLogin | undefined;
  /** What EHLO offers besides, as this session stands: keywords with their parameters. Absent: nothing. */
  readonly extensions?: () => readonly string[];
  /** Octets that have arrived at the channel and were not received by this machine yet. */
  unread(): number;
}

/** A question to whoever decides. All but `message` go on when the answer is no objection. */
export type Question =
  /** `extended`: EHLO or LHLO, not HELO. */
  | { readonly about: "helo"; readonly name: string; readonly extended: boolean }
  | { readonly about: "auth"; readonly credentials: SaslCredentials }
  /** A turn of a proof: the answer is a challenge (334), a refusal, or nothing: logged in. */
  | {
    readonly about: "proof";
    readonly mechanism: ProofMechanism;
    readonly message: string;
    readonly turn: "first" | "next";
  }
  | { readonly about: "mail"; readonly sender: Address; readonly params: MailParams }
  | { readonly about: "rcpt"; readonly recipient: Address; readonly params: RcptParams }
  | { readonly about: "message" }
  | { readonly about: "vrfy" | "expn"; readonly text: string }
  | { readonly about: "command"; readonly verb: string; readonly argument: string };

/** What `next` says. */
export type Event =
  /** Nothing to do before more bytes come. */
  | { readonly type: "more" }
  | { readonly type: "ask"; readonly question: Question }
  /** Decoded octets of the message; valid until the next call. */
  | { readonly type: "content"; readonly bytes: Uint8Array }
  /** The open transaction, and what came of its message, is forgotten; `refused`: the machine did not take the content. */
  | { readonly type: "reset"; readonly refused?: Reply }
  /** Write `takeOutput`, then hand the connection to TLS, then say `encrypted`. */
  | { readonly type: "starttls" }
  /** The connection is this client's: this session is over, and another begins with a greeting. */
  | { readonly type: "xclient"; readonly client: ProxiedClient }
  /** Write `takeOutput`, then close. */
  | { readonly type: "close"; readonly reason: "quit" | "refused" };
