/** What `track` costs: the time of an answer from a million messages, and what recording takes from the rate of relaying. */
import { join } from "node:path";
import { systemClock } from "../server/clock.ts";
import { openIds } from "../server/ids.ts";
import { memoryLog } from "../server/testing/log.ts";
import { TrackDatabase } from "../server/tracking/database.ts";
import type { Digest } from "../server/tracking/digest.ts";
import { type Step, wordsOf } from "../server/tracking/steps.ts";
import { Tracking } from "../server/tracking/tracking.ts";
import { freePort, type Peer, startCountingSink, startOurs } from "./peers.ts";
import * as report from "./report.ts";
import type { Goal, Measured } from "./report.ts";
import { type Extent, inTurn, type Part, percents, small, warmUp, withPeers } from "./rounds.ts";

const hour = 3_600_000;
/** Messages of one transaction, as the reader of the log has them. */
const atOnce = 2_000;

/** A message that was relayed, as the log tells of it: two thousand senders, a hundred thousand recipients. */
function relayed(id: string, number: number, at: number): Digest {
  const address = `user${number * 7919 % 100_000}@d${number % 1000}.example.test`;
  const arrival = {
    sender: `sender${number % 2000}@example.test`,
    size: small,
    recipients: [{ address, original: address, via: "smtp" }],
    from: { ip: "192.0.2.1", helo: "client.example.test", protocol: "smtp" as const },
    messageId: `<${number}.${id}@client.example.test>`,
    said: ["rcpt relay accept"],
  };
  const steps: Step[] = [
    { step: "received", at, arrival },
    {
      ...{ step: "attempt", at: at + 900, to: 0, outcome: "delivered", attempt: 1 },
      ...{ host: "mx.example.test [192.0.2.9]:25", tls: "TLSv1.3", reply: `250 2.0.0 Ok: queued as ${id}` },
    },
  ];
  return { id, kind: "news", steps, words: wordsOf(arrival) };
}

/** A database of so many messages. Says the rate at which they went in, and a text of each kind to look for. */
function fill(path: string, count: number): { rate: number; texts: Map<string, string> } {
  const database = new TrackDatabase(path);
  const start = Date.now() - hour;
  let at = start;
  const ids = openIds({ now: () => at });
  const texts = new Map<string, string>();
  const began = performance.now();
  for (let number = 0; number < count;) {
    const digests: Digest[] = [];
    for (; digests.length < atOnce && number < count; number++) {
      at = start + Math.floor(number / count * hour);
      const id = ids.message();
      digests.push(relayed(id, number, at));
      if (number !== Math.floor(count / 3)) continue;
      texts.set("a queue id", id).set("a Message-ID", `<${number}.${id}@client.example.test>`);
    }
    database.write(digests, [], at);
  }
  const rate = count / (performance.now() - began) * 1000;
  database.settle();
  database.close();
  texts.set("a sender", "sender777@example.test").set("a recipient", "user7919@d1.example.test");
  return { rate, texts };
}

/** The slowest of a few answers to each kind of question, in milliseconds, by way of the Worker. */
async function ask(path: string, texts: ReadonlyMap<string, string>): Promise<Map<string, number>> {
  const tracking = new Tracking({ path, clock: systemClock, log: memoryLog(), keep: 24 * hour });
  tracking.follow({ extents: () => [], flush: () => Promise.resolve(), followed() {} });
  const slowest = new Map<string, number>();
  try {
    await tracking.find({ text: "nobody@example.test", limit: 20 }); // the Worker starts, the database opens
    for (let round = 0; round < 20; round++) {
      for (const [kind, text] of texts) {
        const began = performance.now();
        const { messages } = await tracking.find({ text, limit: 20 });
        const ms = performance.now() - began;
        if (messages.length === 0) throw new Error(`track: ${text} is not found`);
        slowest.set(kind, Math.max(slowest.get(kind) ?? 0, ms));
      }
    }
    return slowest;
  } finally {
    await tracking.close();
  }
}

async function answers(folder: string, { quick }: Extent): Promise<Goal[]> {
  const count = quick ? 100_000 : 1_000_000;
  const path = join(folder, "tracking.db");
  const { rate, texts } = fill(path, count);
  const { size } = await Deno.stat(path);
  const slowest = await ask(path, texts);
  const worst = Math.max(...slowest.values());
  const each = [...slowest].map(([kind, ms]) => `${kind} ${ms.toFixed(1)}`).join(", ");
  const named = `${count.toLocaleString("en")} messages`;
  return [{
    what: `\`track\` in ${named}, the slowest of 20 answers`,
    wanted: "< 50 ms",
    got: `${worst.toFixed(1)} ms (${each}); ${Math.round(size / count)} octets and ${
      (1e6 / rate).toFixed(0)
    } µs a message`,
    met: worst < 50,
  }];
}

/** This server, which sends everything on to one place, tracking or not. */
async function startTracked(folder: string, to: number, enabled: boolean): Promise<Peer> {
  const port = freePort();
  const yaml = `listen: [{ port: ${port}, address: 127.0.0.1 }]
tracking: { enabled: ${enabled} }
plugins:
  - use: relay
    with: { networks: [127.0.0.0/8] }
outbound:
  route: { "*": { host: 127.0.0.1, port: ${to} } }
`;
  return { ...await startOurs(folder, yaml, port), name: enabled ? "tracking" : "not tracking" };
}

/** What recording costs the rate, in turns with a server that doesn't. */
async function cost(folder: string, { quick, rounds }: Extent): Promise<Part> {
  return await withPeers([startCountingSink()], async ([sink]) => {
    const starts = [true, false].map((enabled) =>
      startTracked(join(folder, String(enabled)), sink!.port, enabled)
    );
    return await withPeers(starts, async (started) => {
      const peers = started.map((peer) => ({ ...peer, sink: sink! }));
      await warmUp(peers, quick ? 1500 : 6000);
      const messages = quick ? 3000 : 8000;
      const shape = { sessions: 20, octets: small, messages, connections: "one each" as const };
      const measured = await inTurn(peers, rounds, shape);
      const [tracked, plain] = measured as [Measured, Measured];
      const ratio = report.ratios(tracked, plain, "delivered");
      return {
        table: report.rateTable("5 KB, 20 connections, relayed: with `track` and without", measured, plain),
        goals: [{
          what: "relayed while tracking, by not tracking",
          wanted: "≥ 90 %",
          got: percents(ratio),
          met: report.median(ratio) >= 0.9,
        }],
      };
    });
  });
}

/** Both. */
export async function tracking(folder: string, extent: Extent): Promise<Part[]> {
  const { table, goals } = await cost(folder, extent);
  return [{ table, goals: [...await answers(folder, extent), ...goals] }];
}
