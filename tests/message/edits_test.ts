import { deepStrictEqual as deepEqual, ok, strictEqual as equal, throws } from "node:assert/strict";
import fc from "fast-check";
import { memoryContent } from "../../server/message/content.ts";
import { composed, EditedHeader, type Edits, noEdits } from "../../server/message/edits.ts";
import { readHeader } from "../../server/message/header.ts";
import { concat, linesOf, overlaid, render, renderedSize, renderHead } from "../../server/message/render.ts";
import { bytes, contents, piecewise, text } from "./bytes.ts";

const letter = "A: 1\r\nB: 2\r\n\t2\r\nA: 3\r\nC: 4\r\n\r\nbody\r\n";

function edited(content: string, edit: (header: EditedHeader) => void): string {
  const octets = bytes(content);
  const header = new EditedHeader(readHeader(octets));
  edit(header);
  return text(render(memoryContent(octets), header.edits()) as Uint8Array);
}

const rows:
  readonly (readonly [it: string, content: string, edit: (header: EditedHeader) => void, out: string])[] = [
    ["nothing", letter, () => {}, letter],
    ["prepend", letter, (h) => h.insert(0, "X", "9"), `X: 9\r\n${letter}`],
    ["prepend twice: the last is on top", letter, (h) => {
      h.insert(0, "X", "8");
      h.insert(0, "Y", "9");
    }, `Y: 9\r\nX: 8\r\n${letter}`],
    ["insert before the second", letter, (h) => h.insert(1, "X", "9"), letter.replace("B:", "X: 9\r\nB:")],
    ["insert past the end", letter, (h) => h.insert(99, "X", "9"), letter.replace("4\r\n", "4\r\nX: 9\r\n")],
    [
      "an index counts the fields that are there",
      letter,
      (h) => {
        h.remove("a");
        h.insert(1, "X", "9");
      },
      "B: 2\r\n\t2\r\nX: 9\r\nC: 4\r\n\r\nbody\r\n",
    ],
    ["remove every one of a name", letter, (h) => h.remove("a"), "B: 2\r\n\t2\r\nC: 4\r\n\r\nbody\r\n"],
    [
      "remove by value",
      letter,
      (h) => h.remove("A", (value) => value === "3"),
      letter.replace("A: 3\r\n", ""),
    ],
    ["remove what is not there", letter, (h) => h.remove("Bcc"), letter],
    ["remove what was added", letter, (h) => {
      h.insert(0, "X", "9");
      h.remove("x");
    }, letter],
    ["remove all", "A: 1\r\n\r\nbody", (h) => h.remove("A"), "\r\nbody"],
    [
      "replace in place, the others go",
      letter,
      (h) => h.replace("a", "9"),
      "a: 9\r\nB: 2\r\n\t2\r\nC: 4\r\n\r\nbody\r\n",
    ],
    [
      "replace what is not there appends",
      letter,
      (h) => h.replace("X", "9"),
      letter.replace("4\r\n", "4\r\nX: 9\r\n"),
    ],
    [
      "D05: prepend to a body without header",
      "From x\r\ny",
      (h) => h.insert(0, "X", "9"),
      "X: 9\r\nFrom x\r\ny",
    ],
    [
      "D05: prepend to a body that starts with white space: it must not continue the field",
      " x\r\ny",
      (h) => h.insert(0, "X", "9"),
      "X: 9\r\n\r\n x\r\ny",
    ],
    ["prepend to an empty content", "", (h) => h.insert(0, "X", "9"), "X: 9\r\n"],
    ["prepend to an empty header", "\r\nbody", (h) => h.insert(0, "X", "9"), "X: 9\r\n\r\nbody"],
    [
      "append where the content ends within its last field",
      "A: 1\r\nB: 2",
      (h) => h.insert(Infinity, "X", "9"),
      "A: 1\r\nB: 2\r\nX: 9\r\n",
    ],
    [
      "append where a line ends the header",
      "A: 1\r\nHello\r\n",
      (h) => h.insert(9, "X", "9"),
      "A: 1\r\nX: 9\r\nHello\r\n",
    ],
  ];

for (const [it, content, edit, out] of rows) {
  Deno.test(`edits: ${it}`, () => equal(edited(content, edit), out));
}

Deno.test("edits: are small, plain data that JSON keeps", () => {
  const header = new EditedHeader(readHeader(bytes(letter)));
  equal(header.edits(), noEdits);
  header.insert(0, "X", "8");
  header.insert(0, "Y", "9");
  deepEqual(header.edits(), { pieces: ["Y: 9\r\nX: 8\r\n"], rest: 0 });
  header.remove("B");
  deepEqual(header.edits(), { pieces: ["Y: 9\r\nX: 8\r\n", [0, 6]], rest: 16 });
  deepEqual(JSON.parse(JSON.stringify(header.edits())), header.edits());
});

