/** MTA-STS as text (RFC 8461 §3, §4.1). */
import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import fc from "fast-check";
import { namesHost, readStsId, readStsPolicy } from "../../../server/delivery/mta_sts/policy.ts";

const ids: readonly (readonly [records: readonly string[], id: string | undefined])[] = [
  [["v=STSv1; id=20160831085700Z;"], "20160831085700Z"],
  [["v=STSv1;id=1"], "1"],
  [["v=STSv1 ; id=a1 ; more=x"], "a1"],
  [["v=STSv1; more=x; id=2;"], "2"],
  [["v=spf1 -all", "v=STSv1; id=3"], "3"],
  [[], undefined],
  [["v=STSv1; id=1", "v=STSv1; id=2"], undefined],
  [["v=STSv1; id=1", "v=STSv1; id=1"], undefined],
  [["v=STSv2; id=1"], undefined],
  [["V=STSv1; id=1"], undefined],
  [["v=STSv1"], undefined],
  [["v=STSv1;"], undefined],
  [["v=STSv1; id="], undefined],
  [["v=STSv1; id=with-hyphen"], undefined],
  [["v=STSv1; id=" + "1".repeat(33)], undefined],
  [[" v=STSv1; id=1"], undefined],
];

for (const [records, id] of ids) {
  Deno.test(`RFC 8461 §3.1 ${JSON.stringify(records)} → ${id}`, () => equal(readStsId(records), id));
}

Deno.test("RFC 8461 §3.2 a policy, with either line end, unknown fields, spaces", () => {
  const text =
    "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.Example.NET\r\nmax_age: 604800\r\n";
  for (
    const one of [
      text,
      text.replaceAll("\r\n", "\n"),
      text.trimEnd(),
      `${text}later: new\r\n`,
      text.replaceAll(": ", ":   "),
    ]
  ) {
    const policy = readStsPolicy(one);
    ok(typeof policy !== "string", String(policy));
    deepEqual([policy.mode, policy.maxAge, policy.mx], ["enforce", 604_800, [
      "mail.example.com",
      "*.example.net",
    ]]);
  }
});

Deno.test("RFC 8461 §3.2 of what stands there twice the first counts; a year is the most; none needs no mx", () => {
  const policy = readStsPolicy("version: STSv1\nmode: none\nmode: enforce\nmax_age: 9999999999\nmax_age: 1");
  ok(typeof policy !== "string");
  deepEqual([policy.mode, policy.maxAge, policy.mx], ["none", 31_557_600, []]);
});

const broken: readonly (readonly [text: string, says: RegExp])[] = [
  ["", /version/],
  ["<html>\n", /not a field/],
  ["mode: enforce\nmx: a.example\nmax_age: 1", /version/],
  ["version: STSv2\nmode: enforce\nmx: a.example\nmax_age: 1", /version/],
  ["version: STSv1\nmx: a.example\nmax_age: 1", /mode/],
  ["version: STSv1\nmode: Enforce\nmx: a.example\nmax_age: 1", /mode/],
  ["version: STSv1\nmode: enforce\nmax_age: 1", /mx/],
  ["version: STSv1\nmode: enforce\nmx: a.example", /max_age/],
  ["version: STSv1\nmode: enforce\nmx: a.example\nmax_age: 1e3", /max_age/],
  ["version: STSv1\nmode: enforce\nmx: a.example\nmax_age: 12345678901", /max_age/],
  ["version: STSv1\nmode: enforce\nmx: *\nmax_age: 1", /host/],
  ["version: STSv1\nmode: enforce\nmx: a.*.example\nmax_age: 1", /host/],
  ["version: STSv1\nmode: enforce\nmx: [192.0.2.1]\nmax_age: 1", /host/],
  ["version: STSv1\nmode: enforce\nmx:\nmax_age: 1", /host/],
  ["mx: a.example\n".repeat(600), /lines/],
];

for (const [text, says] of broken) {
  Deno.test(`RFC 8461 §3.2 not a policy: ${JSON.stringify(text.slice(0, 60))}`, () => {
    const problem = readStsPolicy(text);
    ok(typeof problem === "string");
    match(problem, says);
  });
}

Deno.test("RFC 8461 §4.1 a pattern's * is one label, the first", () => {
  const policy = readStsPolicy(
    "version: STSv1\nmode: enforce\nmx: mail.example.com\nmx: *.example.net\nmax_age: 1",
  );
  ok(typeof policy !== "string");
  const hosts = {
    "mail.example.com": true,
    "MAIL.Example.com": true,
    "x.mail.example.com": false,
    "example.com": false,
    "a.example.net": true,
    "a.b.example.net": false,
    "example.net": false,
    ".example.net": false,
    "aexample.net": false,
    "a.example.net.evil.example": false,
  };
  for (const [host, named] of Object.entries(hosts)) equal(namesHost(policy, host), named, host);
});

Deno.test("any text at all: a policy or what is wrong, never a throw; what is read is read again from its lines", () => {
  fc.assert(fc.property(fc.string(), (text) => {
    readStsId([text]);
    const policy = readStsPolicy(`version: STSv1\nmode: none\nmax_age: 1\n${text}`);
    return typeof policy === "string" || typeof readStsPolicy(policy.lines.join("\n")) !== "string";
  }));
});
