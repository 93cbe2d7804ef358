/** Through the durable queue: from client to next hop beside Postfix and Haraka, and into it beside smtp-sink. */
import { join } from "node:path";
import { run, type Shape } from "./load.ts";
import { startHaraka } from "./haraka.ts";
import {
  type CountingSink,
  freePort,
  Missing,
  type Peer,
  startCountingSink,
  startPostfixRelay,
  startRelay,
  startSink,
} from "./peers.ts";
import * as report from "./report.ts";
import type { Measured } from "./report.ts";
import { type Extent, inTurn, type Part, percents, small, warmUp, withPeers } from "./rounds.ts";
import { countSyncs, type Syncs } from "./syncs.ts";

const shape: Shape = { sessions: 20, octets: small, messages: 0, connections: "one each" };

/** Who is not there, and why. */
interface Absent {
  readonly peer: string;
  readonly why: string;
}

async function optional(folder: string, sink: CountingSink, quick: boolean): Promise<Peer | Absent> {
  const peer = "Haraka";
  if (quick) return { peer, why: "left out of --quick" };
  try {
    return await startHaraka(folder, sink);
  } catch (error) {
    if (error instanceof Missing) return { peer, why: error.message };
    throw error;
  }
}

/** What each does for one message, with 20 connections and with one, whose messages can't share a sync. */
async function syncsOf(
  peers: readonly Peer[],
  folder: string,
): Promise<{ many: Map<string, string>; one: Map<string, string>; ours: Syncs | undefined } | Absent> {
  const [many, one] = [new Map<string, string>(), new Map<string, string>()];
  let ours: Syncs | undefined;
  const log = join(folder, "strace.log");
  try {
    for (const peer of peers) {
      many.set(peer.name, (await countSyncs(peer, { ...shape, messages: 200 }, log)).text);
      const alone = await countSyncs(peer, { ...shape, sessions: 1, messages: 50 }, log);
      one.set(peer.name, alone.text);
      ours ??= alone;
    }
    return { many, one, ours };
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return { peer: "strace", why: "not installed: syncs are not counted" };
  }
}

function relayGoals(ours: Measured, postfix: Measured, syncs: Syncs | undefined): report.Goal[] {
  const rate = report.ratios(ours, postfix, "delivered");
  const cpu = report.cpuRatios(ours, postfix);
  return [{
    what: "relayed, end to end, by Postfix",
    wanted: "≥ 4 ×",
    got: `${report.spread(rate, 1)} ×`,
    met: report.median(rate) >= 4,
  }, {
    what: "CPU for a relayed message, by Postfix's",
    wanted: "≤ 25 %",
    got: percents(cpu),
    met: report.median(cpu) <= 0.25,
  }, {
    what: "syncs for a relayed message, one connection",
    wanted: "≥ 1",
    got: syncs?.text ?? "not counted: strace is not installed",
    met: (syncs?.all ?? 0) >= 1,
  }];
}

/** Everything to one sink, beside Postfix and Haraka. */
export async function relay(folder: string, { quick, rounds }: Extent): Promise<Part[]> {
  return await withPeers([startCountingSink()], async ([sink]) => {
    const third = await optional(folder, sink!, quick);
    const others = "stop" in third ? [Promise.resolve(third)] : [];
    const absent = "stop" in third ? [] : [third];
    const starts = [
      startRelay(join(folder, "relay"), sink!.port, sink),
      startPostfixRelay(folder, sink!),
      ...others,
    ];
    return await withPeers(starts, async (peers) => {
      const [mine] = peers;
      const portion = quick ? 4 : 1;
      await warmUp(peers.slice(1), 300 / portion);
      await warmUp([mine!], 6000 / portion);
      const messages = (peer: Peer) =>
        (peer === mine ? 6000 : peer.name === "Postfix" ? 1000 : 600) / portion;
      const measured = await inTurn(peers, rounds, shape, messages);
      const [ours, postfix] = measured as [Measured, Measured];
      const syncs = await syncsOf(peers, folder);
      const columns = "why" in syncs ? [] : [
        { head: "syncs a message", cells: syncs.many },
        { head: "with one connection", cells: syncs.one },
      ];
      const title =
        "5 KB, 20 connections, one message a connection: through the durable queue to one smtp-sink";
      const missing = "why" in syncs ? [...absent, syncs] : absent;
      const table = report.rateTable(title, measured, postfix, columns, missing);
      return [{ table, goals: relayGoals(ours, postfix, "why" in syncs ? undefined : syncs.ours) }];
    });
  });
}

/** Into the queue, while nothing goes out of it: its destination can't be reached. Beside smtp-sink. */
export async function spool(folder: string, { quick, rounds }: Extent): Promise<Part[]> {
  const starts = [startRelay(join(folder, "spool"), freePort()), startSink(folder)];
  return await withPeers(starts, async (peers) => {
    const [mine, sink] = peers as [Peer, Peer];
    await warmUp([sink], 2000);
    // Three failed connections send the destination to sleep; what comes then only waits.
    await run(mine, { ...shape, messages: 20 });
    await warmUp([mine], quick ? 2000 : 60_000);
    const done: Part[] = [];
    for (const connections of ["one each", "kept"] as const) {
      const messages = (connections === "kept" ? 10_000 : 5000) / (quick ? 4 : 1);
      const measured = await inTurn(peers, rounds, { ...shape, connections, messages });
      const [ours, other] = measured as [Measured, Measured];
      const ratio = report.ratios(ours, other, "accepted");
      const how = connections === "kept" ? "kept connections" : "one message a connection";
      done.push({
        table: report.rateTable(`5 KB, 20 connections, ${how}: kept in the queue, not sent`, measured, other),
        goals: [{
          what: `into the queue, ${how}, by smtp-sink`,
          wanted: "≥ 70 %",
          got: percents(ratio),
          met: report.median(ratio) >= 0.7,
        }],
      });
    }
    return done;
  });
}
