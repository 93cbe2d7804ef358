/** What the attempt to send a message came to, for each recipient; and how a session's trouble reads to people. */
import type { TlsState } from "../../channel/channel.ts";
import { printable, replyText, statusOf } from "../../smtp/client_reply.ts";
import type { ClientResult, SessionFailure } from "../../smtp/client.ts";
import type { SessionTrouble } from "./session.ts";

/** What became of one recipient. Texts are safe for logs and reports: escaped, 1 KB at most. */
export type SmtpResult = SmtpDelivered | SmtpDeferred | SmtpFailed;

/** The peer has it. */
export interface SmtpDelivered {
  readonly outcome: "delivered";
  /** RFC 3463, `2.…`. */
  readonly status: string;
  /** What it said to the message, with its code. */
  readonly reply: string;
  /** `mx.example.org[192.0.2.1]:25`. */
  readonly host: string;
  /** How it went; absent in the clear. */
  readonly tls: TlsState | undefined;
  /** Whether the certificate was found right. */
  readonly verified: boolean;
  /** By whom. */
  readonly verifiedBy?: "dane" | "authority" | undefined;
  /** The peer was given NOTIFY, ORCPT, RET and ENVID: reports of success are its to make (RFC 3461 §5.2.2). */
  readonly dsnOffered: boolean;
  /** By LMTP it is in its mailbox. */
  readonly protocol: "smtp" | "lmtp";
}

/** To be tried again. */
export interface SmtpDeferred {
  readonly outcome: "deferred";
  /** RFC 3463, `4.…`. */
  readonly status: string;
  /** What the peer said, with its code; else what happened, in words. */
  readonly reply: string;
  readonly host: string | undefined;
  readonly reason: DeferReason;
  /** It says nothing of the message: any other to this destination would have met the same. */
  readonly destinationDown: boolean;
}

/** Not to be tried again. */
export interface SmtpFailed {
  readonly outcome: "failed";
  /** RFC 3463, `5.…`. */
  readonly status: string;
  readonly reply: string;
  readonly host: string | undefined;
}

/** What a deferral comes from. */
export type DeferReason =
  | "dns"
  | "connect"
  | "greeting"
  | "hello"
  | "tls"
  | "auth"
  | "mail"
  | "rcpt"
  | "data"
  | "message"
  /** The connection was lost within the transaction, before all was sent. */
  | "lost"
  /** It was lost behind the final dot: the peer may have the message, and may get it twice (RFC 1047). */
  | "possible-duplicate"
  /** Nobody waits any more, or the server goes down. */
  | "stopped"
  /** The message could not be read, or the configuration is at fault. */
  | "local";

/** Makes a deferral of what happened on our side of the connection. */
export function deferred(
  status: string,
  reply: string,
  reason: DeferReason,
  more: { readonly host?: string | undefined; readonly destinationDown?: boolean } = {},
): SmtpDeferred {
  const { host, destinationDown = false } = more;
  return { outcome: "deferred", status, reply: printable(reply), host, reason, destinationDown };
}

/** Whom the session is with. */
export interface Peer {
  readonly host: string;
  readonly tls: TlsState | undefined;
  readonly verified: boolean;
  readonly verifiedBy?: "dane" | "authority" | undefined;
  readonly dsnOffered: boolean;
  readonly protocol: "smtp" | "lmtp";
}

/** A recipient's result on one session; `open`: the session ended before it had any, so that another may be tried. */
export function resultOf(result: ClientResult, peer: Peer): SmtpResult | "open" {
  const { host } = peer;
  switch (result.kind) {
    case "delivered": {
      const { reply } = result;
      return { ...peer, outcome: "delivered", status: statusOf(reply), reply: replyText(reply) };
    }
    case "impossible":
      return { outcome: "failed", status: result.status, reply: result.text, host };
    case "refused": {
      const { reply, phase } = result;
      const [status, text] = [statusOf(reply), replyText(reply)];
      if (reply.code >= 500) return { outcome: "failed", status, reply: text, host };
      return deferred(status, text, phase === "final" ? "message" : phase, { host });
    }
    case "lost":
      if (!result.unknown) return "open";
      return deferred(
        "4.4.2",
        `${
          sentenceOf({ failure: result.failure, detail: undefined })
        }: the peer may have the message, and get it twice`,
        "possible-duplicate",
        { host },
      );
  }
}

const words: Record<Exclude<SessionFailure["kind"], "refused">, string> = {
  lost: "The connection was lost",
  timeout: "The peer did not answer in time",
  malformed: "What the peer says is not SMTP",
  "too-long": "The peer's reply has no end",
  "out-of-order": "The peer's replies do not fit what was asked",
  "no-tls": "TLS is required, and the peer does not offer it",
  "no-auth": "The peer offers no way to log in that is known here (PLAIN, LOGIN)",
  "no-auth-in-clear": "The peer offers no TLS, and the password is not sent without it",
  abandoned: "The attempt was given up here",
};

const where: Record<SessionFailure["phase"], string> = {
  greeting: "before its greeting",
  hello: "at EHLO",
  starttls: "at STARTTLS",
  auth: "at AUTH",
  mail: "at MAIL",
  rcpt: "at RCPT",
  data: "at DATA",
  content: "within the message",
  final: "behind the message",
  rset: "at RSET",
};

function sentenceOf({ failure, detail }: SessionTrouble): string {
  if (failure.kind === "refused") return replyText(failure.reply);
  if (detail !== undefined) return `TLS failed: ${detail}`;
  if (failure.kind.startsWith("no-")) return words[failure.kind];
  return `${words[failure.kind]} (${where[failure.phase]})`;
}

/** A session's end as the deferral of those it left without a result. */
export function deferralOf(trouble: SessionTrouble, host: string): SmtpDeferred {
  const { failure } = trouble;
  const text = sentenceOf(trouble);
  const begun = !isEarly(failure.phase);
  const down = { host, destinationDown: !begun };
  if (failure.kind === "abandoned") return deferred("4.3.2", text, "stopped", { host });
  if (failure.phase === "starttls" || trouble.detail !== undefined) {
    return deferred("4.7.5", text, "tls", down);
  }
  if (failure.phase === "auth") return deferred(authStatus(failure), text, "auth", down);
  const reason = begun ? "lost" : failure.phase === "greeting" ? "greeting" : "hello";
  if (failure.kind === "refused") {
    // A peer that wants nobody may say 5xx at its greeting: that is no word on any recipient, and another host may want us.
    return deferred(statusOf(failure.reply).replace(/^5/, "4"), text, reason, down);
  }
  const isConnection = failure.kind === "lost" || failure.kind === "timeout";
  return deferred(isConnection ? "4.4.2" : "4.5.0", text, reason, down);
}

/** Whether it was before any transaction. */
function isEarly(phase: SessionFailure["phase"]): boolean {
  return phase === "greeting" || phase === "hello" || phase === "starttls" || phase === "auth";
}

function authStatus(failure: SessionFailure): string {
  // An account is the operator's to mend: nothing is returned to senders for it before its time.
  return failure.kind === "refused" ? statusOf(failure.reply).replace(/^5/, "4") : "4.7.0";
}
