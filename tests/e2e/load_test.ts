/** Many clients at once: nothing is lost, and memory is bounded by the configuration, not by them. */
import { ok, strictEqual as equal } from "node:assert/strict";
import { RawClient } from "./client.ts";
import { makeFolder } from "./folder.ts";
import { readMaildir } from "./mailbox.ts";
import { run } from "./programs.ts";
import { ServerProcess } from "./server.ts";
import { deliver, mailboxOf, maildir, writeSettings } from "./small_server.ts";

async function smtpSource(server: ServerProcess, ...more: string[]): Promise<void> {
  const { code, stderr } = await run("/usr/sbin/smtp-source", [
    ...["-f", "bob@elsewhere.test", "-t", "alice@example.test", "-s", "20", "-m", "500"],
    ...more,
    `127.0.0.1:${server.port()}`,
  ]);
  equal(code, 0, stderr);
}

Deno.test("smtp-source: 500 messages on 20 sessions are 500 files", async () => {
  await using folder = await makeFolder();
  await using server = await ServerProcess.start(await writeSettings(folder));
  await smtpSource(server, "-l", "5120");
  const messages = await readMaildir(mailboxOf(folder, "alice"));
  equal(messages.length, 500);
  equal(new Set(messages.map(({ received }) => / id (\S+)/.exec(received)![1])).size, 500);
  equal(await server.stop(), 0);
});

Deno.test("smtp-source: 500 messages, a connection each, are taken and thrown away", async () => {
  await using folder = await makeFolder();
  await using server = await ServerProcess.start(await writeSettings(folder, { plugins: ["discard"] }));
  await smtpSource(server, "-d");
  await smtpSource(server);
  equal(await server.stop(), 0);
  equal(server.log.filter(({ event }) => event === "message accepted").length, 1000);
});

/** KiB, of a process. */
async function memory(pid: number, what: "VmRSS" | "VmHWM"): Promise<number> {
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  return Number(new RegExp(`^${what}:\\s+([0-9]+) kB$`, "m").exec(status)![1]);
}

Deno.test("20 messages of 20 MB at the same time stream through bounded memory", async () => {
  await using folder = await makeFolder();
  await using server = await ServerProcess.start(await writeSettings(folder));
  await deliver(server.port(), "warm");
  const before = await memory(server.pid, "VmRSS");
  const line = `${"x".repeat(76)}\r\n`;
  const piece = new TextEncoder().encode(line.repeat(1000));
  const pieces = Math.ceil(20e6 / piece.length);
  const sent = Promise.withResolvers<void>();
  let waiting = 20;
  await Promise.all(Array.from({ length: 20 }, async (_, i) => {
    using client = await RawClient.connect(server.port());
    await client.say("EHLO client.test");
    await client.envelope("bob@elsewhere.test", `user${i}@example.test`);
    await client.send("Subject: large\r\n\r\n");
    for (let n = 0; n < pieces; n++) await client.send(piece);
    if (--waiting === 0) sent.resolve(); // nobody ends before all have sent everything
    await sent.promise;
    await client.say(".");
  }));
  const grown = (await memory(server.pid, "VmHWM") - before) / 1024;
  console.log(`20 × 20 MB: ${Math.round(grown)} MiB more memory`);
  ok(grown < 160, `${grown} MiB`);
  for (let i = 0; i < 20; i++) {
    const [message] = await readMaildir(mailboxOf(folder, `user${i}`));
    equal(message!.content.length, "Subject: large\n\n".length + pieces * 1000 * 77);
  }
});

Deno.test("X01 500 idle connections cost little, and nobody else notices them", async () => {
  await using folder = await makeFolder();
  const limits = { connectionsPerIp: 1000, connections: 1000 };
  await using server = await ServerProcess.start(await writeSettings(folder, { limits, plugins: [maildir] }));
  await deliver(server.port(), "warm");
  const before = await memory(server.pid, "VmRSS");
  using idle = new DisposableStack();
  const clients: RawClient[] = [];
  for (let i = 0; i < 500; i++) {
    const client = idle.use(await RawClient.connect(server.port()));
    clients.push(client);
    await client.say("EHLO client.test");
  }
  const each = (await memory(server.pid, "VmRSS") - before) / 500;
  console.log(`500 idle connections: ${each.toFixed(1)} KiB each`);
  ok(each < 64, `${each} KiB each`);
  for (let i = 0; i < 10; i++) await deliver(server.port(), "alice");
  equal((await readMaildir(mailboxOf(folder, "alice"))).length, 10);
  await Promise.all(clients.map((client) => client.say("QUIT", 221)));
  equal(await server.stop(), 0);
});

Deno.test("X01 one address over its limit is turned away, and served again when others have left", async () => {
  await using folder = await makeFolder();
  await using server = await ServerProcess.start(
    await writeSettings(folder, { limits: { connectionsPerIp: 2 } }),
  );
  const first = await RawClient.connect(server.port());
  using _second = await RawClient.connect(server.port());
  const refused = await RawClient.connect(server.port()).then(() => "greeted", (error) => String(error));
  ok(/421 4\.7\.0/.test(refused), refused);
  await first.say("QUIT", 221);
  ok(await first.closed());
  first[Symbol.dispose]();
  await deliver(server.port(), "alice");
});
