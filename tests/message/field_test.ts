import { ok, strictEqual as equal, throws } from "node:assert/strict";
import fc from "fast-check";
import { cleanValue, makeField } from "../../server/message/field.ts";
import { readHeader } from "../../server/message/header.ts";
import { bytes } from "./bytes.ts";

const word = "x".repeat(30);

const rows: readonly (readonly [it: string, name: string, value: string, raw: string])[] = [
  ["is one line", "X-Spam", "yes", "X-Spam: yes\r\n"],
  ["may be empty", "X-Spam", " \t", "X-Spam:\r\n"],
  ["is trimmed", "X-Spam", "  yes ", "X-Spam: yes\r\n"],
  [
    "is folded in front of white space",
    "A",
    `${word} ${word}\t${word}`,
    `A: ${word} ${word}\r\n\t${word}\r\n`,
  ],
  [
    "is folded into full lines",
    "A",
    `${word} ${word} ${word} ${word} ${word}`,
    `A: ${word} ${word}\r\n ${word} ${word}\r\n ${word}\r\n`,
  ],
  [
    "is not folded before its first word",
    "A",
    `${word.repeat(4)} ${word}`,
    `A: ${word.repeat(4)}\r\n ${word}\r\n`,
  ],
  [
    "keeps a long word whole",
    "A",
    `b ${word.repeat(40)} c`,
    `A: b\r\n ${word.repeat(40)}\r\n c\r\n`,
  ],
  ["keeps a run of white space", "A", `${word} ${word}    ${word}`, `A: ${word} ${word}\r\n    ${word}\r\n`],
  [
    "may have 78 octets in a line",
    "A",
    "x".repeat(73) + " y",
    `A: ${"x".repeat(73)} y\r\n`.replace("x y", "x y"),
  ],
  ["counts octets, not characters", "A", "\u00e9".repeat(36) + " yy", `A: ${"\u00e9".repeat(36)} yy\r\n`],
  ["that is folded stays as it is", "A", " v=1;\r\n\tb=x ", "A: v=1;\r\n\tb=x\r\n"],
  ["counts octets when it folds", "A", "\u00e9".repeat(37) + " yy", `A: ${"\u00e9".repeat(37)}\r\n yy\r\n`],
];

for (const [it, name, value, raw] of rows) {
  Deno.test(`field: a value ${it}`, () => equal(makeField(name, value), raw));
}

for (const name of ["", "A B", "A:", "A\r\n", "\u00e4", "A\0", "x".repeat(256)]) {
  Deno.test(`field: ${JSON.stringify(name.slice(0, 10))} is no name`, () => {
    throws(() => makeField(name, "x"), { name: "TypeError", message: /is not the name of a header field/ });
  });
}

for (const [value, title] of [["a\rb", "CR"], ["a\nb", "LF"], ["a\0b", "NUL"]] as const) {
  Deno.test(`field: a value with ${title} is refused`, () => {
    throws(() => makeField("X", value), {
      name: "TypeError",
      message: `The value of the header field X has a ${title} at character 1. ` +
        "Give one line of text: it is folded as it needs.",
    });
  });
}

for (const value of ["a\r\nb", "a\r\n \r\n b", "a\r\n b\r\nBcc: c", "\r\n b", "a\n b", "a\r\n \r\n"]) {
  Deno.test(`field: ${JSON.stringify(value)} is no folded value`, () => {
    throws(() => makeField("X", value), TypeError);
  });
}

Deno.test("field: what is no string is refused, as plugins in JavaScript may give it", () => {
  throws(() => makeField("X", JSON.parse("7")), { name: "TypeError", message: /of type number/ });
  throws(() => makeField(JSON.parse("7"), "x"), { name: "TypeError", message: /^7 is not the name/ });
  throws(() => makeField(JSON.parse("[]")[0], "x"), {
    name: "TypeError",
    message: /^undefined is not the name/,
  });
});

const values = fc.array(
  fc.constantFrom(" ", "\t", "a", "word", "\u00e9\u00e9", "\ud800", "x".repeat(70), "\u00a0"),
  {
    maxLength: 60,
  },
).map((parts) => parts.join(""));

Deno.test("field: property: a made field is read as one, with the same value, in lines of 78 octets where it can be", () => {
  fc.assert(fc.property(fc.constantFrom("A", "Subject", "X-Long-Name-".repeat(6)), values, (name, value) => {
    const raw = makeField(name, value);
    const header = readHeader(bytes(raw));
    equal(header.length, 1);
    equal(header.end, bytes(raw).length);
    equal(header.get(name), cleanValue(value));
    for (const line of raw.split("\r\n").slice(0, -1)) {
      ok(!/^[ \t]*$/.test(line), "no blank line");
      // Longer only where it is one word, or the name and one.
      const breakable =
        line.replace(/^[^ ]*: /, "x".repeat(3)).replace(/^[ \t]+/, "").match(/[ \t]+/g)?.length ?? 0;
      ok(bytes(line).length <= 78 || breakable === 0, line);
    }
  }));
});

Deno.test("field: a value of 1 MiB is folded in linear time", () => {
  const start = performance.now();
  makeField("A", "a ".repeat(524_288));
  makeField("A", `a${" ".repeat(1_048_576)}b`);
  ok(performance.now() - start < 5_000);
});
