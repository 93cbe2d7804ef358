/** Mail to a real server and back: Postfix. */
import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import { Buffer } from "node:buffer";
import { makeAuthority, makeCertificate } from "./certificate.ts";
import { RawClient, stuffed } from "./client.ts";
import { type Folder, makeFolder } from "./folder.ts";
import { untilMessages } from "./mailbox.ts";
import { drawPorts, type Ports, type Postfix, startPostfix } from "./postfix.ts";
import { relaying, submit } from "./relaying.ts";
import { readReport } from "./report.ts";
import { type LogLine, ServerProcess } from "./server.ts";
import { mailboxOf, writeSettings } from "./small_server.ts";

/** Both servers, each of which sends to the other. */
class Pair implements AsyncDisposable {
  private constructor(
    readonly server: ServerProcess,
    readonly postfix: Postfix,
    readonly ports: Ports,
    readonly folder: Folder,
    readonly undo: AsyncDisposableStack,
  ) {}

  /** @param outbound How mail goes to Postfix. */
  static async open(outbound: (ports: Ports) => Record<string, unknown>): Promise<Pair> {
    await using undo = new AsyncDisposableStack();
    const folder = undo.use(await makeFolder());
    const authority = await makeAuthority(folder);
    const certificates = {
      right: await authority.certify("127.0.0.1"),
      impostor: await authority.certify("mx.elsewhere.test"),
      stranger: await makeCertificate(folder, "mx.remote.test"), // for 127.0.0.1, too
    };
    const ports = drawPorts();
    const config = await writeSettings(
      folder,
      relaying({ authorities: authority.cert, ...outbound(ports) }),
    );
    const server = undo.use(await ServerProcess.start(config));
    const postfix = undo.use(await startPostfix({ folder, ports, certificates, boxes, ours: server.port() }));
    return new Pair(server, postfix, ports, folder, undo.move());
  }

  /** A user's Maildir at our server. */
  mailbox(user: string): string {
    return mailboxOf(this.folder, user);
  }

  /** What became of mail to this recipient at the first attempt. */
  outcome(to: string): Promise<LogLine> {
    const isIts = (line: LogLine) => line["to"] === to;
    return Promise.race(
      ["delivered", "deferred", "bounced"].map((event) => this.server.logged(event, isIts)),
    );
  }

  async delivered(to: string): Promise<LogLine> {
    const line = await this.outcome(to);
    equal(line.event, "delivered", `${this.server.stderr}\n${await this.postfix.log()}`);
    return line;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.undo.disposeAsync();
  }
}

const host = "127.0.0.1";
const boxes = ["clear", "none", "may", "may-impostor", "must", "many", "utf8", "large", "dsn", "back"];

Deno.test("Postfix as a next hop, and as a client", async (test) => {
  await using pair = await Pair.open(({ clear, right, impostor, stranger }) => ({
    route: {
      "*": { host, port: right },
      "clear.remote.test": { host, port: clear },
      "none.remote.test": { host, port: right, tls: "none" },
      "may-impostor.remote.test": { host, port: impostor },
      "must.remote.test": { host, port: right, tls: "required" },
      "must-offer.remote.test": { host, port: clear, tls: "required" },
      "must-impostor.remote.test": { host, port: impostor },
      "must-stranger.remote.test": { host, port: stranger, tls: "required" },
    },
    tls: { "must-impostor.remote.test": "required" },
  }));
  await test.step("O05 Postfix as next hop: in the clear, with TLS that may be, and with TLS that must be", () =>
    policies(pair));
  await test.step("Postfix as next hop: thirty recipients are one message; SMTPUTF8; 20 MB, byte for byte", () =>
    contents(pair));
  await test.step("N02 DSN parameters travel to Postfix, and its report of success travels back to Alice", () =>
    reports(pair));
  await test.step("Postfix as a client: its queue delivers to us, and what we refuse it returns", () =>
    asClient(pair));
  equal(await pair.server.stop(), 0);
});

async function policies(pair: Pair): Promise<void> {
  const expected: Record<string, readonly string[]> = {
    "clear": ["delivered", "2.0.0", "in the clear"],
    "none": ["delivered", "2.0.0", "in the clear"],
    "may": ["delivered", "2.0.0", "encrypted"],
    "may-impostor": ["delivered", "2.0.0", "encrypted"],
    "must": ["delivered", "2.0.0", "encrypted"],
    "must-offer": ["deferred", "4.7.5", "in the clear"],
    "must-impostor": ["deferred", "4.7.5", "in the clear"],
    "must-stranger": ["deferred", "4.7.5", "in the clear"],
  };
  const became = await Promise.all(
    Object.keys(expected).map(async (name) => {
      const recipient = `bob@${name}.remote.test`;
      await submit(pair.server.port(), recipient, { subject: name });
      const { event, status, tls } = await pair.outcome(recipient);
      return [name, [event, status, tls === undefined ? "in the clear" : "encrypted"]];
    }),
  );
  deepEqual(Object.fromEntries(became), expected);
  for (const [name, [event, , how]] of Object.entries(expected)) {
    if (event !== "delivered") continue;
    const [bytes] = await untilMessages(pair.postfix.maildir(name), 1);
    const isEncrypted = bytes!.includes("(using TLSv1.3 with cipher");
    equal(isEncrypted ? "encrypted" : "in the clear", how, name);
  }
}

