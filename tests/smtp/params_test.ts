// Not `equal` and `deepEqual`: as named imports from node:assert/strict they are the loose ones on Deno 2.9.6.
import { deepStrictEqual as deepEqual, ok, strictEqual as equal } from "node:assert/strict";
import fc from "fast-check";
import {
  type BadParams,
  decodeXtext,
  encodeXtext,
  type ParamExtension,
  parseMailParams,
  parseRcptParams,
} from "../../server/smtp/params.ts";

const noneOffered: ReadonlySet<ParamExtension> = new Set();

// deno-fmt-ignore
const mail: readonly [id: string, rest: string, read: Record<string, unknown>, params: Record<string, string>][] = [
  ["nothing", "", { smtputf8: false }, {}],
  ["C10 only spaces", "   ", { smtputf8: false }, {}],
  ["SIZE", "SIZE=1234", { smtputf8: false, size: 1234 }, { SIZE: "1234" }],
  ["SIZE of 20 digits", "SIZE=99999999999999999999", { smtputf8: false, size: 1e20 }, { SIZE: "99999999999999999999" }],
  ["SIZE with leading zeros", "SIZE=00010", { smtputf8: false, size: 10 }, { SIZE: "00010" }],
  ["C02 any case", "size=0 Body=8bitMime smtpUtf8", { smtputf8: true, size: 0, body: "8BITMIME" }, { SIZE: "0", BODY: "8bitMime", SMTPUTF8: "" }],
  ["C10 runs of spaces", " BODY=7BIT   SIZE=1 ", { smtputf8: false, size: 1, body: "7BIT" }, { BODY: "7BIT", SIZE: "1" }],
  ["N01 RET and ENVID", "RET=HDRS ENVID=QQ314159", { smtputf8: false, ret: "HDRS", envid: "QQ314159" }, { RET: "HDRS", ENVID: "QQ314159" }],
  ["N01 RET in any case", "ret=full", { smtputf8: false, ret: "FULL" }, { RET: "full" }],
  ["N01 ENVID with xtext", "ENVID=a+2Bb+3Dc+20d", { smtputf8: false, envid: "a+b=c d" }, { ENVID: "a+2Bb+3Dc+20d" }],
  ["N01 ENVID of 100", `ENVID=${"e".repeat(100)}`, { smtputf8: false, envid: "e".repeat(100) }, { ENVID: "e".repeat(100) }],
  ["AUTH of nobody", "AUTH=<>", { smtputf8: false, auth: "<>" }, { AUTH: "<>" }],
  ["AUTH of a mailbox", "AUTH=e+3Dmc2@example.com", { smtputf8: false, auth: "e=mc2@example.com" }, { AUTH: "e+3Dmc2@example.com" }],
];
for (const [id, rest, read, params] of mail) {
  Deno.test(`MAIL parameters: ${id}`, () => {
    const got = parseMailParams(rest);
    ok(got.kind === "params", JSON.stringify(got));
    const { kind: _, params: map, ...fields } = got;
    deepEqual(fields, read);
    deepEqual(Object.fromEntries(map), params);
  });
}

