/** Kills, stops and starts that go wrong, as an operator meets them. */
import { match, ok, rejects, strictEqual as equal } from "node:assert/strict";
import { RawClient } from "./client.ts";
import { makeFolder } from "./folder.ts";
import { listMaildir, onlyMessage, readMaildir } from "./mailbox.ts";
import { isListening } from "./ports.ts";
import { ServerProcess } from "./server.ts";
import { deliver, deliverOn, mailboxOf, writeSettings } from "./small_server.ts";

Deno.test("Q01 D06 kill -9 in the middle of a message leaves nothing of it", async () => {
  await using folder = await makeFolder();
  const config = await writeSettings(folder);
  const bodies = folder.at("state", "spool", "body");
  {
    await using server = await ServerProcess.start(config);
    using client = await RawClient.connect(server.port());
    await client.say("EHLO client.test");
    await client.envelope("bob@elsewhere.test", "alice@example.test");
    const arriving = firstFile(bodies);
    await client.send(`Subject: half\r\n\r\n${"0123456789\r\n".repeat(100_000)}`);
    await arriving;
    server.signal("SIGKILL");
    equal(await server.ended, 137);
  }
  equal((await listMaildir(mailboxOf(folder, "alice"))).length, 0);
  await using server = await ServerProcess.start(config);
  equal((await Array.fromAsync(Deno.readDir(bodies))).length, 0, "what was left of the message is gone");
  await deliver(server.port(), "alice", "whole");
  match((await onlyMessage(mailboxOf(folder, "alice"))).content.toString(), /^Subject: whole\n/);
});

/** Resolves when there is a file in a folder. */
async function firstFile(folder: string): Promise<void> {
  using watcher = Deno.watchFs(folder);
  const isEmpty = async () => (await Array.fromAsync(Deno.readDir(folder))).length === 0;
  if (!await isEmpty()) return;
  for await (const _ of watcher) if (!await isEmpty()) return;
}

Deno.test("Q01 kill -9 under load loses no message that was acknowledged", async () => {
  await using folder = await makeFolder();
  const acknowledged: string[] = [];
  {
    await using server = await ServerProcess.start(await writeSettings(folder));
    const sessions = Array.from({ length: 10 }, async (_, session) => {
      using client = await RawClient.connect(server.port());
      await client.say("EHLO client.test");
      for (let i = 0;; i++) {
        const subject = `${session}-${i}`;
        await deliverOn(client, "alice", subject);
        acknowledged.push(subject);
        if (acknowledged.length === 200) server.signal("SIGKILL");
      }
    });
    await Promise.allSettled(sessions);
    equal(await server.ended, 137);
  }
  ok(acknowledged.length >= 200);
  const kept = new Map<string, string>();
  for (const { content } of await readMaildir(mailboxOf(folder, "alice"))) {
    const text = content.toString();
    kept.set(/^Subject: (.*)$/m.exec(text)![1]!, text);
  }
  for (const subject of acknowledged) equal(kept.get(subject), `Subject: ${subject}\n\nHello.\n`);
});

Deno.test("Q07 SIGTERM lets a transaction finish, tells the idle, and exits with 0", async () => {
  await using folder = await makeFolder();
  await using server = await ServerProcess.start(await writeSettings(folder));
  using idle = await RawClient.connect(server.port());
  await idle.say("EHLO client.test");
  using busy = await RawClient.connect(server.port());
  await busy.say("EHLO client.test");
  await busy.envelope("bob@elsewhere.test", "alice@example.test");
  await busy.send("Subject: late\r\n\r\n");
  ok(await isListening(server.pid, server.port()));
  server.signal("SIGTERM");
  match((await idle.expect(421)).lines[0]!, /^4\.3\.2 /);
  ok(await idle.closed());
  while (await isListening(server.pid, server.port())); // the runtime lets go of the port when it next looks
  await busy.say("Hello.\r\n.");
  await busy.expect(421);
  equal(await server.ended, 0);
  equal((await listMaildir(mailboxOf(folder, "alice"))).length, 1);
});

Deno.test("C12 D06 clients that go in the middle leave nothing, and nobody notices", async () => {
  await using folder = await makeFolder();
  await using server = await ServerProcess.start(await writeSettings(folder));
  for (let i = 0; i < 20; i++) {
    using client = await RawClient.connect(server.port());
    await client.say("EHLO client.test");
    await client.envelope("bob@elsewhere.test", "alice@example.test");
    await client.send("x".repeat(i * 50_000));
  }
  await deliver(server.port(), "alice", "after them");
  equal((await listMaildir(mailboxOf(folder, "alice"))).length, 1);
  equal(await server.stop(), 0);
  equal((await listMaildir(mailboxOf(folder, "alice"), "tmp")).length, 0);
  equal((await Array.fromAsync(Deno.readDir(folder.at("state", "spool", "body")))).length, 0);
});

Deno.test("a port that is taken: exit 1, and the port is named", async () => {
  await using folder = await makeFolder();
  using other = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = other.addr;
  const config = await writeSettings(folder, { listen: [{ port, address: "127.0.0.1" }] });
  await using server = ServerProcess.spawn(config);
  equal(await server.ended, 1);
  match(server.stderr, new RegExp(`^port ${port} on 127\\.0\\.0\\.1 is taken: .*\\.$`, "m"));
  ok(!server.stderr.includes("    at "), server.stderr);
});

Deno.test("Q06 a second server on one state directory: exit 1, and the first goes on", async () => {
  await using folder = await makeFolder();
  const config = await writeSettings(folder);
  await using first = await ServerProcess.start(config);
  await using second = ServerProcess.spawn(config);
  equal(await second.ended, 1);
  match(second.stderr, /state directory .* can't be used: another server is using it/);
  await deliver(first.port(), "alice");
  equal((await listMaildir(mailboxOf(folder, "alice"))).length, 1);
});

Deno.test("a socket that a killed server left is no obstacle", async () => {
  await using folder = await makeFolder();
  const config = await writeSettings(folder, { listen: [{ path: "./lmtp.sock", protocol: "lmtp" }] });
  {
    await using killed = await ServerProcess.start(config);
    killed.signal("SIGKILL");
    await killed.ended;
  }
  await using server = await ServerProcess.start(config);
  using client = await RawClient.connect(folder.at("lmtp.sock"));
  await client.say("LHLO client.test");
  await deliverOn(client, "alice", "by LMTP");
  equal(await server.stop(), 0);
  await rejects(Deno.stat(folder.at("lmtp.sock")), Deno.errors.NotFound);
});
