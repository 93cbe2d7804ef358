/**
 * What an attempt's results mean: a state for the spool, a line in the log, an event for plugins, maybe a report for the
 * sender (DESIGN §8; RFC 5321 §4.5.4.1).
 */
import type { Chain } from "../chain.ts";
import type { Log } from "../log.ts";
import { printable } from "../message/dsn.ts";
import type { Address } from "../plugin.ts";
import { parseAddress } from "../smtp/address.ts";
import type { LastAttempt, QueuedEnvelope, RecordedOutcome } from "../spool/spool.ts";
import type { Result } from "./attempt.ts";
import { type Reported, wants } from "./reports.ts";
import type { Candidate, Pending } from "./round.ts";
import { afterDeferral, nextTry, type Random, type RetryPolicy } from "./schedule.ts";
import type { Timeline } from "./timeline.ts";

/** An attempt that is over. */
export interface Attempted {
  readonly envelope: QueuedEnvelope;
  readonly via: string;
  /** When it began, milliseconds since 1970. */
  readonly began: number;
  /**
   * `attempt`: it counts towards giving up. `hindrance`: it was ours, a transport that is missing or a disk that can't be
   * read: mail is kept until that is mended, however long it takes.
   */
  readonly kind: "attempt" | "hindrance";
}

/** What is to be done about one recipient. */
export type Ending =
  | {
    readonly kind: "record";
    readonly outcome: RecordedOutcome;
    readonly success?: Reported;
    readonly delay?: Pending;
  }
  /** Failed: first the sender is told, then it is recorded. */
  | { readonly kind: "failed"; readonly failure: Pending };

/** What concluding needs. */
export interface OutcomesOptions {
  readonly log: Log;
  readonly timeline: Timeline;
  readonly random: Random;
  readonly policy: () => RetryPolicy;
}

/** Draws conclusions from results. */
export class Outcomes {
  constructor(readonly options: OutcomesOptions) {}

  /** From a result to what is to be done; says so to the log and the plugins. */
  conclude(attempted: Attempted, candidate: Candidate, result: Result, chain: Chain): Ending {
    const { envelope, kind } = attempted;
    const { timeline, random, policy } = this.options;
    const attempts = candidate.state.attempts + (kind === "attempt" ? 1 : 0);
    if (result.outcome === "delivered") return this.#delivered(attempted, candidate, result, chain, attempts);
    if (result.outcome === "failed") return this.#failed(attempted, candidate, result, chain, attempts);
    const now = timeline.now();
    const age = timeline.ageOf(envelope.received) - (now - attempted.began);
    const verdict = kind === "attempt"
      ? afterDeferral(policy(), { age, attempts }, random)
      : { kind: "again" as const, after: nextTry(policy().schedule, random) };
    if (verdict.kind === "give up") return this.#failed(attempted, candidate, result, chain, attempts);
    // Not longer than a schedule waits anyway: what a peer asks for isn't what the sender was promised.
    const asked = Math.min(result.after ?? 0, Math.max(...policy().schedule.waits));
    const due = Math.round(now + Math.max(verdict.after, asked));
    this.#tell("deferred", attempted, candidate, result, chain, attempts, due);
    const last = this.#last(candidate, result);
    return this.deferral(envelope, candidate, result, { due, attempts, last });
  }

