/** A mailing list with members at a real server, Postfix: what arrives there, and what comes back. */
import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import type { Buffer } from "node:buffer";
import { makeCertificate } from "./certificate.ts";
import { RawClient } from "./client.ts";
import { makeFolder } from "./folder.ts";
import { listMaildir, untilMessages } from "./mailbox.ts";
import { drawPorts, startPostfix } from "./postfix.ts";
import { readReport } from "./report.ts";
import { ServerProcess } from "./server.ts";
import { mailboxOf, maildir, writeSettings } from "./small_server.ts";

const team = "team@example.test";
const field = (bytes: Buffer, name: string) =>
  new RegExp(`^${name}: ?(.*?)\r?$`, "mi").exec(bytes.toString("latin1"))?.[1];

Deno.test("lists: to Postfix and back: the list's fields, senders that name their members, bounces to the owner", async () => {
  await using undo = new AsyncDisposableStack();
  const folder = undo.use(await makeFolder());
  const certificate = await makeCertificate(folder, "mx.example.test");
  const certificates = { right: certificate, impostor: certificate, stranger: certificate };
  const ports = drawPorts();
  await folder.write(
    "team.yaml",
    "- alice@example.test\n- carol@in.remote.test\n- gone@returns.remote.test\n",
  );
  const list = {
    file: "team.yaml",
    owners: ["boss@example.test"],
    verp: true,
    prefix: "[team]",
    allow: ["*@in.remote.test"],
  };
  const plugins = [{ use: "lists", with: { lists: { [team]: list } } }, maildir];
  const outbound = { route: { "*": { host: "127.0.0.1", port: ports.clear } } };
  const config = await writeSettings(folder, { plugins, outbound });
  const server = undo.use(await ServerProcess.start(config));
  const returns = "returns.remote.test";
  const postfix = undo.use(
    await startPostfix({
      folder,
      ports,
      certificates,
      boxes: ["in", "returns"],
      returns,
      ours: server.port(),
    }),
  );
  using client = await RawClient.connect(server.port());
  await client.say("EHLO client.test");
  const say = async (from: string, code: number, ...more: string[]) => {
    await client.envelope(from, team);
    await client.say(
      [`From: ${from}`, `To: ${team}`, "Subject: hello", ...more, "", "Hello.", "."].join("\r\n"),
      code,
    );
  };
  await say("stranger@elsewhere.test", 550);
  await say("alice@example.test", 250);

  const [there] = await untilMessages(postfix.maildir("in"), 1);
  equal(field(there!, "Return-Path"), "<team-bounces+carol=in.remote.test@example.test>");
  equal(field(there!, "List-Id"), "<team.example.test>");
  equal(field(there!, "Subject"), "[team] hello");
  equal(field(there!, "X-Original-To"), "carol@in.remote.test");
  const [here] = await untilMessages(mailboxOf(folder, "alice"), 1);
  equal(field(here!, "Return-Path"), "<team-bounces@example.test>");

  const [bounce] = await untilMessages(mailboxOf(folder, "boss"), 1);
  const { message, recipients: [gone] } = await readReport(bounce!);
  equal(message["reporting-mta"], "dns; mx.remote.test", "it is Postfix' report");
  equal(gone!["final-recipient"], "rfc822; gone@returns.remote.test");
  ok(bounce!.toString("latin1").includes("team-bounces+gone=returns.remote.test@example.test"));

  // What comes back from a member's server to the list is a loop, which ends.
  await client.envelope("carol@in.remote.test", team);
  const { lines } = await client.say(`${there!.toString("latin1").replaceAll("\n", "\r\n")}.`, 550);
  match(lines[0]!, /^5\.4\.6 /);
  deepEqual((await listMaildir(postfix.maildir("in"))).length, 1);
  equal(await server.stop(), 0);
});