async function contents(pair: Pair): Promise<void> {
  const { server, postfix } = pair;
  const thirty = Array.from({ length: 30 }, (_, i) => `user${i}@many.remote.test`);
  await submit(server.port(), thirty);
  const many = await untilMessages(postfix.maildir("many"), 30);
  const ids = many.map((bytes) =>
    /by mx\.remote\.test \(Postfix\) with ESMTPS id (\S+)/.exec(bytes.toString("latin1"))?.[1]
  );
  equal(new Set(ids).size, 1, "one transaction");
  const names = many.map((bytes) => /^X-Original-To: (.*)$/m.exec(bytes.toString("latin1"))![1]);
  deepEqual(names.sort(), thirty.toSorted());

  await submit(server.port(), "jürgen@utf8.remote.test", { mailParams: "SMTPUTF8", subject: "Grüße" });
  await pair.delivered("jürgen@utf8.remote.test");
  const [utf8] = await untilMessages(postfix.maildir("utf8"), 1);
  const foreign = utf8!.toString("utf8");
  match(foreign, /^Subject: Grüße$/m);
  match(foreign, /^X-Original-To: jürgen@utf8\.remote\.test$/m);
  match(foreign, /with UTF8SMTPS? id/);

  const content = Buffer.from(
    `Subject: large\r\n\r\n${".0123456789 and so on until the line is long\r\n".repeat(450_000)}`,
  );
  ok(content.length > 20e6);
  using client = await RawClient.connect(server.port());
  await client.say("EHLO client.test");
  await client.envelope("alice@example.test", "large@large.remote.test");
  await client.send(stuffed(content));
  await client.expect(250);
  await pair.delivered("large@large.remote.test");
  const [arrived] = await untilMessages(postfix.maildir("large"), 1);
  // Postfix adds to the header what is missing there.
  const body = (bytes: Buffer, emptyLine: string) =>
    bytes.subarray(bytes.indexOf(emptyLine)).toString("latin1");
  ok(body(arrived!, "\n\n") === body(content, "\r\n\r\n").replaceAll("\r\n", "\n"));
}

async function reports(pair: Pair): Promise<void> {
  await submit(pair.server.port(), "bob@dsn.remote.test", {
    mailParams: "RET=HDRS ENVID=QQ314159+2Bx",
    rcptParams: "NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;bob+2Bold@elsewhere.test",
  });
  const [bytes, another] = await untilMessages(pair.mailbox("alice"), 1);
  ok(another === undefined, "ours says nothing: Postfix does");
  const { message, recipients: [bob], reportType } = await readReport(bytes!);
  equal(reportType, "delivery-status");
  equal(message["reporting-mta"], "dns; mx.remote.test");
  equal(message["original-envelope-id"], "QQ314159+x");
  equal(bob!["original-recipient"], "rfc822;bob+old@elsewhere.test");
  equal(bob!["action"], "delivered");
}

async function asClient(pair: Pair): Promise<void> {
  const { server } = pair;
  // By way of us to Postfix, which sends it back to us, for one of our own.
  using client = await RawClient.connect(pair.ports.clear);
  await client.say("EHLO client.test");
  const recipients = ["carol@example.test", "dave@example.test", "erin@example.test"];
  await client.envelope("bob@back.remote.test", ...recipients);
  await client.say("Subject: from Postfix\r\n\r\n..dotted\r\nHello.\r\n.");
  const [bytes] = await untilMessages(pair.mailbox("carol"), 1);
  const text = bytes!.toString("latin1");
  match(
    text,
    /^Return-Path: <bob@back\.remote\.test>\nDelivered-To: carol@example\.test\nReceived: from mx\.remote\.test /,
  );
  ok(text.endsWith("\n\n.dotted\nHello.\n"), text);
  const accepted = await server.logged("message accepted", ({ from }) => from === "bob@back.remote.test");
  deepEqual((accepted["to"] as string[]).toSorted(), recipients);
  // A name that no mailbox can have is refused, and Postfix tells the sender, at its own.
  await client.envelope("bob@back.remote.test", '".hidden"@example.test');
  await client.say("Subject: refused\r\n\r\nHello.\r\n.");
  const [returned] = await untilMessages(pair.postfix.maildir("back"), 1);
  const { recipients: [hidden] } = await readReport(returned!);
  equal(hidden!["status"], "5.1.1");
}
