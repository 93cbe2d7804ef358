/** How queued messages and their recipients stand, as people see it. Pure. */
import { parseAddress } from "../smtp/address.ts";
import type { Queued, QueuedRecipient, RecipientState } from "../spool/spool.ts";
import type { Row } from "./where.ts";

/** How a message stands, or a recipient that is not done with. */
export type Standing = "ready" | "active" | "deferred" | "held";

/** A recipient that waits. */
export interface WaitingRecipient {
  readonly address: string;
  readonly state: Standing;
  /** That have failed so far. */
  readonly attempts: number;
  /** Milliseconds since 1970; `null` while it is being tried, and while it is held. */
  readonly nextAttempt: number | null;
  /** `null` before the first attempt. */
  readonly lastReply: string | null;
}

/** A recipient, also one that is done with. */
export interface ShownRecipient extends Omit<WaitingRecipient, "state" | "attempts"> {
  readonly state: Standing | "delivered" | "failed";
  /** That have failed so far; `null` of one that is done with: the log has it. */
  readonly attempts: number | null;
  /** The RCPT it came from. */
  readonly original: string;
  /** The transport. */
  readonly via: string;
  /** The hosts an operator sent it to. */
  readonly hops: QueuedRecipient["hops"] | null;
  /** RFC 3461 §4.1. */
  readonly notify: QueuedRecipient["notify"] | null;
  /** The sender was told of the delay. */
  readonly delayNoticed: boolean;
}

/** What is to be known besides what the spool knows. */
export interface Moment {
  /** Milliseconds since 1970. */
  readonly now: number;
  /** Whether something of this message is being tried. */
  isActive(id: string): boolean;
}

/** A message as a whole. */
export function standingOf({ envelope: { id }, held, states }: Queued, { now, isActive }: Moment): Standing {
  if (held !== undefined) return "held";
  if (isActive(id)) return "active";
  return states.some((state) => state.state === "due" && state.due <= now) ? "ready" : "deferred";
}

/** All of a message's recipients, by index of the envelope's. */
export function standingsOf(queued: Queued, moment: Moment): ShownRecipient[] {
  const { envelope, states } = queued;
  const message = standingOf(queued, moment);
  return envelope.recipients.map(({ address, original, via, hops, notify }, i) => ({
    ...{ address, original, via, hops: hops ?? null, notify: notify ?? null },
    ...standing(states[i]!, message, moment),
  }));
}

function standing(
  state: RecipientState,
  message: Standing,
  { now }: Moment,
): Pick<ShownRecipient, "state" | "attempts" | "nextAttempt" | "lastReply" | "delayNoticed"> {
  const lastReply = state.reply === "" ? null : state.reply;
  if (state.state !== "due") {
    return { state: state.state, attempts: null, nextAttempt: null, lastReply, delayNoticed: false };
  }
  const { attempts, due, noticed = false } = state;
  // Of a message that is being tried, those are whose time has come; the others wait for theirs.
  const isDue = due <= now;
  const own = message === "held" ? "held" : !isDue ? "deferred" : message === "active" ? "active" : "ready";
  const nextAttempt = own === "held" || own === "active" ? null : due;
  return { state: own, attempts, nextAttempt, lastReply, delayNoticed: noticed };
}

/** Whether a recipient is still to be tried. */
export function isWaiting(recipient: ShownRecipient): recipient is ShownRecipient & WaitingRecipient {
  return recipient.state !== "delivered" && recipient.state !== "failed";
}

/** A recipient that waits, with its place in the envelope, and as an expression sees it. */
export interface Waiter {
  readonly index: number;
  readonly shown: ShownRecipient & WaitingRecipient;
  readonly row: Row;
}

/** Those of a message that are still to be tried. @param destinationOf Where one's copy goes next. */
export function waitersOf(
  queued: Queued,
  moment: Moment,
  destinationOf: (recipient: QueuedRecipient) => string,
): Waiter[] {
  const { envelope: { sender, received, recipients }, size, held } = queued;
  const age = Math.max(0, moment.now - received);
  const waiters: Waiter[] = [];
  for (const [index, shown] of standingsOf(queued, moment).entries()) {
    if (!isWaiting(shown)) continue;
    const { address, state, attempts, via, lastReply } = shown;
    const row: Row = {
      ...{ sender, size, age, state, attempts, transport: via },
      domain: domainOf(address),
      recipient: address,
      reply: held ?? lastReply ?? "",
      destination: destinationOf(recipients[index]!),
    };
    waiters.push({ index, shown, row });
  }
  return waiters;
}

/** Lower case, in A-labels where it is an address. */
export function domainOf(address: string): string {
  return parseAddress(address)?.domain ?? address.slice(address.lastIndexOf("@") + 1).toLowerCase();
}
