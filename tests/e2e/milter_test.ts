/** Filters as Debian has them, with their own configuration: OpenDKIM signs and verifies, clamav-milter finds malware. */
import { match, ok, strictEqual as equal } from "node:assert/strict";
import { logins, mailboxes, testServer } from "../../server/testing/mod.ts";
import { keyFile } from "../plugins/authentication/rig.ts";
import { malware, startClamd } from "./clamd.ts";
import { RawClient } from "./client.ts";
import { type Folder, makeFolder } from "./folder.ts";
import { untilMessages } from "./mailbox.ts";
import { freePort, untilListening } from "./ports.ts";
import { spawn } from "./programs.ts";
import { postrider, ServerProcess } from "./server.ts";
import { mailboxOf, maildir, writeSettings } from "./small_server.ts";

interface Running extends AsyncDisposable {
  /** As its own configuration says it. */
  readonly socket: string;
}

/** Debian's configuration, with what a test machine has elsewhere. */
async function opendkim(folder: Folder, more: readonly string[]): Promise<Running> {
  const own = /^(?:Socket|PidFile|UserID|Syslog|SyslogSuccess|TrustAnchorFile)\b/;
  const debian = (await Deno.readTextFile("/etc/opendkim.conf")).split("\n").filter((line) =>
    !own.test(line)
  );
  const port = freePort();
  const socket = `inet:${port}@127.0.0.1`;
  const name = `opendkim-${port}.conf`;
  const config = await folder.write(name, [...debian, `Socket ${socket}`, ...more, ""].join("\n"));
  const child = spawn("/usr/sbin/opendkim", ["-f", "-x", config], {
    stdin: "null",
    stdout: "null",
    stderr: "null",
  });
  await untilListening(child, "opendkim", port);
  return { socket, [Symbol.asyncDispose]: () => kill(child) };
}

async function clamavMilter(folder: Folder, clamd: string, onInfected: string): Promise<Running> {
  const port = freePort();
  const socket = `inet:${port}@127.0.0.1`;
  const config = await folder.write(
    `clamav-milter-${port}.conf`,
    [
      "Foreground yes",
      `MilterSocket ${socket}`,
      `ClamdSocket unix:${clamd}`,
      `OnInfected ${onInfected}`,
      "RejectMsg Malware: %v",
      "AddHeader Replace",
      "",
    ].join("\n"),
  );
  const child = spawn("/usr/sbin/clamav-milter", ["-c", config], {
    stdin: "null",
    stdout: "null",
    stderr: "null",
  });
  await untilListening(child, "clamav-milter", port);
  return { socket, [Symbol.asyncDispose]: () => kill(child) };
}

/** libmilter takes five seconds to leave by itself. */
async function kill(child: Deno.ChildProcess): Promise<void> {
  child.kill("SIGKILL");
  await child.status;
}

const box = mailboxes(["example.org"]);
const alice = "alice@example.org";

for (const form of ["relaxed/simple", "simple/simple"]) {
  Deno.test(`milter: OpenDKIM signs what a user submits, and verifies it when it comes back: ${form}`, async () => {
    await using folder = await makeFolder();
    await using key = await keyFile("rsa");
    const keys = await folder.write("keys.txt", `s1._domainkey.example.org ${key.key.record}\n`);
    await using filter = await opendkim(folder, [
      "Domain example.org",
      "Selector s1",
      `KeyFile ${key.file}`,
      "RequireSafeKeys no",
      `Canonicalization ${form}`,
      `TestPublicKeys ${keys}`,
      "AlwaysAddARHeader yes",
    ]);
    await using server = await testServer({
      plugins: [logins(), { use: "milter", as: "opendkim", with: { address: filter.socket } }, box],
    });
    const headers = { From: `Alice <${alice}>`, Subject: "A  long subject ".repeat(8).trim() };
    const text = "Hello,\r\n \t\r\n.dots and  spaces \r\n\r\n\r\n";
    equal((await server.send({ user: alice, from: alice, to: alice, headers, text })).outcome, "accepted");
    const { content } = server.delivered[0]!;
    match(content, /^DKIM-Signature: v=1; a=rsa-sha256;[^]*?d=example\.org/m);

    const letter = content.slice(content.search(/^DKIM-Signature:/m));
    const verdicts = async (content: string) => {
      equal((await server.send({ to: alice, content })).outcome, "accepted");
      return /^Authentication-Results: (?:[^\r]|\r\n[ \t])*/m.exec(server.delivered.at(-1)!.content)?.[0] ??
        "";
    };
    match(
      await verdicts(letter),
      /^Authentication-Results: mx\.example\.org;[^]*dkim=pass[^]*header\.d=example\.org/,
    );
    match(await verdicts(letter.replace("Hello", "Hullo")), /dkim=fail/);
    const large = `${"x".repeat(76)}\r\n`.repeat(10_000);
    equal(
      (await server.send({ user: alice, from: alice, to: alice, headers, text: large })).outcome,
      "accepted",
    );
    const big = server.delivered.at(-1)!.content;
    match(await verdicts(big.slice(big.search(/^DKIM-Signature:/m))), /dkim=pass/);
  });
}

Deno.test("milter: clamav-milter refuses malware in its own words, and marks what is clean", async () => {
  await using folder = await makeFolder();
  await using clamd = await startClamd(folder);
  await using filter = await clamavMilter(folder, clamd.addresses[1], "Reject");
  await using server = await testServer({ plugins: [["milter", { address: filter.socket }], box] });
  equal((await server.send({ to: alice, headers: { "X-Virus-Status": "me" } })).outcome, "accepted");
  match(server.delivered[0]!.content, /^X-Virus-Status: Clean\r$/m);
  ok(!server.delivered[0]!.content.includes("X-Virus-Status: me"));
  const sent = await server.send({ to: alice, text: malware });
  match(`${sent.reply.code} ${sent.reply.text}`, /^550 .*Malware: Postrider\.Test/);
  equal(server.delivered.length, 1);
});

Deno.test("milter: in the server: what clamav-milter quarantines is held in the queue, and delivered once it is released", async () => {
  await using folder = await makeFolder();
  await using clamd = await startClamd(folder);
  await using filter = await clamavMilter(folder, clamd.addresses[1], "Quarantine");
  const config = await writeSettings(folder, {
    plugins: [{ use: "milter", as: "clamav-milter", with: { address: filter.socket } }, maildir],
  });
  await using server = await ServerProcess.start(config);
  using client = await RawClient.connect(server.port());
  await client.say("EHLO client.test");
  await client.envelope("bob@elsewhere.test", "alice@example.test");
  await client.say(`Subject: bad\r\n\r\n${malware}\r\n.`, 250);
  const queue = async () => {
    const { code, stdout, stderr } = await postrider(["queue", "list", "--json", "--config", config]);
    equal(code, 0, stderr);
    return JSON.parse(stdout) as { id: string; state: string }[];
  };
  const [held] = await queue();
  equal(held?.state, "held");
  const shown = await postrider(["queue", "show", held!.id, "--config", config]);
  match(shown.stdout, /held: clamav-milter: quarantined by clamav-milter/);
  equal((await postrider(["queue", "release", held!.id, "--config", config])).code, 0);
  const [released] = await untilMessages(mailboxOf(folder, "alice"), 1);
  ok(released!.toString().includes(malware));
});
