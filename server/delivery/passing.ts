/**
 * Passing a client's transaction on while it goes on, as a proxy does: what who takes mail in and who speaks with the next hop say to
 * each other. The next hop's answers are the client's; nothing of it is in the queue.
 */
import type { TlsState } from "../channel/channel.ts";
import type { Rendered } from "../message/render.ts";
import type { ClientRecipient, StepwiseMail } from "../smtp/client.ts";
import type { ClientIdentity } from "../smtp/client_identity.ts";
import type { ClientReply } from "../smtp/client_reply.ts";
import type { Hop } from "../verdict.ts";
import type { SmtpDeferred } from "./smtp/result.ts";

/** What MAIL says there. */
export type PassageMail = Omit<StepwiseMail, "forwarded">;

/** A passage that is wanted. */
export interface PassageRequest {
  /** Where to, in order. */
  readonly hops: readonly Hop[];
  readonly mail: PassageMail;
  /** MAIL goes with it. */
  readonly first: ClientRecipient;
  readonly client: ClientIdentity;
  /** Whether the next hop is told who that is, where it offers it. */
  readonly xclient: boolean;
  readonly xforward: boolean;
  /** Ends the search: it is refused for now. */
  readonly signal: AbortSignal;
}

/** A next hop's word, or what stands for it. */
export type Answer =
  /** Its own. */
  | { readonly kind: "said"; readonly reply: ClientReply }
  /** It can't be told this at all. */
  | { readonly kind: "impossible"; readonly status: `5.${number}.${number}`; readonly text: string }
  /** Nobody could be asked, or the connection was lost. */
  | { readonly kind: "deferred"; readonly deferral: SmtpDeferred };

/** What came of it. */
export type PassageOpened =
  /** `answer` is about the first recipient, who may have been refused: others can be named all the same. */
  | { readonly kind: "open"; readonly passage: Passage; readonly answer: Answer }
  /** No transaction is open there: the sender was refused, or nobody could be asked. */
  | { readonly kind: "refused"; readonly answer: Answer; readonly host: string | undefined };

/** A message to pass on. */
export interface PassedMessage {
  /** The envelope's sender, `""` is the null sender: a plugin may have changed it since MAIL. */
  readonly sender: string;
  /** Octets. */
  readonly size: number;
  /** The octets; called for each time that they are read. */
  readonly content: () => Rendered;
  /** Those of the accepted recipients who are to have it, the same objects: all of them, mostly. */
  readonly recipients: readonly ClientRecipient[];
  /** Aborts when the client goes: nobody hears a yes then. */
  readonly signal: AbortSignal;
}

/** A transaction that is open at a next hop. */
export interface Passage {
  /** `mx.example.org[192.0.2.1]:25`. */
  readonly host: string;
  readonly tls: TlsState | undefined;
  /** Whether NOTIFY and its like are passed on, so that reports of success are its to make (RFC 3461 §5.2.2). */
  readonly offersDsn: boolean;
  /** Names another recipient there. Never rejects. */
  rcpt(recipient: ClientRecipient, signal: AbortSignal): Promise<Answer>;
  /** Sends the message, and ends the transaction. Never rejects. */
  send(message: PassedMessage): Promise<Answer>;
  /** Resolves when the connection was let go of. */
  readonly released: Promise<void>;
  /** Gives up what is open, and lets go of the connection; resolves when that is done. Harmless at any time, never rejects. */
  release(): Promise<void>;
}

/** Who speaks with next hops: SMTP, or a test. */
export interface Passing {
  /** What tells next hops apart: one transaction goes to one. */
  keyOf(hops: readonly Hop[]): string;
  /** Finds the way. Never rejects: what fails is an answer. */
  open(request: PassageRequest): Promise<PassageOpened>;
}
