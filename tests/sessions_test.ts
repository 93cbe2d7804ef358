import { deepStrictEqual as deepEqual, strictEqual as equal } from "node:assert/strict";
import fc from "fast-check";
import { memoryChannel } from "../server/channel/memory.ts";
import { accept, definePlugin } from "../server/plugin.ts";
import { Sessions } from "../server/sessions.ts";
import { MemorySpool } from "../server/spool/memory.ts";
import {
  countingIds,
  FakeClock,
  mailboxes,
  memoryLog,
  type TestClient,
  type TestServer,
  testServer,
} from "../server/testing/mod.ts";

const box = mailboxes(["example.org"]);
const alice = "alice@example.org";
const nothing = { connections: 0, octets: 0, files: 0, timers: 0 };

/** A client that has come as far as DATA's 354. */
async function inData(server: TestServer): Promise<TestClient> {
  const client = server.connect();
  for (const line of ["EHLO c.example", "MAIL FROM:<a@example.net>", `RCPT TO:<${alice}>`]) {
    equal((await client.command(line)).code, 250);
  }
  equal((await client.command("DATA")).code, 354);
  return client;
}

// ── C12: gone anywhere ─────────────────────────────────────────────────────────────────────────────

const whole = [
  "EHLO c.example\r\n",
  `MAIL FROM:<a@example.net>\r\nRCPT TO:<${alice}>\r\nRCPT TO:<nobody@elsewhere.example>\r\n`,
  "DATA\r\n",
  `Subject: x\r\n\r\n${"line\r\n".repeat(20)}`,
  ".\r\n",
  `MAIL FROM:<a@example.net>\r\nRCPT TO:<bob@example.org>\r\n`,
  "BDAT 6\r\nchunk\n",
  "BDAT 2 LAST\r\n\r\n",
  "AUTH PLAIN\r\n",
  "STARTTLS\r\n",
].join("");

Deno.test("connection: C12 gone after any octet, by any way: nothing is left, only whole messages are kept", async () => {
  const full = whole.indexOf("\r\n.\r\n") + 5;
  const chunks = whole.indexOf("LAST\r\n\r\n") + 8;
  const server = await testServer({ plugins: [box] });
  const cuts = fc.tuple(fc.nat(whole.length), fc.constantFrom("end", "close", "abort"), fc.boolean());
  await fc.assert(
    fc.asyncProperty(cuts, async ([cut, how, pause]) => {
      const before = server.delivered.length;
      const client = server.connect();
      await client.reply();
      const reader = (async () => {
        while (await client.line() !== undefined);
      })().catch(() => {});
      // In groups, as a client that waits would send them.
      for (const group of whole.slice(0, cut).split(/(?<=\r\n)/)) {
        await client.send(group).catch(() => {});
        await server.clock.advance(0);
      }
      if (pause) await server.clock.advance("1s");
      client[how as "end"]();
      await client.closed;
      await reader;
      deepEqual(await server.inUse(), nothing);
      equal(server.delivered.length - before, cut >= chunks ? 2 : cut >= full ? 1 : 0);
    }),
    { numRuns: 60 },
  );
  await server[Symbol.asyncDispose]();
});

Deno.test("connection: C12 gone in a large body: the file goes, too", async () => {
  await using server = await testServer({ plugins: [box] });
  for (const how of ["end", "close", "abort"] as const) {
    const client = await inData(server);
    for (let i = 0; i < 10; i++) await client.send("x".repeat(64 * 1024));
    await server.clock.advance(0);
    const { files, connections } = await server.inUse();
    deepEqual([files, connections], [1, 1]);
    client[how]();
    await client.closed;
    deepEqual(await server.inUse(), nothing);
  }
  equal(server.delivered.length, 0);
});

Deno.test("connection: C12 RSET and EHLO in chunks forget the body", async () => {
  await using server = await testServer({ plugins: [box] });
  const client = server.connect();
  for (const end of ["RSET", "EHLO c", "QUIT"]) {
    for (const line of ["EHLO c", "MAIL FROM:<a@example.net>", `RCPT TO:<${alice}>`]) {
      await client.command(line);
    }
    await client.send("BDAT 300000\r\n", "x".repeat(300_000));
    equal((await client.reply()).code, 250);
    equal((await server.inUse()).files, 1);
    await client.command(end);
    const { files, octets } = await server.inUse();
    deepEqual([files, octets], [0, 0], end);
  }
  await client.closed;
});

// ── Generations ────────────────────────────────────────────────────────────────────────────────────

Deno.test("connection: sessions stay with their generation, which is disposed of when the last is over", async () => {
  const disposed: string[] = [];
  const generation = (name: string) =>
    definePlugin({
      name,
      setup(on) {
        on("vrfy", () => accept({ reply: name }));
        return () => void disposed.push(name);
      },
    });
  const server = await testServer({ plugins: [generation("first"), box] });
  const old = server.connect();
  equal((await old.command("VRFY x")).text, "first");
  await server.reload([generation("second"), box]);
  equal((await old.command("VRFY x")).text, "first");
  equal((await server.connect().command("VRFY x")).text, "second");
  deepEqual(disposed, []);
  await old.command("QUIT");
  await old.closed;
  deepEqual(disposed, ["first"]);
  await server[Symbol.asyncDispose]();
  deepEqual(disposed, ["first", "second"]);
});

Deno.test("connection: a bug of ours costs one client, and is logged", async () => {
  const clock = new FakeClock();
  const log = memoryLog();
  const sessions = new Sessions({
    clock,
    log,
    ids: countingIds(),
    newBody: () => {
      throw new Error("a bug");
    },
    noRoom: () => undefined,
    spool: new MemorySpool(clock),
    draining: new AbortController().signal,
  });
  const via = { transport: "none" };
  const owner = {
    name: "owner",
    handlers: { resolve: () => accept({ via }) },
    timeout: 1000,
    onError: "defer",
    roles: ["mx"],
    mechanisms: [],
    observe: false,
  } as const;
  sessions.use({
    hostname: "mx.example.org",
    limits: {
      message: 1000,
      recipients: 10,
      errors: 10,
      refusedRecipients: 10,
      hops: 10,
      bareNewlines: "normalize",
    },
    timeouts: { command: 1000, data: 1000 },
    trustedNetworks: [],
  }, {
    number: 1,
    instances: [owner],
    owners: new Map(),
    transports: new Map(),
    dispose: () => Promise.resolve(),
  });
  const { client, server } = memoryChannel();
  const over = sessions.serve(server, { role: "mx", protocol: "smtp", auth: false, allowPlain: false });
  await client.write(`HELO c\r\n`);
  await client.readReply();
  await client.readReply();
  await client.write(`MAIL FROM:<>\r\nRCPT TO:<${alice}>\r\nDATA\r\n`);
  for (let i = 0; i < 3; i++) await client.readReply();
  await client.write("x\r\n");
  await over;
  equal(log.of("connection failed").length, 1);
  deepEqual(clock.pending, []);
  await sessions.close();
});
