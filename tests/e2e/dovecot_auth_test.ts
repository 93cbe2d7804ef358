/** Accounts of Dovecot's, asked through its auth socket; and what is said when it is down. */
import { match, strictEqual as equal } from "node:assert/strict";
import { RawClient } from "./client.ts";
import { startDovecot } from "./dovecot.ts";
import { makeFolder } from "./folder.ts";
import { onlyMessage } from "./mailbox.ts";
import { type Ended, run } from "./programs.ts";
import { ServerProcess } from "./server.ts";
import { mailboxOf, maildir, writeSettings } from "./small_server.ts";

const address = "127.0.0.1";
const password = "pässword, with = all : of it";

Deno.test("auth with Dovecot: its accounts log in by PLAIN and LOGIN, others don't, and one that is down is 454", async (t) => {
  await using folder = await makeFolder();
  const hash = await run("openssl", ["passwd", "-6", "password"]);
  await using dovecot = await startDovecot(folder.at("home"), undefined, {
    "alice@example.test": "{PLAIN}secret",
    "bob@example.test": `{SHA512-CRYPT}${hash.stdout.trim()}`,
    "carol@example.test": `{PLAIN.b64}${btoa(String.fromCharCode(...new TextEncoder().encode(password)))}`,
    "gone@example.test": "{PLAIN}secret::::::nologin",
  });
  const config = await writeSettings(folder, {
    listen: [{ port: 0, address, role: "submission", allowPlain: true }],
    plugins: [{ use: "auth", with: { dovecot: { socket: dovecot.auth } } }, maildir],
  });
  await using server = await ServerProcess.start(config);
  const swaks = (user: string, word: string, mechanism = "PLAIN"): Promise<Ended> =>
    run("swaks", [
      ...["--server", address, "--port", String(server.port()), "--helo", "client.test", "--timeout", "60s"],
      ...["--auth", mechanism, "--auth-user", user, "--auth-password", word],
      ...[
        "--from",
        user.toLowerCase(),
        "--to",
        `${mechanism.toLowerCase()}-${user.split("@")[0]}@example.test`,
      ],
    ]);
  for (const mechanism of ["PLAIN", "LOGIN"]) {
    await t.step(`${mechanism}: right`, async () => {
      const { code, stdout } = await swaks("alice@example.test", "secret", mechanism);
      equal(code, 0, stdout);
      const { received } = await onlyMessage(mailboxOf(folder, `${mechanism.toLowerCase()}-alice`));
      match(received, /with ESMTPA id/);
    });
  }
  await t.step("a hash, and another case", async () => {
    const { stdout } = await swaks("Bob@Example.TEST", "password");
    match(stdout, /235 2\.7\.0/);
  });
  await t.step("a password with everything in it", async () => {
    using client = await RawClient.connect(server.port());
    await client.say("EHLO client.test");
    const message = new TextEncoder().encode(`\0carol@example.test\0${password}`);
    await client.say(`AUTH PLAIN ${message.toBase64()}`, 235);
  });
  await t.step("wrong, and nobody", async () => {
    const refused = [["alice@example.test", "Secret"], ["mallory@example.test", "secret"], [
      "alice",
      "secret",
    ]];
    for (const [user, word] of refused) {
      const { stdout } = await swaks(user!, word!);
      match(stdout, /535 5\.7\.8 User name or password is wrong/, user);
    }
  });
  await t.step("down", async () => {
    await dovecot[Symbol.asyncDispose]();
    const { stdout } = await swaks("dora@example.test", "secret");
    match(stdout, /454 4\.7\.0/);
    const { error } = await server.logged("plugin failed");
    match(String(error), /Dovecot at .*auth\.sock can't be reached/);
  });
  for (const word of ["secret", "pässword", btoa("\0alice@example.test\0secret")]) {
    equal(server.stderr.includes(word), false);
  }
});
