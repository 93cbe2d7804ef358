import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import fc from "fast-check";
import { type DsnParts, type DsnRecipient, makeDsn, printable } from "../../server/message/dsn.ts";
import { changeTexts, dsnTexts } from "../../server/message/dsn_text.ts";
import { readHeader } from "../../server/message/header.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const at = Date.UTC(2026, 10, 21, 22);

const failed: DsnRecipient = {
  address: "bob@there.example",
  action: "failed",
  status: "5.1.1",
  reply: "550 5.1.1 No such user",
  host: "mx.there.example[192.0.2.1]:25",
  lastAttempt: at,
};

function parts(more: Partial<DsnParts> = {}): DsnParts {
  return {
    kind: "failure",
    hostname: "mx.here.example",
    to: "alice@here.example",
    now: at,
    messageId: "<1@mx.here.example>",
    boundary: "=_b",
    arrival: at - 3_600_000,
    utf8: false,
    recipients: [failed],
    original: { part: "headers", octets: encoder.encode("Subject: hello\r\nX: y\r\n") },
    texts: dsnTexts,
    ...more,
  };
}

interface Part {
  readonly type: string;
  readonly encoding: string;
  readonly body: string;
}

/** Reads a report as a mail program does. */
function read(
  dsn: Uint8Array<ArrayBuffer>,
): { header: ReturnType<typeof readHeader>; parts: Part[]; text: string } {
  const text = decoder.decode(dsn);
  const header = readHeader(dsn);
  const boundary = /boundary="([^"]+)"/.exec(header.get("content-type")!)![1]!;
  const pieces = text.split(`\r\n--${boundary}`);
  equal(pieces.at(-1), "--\r\n", "the last boundary closes");
  const found = pieces.slice(1, -1).map((piece): Part => {
    const octets = encoder.encode(piece.slice(2));
    const head = readHeader(octets);
    return {
      type: head.get("content-type")!,
      encoding: head.get("content-transfer-encoding")!,
      body: decoder.decode(octets.subarray(head.end)),
    };
  });
  return { header, parts: found, text };
}

/** The fields of the machine's part, by group. */
function fields(body: string): Record<string, string>[] {
  return body.trimEnd().split("\r\n\r\n").map((group) => {
    const header = readHeader(encoder.encode(`${group}\r\n\r\n`));
    return Object.fromEntries(header);
  });
}

Deno.test("DSN: three parts, and a header that nobody answers", () => {
  const { header, parts: [human, status, original], text } = read(makeDsn(parts()));
  equal(header.get("from"), "Mail Delivery System <MAILER-DAEMON@mx.here.example>");
  equal(header.get("to"), "<alice@here.example>");
  equal(header.get("auto-submitted"), "auto-replied");
  equal(header.get("message-id"), "<1@mx.here.example>");
  equal(header.get("date"), "Sat, 21 Nov 2026 22:00:00 +0000");
  equal(header.get("mime-version"), "1.0");
  equal(header.get("content-type"), 'multipart/report; report-type=delivery-status; boundary="=_b"');
  deepEqual([human?.type, status?.type, original?.type], [
    "text/plain; charset=utf-8",
    "message/delivery-status",
    "text/rfc822-headers",
  ]);
  match(
    human!.body,
    /<bob@there\.example>: mx\.there\.example\[192\.0\.2\.1\]:25 said\r\n {4}550 5\.1\.1 No such user/,
  );
  equal(original?.body, "Subject: hello\r\nX: y\r\n");
  ok(!/[^\r]\n/.test(text) && !text.includes("\r\r"), "CRLF only");
});

