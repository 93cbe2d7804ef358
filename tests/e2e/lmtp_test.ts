/** Mail handed to a real mailbox server by LMTP: Dovecot, over its Unix socket and over TCP. */
import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import { RawClient } from "./client.ts";
import { type Dovecot, startDovecot } from "./dovecot.ts";
import { makeFolder } from "./folder.ts";
import { untilMessages } from "./mailbox.ts";
import { relay, submit } from "./relaying.ts";
import { readReport } from "./report.ts";
import { type LogLine, ServerProcess } from "./server.ts";
import { mailboxOf, maildir, writeSettings } from "./small_server.ts";

const users = { "ann@boxes.test": 100_000_000, "ben@boxes.test": 100_000_000, "full@boxes.test": 200 };

interface Pair extends AsyncDisposable {
  readonly server: ServerProcess;
  readonly dovecot: Dovecot;
  /** A user's Maildir at Dovecot. */
  box(user: string): string;
  /** A user's Maildir at our server. */
  own(user: string): string;
}

/** @param way What of Dovecot's the plugin is told. */
async function open(way: (lmtp: Dovecot["lmtp"]) => Record<string, unknown>): Promise<Pair> {
  await using undo = new AsyncDisposableStack();
  const folder = undo.use(await makeFolder());
  await Deno.chmod(folder.path, 0o755); // Dovecot runs as another than root
  const mail = folder.at("dovecot");
  const dovecot = undo.use(await startDovecot(mail, users));
  const lmtp = { use: "lmtp", with: { domains: ["boxes.test"], ...way(dovecot.lmtp) } };
  const plugins = [relay, lmtp, maildir];
  const config = await writeSettings(folder, { plugins, outbound: { retry: ["1h"] } });
  const server = undo.use(await ServerProcess.start(config));
  const all = undo.move();
  return {
    server,
    dovecot,
    box: (user) => `${mail}/boxes.test/${user}`,
    own: (user) => mailboxOf(folder, user),
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

const outcome = (server: ServerProcess, to: string): Promise<LogLine> =>
  Promise.race(
    ["delivered", "deferred", "bounced"].map((event) => server.logged(event, (line) => line["to"] === to)),
  );

Deno.test("Dovecot by LMTP: three recipients, three outcomes: kept, full for now, unknown for good", async () => {
  await using pair = await open(({ path }) => ({ path }));
  const { server, dovecot } = pair;
  const to = ["ann+lists@boxes.test", "full@boxes.test", "nobody@boxes.test", "ben@boxes.test"];
  await submit(server.port(), to, { subject: "for each" });
  const became = await Promise.all(to.map((one) => outcome(server, one)));
  deepEqual(became.map(({ event, status, host }) => [event, status, host]), [
    ["delivered", "2.0.0", dovecot.lmtp.path],
    ["deferred", "4.2.2", dovecot.lmtp.path],
    ["bounced", "5.1.1", dovecot.lmtp.path],
    ["delivered", "2.0.0", dovecot.lmtp.path],
  ], `${server.stderr}\n${dovecot.said}`);
  const [ann] = await untilMessages(pair.box("ann"), 1);
  match(ann!.toString(), /^Return-Path: <alice@example\.test>\nReceived: from mx\.example\.test/);
  match(ann!.toString(), /^Subject: for each$/m);
  const fetched = await dovecot.fetchAll(["ben@boxes.test"]);
  match(fetched.get("ben@boxes.test")![0]!.toString(), /^Subject: for each\r$/m);
  const [report] = await untilMessages(pair.own("alice"), 1);
  const { recipients } = await readReport(report!);
  deepEqual(recipients.map((one) => [one["final-recipient"], one["action"], one["status"]]), [
    ["rfc822; nobody@boxes.test", "failed", "5.1.1"],
  ]);
  equal(await server.stop(), 0);
});

Deno.test("Dovecot by LMTP over TCP: one connection for many messages; a large one, byte for byte; a report of success", async () => {
  await using pair = await open(({ port }) => ({ host: "127.0.0.1", port }));
  const { server, dovecot } = pair;
  for (let n = 0; n < 5; n++) {
    await submit(server.port(), "ann@boxes.test", { subject: `number ${n}` });
    await server.logged(
      "delivered",
      () => server.log.filter(({ event }) => event === "delivered").length > n,
    );
  }
  equal((await untilMessages(pair.box("ann"), 5)).length, 5);
  const sessions = dovecot.said.match(/lmtp\(\d+\): Info: Connect from/g) ?? [];
  equal(sessions.length, 1, dovecot.said);

  const body = ".dotted, and so on until the line is long enough\r\n".repeat(60_000);
  using client = await RawClient.connect(server.port());
  await client.say("EHLO client.test");
  await client.envelope("alice@example.test", "ben@boxes.test");
  await client.say(`Subject: large\r\n\r\n${body.replaceAll(/^\./gm, "..")}.`);
  const { event } = await outcome(server, "ben@boxes.test");
  equal(event, "delivered", `${server.stderr}\n${dovecot.said}`);
  const [large] = await untilMessages(pair.box("ben"), 1);
  const text = large!.toString("latin1");
  ok(text.slice(text.indexOf("\n\n") + 2) === body.replaceAll("\r\n", "\n"));

  await submit(server.port(), "ben@boxes.test", { rcptParams: "NOTIFY=SUCCESS" });
  const [report] = await untilMessages(pair.own("alice"), 1);
  const { recipients: [ben] } = await readReport(report!);
  equal(ben!["action"], "delivered", "it is in the mailbox, not only on its way");
});