Deno.test("edits: are seen by who reads the header", () => {
  const header = new EditedHeader(readHeader(bytes(letter)));
  header.insert(0, "A", " 0 ");
  deepEqual(header.all("a"), ["0", "1", "3"]);
  equal(header.get("A"), "0");
  header.replace("b", "9");
  deepEqual([...header], [["A", "0"], ["A", "1"], ["b", "9"], ["A", "3"], ["C", "4"]]);
  equal(header.remove("A"), 3);
  equal(header.get("A"), undefined);
  equal(header.remove("A"), 0);
});

Deno.test("edits: while they are iterated over, fields may be removed and added", () => {
  const header = new EditedHeader(readHeader(bytes("X-1: a\r\nX-2: b\r\nY: c\r\nX-3: d\r\n\r\n")));
  header.insert(0, "X-0", "z");
  for (const [name] of header) if (name.startsWith("X-")) header.remove(name);
  deepEqual([...header], [["Y", "c"]]);
  for (const [name, value] of header) header.insert(0, `X-${name}`, value);
  deepEqual([...header], [["X-Y", "c"], ["Y", "c"]]);
});

Deno.test("edits: a copy has a life of its own", () => {
  const header = new EditedHeader(readHeader(bytes(letter)));
  header.insert(0, "X", "8");
  const copy = header.copy();
  copy.remove("X");
  header.insert(0, "Y", "9");
  deepEqual([header.get("X"), header.get("Y")], ["8", "9"]);
  deepEqual([copy.get("X"), copy.get("Y")], [undefined, undefined]);
});

Deno.test("edits: bad places and names are refused, and nothing has changed", () => {
  const header = new EditedHeader(readHeader(bytes(letter)));
  for (const index of [-1, NaN]) {
    throws(() => header.insert(index, "X", "9"), { name: "TypeError", message: /is no place in a header/ });
  }
  throws(() => header.insert(0, "X", "a\r\nb"), TypeError);
  throws(() => header.replace("A:", "b"), TypeError);
  throws(() => header.remove("A:"), { name: "TypeError", message: /"A:" is not the name of a header field/ });
  equal(header.edits(), noEdits);
});

Deno.test("edits: D05 in a header of many fields each is removed by its name, in linear time", () => {
  const many = Array.from({ length: 60_000 }, (_, i) => `X-${i}: ${i}\r\n`).join("");
  const header = new EditedHeader(readHeader(bytes(`${many}\r\n`)));
  header.insert(0, "Y", "9");
  const start = performance.now();
  for (const [name] of header) if (name !== "Y") equal(header.remove(name), 1);
  ok(performance.now() - start < 5_000);
  deepEqual([...header], [["Y", "9"]]);
  header.replace("x-7", "8");
  equal(header.get("X-7"), "8");
});

type Step = (header: EditedHeader) => void;
const names = fc.constantFrom("A", "Subject", "bcc", "X-New", "__proto__");
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    names.map((name): Step => (h) => h.insert(0, name, "added")),
    fc.tuple(fc.nat(9), names).map(([index, name]): Step => (h) => h.insert(index, name, "in serted")),
    names.map((name): Step => (h) => void h.remove(name)),
    names.map((name): Step => (h) => h.replace(name, "\u00e9")),
  ),
  { maxLength: 6 },
);

Deno.test("edits: property: without edits the same bytes, in memory and in pieces", async () => {
  await fc.assert(fc.asyncProperty(contents, async (octets) => {
    const content = memoryContent(octets);
    equal(render(content), octets);
    equal(render(content, new EditedHeader(readHeader(octets)).edits()), octets);
    const pieces = render(piecewise(octets, 3)) as AsyncIterable<Uint8Array>;
    deepEqual(concat(await Array.fromAsync(pieces)), octets);
  }));
});

Deno.test("edits: property: prepending leaves all octets, removing leaves all others", () => {
  fc.assert(fc.property(contents, names, (octets, name) => {
    const received = readHeader(octets);
    const prepended = new EditedHeader(received);
    prepended.insert(0, name, "x");
    const out = text(render(memoryContent(octets), prepended.edits()) as Uint8Array);
    // A blank line between is ours, and only in front of white space.
    const blank = octets[0] === 0x20 || octets[0] === 0x09 ? "\r\n" : "";
    equal(out, `${name}: x\r\n${blank}${text(octets)}`);

    const removed = new EditedHeader(received);
    removed.remove(name);
    const kept = Array.from({ length: received.length }, (_, field) => field)
      .filter((field) => received.name(field).toLowerCase() !== name.toLowerCase())
      .map((field) => received.raw(field));
    const expected = concat([...kept, octets.subarray(received.fieldsEnd)]);
    deepEqual(render(memoryContent(octets), removed.edits()), expected);
  }));
});

