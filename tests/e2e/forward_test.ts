/** Forwarding to a real server, Postfix: what arrives there, and what comes back by the rewritten sender. */
import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import type { Buffer } from "node:buffer";
import { makeAuthority, makeCertificate } from "./certificate.ts";
import { RawClient } from "./client.ts";
import { type Folder, makeFolder } from "./folder.ts";
import { listMaildir, untilMessages } from "./mailbox.ts";
import { drawPorts, type Postfix, startPostfix } from "./postfix.ts";
import { submit } from "./relaying.ts";
import { readReport } from "./report.ts";
import { ServerProcess } from "./server.ts";
import { mailboxOf, maildir, writeSettings } from "./small_server.ts";

const boxes = ["new", "origin", "gateway", "returns"];

interface Pair extends AsyncDisposable {
  readonly server: ServerProcess;
  readonly postfix: Postfix;
  readonly folder: Folder;
}

/** Our server forwards, and sends everything else for strangers to Postfix; Postfix sends example.test's to us. */
async function open(): Promise<Pair> {
  await using undo = new AsyncDisposableStack();
  const folder = undo.use(await makeFolder());
  const authority = await makeAuthority(folder);
  const right = await authority.certify("127.0.0.1");
  const certificates = { right, impostor: right, stranger: await makeCertificate(folder, "mx.remote.test") };
  const ports = drawPorts();
  await folder.write("srs.keys", `- ${crypto.randomUUID()}\n`);
  const here = { host: "127.0.0.1", port: ports.right, tls: "required" };
  const forward = {
    use: "forward",
    with: {
      srs: { domain: "example.test", keys: "srs.keys" },
      rules: {
        "fred@example.test": { to: "fred@new.remote.test", keep: true },
        "gone@example.test": "gone@returns.remote.test",
        "refused@example.test": "refused@unknown.remote.test",
        "gateway.remote.test": { hosts: [{ ...here, port: 1 }, here] },
      },
    },
  };
  const outbound = {
    retry: ["1h"],
    authorities: authority.cert,
    route: { "*": { host: "127.0.0.1", port: ports.clear } },
  };
  const config = await writeSettings(folder, { plugins: [forward, maildir], outbound });
  const server = undo.use(await ServerProcess.start(config));
  const postfix = undo.use(
    await startPostfix({
      folder,
      ports,
      certificates,
      boxes,
      returns: "returns.remote.test",
      ours: server.port(),
    }),
  );
  const all = undo.move();
  return { server, postfix, folder, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

const from = "sam@origin.remote.test";
const field = (bytes: Buffer, name: string) =>
  new RegExp(`^${name}: ?(.*)$`, "mi").exec(bytes.toString("latin1"))?.[1];

Deno.test("forward to Postfix and back", async (test) => {
  await using pair = await open();
  await test.step("a copy arrives with a sender of ours and Delivered-To; the one that is kept has the original sender", () =>
    arrives(pair));
  await test.step("Postfix takes it and returns it later: the bounce goes through SRS to the original sender", () =>
    returned(pair));
  await test.step("Postfix refuses it at once: our report goes to the original sender", () => refused(pair));
  await test.step("D07 what Postfix sends back here is a loop, which ends", () => loops(pair));
  await test.step("a whole domain goes to the next host that is up, under TLS, as it is", () =>
    gateway(pair));
  equal(await pair.server.stop(), 0);
});

async function arrives({ server, postfix, folder }: Pair): Promise<void> {
  await submit(server.port(), "Fred+lists@example.test", { from });
  const [copy] = await untilMessages(postfix.maildir("new"), 1);
  match(
    field(copy!, "Return-Path")!,
    /^<SRS0=[a-z2-7]{8}=[a-z2-7]{2}=origin\.remote\.test=sam@example\.test>$/,
  );
  equal(field(copy!, "X-Original-To"), "fred@new.remote.test");
  match(copy!.toString("latin1"), /^Delivered-To: Fred\+lists@example\.test$/m);
  const [kept] = await untilMessages(mailboxOf(folder, "fred"), 1);
  equal(field(kept!, "Return-Path"), `<${from}>`);
  equal(kept!.toString("latin1").match(/^Delivered-To: /gm)!.length, 1);
}

async function returned({ server, postfix, folder }: Pair): Promise<void> {
  await submit(server.port(), "gone@example.test", { from, subject: "to nobody" });
  const [bounce] = await untilMessages(postfix.maildir("origin"), 1);
  const { message, recipients: [gone] } = await readReport(bounce!);
  equal(message["reporting-mta"], "dns; mx.remote.test", "it is Postfix' report");
  equal(gone!["action"], "failed");
  equal(gone!["final-recipient"], "rfc822; gone@returns.remote.test");
  match(bounce!.toString("latin1"), /^Subject: to nobody$/m);
  equal(field(bounce!, "Return-Path"), "<>");
  const came = await server.logged(
    "message accepted",
    (line) => line["from"] === "" && `${line["to"]}`.startsWith("SRS0="),
  );
  equal((came["by"] as string[])[0], "forward");
  deepEqual(await listMaildir(mailboxOf(folder, "gone")), []);

  // Made up, or one letter off: nothing.
  using client = await RawClient.connect(server.port());
  await client.say("EHLO client.test");
  await client.say("MAIL FROM:<>");
  const rewritten = `${came["to"]}`;
  await client.say(`RCPT TO:<${rewritten.replace("=sam@", "=victim@")}>`, 550);
  await client.say("RCPT TO:<SRS0=aaaaaaaa=aa=elsewhere.test=victim@example.test>", 550);
  await client.say(`RCPT TO:<${rewritten.toUpperCase()}>`);
}

async function refused({ server, postfix }: Pair): Promise<void> {
  const before = (await listMaildir(postfix.maildir("origin"))).length;
  await submit(server.port(), "refused@example.test", { from });
  const reports = await untilMessages(postfix.maildir("origin"), before + 1);
  const found = await Promise.all(reports.map(readReport));
  const ours = found.find(({ message }) => message["reporting-mta"] === "dns; mx.example.test")!;
  equal(ours.recipients[0]!["final-recipient"], "rfc822; refused@example.test");
  match(ours.recipients[0]!["diagnostic-code"]!, /^smtp; 550 5\.1\.1 /);
}

async function loops({ server, postfix }: Pair): Promise<void> {
  // As a server does that forwards everything back: the copy that arrived there comes again.
  const [copy] = await untilMessages(postfix.maildir("new"), 1);
  using client = await RawClient.connect(server.port());
  await client.say("EHLO client.test");
  await client.envelope(field(copy!, "Return-Path")!.slice(1, -1), "fred+lists@example.test");
  const content = copy!.toString("latin1").replaceAll("\n", "\r\n");
  const { lines } = await client.say(`${content}.`, 550);
  match(lines[0]!, /^5\.4\.6 /);
  equal((await listMaildir(postfix.maildir("new"))).length, 1);
}

async function gateway({ server, postfix }: Pair): Promise<void> {
  await submit(server.port(), "x@gateway.remote.test", { from });
  const [arrived] = await untilMessages(postfix.maildir("gateway"), 1);
  equal(field(arrived!, "Return-Path"), `<${from}>`);
  ok(arrived!.includes("(using TLSv1.3 with cipher"));
  const { host, tls } = await server.logged("delivered", ({ to }) => to === "x@gateway.remote.test");
  match(`${host} ${tls}`, /^\[127\.0\.0\.1\]:\d{4,5} TLSv1\.3$/);
}
