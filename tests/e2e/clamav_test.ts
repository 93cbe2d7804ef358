/** Malware, as Debian's clamd finds it: a signature of the test's own stands for the real ones. */
import { match, ok, strictEqual as equal } from "node:assert/strict";
import { mailboxes, testServer } from "../../server/testing/mod.ts";
import { malware, startClamd, streamMax } from "./clamd.ts";
import { RawClient } from "./client.ts";
import { makeFolder } from "./folder.ts";
import { onlyMessage } from "./mailbox.ts";
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
