// Not `equal`: as a named import from node:assert/strict it is the loose one on Deno 2.9.6.
import { ok, strictEqual as equal } from "node:assert/strict";
import fc from "fast-check";
import { ChunkDecoder, DataDecoder, DotStuffer } from "../../server/smtp/data.ts";

/** Octets as text, one character each, so that failures can be read. */
const bytes = (text: string) => Uint8Array.from(text, (char) => char.charCodeAt(0));
const text = (octets: Uint8Array) => Array.from(octets, (octet) => String.fromCharCode(octet)).join("");

/** Cuts as the numbers say, over and over. */
function cut(stream: Uint8Array, sizes: readonly number[]): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  for (let at = 0, i = 0; at < stream.length; i++) {
    const size = sizes[i % sizes.length] ?? stream.length;
    chunks.push(stream.subarray(at, at + size));
    at += size;
  }
  return chunks;
}

/** What is read of a stream in these chunks: the message, what is left behind its end, and whether it had bare newlines. */
function data(chunks: readonly Uint8Array[]) {
  const decoder = new DataDecoder();
  let content = "", left = "", end = false;
  for (const chunk of chunks) {
    if (end) {
      left += text(chunk);
      continue;
    }
    const got = decoder.decode(chunk);
    content += text(got.content);
    left += text(chunk.subarray(got.consumed));
    ({ end } = got);
    if (!end) equal(got.consumed, chunk.length);
  }
  return { content, left, end, bare: decoder.sawBareNewline };
}

function chunked(chunks: readonly Uint8Array[]): { content: string; bare: boolean } {
  const decoder = new ChunkDecoder();
  const content = chunks.map((chunk) => text(decoder.decode(chunk))).join("");
  return { content: content + text(decoder.flush()), bare: decoder.sawBareNewline };
}

function stuffed(chunks: readonly Uint8Array[]): string {
  const stuffer = new DotStuffer();
  return chunks.map((chunk) => text(stuffer.encode(chunk))).join("") + text(stuffer.finish());
}

/** The rules once more, as slowly and plainly as can be: lines by CRLF, then dots, then bare newlines. */
function reference(stream: string): { content: string; left: string; end: boolean } {
  let content = "", rest = stream;
  for (;;) {
    const crlf = rest.indexOf("\r\n");
    if (crlf < 0) return { content, left: rest, end: false };
    const line = rest.slice(0, crlf);
    rest = rest.slice(crlf + 2);
    if (line === ".") return { content, left: rest, end: true };
    content += `${line.replace(/^\./, "").replaceAll(/\r|\n/g, "\r\n")}\r\n`;
  }
}

/** Text of what matters, much of it in the worst places. */
const nasty = fc.array(
  fc.constantFrom(
    "\r",
    "\n",
    ".",
    "\0",
    "a",
    "\r\n",
    "\r\n.",
    "\r\n.\r\n",
    ".\r",
    "\n.\n",
    "x".repeat(70),
    "\x0b\x0d",
    "\xff\x8d\x8a",
  ),
  { maxLength: 40 },
).map((parts) => parts.join(""));
const sizes = fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1, maxLength: 5 });
const clean = nasty.map((content) => content.replaceAll(/\r\n|\r|\n/g, "\r\n"));

