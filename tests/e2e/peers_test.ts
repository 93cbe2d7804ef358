/** Sending on to peers that misbehave, played by smtp-sink; and what the sender hears of it. */
import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import { makeFolder } from "./folder.ts";
import { untilMessages } from "./mailbox.ts";
import { relaying, submit, toPort } from "./relaying.ts";
import { readReport, type Report } from "./report.ts";
import { type LogLine, ServerProcess } from "./server.ts";
import { startSink } from "./sink.ts";
import { mailboxOf, writeSettings } from "./small_server.ts";

/** What smtp-sink is told to do, and what becomes of mail to it. */
const peers: Readonly<Record<string, readonly [options: string, outcome: string, status: string]>> = {
  "good": ["", "delivered", "2.0.0"],
  "O02 CONNECT refused for good": ["-f CONNECT", "deferred", "4.3.0"],
  "O02 CONNECT refused for now": ["-r CONNECT", "deferred", "4.3.0"],
  "CONNECT cut": ["-q CONNECT", "deferred", "4.4.2"],
  "O01 CONNECT 421": ["-Q CONNECT", "deferred", "4.0.0"],
  "EHLO refused, HELO will do": ["-f EHLO", "delivered", "2.0.0"],
  "EHLO and HELO refused": ["-f EHLO,HELO", "deferred", "4.3.0"],
  "EHLO cut": ["-q EHLO", "deferred", "4.4.2"],
  "MAIL refused for good": ["-f MAIL", "bounced", "5.3.0"],
  "MAIL refused for now": ["-r MAIL", "deferred", "4.3.0"],
  "MAIL cut": ["-q MAIL", "deferred", "4.4.2"],
  "O01 MAIL 421": ["-Q MAIL", "deferred", "4.0.0"],
  "O03 RCPT refused for good": ["-f RCPT", "bounced", "5.3.0"],
  "O03 RCPT refused for now": ["-r RCPT", "deferred", "4.3.0"],
  "RCPT cut": ["-q RCPT", "deferred", "4.4.2"],
  "DATA refused for good": ["-f DATA", "bounced", "5.3.0"],
  "DATA refused for now": ["-r DATA", "deferred", "4.3.0"],
  "DATA cut": ["-q DATA", "deferred", "4.4.2"],
  "the message refused for good": ["-f .", "bounced", "5.3.0"],
  "the message refused for now": ["-r .", "deferred", "4.3.0"],
  "O04 cut behind the final dot": ["-q .", "deferred", "4.4.2"],
  "O01 the message 421": ["-Q .", "deferred", "4.0.0"],
  "O04 QUIT cut": ["-q QUIT", "delivered", "2.0.0"],
  "QUIT refused": ["-f QUIT", "delivered", "2.0.0"],
  "no ESMTP": ["-e", "delivered", "2.0.0"],
  "a firewall that stars out the greeting": ["-P", "delivered", "2.0.0"],
  "no PIPELINING": ["-p", "delivered", "2.0.0"],
  "a slow one": ["-W .:1", "delivered", "2.0.0"],
};

Deno.test("O01 O02 O03 O04 smtp-sink's faults: delivered, deferred or bounced, and the sender hears of what failed", async () => {
  await using undo = new AsyncDisposableStack();
  const folder = undo.use(await makeFolder());
  const entries = Object.entries(peers);
  const sinks = await Promise.all(entries.map(async ([, [options]], i) => {
    const sink = await startSink(folder.at(`sink${i}`), options === "" ? [] : options.split(" "));
    return undo.use(sink);
  }));
  const route = Object.fromEntries(sinks.map(({ port }, i) => [`peer${i}.test`, toPort(port)]));
  const server = undo.use(
    await ServerProcess.start(await writeSettings(folder, relaying({ route }))),
  );
  const became = await Promise.all(entries.map(async ([name], i) => {
    const to = `bob@peer${i}.test`;
    await submit(server.port(), to, { subject: name });
    const isIts = (line: LogLine) => line["to"] === to;
    const line = await Promise.race(
      ["delivered", "deferred", "bounced"].map((event) => server.logged(event, isIts)),
    );
    return [name, [peers[name]![0], line.event, String(line["status"])]];
  }));
  deepEqual(Object.fromEntries(became), peers);
  const doubtful = await server.logged("possible duplicate");
  const cut = entries.findIndex(([, [options]]) => options === "-q .");
  equal(doubtful["host"], `[127.0.0.1]:${sinks[cut]!.port}`);
  ok(server.log.filter(({ event }) => event === "possible duplicate").length === 1);

  const failed = entries.flatMap(([subject, [, outcome]], i) =>
    outcome === "bounced" ? [{ subject, i }] : []
  );
  const reports = await Promise.all(
    (await untilMessages(mailboxOf(folder, "alice"), failed.length)).map(readReport),
  );
  for (const { subject, i } of failed) {
    const report = reports.find(({ returned }) => returned.includes(`Subject: ${subject}\n`));
    ok(report, `no report on "${subject}"`);
    checkReport(report, `bob@peer${i}.test`);
  }
  equal(await server.stop(), 0);
});

/** A report as RFC 3464 wants it, on one recipient who was refused with smtp-sink's words. */
function checkReport(report: Report, recipient: string): void {
  deepEqual(report.defects, []);
  deepEqual([report.type, report.reportType], ["multipart/report", "delivery-status"]);
  deepEqual(report.parts, ["text/plain", "message/delivery-status", "text/rfc822-headers"]);
  const { header, message, recipients } = report;
  equal(header["return-path"], "<>");
  equal(header["to"], "alice@example.test");
  equal(header["auto-submitted"], "auto-replied");
  ok(header["date"] && header["message-id"]);
  equal(message["reporting-mta"], "dns; mx.example.test");
  ok(message["arrival-date"]);
  equal(recipients.length, 1);
  const { "diagnostic-code": said, "last-attempt-date": when, ...rest } = recipients[0]!;
  deepEqual(rest, {
    "final-recipient": `rfc822; ${recipient}`,
    "action": "failed",
    "status": "5.3.0",
    "remote-mta": "dns; [127.0.0.1]",
  });
  match(said!, /^smtp; 500 5\.3\.0 Error: command failed$/);
  ok(when);
  ok(report.text.includes(recipient), report.text);
}
