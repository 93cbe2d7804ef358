/** A domain's queue is started: what ETRN (RFC 1985) and plugins ask for. */
import type { Clock } from "./clock.ts";
import { parseDomain } from "./smtp/address.ts";
import { destinationOf } from "./spool/queue.ts";
import type { Due, Spool } from "./spool/spool.ts";

/** What is started. */
export interface Flushing {
  readonly spool: Pick<Spool, "due" | "get" | "hasten" | "record">;
  readonly clock: Pick<Clock, "now">;
  /** These destinations, named as the spool names them, are tried though they sleep. */
  rouse(destinations: Iterable<string>): void;
}

/** Messages that are changed in one batch of the spool. */
const atOnce = 500;
/** Later than any due time. */
const forEver = Number.MAX_SAFE_INTEGER;

/**
 * Makes what waits for a domain due now, held messages aside. By what is in memory, where that is enough: there may be a million
 * of them.
 *
 * @param text The domain.
 * @returns How many messages that is, those that are being tried not counted. @throws {TypeError} when it is not a domain.
 */
export async function flush(
  { spool, clock, rouse }: Flushing,
  text: string,
  { subdomains = false }: { subdomains?: boolean } = {},
): Promise<{ messages: number }> {
  const domain = parseDomain(text);
  if (domain === undefined) throw new TypeError(`${JSON.stringify(text)} is not a domain`);
  const roused = new Set<string>();
  const isIt = (destination: string): boolean => {
    const name = destination.slice(destination.indexOf(" ") + 1);
    const there = parseDomain(name) ?? name;
    if (there !== domain && !(subdomains && there.endsWith(`.${domain}`))) return false;
    if (!roused.has(destination)) rouse([destination]); // before its mail is due: else that is put to sleep with it
    roused.add(destination);
    return true;
  };
  const all = spool.due(forEver, Infinity);
  let messages = 0;
  for (let at = 0; at < all.length; at += atOnce) {
    const started = all.slice(at, at + atOnce).map((due) => start(spool, due, isIt, clock.now()));
    for (const isStarted of await Promise.all(started)) if (isStarted) messages++;
  }
  return { messages };
}

/** One message: its recipients there, and no others. */
async function start(
  spool: Flushing["spool"],
  { id, destinations: [only, another] }: Due,
  isIt: (destination: string) => boolean,
  now: number,
): Promise<boolean> {
  if (only !== undefined && another === undefined) {
    if (!isIt(only)) return false;
    await spool.hasten(id);
    return true;
  }
  const queued = await spool.get(id);
  if (!queued || queued.held !== undefined) return false;
  const outcomes = queued.states.flatMap((state, recipient) =>
    state.state === "due" && isIt(destinationOf(queued.envelope.recipients[recipient]!))
      ? [{ id, recipient, state: { ...state, due: Math.min(state.due, now) } }]
      : []
  );
  await spool.record(outcomes);
  return outcomes.length > 0;
}
