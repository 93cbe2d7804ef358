import { deepStrictEqual as deepEqual, ok, strictEqual as equal } from "node:assert/strict";
import fc from "fast-check";
import { memoryContent } from "../../server/message/content.ts";
import { asciiLower, type HeaderSection, readHeader } from "../../server/message/header.ts";
import { bytes, contents, text } from "./bytes.ts";

function raws(header: HeaderSection): string[] {
  return Array.from({ length: header.length }, (_, field) => text(header.raw(field)));
}

interface Row {
  readonly it: string;
  readonly content: string;
  readonly fields: readonly string[];
  /** The body, as far as the header's reader knows. */
  readonly body: string;
}

const rows: readonly Row[] = [
  {
    it: "reads fields, a folded one among them",
    content: "A: 1\r\nB: 2\r\n\t3\r\nC: 4\r\n\r\nbody",
    fields: ["A: 1\r\n", "B: 2\r\n\t3\r\n", "C: 4\r\n"],
    body: "body",
  },
  { it: "reads an empty content", content: "", fields: [], body: "" },
  { it: "reads an empty header section", content: "\r\nA: 1\r\n", fields: [], body: "A: 1\r\n" },
  {
    it: "reads a header that ends with the content",
    content: "A: 1\r\nB: 2",
    fields: ["A: 1\r\n", "B: 2"],
    body: "",
  },
  { it: "reads `Name :` (RFC 5322 §4.5.8)", content: "A \t: 1\r\n\r\n", fields: ["A \t: 1\r\n"], body: "" },
  {
    it: "takes a line of white space for a continuation (RFC 5322 §4.2)",
    content: "A: 1\r\n \r\nB: 2\r\n\r\n",
    fields: ["A: 1\r\n \r\n", "B: 2\r\n"],
    body: "",
  },
  {
    it: "D05: a body that starts with `From ` has no header",
    content: "From a@b Thu Jan  1 00:00:00 1970\r\nSubject: x\r\n\r\n",
    fields: [],
    body: "From a@b Thu Jan  1 00:00:00 1970\r\nSubject: x\r\n\r\n",
  },
  {
    it: "D05: a body that starts with white space has no header",
    content: " A: 1\r\nB: 2\r\n\r\n",
    fields: [],
    body: " A: 1\r\nB: 2\r\n\r\n",
  },
  {
    it: "D05: a line that is no field ends the header, no empty line is made up",
    content: "A: 1\r\nHello Bob,\r\nB: 2\r\n\r\nbody",
    fields: ["A: 1\r\n"],
    body: "Hello Bob,\r\nB: 2\r\n\r\nbody",
  },
  { it: "D02: a lone LF ends no line", content: "A: 1\nB: 2\r\n\r\n", fields: ["A: 1\nB: 2\r\n"], body: "" },
  { it: "D02: a lone CR ends no line", content: "A: 1\rB: 2\r\n\r\n", fields: ["A: 1\rB: 2\r\n"], body: "" },
  {
    it: "D02: LF CR LF ends a line by its CRLF only",
    content: "A: 1\n\r\nB: 2\r\n\r\n",
    fields: ["A: 1\n\r\n", "B: 2\r\n"],
    body: "",
  },
  { it: "a name needs a letter", content: ": 1\r\n\r\n", fields: [], body: ": 1\r\n\r\n" },
  { it: "a name is ASCII", content: "Betreff\u00e4: 1\r\n", fields: [], body: "Betreff\u00e4: 1\r\n" },
  { it: "a name has no space inside", content: "A B: 1\r\n", fields: [], body: "A B: 1\r\n" },
  { it: "a name has no NUL", content: "A\0: 1\r\n", fields: [], body: "A\0: 1\r\n" },
];

for (const row of rows) {
  Deno.test(`header: ${row.it}`, () => {
    const content = bytes(row.content);
    const header = readHeader(content);
    deepEqual(raws(header), row.fields);
    equal(text(content.subarray(header.end)), row.body);
  });
}

const values: readonly (readonly [it: string, field: string, value: string])[] = [
  ["trims", "A: \t 1 2 \t\r\n", "1 2"],
  ["unfolds, keeping the white space (RFC 5322 §2.2.3)", "A: 1\r\n\t2\r\n  3\r\n", "1\t2  3"],
  ["unfolds from the first line on", "A:\r\n 1\r\n", "1"],
  ["is empty", "A:\r\n", ""],
  ["is only white space", "A: \r\n \r\n", ""],
  ["keeps colons", "A:b:c\r\n", "b:c"],
  ["is UTF-8", "A: h\u00e9\r\n", "h\u00e9"],
  ["keeps a byte order mark", "A: \ufeffx\r\n", "\ufeffx"],
  ["keeps a no-break space", "A: \u00a0x\u00a0\r\n", "\u00a0x\u00a0"],
  ["keeps NUL", "A: 1\u00002\r\n", "1\u00002"],
  ["shows a lone CR or LF as a space", "A: 1\n2\r3\r\n", "1 2 3"],
];

for (const [it, field, value] of values) {
  Deno.test(`header: a value ${it}`, () => {
    equal(readHeader(bytes(`${field}\r\n`)).get("a"), value);
  });
}