// wire → content, left behind the end (undefined: no end)
// deno-fmt-ignore
const table: readonly [id: string, wire: string, content: string, left: string | undefined][] = [
  ["D03 ordinary", "a\r\nb\r\n.\r\n", "a\r\nb\r\n", ""],
  ["D03 a dot as first line is an empty message", ".\r\nQUIT\r\n", "", "QUIT\r\n"],
  ["D03 an empty line", "\r\n.\r\n", "\r\n", ""],
  ["D03 stuffed dots", "..\r\n...\r\n..a\r\n.a\r\n.\r\n", ".\r\n..\r\n.a\r\na\r\n", ""],
  ["D03 a dot inside a line", "a.\r\n.\r\n", "a.\r\n", ""],
  ["D01 what follows is not touched", "a\r\n.\r\n.\r\n", "a\r\n", ".\r\n"],
  ["D01 no end without its first CRLF", "a.\r\n", "a.\r\n", undefined],
  ["D02 LF dot LF", "a\n.\nMAIL\r\n.\r\n", "a\r\n.\r\nMAIL\r\n", ""],
  ["D02 LF dot CRLF", "a\n.\r\nMAIL\r\n.\r\n", "a\r\n.\r\nMAIL\r\n", ""],
  ["D02 CR dot CR", "a\r.\rMAIL\r\n.\r\n", "a\r\n.\r\nMAIL\r\n", ""],
  ["D02 CR dot CRLF", "a\r.\r\nMAIL\r\n.\r\n", "a\r\n.\r\nMAIL\r\n", ""],
  ["D02 LF dot CR", "a\n.\rMAIL\r\n.\r\n", "a\r\n.\r\nMAIL\r\n", ""],
  ["D02 CRLF dot LF", "a\r\n.\nMAIL\r\n.\r\n", "a\r\n\r\nMAIL\r\n", ""],
  ["D02 CRLF dot CR", "a\r\n.\rMAIL\r\n.\r\n", "a\r\n\r\nMAIL\r\n", ""],
  ["D02 CRLF dot CR CRLF", "a\r\n.\r\r\nMAIL\r\n.\r\n", "a\r\n\r\n\r\nMAIL\r\n", ""],
  ["D02 CRLF dot CR dot CRLF", "a\r\n.\r.\r\nb\r\n.\r\n", "a\r\n\r\n.\r\nb\r\n", ""],
  ["D02 LF CR dot CRLF", "a\n\r.\r\nb\r\n.\r\n", "a\r\n\r\n.\r\nb\r\n", ""],
  ["D02 CR CRLF dot CRLF is an end", "a\r\r\n.\r\nQUIT\r\n", "a\r\n\r\n", "QUIT\r\n"],
  ["D02 LF CRLF dot CRLF is an end", "a\n\r\n.\r\nQUIT\r\n", "a\r\n\r\n", "QUIT\r\n"],
  ["D02 CRLF NUL dot CRLF", "a\r\n\0.\r\nb\r\n.\r\n", "a\r\n\0.\r\nb\r\n", ""],
  ["D02 CRLF dot NUL CRLF", "a\r\n.\0\r\nb\r\n.\r\n", "a\r\n\0\r\nb\r\n", ""],
  ["D02 CRLF dot CR NUL LF", "a\r\n.\r\0\nb\r\n.\r\n", "a\r\n\r\n\0\r\nb\r\n", ""],
  ["D02 CR NUL LF dot CRLF", "a\r\0\n.\r\nb\r\n.\r\n", "a\r\n\0\r\n.\r\nb\r\n", ""],
  ["D02 a stuffed dot behind LF stays as it is", "a\n..\r\n.\r\n", "a\r\n..\r\n", ""],
  ["D02 bare newlines at the beginning", "\n.\n\r.\r\r\n.\r\n", "\r\n.\r\n\r\n.\r\n\r\n", ""],
  ["D02 a lone dot and LF first", ".\n.\r\n.\r\n", "\r\n.\r\n", ""],
  ["D02 vertical tab and form feed end no line", "a\x0b.\x0c\x85.\r\n.\r\n", "a\x0b.\x0c\x85.\r\n", ""],
  ["D04 NUL and 8-bit octets stay", "\0\xff\x8d\x8a\r\n.\r\n", "\0\xff\x8d\x8a\r\n", ""],
  ["D04 a line of 100,000", `${"x".repeat(100_000)}\r\n.\r\n`, `${"x".repeat(100_000)}\r\n`, ""],
];

for (const [id, wire, content, left] of table) {
  Deno.test(`DATA: ${id}`, () => {
    const expected = { content, left: left ?? "", end: left !== undefined };
    for (const size of [wire.length, 1, 2, 3, 5]) {
      if (wire.length > 1000 && size < 5) continue;
      const { bare: _, ...got } = data(cut(bytes(wire), [size]));
      equal(JSON.stringify(got), JSON.stringify(expected), `in chunks of ${size}`);
    }
  });
}

Deno.test("D01 D02: every stream of up to seven octets of CR, LF, dot and a letter is read as the rules say", () => {
  const alphabet = "\r\n.a";
  for (let length = 0; length <= 7; length++) {
    for (let number = 0; number < 4 ** length; number++) {
      let stream = "";
      for (let n = number, i = 0; i < length; i++, n = Math.floor(n / 4)) stream += alphabet[n % 4];
      // The end is added so that what is content has come out whole.
      const expected = reference(`${stream}\r\n.\r\n`);
      for (const size of [length + 5, 1]) {
        const { bare: _, ...got } = data(cut(bytes(`${stream}\r\n.\r\n`), [size]));
        if (JSON.stringify(got) !== JSON.stringify(expected)) equal(got, expected, JSON.stringify(stream));
      }
    }
  }
});

