/** What a hostile reading of the queue and of sending on found, each as a test. */
import { deepStrictEqual as deepEqual, match, rejects, strictEqual as equal } from "node:assert/strict";
import { accept, definePlugin, reject } from "../server/plugin.ts";
import { Server } from "../server/server.ts";
import { noMetrics } from "../server/admin/metrics.ts";
import type { Resolver } from "../server/dns.ts";
import { Outgoing } from "../server/outgoing.ts";
import { read } from "../server/prepare.ts";
import { Sessions } from "../server/sessions.ts";
import { memoryStore } from "../server/store.ts";
import { MemorySpool } from "../server/spool/memory.ts";
import { countingIds, FakeClock, fakeDns, mailboxes, memoryLog, testServer } from "../server/testing/mod.ts";

const alice = "alice@example.org";

/** Relays for everybody. */
const relay = definePlugin({ name: "relay", setup: (on) => on("rcpt", () => accept()) });

Deno.test("review: recipients that `route` refuses are one report to their sender", async () => {
  const route = definePlugin({
    name: "route",
    setup: (on) =>
      on("route", ({ user }) => user.startsWith("no") ? reject("5.7.1", "Not there") : undefined),
  });
  for (const others of [[], ["yes@x.example"]]) {
    await using server = await testServer({ plugins: [route, relay, mailboxes([alice])] });
    const to = ["no1@x.example", "no2@y.example", "no3@x.example", ...others];
    await server.send({ from: alice, to });
    await server.settled();
    equal(server.delivered.length, 1, "one report");
    deepEqual(
      [...server.delivered[0]!.content.matchAll(/^Final-Recipient: rfc822; (.*)\r$/gm)].map(([, who]) => who),
      to.slice(0, 3),
    );
    deepEqual(await server.queue(), []);
  }
});

Deno.test("review: promise 5: a report whose way can't be told now waits, and never leaves by SMTP instead", async () => {
  let lookups: "fail" | "work" = "work";
  const directory = definePlugin({
    name: "directory",
    setup(on) {
      on("resolve", ({ domain }) => {
        if (domain === "example.org" && lookups === "fail") throw new Error("the directory is down");
      });
    },
  });
  await using server = await testServer({
    plugins: [directory, relay, mailboxes([alice])],
    outbound: { retry: ["1m"] },
  });
  const sent: string[] = [];
  server.smtp = ({ to }) => {
    sent.push(...to);
    lookups = sent.length === 1 ? "fail" : "work";
    return reject("5.1.1", "No such user");
  };
  await server.send({ from: alice, to: "gone@x.example" });
  await server.settled();
  deepEqual(sent, ["gone@x.example"], "nothing for a mailbox of ours goes out by SMTP");
  equal((await server.queue())[0]!.recipients[0]!.state, "due", "nobody was told: it stays");
  await server.clock.advance("2m");
  deepEqual(server.delivered.map(({ to }) => to), [alice]);
  deepEqual(await server.queue(), []);
});

/** A folder with a configuration, and what it needs. */
async function folderWith(): Promise<{ folder: string; file: string } & AsyncDisposable> {
  const folder = await Deno.makeTempDir();
  const file = `${folder}/postrider.yaml`;
  await Deno.writeTextFile(
    file,
    `
hostname: mx.example.org
state: ./state
listen: [{ port: 0, address: 127.0.0.1 }]
log: { level: error }
plugins: [{ use: maildir, with: { domains: [example.org], users: any, path: "./mail/{user}" } }]
`,
  );
  return { folder, file, [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }) };
}

Deno.test("review: a start that fails at the spool lets go of everything, and the next one works", async () => {
  await using at = await folderWith();
  await Deno.mkdir(`${at.folder}/state`);
  await Deno.writeTextFile(`${at.folder}/state/spool`, "no folder");
  await rejects(Server.start(at.file));
  await Deno.remove(`${at.folder}/state/spool`);
  const server = await Server.start(at.file);
  await server.stop();
});

Deno.test("review: a reload under way when the server stops leaves nothing behind", async () => {
  await using at = await folderWith();
  await Deno.writeTextFile(
    `${at.folder}/slow.ts`,
    `export default ({ definePlugin }) => definePlugin({
      name: "slow",
      setup() {
        const counts = globalThis.reviewCounts ??= { made: 0, gone: 0 };
        counts.made++;
        return () => void counts.gone++;
      },
    });`,
  );
  const text = await Deno.readTextFile(at.file);
  await Deno.writeTextFile(at.file, text.replace("plugins: [", "plugins: [./slow.ts, "));
  const server = await Server.start(at.file);
  const reloading = server.reload();
  await server.stop();
  await reloading;
  const counts = (globalThis as { reviewCounts?: { made: number; gone: number } }).reviewCounts!;
  equal(counts.gone, counts.made);
  match(String(counts.made), /^[12]$/);
});

Deno.test("review: T01 what comes in the clear while a question is answered is never a command behind TLS", async () => {
  for (let turns = 0; turns < 8; turns++) {
    const asked = Promise.withResolvers<void>();
    const answer = Promise.withResolvers<void>();
    const slow = definePlugin({
      name: "slow",
      setup(on) {
        on("vrfy", async () => {
          asked.resolve();
          await answer.promise;
          return accept({ reply: "perhaps" });
        });
      },
    });
    await using server = await testServer({ plugins: [slow, mailboxes([alice])] });
    const client = server.connect();
    await client.command("EHLO c.example");
    await client.send("VRFY x\r\nSTARTTLS\r\n");
    await asked.promise;
    answer.resolve();
    for (let i = 0; i < turns; i++) await undefined;
    await client.send("NOOP\r\n");
    deepEqual([(await client.reply()).code, (await client.reply()).code], [250, 554]);
    await client.closed;
  }
});

Deno.test("review: T01 a client that waits for each reply gets TLS, whatever was read ahead", async () => {
  const slow = definePlugin({ name: "slow", setup: (on) => on("helo", async () => await undefined) });
  await using server = await testServer({ plugins: [slow, mailboxes([alice])] });
  const client = server.connect();
  await client.command("EHLO c.example");
  equal((await client.startTls()).code, 220);
  equal((await client.command("EHLO c.example")).code, 250);
  client.abort();
  await client.closed;
});

Deno.test("review: promise 6: what sent under earlier configurations goes when it is done", async () => {
  await using at = await folderWith();
  const found = await read(at.file);
  if (found.kind === "unfit") throw new Error("the configuration is fit");
  const clock = new FakeClock();
  const log = memoryLog();
  const ids = countingIds();
  const spool = new MemorySpool(clock);
  const metrics = noMetrics;
  const sessions = new Sessions({
    ...{ clock, log, ids, spool, metrics },
    newBody: () => {
      throw new Error("no message comes");
    },
    noRoom: () => undefined,
    draining: new AbortController().signal,
  });
  const dns = { ...fakeDns({}), close() {} } as unknown as Resolver;
  const store = memoryStore(clock);
  const outgoing = await Outgoing.open(found.config, {
    newBody: () => {
      throw new Error("nobody is asked in the queue");
    },
    clock,
    log,
    ids,
    dns,
    spool,
    store,
    sessions,
    metrics,
  });
  outgoing.runner.start();
  for (let i = 0; i < 10; i++) await outgoing.reload(found.config);
  await undefined;
  equal(outgoing.retired, 0);
  await outgoing.stop(0);
  await outgoing.close();
});