Deno.test("header: bad UTF-8 in a value is replaced", () => {
  equal(readHeader(new Uint8Array([65, 58, 0xff, 66, 13, 10])).get("A"), "\ufffdB");
});

Deno.test("header: names compare without case, in ASCII", () => {
  const header = readHeader(bytes("sUbJeCt: 1\r\nSubject : 2\r\nSubjects: 3\r\nSubjec: 4\r\n\r\n"));
  equal(header.get("SUBJECT"), "1");
  deepEqual(header.all("subject"), ["1", "2"]);
  deepEqual(header.all("absent"), []);
  equal(header.get("absent"), undefined);
  // The Kelvin sign's lower case is "k".
  equal(readHeader(bytes("k: 1\r\n\r\n")).get("\u212a"), undefined);
  equal(asciiLower("\u212aAZ@["), "\u212aaz@[");
});

Deno.test("header: the iterator gives names as they are written", () => {
  const header = readHeader(bytes("sUbJeCt: 1\r\nTo : 2\r\n\r\n"));
  deepEqual([...header], [["sUbJeCt", "1"], ["To", "2"]]);
});

Deno.test("header: D05 `__proto__:` and its kind are headers like others", () => {
  for (const filler of [0, 100]) {
    const header = readHeader(bytes("X: 1\r\n".repeat(filler) + "__proto__: 1\r\nconstructor: 2\r\n\r\n"));
    equal(header.get("__proto__"), "1");
    equal(header.get("Constructor"), "2");
    equal(header.get("toString"), undefined);
    deepEqual(header.all("hasOwnProperty"), []);
  }
});

Deno.test("header: many fields are found like few", () => {
  const many = Array.from({ length: 1000 }, (_, i) => `X-${i % 500}: ${i}\r\n`).join("");
  const header = readHeader(bytes(`${many}\r\n`));
  deepEqual(header.all("x-7"), ["7", "507"]);
  equal(header.get("X-499"), "499");
  equal(header.get("X-500"), undefined);
});

Deno.test("header: D05 10,000 foldings, over 256 KiB, fields upon fields: the time grows with the size", () => {
  const shapes: readonly ((octets: number) => string)[] = [
    (octets) => `A: ${"x\r\n ".repeat(octets / 4)}\r\n\r\n`,
    (octets) => `A: ${" ".repeat(octets)}x${" ".repeat(octets)}\r\n\r\n`,
    (octets) => `A: ${"\n\r".repeat(octets / 2)}\r\n\r\n`,
    (octets) => "a:\r\n".repeat(octets / 4),
    (octets) => `${"A".repeat(octets)}`,
    (octets) => `A${" ".repeat(octets)}`,
  ];
  for (const shape of shapes) {
    const content = bytes(shape(4_000_000));
    const start = performance.now();
    const header = readHeader(content);
    header.get("a");
    header.get("b");
    // Quadratic would be hours.
    ok(performance.now() - start < 5_000);
  }
});

Deno.test("header: D05 in a head that is cut, a field that may go on is body", () => {
  const content = bytes("A: 1\r\nB: 2\r\n 3\r\nC: 4\r\n\r\nbody");
  for (let cut = 0; cut < content.length; cut++) {
    const header = readHeader(content.slice(0, cut), content.length);
    const whole = readHeader(content);
    // Never other fields than those of the whole, and each of them whole.
    deepEqual(raws(header), raws(whole).slice(0, header.length), `cut at ${cut}`);
    ok(header.end <= Math.max(cut, whole.end));
    if (cut >= whole.end) equal(header.end, whole.end);
    else equal(header.end, header.fieldsEnd);
  }
  equal(readHeader(content.slice(0, 12), content.length).length, 1, "B may be continued");
  equal(readHeader(content.slice(0, 13), content.length).length, 1, "B is continued");
  equal(readHeader(content.slice(0, 18), content.length).length, 2, "C has begun");
});

Deno.test("header: a content in memory shows 256 KiB as its head", () => {
  const content = memoryContent(bytes(`A: ${"x".repeat(300_000)}\r\nB: 1\r\n\r\n`));
  equal(content.head.length, 256 * 1024);
  equal(readHeader(content.head, content.size).length, 0);
});

Deno.test("header: property: any bytes are read; the fields' ranges and the rest are the original", () => {
  fc.assert(fc.property(contents, (content) => {
    const header = readHeader(content);
    let at = 0;
    for (let field = 0; field < header.length; field++) {
      equal(header.start(field), at);
      at = header.stop(field);
      const [name, value] = [header.name(field), header.value(field)];
      ok(/^[!-9;-~]+$/.test(name));
      ok(!/[\r\n]/.test(value));
      ok(header.all(name).includes(value));
      ok(header.isNamed(field, asciiLower(name)));
    }
    equal(at, header.fieldsEnd);
    const separator = text(content.subarray(header.fieldsEnd, header.end));
    ok(separator === "" || separator === "\r\n");
    equal([...header].length, header.length);
  }));
});

Deno.test("header: property: a shorter head of the same content never shows other fields", () => {
  fc.assert(fc.property(contents, fc.nat(), (content, seed) => {
    const cut = content.length === 0 ? 0 : seed % content.length;
    const [some, whole] = [readHeader(content.slice(0, cut), content.length), readHeader(content)];
    deepEqual(raws(some), raws(whole).slice(0, some.length));
  }));
});
