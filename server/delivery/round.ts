/** A message while its recipients are tried, and its split into attempts that can be made on their own. */
import type { Queued, QueuedRecipient, RecipientState } from "../spool/spool.ts";
import type { AttemptRecipient } from "./attempt.ts";
import type { Way } from "./relay.ts";
import type { Reported } from "./reports.ts";

/** A recipient that is to be tried. */
export type DueState = RecipientState & { readonly state: "due" };

/** A recipient whose turn it is. */
export interface Candidate {
  /** Index of the envelope's recipients. */
  readonly index: number;
  readonly state: DueState;
  /** When it came due, milliseconds since 1970. */
  readonly due: number;
}

/** Recipients of one message that go the same way in one attempt. */
export interface Job {
  readonly round: Round;
  readonly via: string;
  /** What is counted and put to sleep together; names of different transports don't meet. */
  readonly destination: string;
  readonly candidates: readonly Candidate[];
  /** By index of `candidates`, as they were when it was made. */
  readonly recipients: readonly QueuedRecipient[];
  readonly way: Way;
}

/** A recipient for whom a report waits until the others' outcomes are known. */
export interface Pending {
  readonly candidate: Candidate;
  readonly reported: Reported;
}

/** A message of which something is under way. While it is one, no recipient of it is taken twice. */
export class Round {
  /** `undefined` while it is read. */
  queued: Queued | undefined;
  /** When `queued` was read, monotonic milliseconds. */
  readAt = -Infinity;
  /** Recipients that are in a job or wait for their report. */
  readonly busy = new Set<number>();
  /** What is under way: jobs, waiting or not, and the reading of it. */
  parts = 0;
  /** When the next of its recipients is to be tried that isn't under way, milliseconds since 1970. */
  next = Infinity;
  /** How many times outcomes of it were recorded: what was read before one isn't how it stands. */
  recorded = 0;
  /** Jobs that are being tried. */
  active = 0;
  readonly failures: Pending[] = [];
  readonly delays: Pending[] = [];
  /** Cancels the timer after which reports wait no longer. */
  cancelGathering: (() => void) | undefined;

  constructor(readonly id: string) {}
}

/** A recipient whose way is known. */
export interface Routed {
  readonly candidate: Candidate;
  readonly recipient: QueuedRecipient;
  readonly destination: string;
  readonly batch: number;
  readonly way: Way;
}

/**
 * Puts those together that one attempt can take: same way, sender and copy, same number of attempts, at most `batch` of them.
 * The order of recipients stays.
 */
export function splitIntoJobs(round: Round, routed: readonly Routed[]): Job[] {
  const [only] = routed;
  if (only && routed.length === 1) return [jobOf(round, [only])];
  const groups = new Map<string, Routed[]>();
  for (const one of routed) {
    const { candidate, recipient, destination, way } = one;
    const key = JSON.stringify([
      recipient.via,
      destination,
      candidate.state.attempts,
      recipient.own ?? [],
      way.hops,
      way.sender,
      way.top,
    ]);
    const group = groups.get(key);
    if (group) group.push(one);
    else groups.set(key, [one]);
  }
  const jobs: Job[] = [];
  for (const group of groups.values()) {
    for (const together of inBatches(group, Math.max(1, group[0]!.batch))) jobs.push(jobOf(round, together));
  }
  return jobs;
}

/** At most `batch` mailboxes each; those an operator redirected to one mailbox share its copy. */
function* inBatches(group: readonly Routed[], batch: number): Generator<Routed[]> {
  const mailboxes = new Map<string, Routed[]>();
  for (const one of group) {
    const its = mailboxes.get(one.recipient.address);
    if (its) its.push(one);
    else mailboxes.set(one.recipient.address, [one]);
  }
  const all = [...mailboxes.values()];
  for (let from = 0; from < all.length; from += batch) yield all.slice(from, from + batch).flat();
}

function jobOf(round: Round, group: readonly Routed[]): Job {
  const { recipient: { via }, destination, way } = group[0]!;
  return {
    round,
    via,
    destination,
    way,
    candidates: group.map(({ candidate }) => candidate),
    recipients: group.map(({ recipient }) => recipient),
  };
}

/** What a job takes of its message; `undefined` where an operator has changed it since the job was made. */
export function recipientsOf(
  { candidates, recipients: planned }: Job,
  { envelope, states }: Queued,
  read: (recipient: QueuedRecipient) => AttemptRecipient | undefined,
): AttemptRecipient[] | undefined {
  const recipients: AttemptRecipient[] = [];
  for (const [i, { index, state }] of candidates.entries()) {
    const recipient = envelope.recipients[index];
    const now = states[index];
    if (!recipient || now?.state !== "due" || now.due !== state.due) return undefined;
    if (!goesAs(recipient, planned[i]!)) return undefined;
    const whole = read(recipient);
    if (!whole) return undefined;
    recipients.push(whole);
  }
  return recipients;
}

/** Whether no redirect lies between them. */
function goesAs(a: QueuedRecipient, b: QueuedRecipient): boolean {
  return a.address === b.address && a.via === b.via && JSON.stringify(a.hops) === JSON.stringify(b.hops);
}