// deno-fmt-ignore
const badMail: readonly [id: string, rest: string, problem: BadParams["problem"], name: string][] = [
  ["N01 unknown", "XYZ=1", "unknown", "XYZ"],
  ["N01 unknown, without a value", "SIZE=1 xoorg", "unknown", "XOORG"],
  ["N01 a recipient's", "NOTIFY=NEVER", "unknown", "NOTIFY"],
  ["N01 a property of objects", "constructor=1", "unknown", "CONSTRUCTOR"],
  ["N01 repeated", "SIZE=1 SIZE=1", "repeated", "SIZE"],
  ["N01 repeated in another case", "BODY=7BIT body=7BIT", "repeated", "BODY"],
  ["N01 repeated without value", "SMTPUTF8 SMTPUTF8", "repeated", "SMTPUTF8"],
  ["__proto__ is no keyword", "__proto__=1", "syntax", "number 1"],
  ["C02 a long s", "ſIZE=1", "syntax", "number 1"],
  ["C02 the Kelvin sign", "SIZE=1 \u212AEY", "syntax", "number 2"],
  ["C05 a tab", "SIZE=1\tBODY=7BIT", "syntax", "SIZE"],
  ["C05 a control byte", "ENVID=a\x01", "syntax", "ENVID"],
  ["no keyword", "=1", "syntax", "number 1"],
  ["a hyphen first", "-X=1", "syntax", "number 1"],
  ["a keyword of 65", `${"K".repeat(65)}=1`, "syntax", "number 1"],
  ["text behind the path", "(comment)", "syntax", "number 1"],
  ["an empty value", "SIZE=", "syntax", "SIZE"],
  ["an = in a value", "ENVID=a=b", "syntax", "ENVID"],
  ["non-ASCII in a value", "ENVID=ü SMTPUTF8", "syntax", "ENVID"],
  ["SIZE without value", "SIZE", "value", "SIZE"],
  ["SIZE with an exponent", "SIZE=1e3", "value", "SIZE"],
  ["SIZE negative", "SIZE=-1", "value", "SIZE"],
  ["SIZE with a sign", "SIZE=+1", "value", "SIZE"],
  ["SIZE with a unit", "SIZE=10x", "value", "SIZE"],
  ["SIZE hexadecimal", "SIZE=0x10", "value", "SIZE"],
  ["SIZE of 21 digits", `SIZE=${"1".repeat(21)}`, "value", "SIZE"],
  ["B04 BINARYMIME", "BODY=BINARYMIME", "value", "BODY"],
  ["BODY without value", "BODY", "value", "BODY"],
  ["SMTPUTF8 with a value", "SMTPUTF8=1", "value", "SMTPUTF8"],
  ["N01 RET", "RET=ALL", "value", "RET"],
  ["N01 ENVID of 101", `ENVID=${"e".repeat(101)}`, "value", "ENVID"],
  ["N01 ENVID with a line end", "ENVID=a+0D+0AX-Header:b", "value", "ENVID"],
  ["N01 ENVID with NUL", "ENVID=+00", "value", "ENVID"],
  ["N01 ENVID with DEL", "ENVID=+7F", "value", "ENVID"],
  ["N01 ENVID beyond ASCII", "ENVID=+C3+BC", "value", "ENVID"],
  ["N01 xtext in lower case", "ENVID=a+2b", "value", "ENVID"],
  ["N01 xtext cut short", "ENVID=a+2", "value", "ENVID"],
  ["N01 ENVID without value", "ENVID", "value", "ENVID"],
  ["AUTH with a line end", "AUTH=a+0A", "value", "AUTH"],
  ["AUTH without value", "AUTH", "value", "AUTH"],
];
for (const [id, rest, problem, text] of badMail) {
  Deno.test(`no MAIL parameters: ${id}`, () => {
    deepEqual(parseMailParams(rest), { kind: "bad", problem, text });
  });
}

// deno-fmt-ignore
const rcpt: readonly [id: string, rest: string, read: Record<string, unknown>][] = [
  ["nothing", "", {}],
  ["N01 NEVER", "NOTIFY=NEVER", { notify: "NEVER" }],
  ["N01 a list", "notify=Success,DELAY,failure", { notify: ["SUCCESS", "DELAY", "FAILURE"] }],
  ["N01 ORCPT", "ORCPT=rfc822;Bob+2Bx@example.com NOTIFY=DELAY", { orcpt: { type: "rfc822", address: "Bob+x@example.com" }, notify: ["DELAY"],
  }],
  ["N01 ORCPT of another type", "ORCPT=x400;/G+3DAnn/", { orcpt: { type: "x400", address: "/G=Ann/" } }],
  ["N01 ORCPT with a semicolon inside", "ORCPT=rfc822;a;b", { orcpt: { type: "rfc822", address: "a;b" } }],
  ["N01 ORCPT of 500", `ORCPT=rfc822;${"o".repeat(493)}`, { orcpt: { type: "rfc822", address: "o".repeat(493) } }],
  ["N01 ORCPT as unitext", "ORCPT=utf-8;ü@b.c", { orcpt: { type: "utf-8", address: "ü@b.c" } }],
];
for (const [id, rest, read] of rcpt) {
  Deno.test(`RCPT parameters: ${id}`, () => {
    const got = parseRcptParams(rest, undefined, { utf8: true });
    ok(got.kind === "params", JSON.stringify(got));
    const { kind: _, params: __, ...fields } = got;
    deepEqual(fields, read);
  });
}

