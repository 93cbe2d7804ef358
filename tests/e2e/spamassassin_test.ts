/** Scores of Debian's spamd, with rules of the test's own in place of the thousands that come with it. */
import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import { type Spam, spam } from "../../server/facts.ts";
import { definePlugin } from "../../server/plugin.ts";
import { mailboxes, testServer } from "../../server/testing/mod.ts";
import { RawClient } from "./client.ts";
import { type Folder, makeFolder } from "./folder.ts";
import { onlyMessage } from "./mailbox.ts";
import { end, freePort, untilListening } from "./ports.ts";
import { spawn } from "./programs.ts";
import { ServerProcess } from "./server.ts";
import { deliver, mailboxOf, maildir, writeSettings } from "./small_server.ts";

const rules = `
required_score 5
body T4711_SPAM /buy this now/
score T4711_SPAM 7.5
body T4711_MORE /at once/
score T4711_MORE 7.5
header T4711_RELAY X-Spam-Relays-Untrusted =~ /ip=192\\.0\\.2\\.77 rdns=mail\\.example\\.net helo=client\\.example\\.net /
score T4711_RELAY 0.5
header T4711_SENDER EnvelopeFrom =~ /^sender\\@example\\.net$/
score T4711_SENDER 0.25
`;

interface Spamd extends AsyncDisposable {
  readonly address: string;
}

/** @param preferences By user, what stands in his `user_prefs`. */
async function startSpamd(folder: Folder, preferences: Record<string, string> = {}): Promise<Spamd> {
  await Deno.mkdir(folder.at("rules"));
  await Deno.mkdir(folder.at("site"));
  await Deno.writeTextFile(folder.at("rules", "10_test.cf"), rules);
  await Deno.writeTextFile(
    folder.at("site", "init.pre"),
    "loadplugin Mail::SpamAssassin::Plugin::Check\n",
  );
  for (const [user, text] of Object.entries(preferences)) {
    await Deno.mkdir(folder.at("users", user), { recursive: true });
    await Deno.writeTextFile(folder.at("users", user, "user_prefs"), text);
  }
  await Deno.chmod(folder.path, 0o755);
  const port = freePort();
  const child = spawn("/usr/sbin/spamd", [
    `--listen=127.0.0.1:${port}`,
    "--local",
    "--max-children=2",
    "--min-children=1",
    "--nouser-config",
    `--virtual-config-dir=${folder.at("users")}/%u`,
    `--configpath=${folder.at("rules")}`,
    `--siteconfigpath=${folder.at("site")}`,
    "--syslog=stderr",
    ...(Deno.uid() === 0 ? ["--username=nobody"] : []),
  ], { stdin: "null", stdout: "null", stderr: "null" });
  await untilListening(child, "spamd", port);
  return { address: `127.0.0.1:${port}`, [Symbol.asyncDispose]: () => end(child) };
}

/** Keeps what `spamassassin` tells. */
function listener(into: Spam[]) {
  return definePlugin({
    name: "listener",
    setup(on, _options, host) {
      const of = host.needs(spam);
      on("data", (_session, _message, transaction) => {
        const told = of(transaction);
        if (told) into.push(told);
      });
    },
  });
}

const to = "alice@example.org";
const ip = "192.0.2.77";

