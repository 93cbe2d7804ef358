/** What it costs that a plugin runs in a thread of its own. */
import { type Isolate, mailboxes, testServer } from "../server/testing/mod.ts";
import * as report from "./report.ts";
import type { Extent, Part } from "./rounds.ts";

const use = new URL("isolated_plugin.ts", import.meta.url);
const text = `${"x".repeat(70)}\r\n`.repeat(70); // 5 KB

/** Milliseconds that a message takes in the median, one after the other, each on a connection of its own. */
async function message(count: number, isolate: Isolate | undefined): Promise<number> {
  const plugin = isolate ? { use, isolate } : { use };
  await using server = await testServer({ plugins: [plugin, mailboxes(["example.org"])] });
  const times: number[] = [];
  for (let i = 0; i < count * 1.5; i++) {
    const began = performance.now();
    await server.send({ to: "alice@example.org", text });
    if (i >= count / 2) times.push(performance.now() - began);
  }
  const last = server.delivered.at(-1);
  if (server.delivered.length !== count * 1.5 || last?.headers.get("X-For") !== "alice") {
    throw new Error("Not every message was delivered as the plugin has it.");
  }
  return report.median(times);
}

/** The same plugin with five hooks and messages of 5 KB, in this process, in memory: in a thread of its own, and not. */
export async function isolated(_folder: string, { rounds, quick }: Extent): Promise<Part[]> {
  const count = quick ? 1000 : 4000;
  const more: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const without = await message(count, undefined);
    more.push(await message(count, {}) - without);
  }
  return [{
    table: "",
    goals: [{
      what: "an isolated plugin with five hooks, a message of 5 KB",
      wanted: "≤ 0.4 ms more",
      got: `${report.spread(more, 3)} ms`,
      met: report.median(more) <= 0.4,
    }],
  }];
}