// deno-fmt-ignore
const badRcpt: readonly [id: string, rest: string, problem: BadParams["problem"]][] = [
  ["N01 unknown", "XYZ", "unknown"],
  ["N01 a sender's", "SIZE=1", "unknown"],
  ["N01 repeated", "NOTIFY=NEVER NOTIFY=NEVER", "repeated"],
  ["N01 NEVER and more", "NOTIFY=NEVER,DELAY", "value"],
  ["N01 a condition twice", "NOTIFY=DELAY,DELAY", "value"],
  ["N01 a condition unknown", "NOTIFY=ALWAYS", "value"],
  ["N01 an empty condition", "NOTIFY=DELAY,", "value"],
  ["N01 no condition", "NOTIFY", "value"],
  ["N01 ORCPT without a type", "ORCPT=;a@b", "value"],
  ["N01 ORCPT without a semicolon", "ORCPT=rfc822", "value"],
  ["N01 ORCPT without an address", "ORCPT=rfc822;", "value"],
  ["N01 ORCPT with a line end", "ORCPT=rfc822;a+0D+0ASubject:x", "value"],
  ["N01 ORCPT with a line end as utf-8", "ORCPT=utf-8;ü+0A", "value"],
  ["N01 ORCPT of 501", `ORCPT=rfc822;${"o".repeat(494)}`, "value"],
  ["N01 ORCPT of 501 octets", `ORCPT=utf-8;${"ü".repeat(248)}`, "value"],
  ["N01 ORCPT non-ASCII of another type", "ORCPT=rfc822;ü@b", "value"],
  ["N01 a type with a colon", "ORCPT=a:b;c", "value"],
];
for (const [id, rest, problem] of badRcpt) {
  Deno.test(`no RCPT parameters: ${id}`, () => {
    const got = parseRcptParams(rest, undefined, { utf8: true });
    equal(got.kind === "bad" ? got.problem : JSON.stringify(got), problem);
  });
}

Deno.test("N01: what was not offered is unknown", () => {
  for (const rest of ["SIZE=1", "BODY=7BIT", "SMTPUTF8", "RET=FULL", "ENVID=a", "AUTH=<>"]) {
    const got = parseMailParams(rest, noneOffered);
    equal(got.kind === "bad" && got.problem, "unknown", rest);
  }
  equal(parseMailParams("SIZE=1", new Set(["SIZE"] as const)).kind, "params");
  for (const rest of ["NOTIFY=NEVER", "ORCPT=rfc822;a@b"]) {
    equal(parseRcptParams(rest, noneOffered).kind, "bad");
  }
  equal(parseRcptParams("NOTIFY=NEVER", new Set(["DSN"] as const)).kind, "params");
});

Deno.test("N01: unitext only after SMTPUTF8", () => {
  const got = parseRcptParams("ORCPT=utf-8;ü@b.c");
  equal(got.kind === "bad" && got.problem, "syntax");
});

Deno.test("S02: two commands never share a map", () => {
  const [one, other] = [parseMailParams(""), parseMailParams("")];
  ok(one.kind === "params" && other.kind === "params" && one.params !== other.params);
});

Deno.test("N01 property: printable text survives xtext, and nothing else comes out of it", () => {
  const printable = fc.string({
    unit: fc.integer({ min: 0x20, max: 0x7e }).map((code) => String.fromCharCode(code)),
  });
  fc.assert(fc.property(printable, (text) => {
    const encoded = encodeXtext(text);
    ok(/^[!-<>-~]*$/.test(encoded));
    equal(decodeXtext(encoded), text);
  }));
  fc.assert(fc.property(fc.string({ unit: fc.constantFrom(..."+0123456789ABCDEFabcx=\r\nü") }), (text) => {
    ok(/^[ -~]*$/.test(decodeXtext(text) ?? ""));
  }));
  equal(encodeXtext("a\r\nü😀"), "a????");
});

Deno.test("property: any text is parameters or a problem, and the problem is named in plain ASCII", () => {
  const word = fc.constantFrom(
    "SIZE",
    "BODY",
    "RET",
    "ORCPT",
    "NOTIFY",
    "=",
    ";",
    ",",
    "1",
    " ",
    "+41",
    "rfc822",
    "NEVER",
    "ü",
    "\0",
    "\r\n",
    "X",
  );
  fc.assert(
    fc.property(
      fc.oneof(
        fc.array(word, { maxLength: 15 }).map((words) => words.join("")),
        fc.string({ unit: "binary" }),
      ),
      (rest) => {
        for (const got of [parseMailParams(rest), parseRcptParams(rest, undefined, { utf8: true })]) {
          if (got.kind === "bad") ok(/^[A-Za-z0-9 -]{1,64}$/.test(got.text), JSON.stringify(got.text));
          else {for (const [keyword, value] of got.params) {
              ok(
                /^[A-Z0-9-]+$/.test(keyword) && !/\p{Cc}/u.test(value),
              );
            }}
        }
      },
    ),
    { numRuns: 200 },
  );
});

Deno.test("64 KB of parameters are read in linear time", () => {
  for (const unit of [" ", "=", "A", "SIZE=1 ", "+", "+41", ",", ";", "DELAY,"]) {
    const many = unit.repeat(65_536 / unit.length);
    const started = performance.now();
    for (const rest of [many, `ENVID=${many}`, `NOTIFY=${many}`, `ORCPT=rfc822;${many}`, `SIZE=${many}`]) {
      parseMailParams(rest);
      parseRcptParams(rest);
    }
    ok(performance.now() - started < 500, JSON.stringify(unit));
  }
});