Deno.test("edits: property: what is rendered reads as the edited header; size, pieces and memory agree", async () => {
  await fc.assert(fc.asyncProperty(contents, steps, fc.boolean(), async (octets, edits, withTop) => {
    const header = new EditedHeader(readHeader(octets));
    for (const step of edits) step(header);
    const overlay = JSON.parse(JSON.stringify(header.edits()));
    const top = withTop ? ["Received: by x\r\n\tid 1;\r\n", "Z: \u00e9\r\n"] : [];
    const out = render(memoryContent(octets), overlay, top) as Uint8Array<ArrayBuffer>;
    deepEqual(
      concat(await Array.fromAsync(render(piecewise(octets, 5), overlay, top) as AsyncIterable<Uint8Array>)),
      out,
    );
    equal(renderedSize(memoryContent(octets), overlay, top), out.length);
    deepEqual(renderHead(memoryContent(octets), overlay, top), out);

    const again = [...readHeader(out)];
    deepEqual(again.slice(top.length), [...header]);
    const received = readHeader(octets);
    const body = text(octets.subarray(received.end));
    ok(text(out).endsWith(body));
  }));
});

Deno.test("lines: each with its CRLF, whatever the pieces are; the last as it is", async () => {
  const content = bytes("one\r\ntwo\n\rtwo\r\n\r\n\r\r\nlast");
  const expected = ["one\r\n", "two\n\rtwo\r\n", "\r\n", "\r\r\n", "last"];
  for (let size = 1; size <= content.length; size++) {
    const lines = await Array.fromAsync(linesOf(piecewise(content, size).read()));
    deepEqual(lines.map(text), expected, `pieces of ${size}`);
  }
  deepEqual(await Array.fromAsync(linesOf([])), []);
  deepEqual(await Array.fromAsync(linesOf([new Uint8Array(0)])), []);
});

Deno.test("lines: D04 a line of 4 MB in pieces of 1 KB stays whole, in linear time", async () => {
  const content = bytes(`${"x".repeat(4_000_000)}\r\ny\r\n`);
  const start = performance.now();
  const lines = await Array.fromAsync(linesOf(piecewise(content, 1024).read()));
  deepEqual(lines.map((line) => line.length), [4_000_002, 3]);
  ok(performance.now() - start < 5_000);
});

const changes = fc.array(fc.tuple(
  fc.constantFrom("insert", "replace", "remove"),
  fc.constantFrom("A", "B", "C", "X-Neu"),
  fc.constantFrom("1", "Grüße aus Köln", "v=1;\r\n\tb=x", ""),
  fc.nat(6),
));

function changedBy(
  content: Parameters<typeof render>[0],
  how: readonly (readonly [string, string, string, number])[],
): Edits {
  const header = new EditedHeader(readHeader(content.head, content.size));
  for (const [what, name, value, index] of how) {
    if (what === "insert") header.insert(index, name, value);
    else if (what === "replace") header.replace(name, value);
    else header.remove(name);
  }
  return header.edits();
}

Deno.test("edits: property: two overlays made one give what the second makes of what the first has made", async () => {
  const letters = fc.constantFrom(letter, "A: ä\r\n\r\n", "A: 1", "\r\nbody", "no header\r\n", "");
  await fc.assert(
    fc.asyncProperty(letters, changes, changes, fc.boolean(), async (content, one, two, inFile) => {
      const octets = bytes(content);
      const stored = inFile ? piecewise(octets, 5) : memoryContent(octets);
      const first = changedBy(stored, one);
      const base = overlaid(stored, first);
      const second = changedBy(base, two);
      const read = async (of: typeof stored, edits: Edits) => {
        const rendered = render(of, edits);
        return text(rendered instanceof Uint8Array ? rendered : concat(await Array.fromAsync(rendered)));
      };
      const expected = await read(base, second);
      equal(await read(stored, composed(first, second)), expected);
      equal(base.size, concat(await Array.fromAsync(base.read())).length);
      for (const from of [1, 7, 30]) {
        equal(text(concat(await Array.fromAsync(base.read(from)))), text((await whole(base)).subarray(from)));
      }
    }),
  );
});

const whole = async (content: Parameters<typeof render>[0]) => concat(await Array.fromAsync(content.read()));