Deno.test("D01 property: one chunk, one octet at a time and any other cut read the same, as the rules say", () => {
  fc.assert(
    fc.property(nasty, sizes, (stream, sizes) => {
      const wire = bytes(`${stream}\r\n.\r\nNOOP\r\n`);
      const whole = data([wire]);
      equal(JSON.stringify(data(cut(wire, sizes))), JSON.stringify(whole));
      equal(JSON.stringify(data(cut(wire, [1]))), JSON.stringify(whole));
      const expected = reference(text(wire));
      equal(whole.content, expected.content);
      equal(whole.left, expected.left);
    }),
    { numRuns: 500 },
  );
});

Deno.test("D02 property: whatever comes, only CRLF ends a line of the content", () => {
  fc.assert(
    fc.property(fc.oneof(nasty, fc.uint8Array({ maxLength: 300 }).map(text)), sizes, (stream, sizes) => {
      const { content } = data(cut(bytes(`${stream}\r\n.\r\n`), sizes));
      ok(!/\r(?!\n)|(?<!\r)\n/.test(content), JSON.stringify(content));
      ok(!/\r(?!\n)|(?<!\r)\n/.test(chunked(cut(bytes(stream), sizes)).content));
    }),
  );
});

Deno.test("D02: sawBareNewline is exact, at every cut", () => {
  for (
    const [wire, bare] of [["a\r\n.\r\n", false], [".\r\n", false], ["a\r\r\n.\r\n", true], [
      "\n\r\n.\r\n",
      true,
    ], [".\r.\r\n.\r\n", true]] as const
  ) {
    for (const size of [20, 1, 2]) equal(data(cut(bytes(wire), [size])).bare, bare, JSON.stringify(wire));
  }
});

Deno.test("DATA: after the end nothing is consumed", () => {
  const decoder = new DataDecoder();
  equal(decoder.decode(bytes(".\r\n")).end, true);
  const again = decoder.decode(bytes("x\r\n.\r\n"));
  equal(`${again.consumed} ${again.content.length} ${again.end}`, "0 0 true");
});

Deno.test("DATA: ordinary content is a view of the input, not a copy", () => {
  const input = bytes(`..${"Ordinary text of a message.\r\n".repeat(1000)}.\r\n`).subarray(1); // unaligned
  const { content } = new DataDecoder().decode(input);
  equal(content.buffer, input.buffer);
  equal(content.length, input.length - 4); // without the stuffed dot, and the end
});

Deno.test("DATA: memory that the caller uses again for the next octets is read anew", () => {
  const memory = new Uint8Array(256);
  const decoder = new DataDecoder();
  for (const line of ["x".repeat(150), "y".repeat(90) + "\n" + "z".repeat(50), "w".repeat(200)]) {
    memory.set(bytes(`${line}\r\n`));
    equal(
      text(decoder.decode(memory.subarray(0, line.length + 2)).content),
      `${line.replace("\n", "\r\n")}\r\n`,
    );
  }
});

Deno.test("DATA: a CR or LF is found at every place of a word, at every alignment", () => {
  for (let offset = 0; offset < 8; offset++) {
    for (let place = 0; place < 130; place++) {
      for (const odd of ["\n", "\r"]) {
        const line = `${"\t".repeat(place)}${odd}${"\x8a".repeat(130 - place)}`;
        const wire = bytes(`${"z".repeat(offset)}${line}\r\n.\r\n`).subarray(offset);
        const { content } = new DataDecoder().decode(wire);
        if (text(content) !== `${line.replace(odd, "\r\n")}\r\n`) {
          equal(text(content), line, `${offset} ${place}`);
        }
      }
    }
  }
});

Deno.test("DATA: 1 MiB of the worst takes time in proportion to its length", () => {
  for (const unit of ["\n", "\r", "\r\n..", "\r\n.\r", "."]) {
    const wire = bytes(unit.repeat(Math.floor(1_048_576 / unit.length)));
    const started = performance.now();
    const decoder = new DataDecoder();
    for (const chunk of cut(wire, [65_536])) decoder.decode(chunk);
    ok(performance.now() - started < 2000, JSON.stringify(unit));
  }
});

