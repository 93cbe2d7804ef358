import {
  deepStrictEqual as deepEqual,
  match,
  notStrictEqual as notEqual,
  ok,
  strictEqual as equal,
  throws,
} from "node:assert/strict";
import fc from "fast-check";
import { readHeader } from "../../server/message/header.ts";
import {
  countReceived,
  messageId,
  received,
  type ReceivedOptions,
  rfc5322Date,
  transmissionType,
} from "../../server/message/received.ts";
import { bytes } from "./bytes.ts";

const plain: ReceivedOptions = {
  helo: "mail.example.net",
  address: "192.0.2.1",
  hostname: "mx.example.org",
  protocol: "esmtp",
  utf8: false,
  tls: undefined,
  authenticated: false,
  id: "Q1",
  recipients: ["bob@example.org"],
  now: Date.UTC(2026, 0, 1, 12, 34, 56),
};
const tls = { version: "TLSv1.3", cipher: "TLS_AES_256_GCM_SHA384" };

const rows: readonly (readonly [it: string, change: Partial<ReceivedOptions>, out: string])[] = [
  [
    "with one recipient",
    {},
    "Received: from mail.example.net ([192.0.2.1])\r\n\tby mx.example.org with ESMTP\r\n" +
    "\tid Q1 for <bob@example.org>;\r\n\tThu, 01 Jan 2026 12:34:56 +0000\r\n",
  ],
  [
    "with TLS, a login and two recipients: none is disclosed",
    { tls, authenticated: true, recipients: ["a@example.org", "b@example.org"] },
    "Received: from mail.example.net ([192.0.2.1])\r\n" +
    "\tby mx.example.org with ESMTPSA (TLSv1.3 cipher TLS_AES_256_GCM_SHA384)\r\n" +
    "\tid Q1;\r\n\tThu, 01 Jan 2026 12:34:56 +0000\r\n",
  ],
  [
    "over IPv6, to an address literal",
    { address: "2001:db8::1", helo: "[IPv6:2001:db8::1]", recipients: [] },
    "Received: from [IPv6:2001:db8::1] ([IPv6:2001:db8::1])\r\n\tby mx.example.org with ESMTP\r\n" +
    "\tid Q1;\r\n\tThu, 01 Jan 2026 12:34:56 +0000\r\n",
  ],
  [
    "over a Unix socket",
    { address: "unix", protocol: "lmtp", recipients: [] },
    "Received: from mail.example.net\r\n\tby mx.example.org with LMTP\r\n" +
    "\tid Q1;\r\n\tThu, 01 Jan 2026 12:34:56 +0000\r\n",
  ],
  [
    "of our own mail",
    { helo: undefined, protocol: "internal", recipients: [] },
    "Received: by mx.example.org\r\n\tid Q1;\r\n\tThu, 01 Jan 2026 12:34:56 +0000\r\n",
  ],
];

for (const [it, change, out] of rows) {
  Deno.test(`received: ${it}`, () => equal(received({ ...plain, ...change }), out));
}

const kinds: readonly (readonly [expected: string, of: Partial<ReceivedOptions>])[] = [
  ["SMTP", { protocol: "smtp" }],
  ["SMTP", { protocol: "smtp", tls }],
  ["ESMTP", {}],
  ["ESMTPS", { tls }],
  ["ESMTPA", { authenticated: true }],
  ["ESMTPSA", { tls, authenticated: true }],
  ["LMTP", { protocol: "lmtp" }],
  ["LMTPS", { protocol: "lmtp", tls }],
  ["LMTPSA", { protocol: "lmtp", tls, authenticated: true }],
  ["UTF8SMTP", { utf8: true }],
  ["UTF8SMTPS", { utf8: true, tls }],
  ["UTF8SMTPA", { utf8: true, authenticated: true }],
  ["UTF8SMTPSA", { utf8: true, tls, authenticated: true }],
  ["UTF8LMTP", { utf8: true, protocol: "lmtp" }],
  ["", { protocol: "internal", tls }],
];
for (const [expected, of] of kinds) {
  Deno.test(`received: transmission type ${expected || "none"} of ${JSON.stringify(of)}`, () => {
    equal(transmissionType({ ...plain, ...of }), expected);
  });
}

Deno.test("received: what the client says stays a word (CASES A08, C03)", () => {
  const from = (helo: string) => received({ ...plain, helo }).split("\r\n")[0];
  equal(from("a (b) \r\nX: y"), "Received: from a??b????X??y ([192.0.2.1])");
  equal(from(""), "Received: from unknown ([192.0.2.1])");
  equal(from("[192.0.2.1"), "Received: from ?192.0.2.1 ([192.0.2.1])");
  equal(from("[x) (y]"), "Received: from ?x???y? ([192.0.2.1])");
  equal(from("\u00fc.example"), "Received: from ?.example ([192.0.2.1])");
  equal(from("x".repeat(300))!.length, "Received: from  ([192.0.2.1])".length + 255);
});

Deno.test("received: a recipient that can't be shown is left out", () => {
  const to = (address: string, utf8: boolean) =>
    received({ ...plain, recipients: [address], utf8 }).includes(" for <");
  equal(to("b\u00fc@example.org", false), false);
  equal(to("b\u00fc@example.org", true), true);
  equal(to("b\r\nX: y@example.org", true), false);
  equal(to('"a (b)"@example.org', false), true);
});

Deno.test("received: property: whatever it is made of, it is one field in lines of 998 octets", () => {
  const texts = fc.string({ unit: "binary", maxLength: 300 });
  fc.assert(
    fc.property(texts, texts, texts, texts, fc.boolean(), (helo, address, recipient, cipher, utf8) => {
      const raw = received({
        ...plain,
        helo,
        address,
        recipients: [recipient.slice(0, 256)],
        tls: { version: cipher, cipher },
        utf8,
      });
      const header = readHeader(bytes(raw));
      equal(header.length, 1);
      equal(header.end, bytes(raw).length);
      equal(raw.split("\r\n").length, 5);
      ok(raw.split("\r\n").every((line) => bytes(line).length <= 998));
    }),
  );
});

Deno.test("received: dates", () => {
  equal(rfc5322Date(0), "Thu, 01 Jan 1970 00:00:00 +0000");
  equal(rfc5322Date(Date.UTC(2024, 1, 29, 23, 59, 59, 999)), "Thu, 29 Feb 2024 23:59:59 +0000");
  throws(() => rfc5322Date(NaN), RangeError);
});

Deno.test("received: a Message-ID is random, and its time is in it", () => {
  equal(
    messageId("mx.example.org", 35, (octets) => octets.fill(255)),
    `<z.${"f".repeat(24)}@mx.example.org>`,
  );
  match(messageId("mx.example.org", Date.now()), /^<[0-9a-z]+\.[0-9a-f]{24}@mx\.example\.org>$/);
  notEqual(messageId("a", 0), messageId("a", 0));
});

Deno.test("received: D07 hops are counted", () => {
  const hops = "Received: x\r\n".repeat(70) + "RECEIVED : y\r\n".repeat(31) + "X-Received: z\r\n";
  equal(countReceived(readHeader(bytes(`${hops}\r\nReceived: not a header\r\n`))), 101);
  equal(countReceived(readHeader(bytes("Received: x\r\n\r\n"))), 1);
  deepEqual(countReceived(readHeader(bytes("\r\nReceived: x\r\n"))), 0);
});
