/** What matters to who writes plugins: what a hook costs, and how long a test takes that sends a thousand messages. */
import { Chain } from "../server/chain.ts";
import { systemClock } from "../server/clock.ts";
import type { Instance } from "../server/generation.ts";
import { definePlugin, reject, type Session } from "../server/plugin.ts";
import { mailboxes, memoryLog, testServer } from "../server/testing/mod.ts";
import * as report from "./report.ts";
import type { Extent, Part } from "./rounds.ts";

const plugins = 10;

/** Milliseconds for 1,000 messages, one after the other, each on a connection of its own. */
async function thousandMessages(): Promise<number> {
  const chain = Array.from({ length: plugins }, (_, i) =>
    definePlugin({
      name: `plugin-${i}`,
      setup(on) {
        on("connect", () => {});
        on("mail", (_session, { sender }) => {
          if (sender.domain === "spam.example") return reject("5.7.1", "Not from you");
        });
        on("rcpt", async () => {});
        on("data", (_session, message) => {
          if (message.headers.get("X-Bad")) return reject("5.7.1", "Bad");
        });
      },
    }));
  await using server = await testServer({ plugins: [...chain, mailboxes(["example.org"])] });
  const send = async (count: number) => {
    for (let i = 0; i < count; i++) await server.send({ to: "alice@example.org" });
  };
  await send(100);
  const began = performance.now();
  await send(1000);
  const took = performance.now() - began;
  if (server.delivered.length !== 1100) throw new Error("Not every message was delivered.");
  return took;
}

/** Microseconds for a plugin's turn at a hook, of which every second one is asynchronous. */
async function hookCall(rounds: number): Promise<number> {
  const instances = Array.from({ length: plugins }, (_, i): Instance => ({
    name: `plugin-${i}`,
    handlers: { helo: i % 2 === 0 ? () => {} : async () => {} },
    timeout: 30_000,
    onError: "defer",
    roles: ["mx", "submission"],
    mechanisms: [],
    observe: false,
  }));
  const generation = {
    number: 1,
    instances,
    owners: new Map(),
    transports: new Map(),
    dispose: () => Promise.resolve(),
  };
  const chain = new Chain(generation, systemClock, memoryLog());
  const session = { role: "mx" } as Session; // the handlers look at nothing of it
  const ask = async (count: number) => {
    for (let i = 0; i < count; i++) {
      await chain.ask("helo", { session }, (handler, call) => handler(session, "client.example", call));
    }
  };
  await ask(rounds / 10);
  const began = performance.now();
  await ask(rounds);
  return (performance.now() - began) * 1000 / (rounds * plugins);
}

/** Ten plugins, in memory. */
export async function authors(_folder: string, { rounds, quick }: Extent): Promise<Part[]> {
  const [messages, calls]: [number[], number[]] = [[], []];
  for (let round = 0; round < rounds; round++) {
    messages.push(await thousandMessages());
    calls.push(await hookCall(quick ? 5_000 : 50_000));
  }
  return [{
    table: "",
    goals: [
      {
        what: "`postrider/testing`: 1,000 messages through ten plugins",
        wanted: "< 1 s",
        got: `${report.spread(messages.map((ms) => ms / 1000), 2)} s`,
        met: report.median(messages) < 1000,
      },
      {
        what: "a hook call, of ten plugins",
        wanted: "≤ 2 µs",
        got: `${report.spread(calls, 2)} µs`,
        met: report.median(calls) <= 2,
      },
    ],
  }];
}