// deno-fmt-ignore
const bdat: readonly [id: string, chunks: string[], content: string, bare: boolean][] = [
  ["B01 a chunk is data whatever it contains", ["a\r\n.\r\nQUIT\r\n..\r\n"], "a\r\n.\r\nQUIT\r\n..\r\n", false],
  ["B01 nothing at all", [], "", false],
  ["B01 no line end at the end stays so", ["a"], "a", false],
  ["B01 a CRLF cut by a chunk's end", ["a\r", "\nb\r\n"], "a\r\nb\r\n", false],
  ["B01 an empty chunk between CR and LF", ["a\r", "", "\n"], "a\r\n", false],
  ["D02 a lone CR at the end of the last chunk", ["a\r"], "a\r\n", true],
  ["D02 CRs alone", ["\r\r", "\r\n\r"], "\r\n\r\n\r\n\r\n", true],
  ["D02 LF first", ["\na\n", "\n\r\n"], "\r\na\r\n\r\n\r\n", true],
];
for (const [id, chunks, content, bare] of bdat) {
  Deno.test(`BDAT: ${id}`, () => {
    equal(JSON.stringify(chunked(chunks.map(bytes))), JSON.stringify({ content, bare }));
  });
}

Deno.test("B01 property: any cut gives the same, and clean content stays as it is", () => {
  fc.assert(
    fc.property(nasty, clean, sizes, (stream, clean, sizes) => {
      const expected = stream.replaceAll(/\r\n|\r|\n/g, "\r\n");
      equal(chunked(cut(bytes(stream), sizes)).content, expected);
      equal(chunked(cut(bytes(clean), sizes)).content, clean);
    }),
    { numRuns: 300 },
  );
});

Deno.test("BDAT: a CR at the end of a chunk is bare only where nothing follows", () => {
  const last = new ChunkDecoder();
  last.decode(bytes("a\r"));
  equal(last.sawBareNewline, false); // the next chunk may begin with LF
  equal(text(last.flush()), "\n");
  equal(last.sawBareNewline, true);
});

// deno-fmt-ignore
const sent: readonly [id: string, content: string, wire: string][] = [
  ["D03 an empty message", "", ".\r\n"],
  ["D03 ordinary", "a\r\n", "a\r\n.\r\n"],
  ["D03 a missing line end is added", "a", "a\r\n.\r\n"],
  ["D03 dots at line starts", ".\r\n..\r\n.a\r\na.\r\n", "..\r\n...\r\n..a\r\na.\r\n.\r\n"],
  ["D03 a dot without a line end", ".", "..\r\n.\r\n"],
  ["D02 bare newlines leave as CRLF, and stuffed", "a\n.\nb\r.\r", "a\r\n..\r\nb\r\n..\r\n.\r\n"],
  ["D02 LF dot CRLF", "\n.\r\nMAIL", "\r\n..\r\nMAIL\r\n.\r\n"],
];
for (const [id, content, wire] of sent) {
  Deno.test(`DotStuffer: ${id}`, () => {
    for (const size of [100, 1, 2]) equal(stuffed(cut(bytes(content), [size])), wire, `in chunks of ${size}`);
  });
}

Deno.test("D03 property: what is stuffed is decoded to the same, at any cuts, and ends nowhere before its end", () => {
  fc.assert(
    fc.property(nasty, sizes, sizes, (stream, one, other) => {
      const normal = stream.replaceAll(/\r\n|\r|\n/g, "\r\n");
      const content = normal === "" || normal.endsWith("\r\n") ? normal : `${normal}\r\n`;
      const wire = stuffed(cut(bytes(stream), one));
      const got = data(cut(bytes(`${wire}NOOP\r\n`), other));
      equal(JSON.stringify(got), JSON.stringify({ content, left: "NOOP\r\n", end: true, bare: false }));
    }),
    { numRuns: 500 },
  );
});

Deno.test("DotStuffer: ordinary content is a view of the input, not a copy", () => {
  const input = bytes("Ordinary text of a message.\r\n".repeat(100));
  equal(new DotStuffer().encode(input).buffer, input.buffer);
});