  /** Tried again at `due`, with a word to the sender if it is time for one. */
  deferral(
    envelope: QueuedEnvelope,
    { index, state, due: wasDue }: Candidate,
    result: Result,
    { due, attempts, last }: {
      readonly due: number;
      readonly attempts: number;
      /** Absent: nothing was tried. */
      readonly last?: LastAttempt;
    },
  ): Ending {
    const { timeline, policy } = this.options;
    const { delayNoticeAfter, giveUpAfter } = policy();
    const recipient = envelope.recipients[index]!;
    const tell = !state.noticed && timeline.ageOf(envelope.received) >= delayNoticeAfter &&
      wants("delay", envelope.sender, recipient);
    const noticed = state.noticed === true || tell;
    const next = {
      state: "due" as const,
      due,
      attempts,
      reply: shortReply(result),
      ...(noticed && { noticed }),
      ...(last && { last }),
    };
    const outcome: RecordedOutcome = { id: envelope.id, recipient: index, state: next };
    if (!tell) return { kind: "record", outcome };
    const retryUntil = Math.max(due, timeline.now() + giveUpAfter - timeline.ageOf(envelope.received));
    const reported: Reported = { ...this.#reported(envelope, index, result, "delayed"), retryUntil };
    return { kind: "record", outcome, delay: { candidate: { index, state: next, due: wasDue }, reported } };
  }

  #delivered(
    attempted: Attempted,
    candidate: Candidate,
    result: Result,
    chain: Chain,
    attempts: number,
  ): Ending {
    const { envelope } = attempted;
    const { index } = candidate;
    this.#tell("delivered", attempted, candidate, result, chain, attempts);
    const outcome: RecordedOutcome = {
      id: envelope.id,
      recipient: index,
      state: { state: "delivered", reply: shortReply(result), last: this.#last(candidate, result) },
    };
    // The next server reports it where it knows how (RFC 3461 §5.2.2); where it doesn't, we say how far it came.
    if (result.dsn === "passed on" || !wants("success", envelope.sender, envelope.recipients[index]!)) {
      return { kind: "record", outcome };
    }
    const action = result.final || result.host === undefined ? "delivered" : "relayed";
    return { kind: "record", outcome, success: this.#reported(envelope, index, result, action) };
  }

  #failed(
    attempted: Attempted,
    candidate: Candidate,
    result: Result,
    chain: Chain,
    attempts: number,
  ): Ending {
    this.#tell("bounced", attempted, candidate, result, chain, attempts);
    const { index, due } = candidate;
    const last = this.#last(candidate, result);
    const state = { ...candidate.state, attempts, reply: shortReply(result), last };
    const reported = this.#reported(attempted.envelope, index, result, "failed");
    return { kind: "failed", failure: { candidate: { index, due, state }, reported } };
  }

  /** For `track`: also one that costs no attempt is one that was made. */
  #last({ state: { attempts } }: Candidate, { host, tls }: Result): LastAttempt {
    return {
      at: Math.round(this.options.timeline.now()),
      attempt: attempts + 1,
      ...(host !== undefined && { host }),
      ...(tls !== undefined && { tls }),
    };
  }

  #reported(envelope: QueuedEnvelope, index: number, result: Result, action: Reported["action"]): Reported {
    const { status, reply, host } = result;
    return {
      recipient: envelope.recipients[index]!,
      action,
      status,
      reply,
      ...(host !== undefined && { host }),
      lastAttempt: this.options.timeline.now(),
    };
  }

  #tell(
    event: "delivered" | "deferred" | "bounced",
    { envelope, via }: Attempted,
    { index }: Candidate,
    result: Result,
    chain: Chain,
    attempts: number,
    nextAttempt = 0,
  ): void {
    const { log, timeline } = this.options;
    const { address, copy } = envelope.recipients[index]!;
    log.info(event, {
      id: envelope.id,
      from: envelope.sender,
      to: address,
      transport: via,
      host: result.host,
      attempt: attempts,
      delay: Math.max(0, Math.round(timeline.now() - envelope.received) / 1000),
      status: result.status,
      tls: result.tls,
      verified: result.verified,
      reason: result.reason,
      reply: shortReply(result),
    });
    if (!chain.has(event)) return;
    const recipient = parseAddress(address);
    if (!recipient) return;
    const delivery = {
      id: envelope.id,
      sender: envelope.sender,
      recipient: plain(recipient),
      transport: via,
      attempts,
      reply: shortReply(result),
      ...(copy && { copy }),
    };
    if (event === "deferred") chain.report(event, { ...delivery, nextAttempt });
    else chain.report(event, delivery);
  }
}

/** Reports are plain data: whoever gets one may keep it, or send it to a Worker. */
function plain({ address, local, user, tag, domain }: Address): Address {
  return { address, local, user, tag, domain, toString: () => address };
}

/** A reply as the queue shows it: one line, 1 KB (CASES O08). */
export function shortReply({ reply }: Pick<Result, "reply">): string {
  return /^[ -~]{0,200}$/.test(reply) ? reply : printable(reply, true);
}