Deno.test("N02: the machine's part has all the fields of RFC 3464", () => {
  const { parts: [, status] } = read(makeDsn(parts({
    envid: "QQ314159",
    recipients: [
      { ...failed, orcpt: { type: "rfc822", address: "Robert@there.example" } },
      {
        ...failed,
        address: "carol@there.example",
        action: "delayed",
        status: "4.4.1",
        reply: "Connection refused",
        retryUntil: at + 86_400_000,
      },
    ],
  })));
  deepEqual(fields(status!.body), [
    {
      "Original-Envelope-Id": "QQ314159",
      "Reporting-MTA": "dns; mx.here.example",
      "Arrival-Date": "Sat, 21 Nov 2026 21:00:00 +0000",
    },
    {
      "Original-Recipient": "rfc822; Robert@there.example",
      "Final-Recipient": "rfc822; bob@there.example",
      "Action": "failed",
      "Status": "5.1.1",
      "Remote-MTA": "dns; mx.there.example",
      "Diagnostic-Code": "smtp; 550 5.1.1 No such user",
      "Last-Attempt-Date": "Sat, 21 Nov 2026 22:00:00 +0000",
    },
    {
      "Final-Recipient": "rfc822; carol@there.example",
      "Action": "delayed",
      "Status": "4.4.1",
      "Remote-MTA": "dns; mx.there.example",
      "Diagnostic-Code": "x-postrider; Connection refused",
      "Last-Attempt-Date": "Sat, 21 Nov 2026 22:00:00 +0000",
      "Will-Retry-Until": "Sun, 22 Nov 2026 22:00:00 +0000",
    },
  ]);
});

Deno.test("DSN: the whole message comes back octet by octet", () => {
  const octets = new Uint8Array([
    ...encoder.encode("Subject: x\r\n\r\nno end of line \0 "),
    0xff,
    0x0d,
    0x0a,
    0x2d,
    0x2d,
  ]);
  const dsn = makeDsn(parts({ original: { part: "message", octets } }));
  const begin = decoder.decode(dsn).indexOf(
    "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n",
  );
  ok(begin > 0);
  const end = dsn.length - "\r\n--=_b--\r\n".length;
  deepEqual([...dsn.subarray(end - octets.length, end)], [...octets]);
  equal(readHeader(dsn).get("content-transfer-encoding"), "8bit");
});

Deno.test("DSN: an original that can't be read any more is left out", () => {
  const { original: _, ...rest } = parts();
  equal(read(makeDsn(rest)).parts.length, 2);
});

Deno.test("RFC 6533: under SMTPUTF8 addresses and replies stand as they are", () => {
  const recipients = [{ ...failed, address: "björn@straße.example", reply: "550 5.1.1 Gibt’s nicht" }];
  const octets = encoder.encode("Subject: Grüße\r\n");
  const { header, parts: found } = read(
    makeDsn(parts({ utf8: true, recipients, original: { part: "headers", octets } })),
  );
  match(header.get("content-type")!, /report-type=global-delivery-status/);
  deepEqual(found.map(({ type }) => type), [
    "text/plain; charset=utf-8",
    "message/global-delivery-status",
    "message/global-headers",
  ]);
  const [, recipient] = fields(found[1]!.body);
  equal(recipient!["Final-Recipient"], "utf-8; björn@straße.example");
  equal(recipient!["Diagnostic-Code"], "smtp; 550 5.1.1 Gibt’s nicht");
});

Deno.test("RFC 6533: without SMTPUTF8 the machine's part is ASCII", () => {
  const recipients = [{ ...failed, address: "björn@x.example", reply: "550 Gibt’s nicht" }];
  const { parts: found } = read(makeDsn(parts({ recipients })));
  equal(found[1]?.type, "message/delivery-status");
  const [, recipient] = fields(found[1]!.body);
  equal(recipient!["Final-Recipient"], "utf-8; bj\\x{F6}rn@x.example");
  equal(recipient!["Diagnostic-Code"], "smtp; 550 Gibt\\x{2019}s nicht");
});

Deno.test("DSN: ASCII under SMTPUTF8 is the old form, which everybody reads", () => {
  match(decoder.decode(makeDsn(parts({ utf8: true }))), /report-type=delivery-status/);
});

Deno.test("O08: long replies are cut at 1 KB, and none begins a field or a part", () => {
  const evil = "550 no\r\nX-Evil: yes\r\n\r\n--=_b\r\n\0\x1b[2J\u202e" + "x".repeat(5000);
  const { parts: found, header } = read(
    makeDsn(parts({ recipients: [{ ...failed, reply: evil, host: "a\r\nB: c" }] })),
  );
  equal(found.length, 3);
  equal(header.get("x-evil"), undefined);
  const [, recipient] = fields(found[1]!.body);
  equal(recipient!["X-Evil"], undefined);
  ok(found[0]!.body.includes("a B: c said"), "the host's name in people's part, too");
  ok(recipient!["Diagnostic-Code"]!.length < 1200);
  ok(found[1]!.body.split("\r\n").every((line) => line.length < 998));
});

