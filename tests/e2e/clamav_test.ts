/** Malware, as Debian's clamd finds it: a signature of the test's own stands for the real ones. */
import { match, ok, rejects, strictEqual as equal } from "node:assert/strict";
import { mailboxes, testServer } from "../../server/testing/mod.ts";
import { malware, startClamd, streamMax } from "./clamd.ts";
import { RawClient } from "./client.ts";
import { makeFolder } from "./folder.ts";
import { onlyMessage, untilMessages } from "./mailbox.ts";
import { ServerProcess } from "./server.ts";
import { deliver, mailboxOf, maildir, writeSettings } from "./small_server.ts";

const to = "alice@example.org";

Deno.test("clamav: clamd finds malware over TCP and over its Unix socket, in plain and inside an attachment", async () => {
  await using folder = await makeFolder();
  await using clamd = await startClamd(folder);
  for (const address of clamd.addresses) {
    await using server = await testServer({
      plugins: [["clamav", { address }], mailboxes(["example.org"])],
    });
    const clean = await server.send({
      to,
      headers: { "X-Virus-Status": "Clean, believe me" },
      text: "Hello",
    });
    equal(clean.outcome, "accepted");
    match(server.delivered[0]!.content, /^X-Virus-Status: Clean\r$/m);
    ok(!server.delivered[0]!.content.includes("believe me"));

    const attached = {
      "MIME-Version": "1.0",
      "Content-Type": "application/octet-stream",
      "Content-Transfer-Encoding": "base64",
    };
    for (const mail of [{ text: malware }, { headers: attached, text: btoa(malware) }]) {
      const sent = await server.send({ to, ...mail });
      equal(sent.outcome === "refused" && sent.by, "clamav");
      equal(`${sent.reply.code} ${sent.reply.status}`, "550 5.7.1");
      match(sent.reply.text, /Malware was found in it: Postrider\.Test\.UNOFFICIAL/);
    }
    equal(server.delivered.length, 1);
  }
});

Deno.test("clamav: what is only to be marked is delivered, with what was found in it", async () => {
  await using folder = await makeFolder();
  await using clamd = await startClamd(folder);
  await using server = await testServer({
    plugins: [["clamav", { address: clamd.addresses[1], infected: "mark" }], mailboxes(["example.org"])],
  });
  equal((await server.send({ to, text: malware })).outcome, "accepted");
  match(server.delivered[0]!.content, /^X-Virus-Status: Infected \(Postrider\.Test\.UNOFFICIAL\)\r$/m);
});

Deno.test("clamav: what is larger than clamd takes is what tooLarge says, over TCP and over the Unix socket", async () => {
  await using folder = await makeFolder();
  await using clamd = await startClamd(folder);
  const text = `${"x".repeat(76)}\r\n`.repeat(4 * streamMax / 78);
  for (const address of clamd.addresses) {
    await using server = await testServer({
      plugins: [["clamav", { address, tooLarge: "reject" }], mailboxes(["example.org"])],
    });
    const sent = await server.send({ to, text });
    // clamd says so and closes while more is coming.
    equal(`${sent.reply.code} ${sent.reply.status}`, "552 5.3.4");
    equal(server.delivered.length, 0);
  }
});

Deno.test("clamav: in the server: malware is refused, clean mail comes in, and a clamd that is gone defers", async () => {
  await using folder = await makeFolder();
  const clamd = await startClamd(folder);
  const config = await writeSettings(folder, {
    plugins: [{ use: "clamav", with: { address: clamd.addresses[1] } }, maildir],
  });
  try {
    await using server = await ServerProcess.start(config);
    await deliver(server.port(), "alice");
    const { content } = await onlyMessage(mailboxOf(folder, "alice"));
    match(content.toString(), /^X-Virus-Status: Clean$/m);

    using client = await RawClient.connect(server.port());
    await client.say("EHLO client.test");
    await client.envelope("bob@elsewhere.test", "alice@example.test");
    await client.say(`Subject: bad\r\n\r\n${malware}\r\n.`, 550);
    await clamd[Symbol.asyncDispose]();
    await client.envelope("bob@elsewhere.test", "alice@example.test");
    await client.say("Subject: later\r\n\r\nHello.\r\n.", 451);
    const { error } = await server.logged("plugin failed");
    match(String(error), /clamd can't be reached at .*clamd\.sock/);
    await client.say("NOOP");
    await onlyMessage(mailboxOf(folder, "alice"));
  } finally {
    await clamd[Symbol.asyncDispose]();
  }
});

/** Stands before a scanner, and lets nobody through before it is told to. */
function slow(path: string) {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const asked = Promise.withResolvers<void>();
  const go = Promise.withResolvers<void>();
  const serving = (async () => {
    const connections: Promise<void>[] = [];
    for await (const conn of listener) {
      asked.resolve();
      connections.push((async () => {
        await go.promise;
        const back = await Deno.connect({ transport: "unix", path });
        const through = [conn.readable.pipeTo(back.writable), back.readable.pipeTo(conn.writable)];
        await Promise.allSettled(through);
      })());
    }
    await Promise.allSettled(connections);
  })().catch(() => {});
  return {
    address: `127.0.0.1:${listener.addr.port}`,
    asked: asked.promise,
    go: go.resolve,
    async [Symbol.asyncDispose]() {
      go.resolve();
      listener.close();
      await serving;
    },
  };
}

Deno.test("clamav: when: queued: a slow clamd delays no reply, nothing is delivered unscanned though the server is killed, malware is returned", async () => {
  await using folder = await makeFolder();
  await using clamd = await startClamd(folder);
  await using scanner = slow(clamd.addresses[1]);
  const config = await writeSettings(folder, {
    plugins: [{ use: "clamav", when: "queued", timeout: "5m", with: { address: scanner.address } }, maildir],
  });
  const send = async (port: number, to: string, text: string) => {
    using client = await RawClient.connect(port);
    await client.say("EHLO client.test");
    await client.envelope("bob@example.test", `${to}@example.test`);
    await client.say(`Subject: hi\r\n\r\n${text}\r\n.`, 250);
  };
  {
    await using server = await ServerProcess.start(config);
    await send(server.port(), "alice", "Hello.");
    await scanner.asked; // and it says nothing
  } // killed
  await using server = await ServerProcess.start(config);
  await send(server.port(), "carol", malware);
  await rejects(Deno.stat(mailboxOf(folder, "alice")), Deno.errors.NotFound);
  scanner.go();
  const [[clean], [report]] = await Promise.all([
    untilMessages(mailboxOf(folder, "alice"), 1),
    untilMessages(mailboxOf(folder, "bob"), 1),
  ]);
  match(clean!.toString(), /^X-Virus-Status: Clean$/m);
  match(report!.toString(), /^Status: 5\.7\.1$/m);
  match(report!.toString(), /Malware was found in it: Postrider\.Test/);
  await server.logged("looked at in the queue");
  await rejects(Deno.stat(mailboxOf(folder, "carol")), Deno.errors.NotFound);
});
