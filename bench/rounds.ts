/** Rounds in which servers take turns; what a part of the bench is. */
import { type Run, run, type Shape } from "./load.ts";
import type { Peer } from "./peers.ts";
import { type Goal, type Measured, median } from "./report.ts";

/** How much is measured. */
export interface Extent {
  readonly quick: boolean;
  readonly rounds: number;
}

/** What one part of the bench came to. */
export interface Part {
  /** Markdown; may be empty. */
  readonly table: string;
  readonly goals: readonly Goal[];
}

/** Octets of a small message. */
export const small = 5 * 1024;

const percent = (ratio: number) => `${(ratio * 100).toFixed(0)} %`;

/** `84 % (80 %, 84 %, 91 %)`: the median, and each round's. */
export function percents(ratios: readonly number[]): string {
  const each = ratios.length > 1 ? ` (${ratios.map(percent).join(", ")})` : "";
  return `${percent(median(ratios))}${each}`;
}

/**
 * Runs each peer once a round, in turn.
 *
 * @param messages How many for one peer, where a slow one is to be measured for no longer than a fast one.
 */
export async function inTurn(
  peers: readonly Peer[],
  rounds: number,
  shape: Shape,
  messages: (peer: Peer) => number = () => shape.messages,
): Promise<Measured[]> {
  const measured = peers.map(({ name }) => ({ peer: name, runs: [] as Run[] }));
  for (let round = 0; round < rounds; round++) {
    for (const [i, peer] of peers.entries()) {
      measured[i]!.runs.push(await run(peer, { ...shape, messages: messages(peer) }));
    }
  }
  return measured;
}

/** So that what is compiled while it runs is compiled: a server that has run for a minute is what is measured. */
export async function warmUp(peers: readonly Peer[], messages: number): Promise<void> {
  for (const peer of peers) {
    await run(peer, { sessions: 20, octets: small, messages, connections: "kept" });
    await run(peer, { sessions: 20, octets: small, messages, connections: "one each" });
  }
}

/** Starts peers, uses them, and stops all of them whatever happens. */
export async function withPeers<P extends Peer, T>(
  starts: readonly Promise<P>[],
  use: (peers: readonly P[]) => Promise<T>,
): Promise<T> {
  const settled = await Promise.allSettled(starts);
  const peers = settled.flatMap((one) => one.status === "fulfilled" ? [one.value] : []);
  try {
    const failed = settled.find((one) => one.status === "rejected");
    if (failed) throw failed.reason;
    return await use(peers);
  } finally {
    for (const peer of peers) await peer.stop();
  }
}
