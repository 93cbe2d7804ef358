import { deepStrictEqual as deepEqual, ok } from "node:assert/strict";
import fc from "fast-check";
import { problemsOf } from "../../../plugins/headers/rules.ts";
import { readHeader } from "../../../server/message/header.ts";

const against = {
  domains: ["example.org", "xn--exmple-cua.org"],
  isProven: false,
  now: Date.parse("2025-11-24T12:00:00Z"),
  past: 30 * 86_400_000,
  future: 2 * 86_400_000,
  hops: 3,
};
const whole = [
  "From: Bob <bob@example.net>",
  "To: alice@example.org",
  "Date: Mon, 24 Nov 2025 11:00:00 +0000",
  "Message-ID: <1@example.net>",
];
const problems = (lines: readonly string[], more: Partial<typeof against> = {}) => {
  const content = new TextEncoder().encode(`${lines.map((line) => `${line}\r\n`).join("")}\r\nHello\r\n`);
  return problemsOf(readHeader(content), { ...against, ...more }).map(({ rule, text }) => `${rule}: ${text}`);
};
/** The whole header with other lines in place of those of the same name. */
const withLines = (...lines: string[]) => {
  const names = lines.map((line) => line.slice(0, line.indexOf(":")).toLowerCase());
  return [
    ...whole.filter((line) => !names.includes(line.slice(0, line.indexOf(":")).toLowerCase())),
    ...lines,
  ];
};

const table: readonly (readonly [string, readonly string[], readonly string[]])[] = [
  ["nothing is wrong", whole, []],
  ["nothing is there", ["X: y"], [
    "missing.from: There is no From field",
    "missing.date: There is no Date field",
    "missing.message-id: There is no Message-ID field",
    "missing.to: There is no To, Cc or Bcc field",
  ]],
  ["Bcc stands for To", [...whole.filter((line) => !line.startsWith("To")), "Bcc:"], []],
  ["fields twice", [...whole, "subject: a", "Subject: b", "FROM: bob@example.net"], [
    "duplicated: There are 2 From fields",
    "duplicated: There are 2 Subject fields",
  ]],
  ["two authors in two fields", [...whole, "From: eve@example.com"], [
    "duplicated: There are 2 From fields",
    "several: The From field names 2 authors",
  ]],
  ["two authors", withLines("From: bob@example.net, eve@example.com"), [
    "several: The From field names 2 authors",
  ]],
  ...["bob @ example.org", "bob@ example.org", "bob@example.org.", "bob\t@\texample.org."].map((from) =>
    [
      `our domain as ${JSON.stringify(from)}`,
      withLines(`From: ${from}`),
      ["forged: The From field claims example.org, whose users log in to send"],
    ] as const
  ),
  ["a name with our domain as people read it", withLines('From: "Team exämple.org" <eve@example.com>'), [
    "spoofed: The name in the From field claims xn--exmple-cua.org, the address example.com",
  ]],
  ["a group", withLines("From: team: bob@example.net;"), []],
  ["no address", withLines("From: MAILER-DAEMON"), [
    "unreadable: The From field holds no address that can be read",
  ]],
  ["nothing in From", withLines("From:"), ["unreadable: The From field holds no address that can be read"]],
  ["a From too long", withLines(`From: ${"a".repeat(9000)}@example.net`), [
    "unreadable: The From field holds no address that can be read",
  ]],
  ["ours, by a stranger", withLines("From: Alice <alice@Example.org>"), [
    "forged: The From field claims example.org, whose users log in to send",
  ]],
  ["below ours", withLines("From: alice@mail.example.org"), [
    "forged: The From field claims mail.example.org, whose users log in to send",
  ]],
  ["ours in letters", withLines("From: alice@exämple.org"), [
    "forged: The From field claims xn--exmple-cua.org, whose users log in to send",
  ]],
  ["not ours", withLines("From: alice@notexample.org"), []],
  ["our address as a name", withLines('From: "alice@example.org" <eve@example.com>'), [
    "spoofed: The name in the From field claims example.org, the address example.com",
  ]],
  [
    "our domain in an encoded name",
    withLines("From: =?utf-8?B?QWxpY2UgKEV4YW1wbGUub3JnKQ==?= <eve@example.com>"),
    [
      "spoofed: The name in the From field claims example.org, the address example.com",
    ],
  ],
  ["our domain in a name with letters unseen", withLines("From: alice@exam\u200bple.org <eve@example.com>"), [
    "spoofed: The name in the From field claims example.org, the address example.com",
  ]],
  [
    "another domain in a name",
    withLines('From: "alice@myexample.org, example.organic" <eve@example.com>'),
    [],
  ],
  ["a date long ago", withLines("Date: 1 Sep 2025 11:00:00 +0000"), [
    "date: The Date field is 84 days in the past",
  ]],
  ["a date to come", withLines("Date: 1 Jan 2030 11:00:00 +0000"), [
    "date: The Date field is 1498 days in the future",
  ]],
  ["no date", withLines("Date: today"), ["date: The Date field holds no date"]],
  ["too many hops", [...whole, ...Array<string>(4).fill("Received: by x")], [
    "received: There are 4 Received fields, and 3 are taken",
  ]],
];

for (const [it, lines, wrong] of table) {
  Deno.test(`headers: ${it}`, () => {
    deepEqual(problems(lines), wrong);
  });
}

Deno.test("headers: what DMARC has proven isn't forged, but a name may still claim", () => {
  deepEqual(problems(withLines("From: alice@example.org"), { isProven: true }), []);
});

Deno.test("headers: whatever stands there, what is said of it is one line of ASCII, and it takes no time", () => {
  const line = fc.tuple(fc.constantFrom("From", "Date", "To", "from"), fc.string({ unit: "binary" }))
    .map(([name, value]) => `${name}: ${value.replace(/[\r\n]/g, " ")}`);
  fc.assert(fc.property(fc.array(line), (lines) => {
    for (const text of problems(lines)) ok(/^[ -~]+$/.test(text) && text.length < 300, text);
  }));
  const began = performance.now();
  for (const unit of ["example.org", "(", "<", '"', "a@b,", "=?utf-8?q?", "\\"]) {
    problems(withLines(`From: ${unit.repeat(700)}`, `Date: ${unit.repeat(50_000)}`));
  }
  ok(performance.now() - began < 5000);
});
