/**
 * What the runner and a way onward say to each other: some recipients of one message go in, a result for each comes out.
 * Plugins' transports are fitted in here; the built-in `smtp` is fitted in where the server is put together.
 */
import type { Clock } from "../clock.ts";
import type { DeliveringTransport } from "../generation.ts";
import type { Log } from "../log.ts";
import type { SealedMessage } from "../message/message.ts";
import type { Address, Hop, Outcome, Target } from "../plugin.ts";
import type { QueuedEnvelope, QueuedRecipient } from "../spool/spool.ts";
import { carry } from "./carry.ts";

/** What became of one recipient in one attempt. */
export interface Result {
  readonly outcome: "delivered" | "deferred" | "failed";
  /** RFC 3463, with its detail, `2.…` when delivered. */
  readonly status: string;
  /** What was said, reply code included where it is SMTP's. Anything may stand in it. */
  readonly reply: string;
  /** The host that said it. */
  readonly host?: string;
  /** The peer offered DSN and was told of NOTIFY: what the sender asked for is its to report (RFC 3461 §5.2.2). */
  readonly dsn?: "passed on";
  /** By LMTP: it is in its mailbox, and no server reports of it any more. */
  readonly final?: true;
  /** The version of TLS it went under, for the log. */
  readonly tls?: string;
  /** By whom the host's certificate was found right, for the log. */
  readonly verified?: "dane" | "authority";
  /** What a deferral comes from, for the log. */
  readonly reason?: string;
  /** Milliseconds before which there is no use in another attempt, as who deferred has it. */
  readonly after?: number;
}

/** One attempt: recipients of one message that share their next hop. */
export interface Attempt {
  readonly envelope: QueuedEnvelope;
  /** With the lines that stand on these recipients' copies only. */
  readonly message: SealedMessage;
  readonly recipients: readonly AttemptRecipient[];
  /** 1 for the first. */
  readonly attempt: number;
  /** As a plugin has it; absent: the configuration's. */
  readonly hops?: readonly Hop[];
  /** What MAIL says instead of the envelope's sender; `""` is the null sender. */
  readonly sender?: string;
  /** Aborts when the server can wait no longer. */
  readonly stopping: AbortSignal;
}

/** A recipient of an attempt. */
export interface AttemptRecipient extends QueuedRecipient {
  /** `address`, read. */
  readonly parsed: Address;
}

/** What one attempt came to. */
export interface Answer {
  /** By index; a missing one is a deferral. */
  readonly results: readonly Result[];
  /**
   * Whether the destination could be reached: `unreachable` when no connection came to a greeting, which after three in a row
   * puts it to sleep; `unknown` where it wasn't tried, or can't be told.
   */
  readonly contact: "reached" | "unreachable" | "unknown";
}

/** A way onward, as the runner sees it. */
export interface Courier {
  /** Recipients of one attempt. */
  readonly batch: number;
  /**
   * What is counted and put to sleep together: for `smtp` the next hop, for a plugin's transport all of it.
   *
   * @param domain Of the recipient, lower case, in A-labels.
   * @param hops What the `route` hook said.
   */
  destinationOf(domain: string, hops?: readonly Hop[]): string;
  /** One attempt. May reject: everybody is deferred then. */
  deliver(attempt: Attempt): Promise<Answer>;
}

/** A plugin's transport is one destination: what lies behind it, only the plugin knows. */
export const pluginDestination = "";

/** A plugin's transport as a courier. */
export function pluginCourier(transport: DeliveringTransport, clock: Clock, log: Log): Courier {
  return {
    batch: Math.max(1, transport.batch),
    destinationOf: () => pluginDestination,
    async deliver({ message, envelope, recipients, attempt, stopping }) {
      const targets = recipients.map((recipient) => targetOf(recipient, envelope.sender));
      const outcomes = await carry(transport, message, targets, { clock, log, attempt, gone: stopping });
      const results = outcomes.map(resultOf);
      return {
        results,
        contact: results.some(({ outcome }) => outcome === "delivered") ? "reached" : "unknown",
      };
    },
  };
}

/** A recipient as plugins see it. */
export function targetOf(
  { parsed, original, note }: Pick<AttemptRecipient, "parsed" | "original" | "note">,
  sender: string,
): Target {
  const { address, local, user, tag, domain } = parsed;
  const noted = note === undefined ? {} : { note };
  return { address, local, user, tag, domain, sender, original, ...noted, toString: () => address };
}

const isTime = (ms: number | undefined): ms is number => Number.isFinite(ms) && ms! > 0;

/** A plugin's outcome as a result. */
export function resultOf(outcome: Outcome): Result {
  switch (outcome.verdict) {
    case "delivered":
      return { outcome: "delivered", status: "2.0.0", reply: outcome.text };
    case "defer":
      return {
        outcome: "deferred",
        status: outcome.status,
        reply: `${outcome.status} ${outcome.text}`,
        ...(isTime(outcome.after) && { after: outcome.after }),
      };
    case "reject":
      return { outcome: "failed", status: outcome.status, reply: `${outcome.status} ${outcome.text}` };
  }
}