Deno.test("O08: a reply of nothing but blanks is no line that is too long for mail", () => {
  for (const blanks of [" ".repeat(1000), "\n".repeat(600), " \r\n ".repeat(250)]) {
    const dsn = decoder.decode(makeDsn(parts({ recipients: [{ ...failed, reply: `550 a${blanks}b` }] })));
    for (const line of dsn.split("\r\n")) ok(line.length <= 998, `${line.length}`);
  }
});

Deno.test("O08: whatever a peer says and whoever it was, a report has its three parts and lines that mail can have", () => {
  const text = fc.string({ unit: "binary", maxLength: 1500 });
  fc.assert(fc.property(text, text, text, fc.boolean(), (reply, envid, subject, utf8) => {
    const dsn = makeDsn(parts({
      utf8,
      envid: printable(envid, false),
      recipients: [{ ...failed, reply }],
      original: { part: "headers", octets: encoder.encode(`Subject: ${printable(subject, true)}\r\n`) },
    }));
    const { parts: found } = read(dsn);
    equal(found.length, 3);
    equal(fields(found[1]!.body).length, 2);
    for (const line of found[1]!.body.split("\r\n")) ok(encoder.encode(line).length <= 998);
  }));
});

Deno.test("templates: what an operator writes, in any language", () => {
  const texts = changeTexts({
    failure: {
      subject: "Unzustellbar: Ihre Nachricht über {hostname}",
      text: "Grüße an {sender} (seit {age})\n{recipients}\n",
    },
  });
  if (typeof texts === "string") throw new Error(texts);
  const { header, parts: [human] } = read(makeDsn(parts({ texts })));
  const words = header.get("subject")!.split(" ").map((word) => /^=\?utf-8\?B\?(.*)\?=$/.exec(word)![1]!);
  equal(
    words.map((word) => decoder.decode(Uint8Array.fromBase64(word))).join(""),
    "Unzustellbar: Ihre Nachricht über mx.here.example",
  );
  equal(human?.encoding, "quoted-printable");
  match(human!.body, /^Gr=C3=BC=C3=9Fe an alice@here\.example \(seit 1 hour\)\r\n {2}<bob@there\.example>/);
  equal(changeTexts({}) instanceof Object, true);
});

Deno.test("templates: what asks for something there is not is refused, with what there is", () => {
  equal(
    changeTexts({ delay: { text: "Hello {recipient}" } }),
    '"delay" asks for {recipient}, which there is not: the placeholders are {hostname} {sender} {recipients} {arrived} {age} {until}',
  );
  match(String(changeTexts({ failure: { subject: "two\nlines" } })), /must be one line/);
  match(String(changeTexts({ failure: { subject: "{recipients}" } })), /no room/);
});

Deno.test("templates: a reply that looks like a placeholder stays a reply", () => {
  const { parts: [human] } = read(
    makeDsn(parts({ recipients: [{ ...failed, reply: "550 {sender} {hostname}" }] })),
  );
  match(human!.body, /550 \{sender\} \{hostname\}/);
});

Deno.test("success: who has it, and who has it as far as we know", () => {
  const { parts: [human], header } = read(makeDsn(parts({
    kind: "success",
    recipients: [
      { ...failed, action: "delivered", status: "2.0.0", reply: "saved" },
      { ...failed, address: "c@there.example", action: "relayed", status: "2.0.0", reply: "250 OK" },
    ],
  })));
  equal(header.get("subject"), "Your message was delivered");
  match(
    human!.body,
    /<bob@there\.example>\r\n\r\n {2}<c@there\.example> \(handed on to a server that sends no such reports\)/,
  );
});

Deno.test("delay: until when it is tried", () => {
  const { parts: [human] } = read(makeDsn(parts({
    kind: "delay",
    arrival: at - 4 * 3_600_000,
    recipients: [{ ...failed, action: "delayed", retryUntil: at + 86_400_000 }],
  })));
  match(human!.body, /has been here for 4 hours/);
  match(human!.body, /tried until 22 Nov 2026, 22:00 UTC/);
});
