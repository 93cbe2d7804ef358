/** A web service that takes five seconds for each post: what that does to the clients whose mail is posted. */
import { join } from "node:path";
import { Client, percentile } from "./client.ts";
import { freePort, type Peer, startOurs } from "./peers.ts";
import { type Goal, median, spread } from "./report.ts";
import { type Extent, type Part, withPeers } from "./rounds.ts";

const connections = 20;
/** Messages a second: what the server has to spare, so that waiting and not work is measured. */
const rate = 300;
const slowness = 5000;

/** Answers each post after so many milliseconds. */
function startReceiver(wait: number) {
  const over = new AbortController();
  let posts = 0;
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, async (request) => {
    posts++;
    await request.arrayBuffer();
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, wait);
      over.signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
    });
    return new Response();
  });
  return {
    port: server.addr.port,
    get posts() {
      return posts;
    },
    async close() {
      over.abort();
      await server.shutdown();
    },
  };
}

async function startPosting(folder: string, to: number): Promise<Peer> {
  const port = freePort();
  const yaml = `listen: [{ port: ${port}, address: 127.0.0.1 }]
plugins:
  - use: webhook
    with: { url: "http://127.0.0.1:${to}/", secret: a secret for the bench, domains: [example.test] }
`;
  return await startOurs(folder, yaml, port);
}

/** Milliseconds from each final dot to its 250. */
async function round(peer: Peer, seconds: number): Promise<number[]> {
  const count = rate * seconds;
  const clients = await Promise.all(Array.from({ length: connections }, () => Client.open(peer.port)));
  const content = `Subject: bench\r\n\r\n${`${"x".repeat(78)}\r\n`.repeat(60)}`;
  const took: number[] = [];
  const began = performance.now();
  await Promise.all(clients.map(async (client, which) => {
    for (let nth = which; nth < count; nth += connections) {
      const early = began + nth / rate * 1000 - performance.now();
      if (early > 0) await new Promise((resolve) => setTimeout(resolve, early));
      let dot = 0;
      await client.send("b@example.test", content, () => dot = performance.now());
      took.push(performance.now() - dot);
    }
    client.close();
  }));
  return took;
}

/** Two servers in turn, one whose receiver answers at once and one whose receiver is slow. */
export async function webhook(folder: string, { quick, rounds }: Extent): Promise<Part[]> {
  const [prompt, slow] = [startReceiver(0), startReceiver(slowness)];
  const starts = [
    startPosting(join(folder, "prompt"), prompt.port),
    startPosting(join(folder, "slow"), slow.port),
  ];
  const seconds = quick ? 2 : 3;
  try {
    return await withPeers(starts, async (peers) => {
      const p99s: [number[], number[]] = [[], []];
      const middles: [number[], number[]] = [[], []];
      for (const peer of peers) await round(peer, seconds);
      for (let i = 0; i < rounds; i++) {
        for (const [which, peer] of peers.entries()) {
          const took = await round(peer, seconds);
          p99s[which]!.push(percentile(took, 0.99));
          middles[which]!.push(percentile(took, 0.5));
        }
      }
      if (prompt.posts === 0 || slow.posts === 0) throw new Error("nothing was posted");
      const ratio = p99s[1].map((p99, i) => p99 / p99s[0][i]!);
      const row = (what: string, which: 0 | 1) =>
        `| ${what} | ${spread(middles[which], 1)} | ${spread(p99s[which], 1)} |`;
      const table = [
        `### A webhook, ${rate} messages of 5 KB a second: from the final dot to the \`250\``,
        "",
        "| the receiver answers | median, ms | p99, ms |",
        "|---|---|---|",
        row("at once", 0),
        row(`after ${slowness / 1000} s`, 1),
        "",
      ].join("\n");
      const goal: Goal = {
        what: "p99 of replies, with a receiver of posts that is slow by one that isn't",
        wanted: "< 2 ×",
        got: `${spread(ratio, 2)} ×`,
        met: median(ratio) < 2,
      };
      return [{ table, goals: [goal] }];
    });
  } finally {
    await Promise.all([prompt.close(), slow.close()]);
  }
}