Deno.test("spamassassin: mail is marked by what spamd says, from a score on deferred, from another on refused", async () => {
  await using folder = await makeFolder();
  await using spamd = await startSpamd(folder);
  const told: Spam[] = [];
  await using server = await testServer({
    plugins: [
      ["spamassassin", { address: spamd.address, defer: 7, reject: 12 }],
      listener(told),
      mailboxes(["example.org"]),
    ],
    dns: { [ip]: { PTR: ["mail.example.net"] }, "mail.example.net": { A: [ip] } },
  });

  // Its rules about the client and the envelope work: it is told who they are.
  const forged = { "X-Spam-Status": "No, forged", "X-Spam-Flag": "NO", "x-spam-anything": "forged" };
  equal((await server.send({ to, ip, headers: forged, text: "Hello" })).outcome, "accepted");
  deepEqual(told, [{ score: 0.8, reasons: ["T4711_RELAY", "T4711_SENDER"] }]);
  const { content } = server.delivered[0]!;
  match(content, /^X-Spam-Status: No, score=0\.8 required=5 tests=T4711_RELAY, T4711_SENDER\r$/m);
  ok(!/forged|X-Spam-Flag|X-Spam-Level|X-Envelope-From/i.test(content), content);

  const later = await server.send({ to, text: "buy this now" });
  equal(`${later.reply.code} ${later.reply.status}`, "451 4.7.1");
  const never = await server.send({ to, text: "buy this now, at once" });
  equal(`${never.reply.code} ${never.reply.status}`, "550 5.7.1");
  equal(never.outcome === "refused" && never.by, "spamassassin");

  // Who is refused has to be able to ask why.
  const asked = await server.send({
    to: ["postmaster@example.org", to],
    text: "Why is `buy this now, at once` refused?",
  });
  deepEqual(asked.recipients.map(({ reply }) => reply.code), [250, 452]);
  equal(asked.outcome, "accepted");
  match(server.delivered[1]!.content, /^X-Spam-Flag: YES\r\nX-Spam-Status: Yes, score=15/m);
  match(server.delivered[1]!.content, /^X-Spam-Level: \*{15}\r$/m);
});

Deno.test("spamassassin: a recipient's own preferences judge what comes to him alone", async () => {
  await using folder = await makeFolder();
  await using spamd = await startSpamd(folder, {
    "alice@example.org": "score T4711_SPAM 1\n",
    "everybody": "score T4711_SPAM 3\n",
  });
  const told: Spam[] = [];
  await using server = await testServer({
    plugins: [
      ["spamassassin", { address: spamd.address, perUser: "address", user: "everybody" }],
      listener(told),
      mailboxes(["example.org"]),
    ],
  });
  const scored = async (...recipients: string[]) => {
    await server.send({ from: "", to: recipients, text: "buy this now" });
    return Math.round(told.at(-1)!.score);
  };
  equal(await scored("Alice+list@example.org"), 1);
  equal(await scored("bob@example.org"), 8, "he has no preferences: SpamAssassin's own");
  equal(await scored("alice@example.org", "bob@example.org"), 3);
  equal(await scored('"../everybody"@example.org'), 3, "no name for a user");
});

Deno.test("spamassassin: in the server: spam is refused, and a spamd that is gone defers", async () => {
  await using folder = await makeFolder();
  const spamd = await startSpamd(folder);
  const config = await writeSettings(folder, {
    plugins: [{ use: "spamassassin", with: { address: spamd.address, reject: 7 } }, maildir],
  });
  try {
    await using server = await ServerProcess.start(config);
    await deliver(server.port(), "alice");
    const { content } = await onlyMessage(mailboxOf(folder, "alice"));
    match(content.toString(), /^X-Spam-Status: No, score=/m);

    using client = await RawClient.connect(server.port());
    await client.say("EHLO client.test");
    await client.envelope("bob@elsewhere.test", "alice@example.test");
    await client.say("Subject: spam\r\n\r\nbuy this now\r\n.", 550);
    await spamd[Symbol.asyncDispose]();
    await client.envelope("bob@elsewhere.test", "alice@example.test");
    await client.say("Subject: later\r\n\r\nHello.\r\n.", 451);
    const { error } = await server.logged("plugin failed");
    // Which of the two it is, is chance: its children go a moment after it.
    match(String(error), /spamd (can't be reached at 127\.0\.0\.1:|at 127\.0\.0\.1:\d+ does not answer)/);
    await onlyMessage(mailboxOf(folder, "alice"));
  } finally {
    await spamd[Symbol.asyncDispose]();
  }
});
