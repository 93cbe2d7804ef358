/**
 * What the spool takes: messages a second and CPU a message, kept durably and then delivered.
 *
 * `deno run -A bench/spool.ts [FOLDER] [MESSAGES] [WRITERS] [OCTETS]`
 */
import process from "node:process";
import { memoryContent } from "../server/message/content.ts";
import { noEdits } from "../server/message/edits.ts";
import { systemClock } from "../server/clock.ts";
import { openIds } from "../server/ids.ts";
import { LogSpool } from "../server/spool/log.ts";
import { systemDisk } from "../server/spool/disk.ts";
import { memoryLog } from "../server/testing/log.ts";

const [folder = "./bench-spool", messages = "40000", writers = "20", octets = "5000"] = Deno.args;
const ids = openIds(systemClock);
let syncs = 0;
const disk = {
  ...systemDisk,
  openNew: async (path: string) => {
    const file = await systemDisk.openNew(path);
    return { ...file, sync: () => (syncs++, file.sync()) };
  },
};

await Deno.remove(folder, { recursive: true }).catch(() => {});
const spool = await LogSpool.open(folder, { clock: systemClock, log: memoryLog(), disk, reserve: 0 });
const content = new TextEncoder().encode(`Subject: bench\r\n\r\n${"x".repeat(78)}\r\n`.repeat(1000)).slice(
  0,
  Number(octets),
);
const reply = "250 2.0.0 Ok: queued as 4XyZ";

async function keepOne(): Promise<string> {
  const id = ids.message();
  const received = Date.now();
  await spool.keep({
    ...{ id, received, sender: "sender@example.org", utf8: false, edits: noEdits },
    top: [
      `Received: from client.example.org ([192.0.2.1])\r\n\tby mx.example.org (Postrider) with ESMTP id ${id};\r\n`,
    ],
    recipients: [{ address: "user@example.net", original: "user@example.net", via: "smtp" }],
    from: { ip: "192.0.2.1", helo: "client.example.org" },
  }, memoryContent(content.slice()));
  return id;
}

async function inParallel(what: string, step: () => Promise<unknown>): Promise<void> {
  const count = Number(messages);
  let begun = 0;
  syncs = 0;
  const [time, cpu] = [performance.now(), process.cpuUsage()];
  await Promise.all(Array.from({ length: Number(writers) }, async () => {
    while (begun++ < count) await step();
  }));
  const seconds = (performance.now() - time) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  const each = ((user + system) / count).toFixed(1);
  console.log(
    `${what}: ${Math.round(count / seconds)}/s, ${each} µs CPU each, ${(count / syncs).toFixed(1)} a sync`,
  );
}

const kept: string[] = [];
await inParallel("keep", async () => kept.push(await keepOne()));
await inParallel("get + content + delivered", async () => {
  const id = kept.shift()!;
  await Promise.all([spool.get(id), spool.content(id)]);
  await spool.record([{ id, recipient: 0, state: { state: "delivered", reply } }]);
});
await inParallel("keep + delivered at once", async () => {
  const id = await keepOne();
  spool.attempting([id]);
  await Promise.all([spool.get(id), spool.content(id)]);
  await spool.record([{ id, recipient: 0, state: { state: "delivered", reply } }]);
});
await inParallel("keep again, for the start", async () => await keepOne());
const began = performance.now();
await spool.close();
console.log(`close: ${Math.round(performance.now() - began)} ms`);
const opening = performance.now();
const again = await LogSpool.open(folder, { clock: systemClock, log: memoryLog(), reserve: 0 });
const memory = Math.round(Deno.memoryUsage().rss / 1024 / 1024);
console.log(`open with ${again.size} messages: ${Math.round(performance.now() - opening)} ms, ${memory} MiB`);
await again.close();
await Deno.remove(folder, { recursive: true });
