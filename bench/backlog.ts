/** What a long queue costs in which nothing is due: time to open it, memory, and CPU while it waits. */
import { join } from "node:path";
import { systemClock } from "../server/clock.ts";
import { openIds } from "../server/ids.ts";
import { memoryContent } from "../server/message/content.ts";
import { noEdits } from "../server/message/edits.ts";
import { LogSpool } from "../server/spool/log.ts";
import { memoryLog } from "../server/testing/log.ts";
import { freePort, type Peer, startRelay } from "./peers.ts";
import { cpuSeconds, residentMemory } from "./process.ts";
import { type Goal, kib, mib } from "./report.ts";
import { type Extent, type Part, small, withPeers } from "./rounds.ts";

const writers = 200;
const minute = 60_000;

/** Keeps messages that are due in one to four hours, as deferred ones are at most, through the spool itself. */
async function fill(folder: string, count: number): Promise<void> {
  await Deno.mkdir(folder, { recursive: true, mode: 0o700 });
  const ids = openIds(systemClock);
  const spool = await LogSpool.open(folder, { clock: systemClock, log: memoryLog() });
  const text = `Subject: bench\r\n\r\n${`${"x".repeat(78)}\r\n`.repeat(small / 80)}`;
  const content = new TextEncoder().encode(text).subarray(0, small);
  let begun = 0;
  const write = async () => {
    while (begun < count) {
      const number = begun++;
      const [id, address] = [ids.message(), `user${number}@d${number % 1000}.example.test`];
      await spool.keep(
        {
          ...{ id, received: Date.now(), sender: "sender@example.test", utf8: false, edits: noEdits },
          top: [
            `Received: from client.example.test ([192.0.2.1])\r\n\tby mx.example.test with ESMTP id ${id}\r\n`,
          ],
          recipients: [{ address, original: address, via: "smtp" }],
          from: { ip: "192.0.2.1", helo: "client.example.test" },
        },
        memoryContent(content.slice()),
        [Date.now() + (60 + number % 175) * minute],
      );
    }
  };
  await Promise.all(Array.from({ length: writers }, write));
  await spool.close();
}

/** Resolves when a server that listens says 220: those who come while it starts wait for that. */
async function greeted(port: number): Promise<void> {
  using connection = await Deno.connect({ hostname: "127.0.0.1", port });
  if (await connection.read(new Uint8Array(512)) === null) throw new Error("postrider: no greeting");
}

/** A server with the time from its start to its first greeting, in milliseconds. */
async function opened(folder: string): Promise<Peer & { readonly opening: number }> {
  const began = performance.now();
  const peer = await startRelay(folder, freePort());
  await greeted(peer.port);
  return { ...peer, opening: performance.now() - began };
}

/** `track` has read the queue's log, as it has of a queue that grew while the server ran. */
async function follow(folder: string): Promise<void> {
  const first = await opened(folder);
  await new Promise((resolve) => setTimeout(resolve, 10_000));
  await first.stop();
}

/** Beside a server with an empty queue, in the same seconds. */
export async function backlog(folder: string, { quick }: Extent): Promise<Part[]> {
  const count = quick ? 20_000 : 100_000;
  const seconds = quick ? 5 : 15;
  const own = join(folder, "full");
  await fill(join(own, "state/spool"), count);
  await follow(own);
  // One after the other: each has the machine to itself while it opens.
  return await withPeers(
    [opened(join(folder, "empty"))],
    async ([empty]) =>
      await withPeers([opened(own)], async ([full]) => {
        const pids = [empty!.pid, full!.pid];
        await new Promise((resolve) => setTimeout(resolve, quick ? 3000 : 10_000)); // what follows a start
        const used = () => Promise.all(pids.map(cpuSeconds));
        const before = await used();
        await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
        const [idle, waiting] = (await used()).map((after, i) => (after - before[i]!) / seconds) as [
          number,
          number,
        ];
        const [least, most] = await Promise.all(pids.map(residentMemory)) as [number, number];
        const each = (most - least) / count;
        const named = `${count.toLocaleString("en")} deferred messages`;
        const goals: Goal[] = [{
          what: `${named}: CPU of a second while nothing is due, more than with none`,
          wanted: "≤ 0.5 %",
          got: `${(waiting * 100).toFixed(2)} %, with none ${(idle * 100).toFixed(2)} %`,
          met: waiting - idle <= 0.005,
        }, {
          what: `${named}: to the first greeting`,
          wanted: "< 10 s",
          got: `${(full!.opening / 1000).toFixed(1)} s, with none ${(empty!.opening / 1000).toFixed(1)} s`,
          met: full!.opening < 10_000,
        }, {
          what: `${named}: RSS after it`,
          wanted: "≤ 300 MiB",
          got: `${mib(most)}, with none ${mib(least)}: ${kib(each)} each`,
          met: most <= 300 * 1024 ** 2,
        }];
        return [{ table: "", goals }];
      }),
  );
}
