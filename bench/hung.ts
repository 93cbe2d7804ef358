/** One destination of ten accepts connections and says nothing: what that does to the mail of the other nine. */
import { join } from "node:path";
import { Client, percentile } from "./client.ts";
import { freePort, type Peer, startOurs } from "./peers.ts";
import { Destination } from "./destination.ts";
import { type Goal, median, spread } from "./report.ts";
import { type Extent, type Part, withPeers } from "./rounds.ts";

const destinations = 10;
const connections = 20;
/** Messages a second, all connections together: what the server has to spare, so that waiting and not work is measured. */
const rate = 400;

/** When each message's final dot was sent, and when it had arrived at its destination; `performance.now()`, by number. */
class Times {
  readonly #sent = new Map<number, number>();
  readonly #took: number[] = [];
  #awaited: { readonly count: number; readonly resolve: () => void } | undefined;

  sent(number: number): void {
    this.#sent.set(number, performance.now());
  }

  arrived(number: number): void {
    const sent = this.#sent.get(number);
    if (sent === undefined) return; // a round's that was given up
    this.#sent.delete(number);
    this.#took.push(performance.now() - sent);
    if (this.#took.length === this.#awaited?.count) this.#awaited.resolve();
  }

  /** Those of a round, once there are so many. @throws {Error} after 30 s. */
  async take(count: number): Promise<number[]> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#awaited = { count, resolve };
    if (this.#took.length >= count) resolve();
    const late = () => reject(new Error(`only ${this.#took.length} of ${count} messages were delivered`));
    const timer = setTimeout(late, 30_000);
    await promise.finally(() => clearTimeout(timer));
    return this.#took.splice(0);
  }
}

let numbers = 0;

/** Sends evenly, to one destination after the other. Answers for the times of all but the last destination's. */
async function round(peer: Peer, times: Times, seconds: number): Promise<number[]> {
  const count = Math.ceil(rate * seconds / destinations / connections) * destinations * connections;
  const clients = await Promise.all(Array.from({ length: connections }, () => Client.open(peer.port)));
  const began = performance.now();
  await Promise.all(clients.map(async (client, which) => {
    for (let nth = which; nth < count; nth += connections) {
      const early = began + nth / rate * 1000 - performance.now();
      if (early > 0) await new Promise((resolve) => setTimeout(resolve, early));
      const number = numbers++;
      // Not `nth`: that would give each destination clients of its own.
      const to = (nth + Math.floor(nth / connections)) % destinations;
      const content = `Subject: message ${number}\r\n\r\n${`${"x".repeat(78)}\r\n`.repeat(12)}`;
      const counted = to < destinations - 1;
      await client.send(`b@d${to}.example.test`, content, () => counted && times.sent(number));
    }
  }));
  for (const client of clients) client.close();
  return await times.take(count / destinations * (destinations - 1));
}

async function startRouted(folder: string, ports: readonly number[]): Promise<Peer> {
  const port = freePort();
  const routes = ports.map((to, i) => `    d${i}.example.test: { host: 127.0.0.1, port: ${to} }\n`);
  const yaml = `listen: [{ port: ${port}, address: 127.0.0.1 }]
plugins:
  - use: relay
    with: { networks: [127.0.0.0/8] }
outbound:
  route:
${routes.join("")}`;
  return await startOurs(folder, yaml, port);
}

/** Two servers in turn, one with the tenth destination hung and one with all ten in order. */
export async function hung(folder: string, { quick, rounds }: Extent): Promise<Part[]> {
  const times = new Times();
  const arrived = (content: string) => {
    const number = /^Subject: message ([0-9]+)\r$/m.exec(content)?.[1];
    if (number !== undefined) times.arrived(Number(number));
  };
  const sinks = Array.from({ length: destinations }, () => Destination.answering(arrived));
  const silent = Destination.silent();
  const ports = sinks.map(({ port }) => port);
  const starts = [
    startRouted(join(folder, "well"), ports),
    startRouted(join(folder, "hung"), [...ports.slice(0, -1), silent.port]),
  ];
  try {
    return await withPeers(starts, async ([well, ill]) => {
      for (const peer of [well!, ill!]) await round(peer, times, quick ? 2 : 3);
      const [without, having]: [number[], number[]] = [[], []];
      const middles: [number[], number[]] = [[], []];
      for (let i = 0; i < rounds; i++) {
        for (const [which, peer] of [well!, ill!].entries()) {
          const took = await round(peer, times, quick ? 2 : 3);
          (which === 0 ? without : having).push(percentile(took, 0.99));
          middles[which]!.push(percentile(took, 0.5));
        }
      }
      if (silent.connections === 0) throw new Error("nobody connected to the destination that hangs");
      silent.close(); // or the server would wait for it when it stops
      const ratio = having.map((p99, i) => p99 / without[i]!);
      const row = (what: string, which: number, p99s: readonly number[]) =>
        `| ${what} | ${spread(middles[which]!, 1)} | ${spread(p99s, 1)} |`;
      const table = [
        `### Ten destinations, ${rate} messages a second: from the final dot to nine of them`,
        "",
        "| the tenth | median, ms | p99, ms |",
        "|---|---|---|",
        row("answers", 0, without),
        row("accepts connections and says nothing", 1, having),
        "",
      ].join("\n");
      const goal: Goal = {
        what: "p99 of nine destinations, with the tenth hung",
        wanted: "< 2 ×",
        got: `${spread(ratio, 2)} ×`,
        met: median(ratio) < 2,
      };
      return [{ table, goals: [goal] }];
    });
  } finally {
    silent.close();
    for (const sink of sinks) sink.close();
  }
}
