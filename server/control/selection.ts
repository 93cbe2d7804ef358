/** Parts of the queue chosen by an expression: listed, counted, changed (DESIGN §6). One message is in memory at a time. */
import { Damaged, type Queued, type QueuedRecipient, type Redirect, type Spool } from "../spool/spool.ts";
import type { HostHop } from "../verdict.ts";
import { type Moment, type Waiter, waitersOf } from "./standing.ts";
import { type Condition, matches } from "./where.ts";

/** Of whom something is asked. */
export interface Selecting {
  readonly spool: Spool;
  readonly moment: Moment;
  /** Absent: all that wait. */
  readonly condition: Condition | undefined;
  /** Messages that came later are left out, milliseconds since 1970: they were in nobody's count. */
  readonly asOf?: number;
  destinationOf(recipient: QueuedRecipient): string;
}

/** A message with those of its recipients that were chosen. */
export interface Selected {
  readonly queued: Queued;
  readonly waiters: readonly Waiter[];
  /** Nobody else of it waits. */
  readonly isWhole: boolean;
}

/** Oldest first; a message of which nobody was chosen isn't there. */
export async function* select(selecting: Selecting): AsyncGenerator<Selected> {
  const { spool, moment, condition, asOf = Infinity, destinationOf } = selecting;
  for await (const queued of spool.list()) {
    if (queued.envelope.received > asOf) continue;
    const all = waitersOf(queued, moment, destinationOf);
    const waiters = condition ? all.filter(({ row }) => matches(condition, row)) : all;
    if (waiters.length > 0) yield { queued, waiters, isWhole: waiters.length === all.length };
  }
}

/** How many were chosen. */
export interface Count {
  readonly messages: number;
  readonly recipients: number;
  /** Of the messages, those of which others wait, too. */
  readonly partial: number;
  /** Of the messages, those that are held. */
  readonly held: number;
}

/** Counts them. */
export async function count(selecting: Selecting): Promise<Count> {
  const sum = { messages: 0, recipients: 0, partial: 0, held: 0 };
  for await (const { queued, waiters, isWhole } of select(selecting)) {
    sum.messages++;
    sum.recipients += waiters.length;
    if (!isWhole) sum.partial++;
    if (queued.held !== undefined) sum.held++;
  }
  return sum;
}

/** Where copies are sent instead: what is absent stays as it is. */
export interface Elsewhere {
  readonly address?: string;
  readonly via?: string;
  /** Absent: none any more. */
  readonly hops?: readonly HostHop[];
}

/** What is done with those that were chosen. */
export type Change =
  | { readonly action: "retry" | "release" | "delete" }
  | { readonly action: "hold"; readonly reason: string }
  | { readonly action: "redirect"; readonly to: Elsewhere };

/** What was done. */
export interface Changed {
  readonly messages: number;
  readonly recipients: number;
  /** Of the messages, those of which others wait, too. */
  readonly partial: number;
  /** Messages that are held: `retry` and `hold` did nothing with them, `redirect` did, and they stay held. */
  readonly held: number;
  /** Messages of which an attempt goes on meanwhile, whose outcome counts. */
  readonly underWay: number;
}

/** Messages that are changed together, so that they share the spool's writes. */
const atOnce = 500;

/**
 * Changes those that were chosen. `delete` and `redirect` concern the recipients themselves, the others all of the message.
 *
 * @param changed Called for each message once it is so.
 */
export async function change(
  selecting: Selecting,
  what: Change,
  changed: (id: string) => void,
): Promise<Changed> {
  const sum = { messages: 0, recipients: 0, partial: 0, held: 0, underWay: 0 };
  let batch: Selected[] = [];
  const flush = async () => {
    await Promise.all(batch.map(async (selected) => {
      await changeOne(selecting.spool, selected, what);
      changed(selected.queued.envelope.id);
    }));
    batch = [];
  };
  for await (const selected of select(selecting)) {
    const { queued: { envelope: { id }, held }, waiters, isWhole } = selected;
    if (held !== undefined && (what.action === "retry" || what.action === "hold")) {
      sum.held++;
      continue;
    }
    sum.messages++;
    if (held !== undefined && what.action === "redirect") sum.held++;
    sum.recipients += waiters.length;
    if (!isWhole) sum.partial++;
    if (selecting.moment.isActive(id)) sum.underWay++;
    batch.push(selected);
    if (batch.length === atOnce) await flush();
  }
  await flush();
  return sum;
}

async function changeOne(
  spool: Spool,
  { queued, waiters, isWhole }: Selected,
  what: Change,
): Promise<void> {
  const { id } = queued.envelope;
  switch (what.action) {
    case "retry":
    case "release":
      return await spool.release(id);
    case "hold":
      return await spool.hold(id, what.reason);
    case "redirect":
      return await spool.redirect(id, redirectsOf(queued, waiters.map(({ index }) => index), what.to));
    case "delete": {
      if (isWhole) return await spool.remove(id);
      const state = { state: "failed", reply: "deleted by an operator" } as const;
      return await spool.record(waiters.map(({ index }) => ({ id, recipient: index, state })));
    }
  }
}

/** @param indexes Of the envelope's recipients. */
export function redirectsOf({ envelope }: Queued, indexes: readonly number[], to: Elsewhere): Redirect[] {
  return indexes.map((recipient) => {
    const { address, via } = envelope.recipients[recipient]!;
    return {
      recipient,
      address: to.address ?? address,
      via: to.via ?? via,
      ...(to.hops && { hops: to.hops }),
    };
  });
}

/** What is there under this id; a message that can't be read is held by then, and can still be deleted. */
export async function find(spool: Spool, id: string): Promise<Queued | "unreadable" | "unknown"> {
  try {
    return await spool.get(id) ?? "unknown";
  } catch (error) {
    if (error instanceof Damaged) return "unreadable";
    throw error;
  }
}
