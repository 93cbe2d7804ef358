import { strictEqual as equal } from "node:assert/strict";
import fc from "fast-check";
import { fromLine, MboxEncoder } from "../../server/message/mbox.ts";
import { concat } from "../../server/message/render.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

/** @param split Octets a piece. */
function encode(text: string, split = text.length || 1): string {
  const encoder = new MboxEncoder();
  const all = bytes(text);
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  for (let at = 0; at < all.length; at += split) pieces.push(encoder.push(all.subarray(at, at + split)));
  return new TextDecoder().decode(concat([...pieces, encoder.end()]));
}

/** What a reader of mboxrd makes of it. */
function decode(mbox: string): string {
  return mbox.replace(/\n$/, "").replaceAll(/^>(>*From )/gm, "$1").replaceAll("\n", "\r\n");
}

Deno.test("mbox: lines that could begin a message are quoted, and those that look quoted, too", () => {
  const cases: [string, string][] = [
    ["A: 1\r\n\r\nFrom me\r\n", "A: 1\n\n>From me\n\n"],
    ["From \r\n>From \r\n>>From x\r\n", ">From \n>>From \n>>>From x\n\n"],
    [
      "From\r\n>From\r\nfrom x\r\n From x\r\nFromx\r\nFrom\tx\r\n",
      "From\n>From\nfrom x\n From x\nFromx\nFrom\tx\n\n",
    ],
    [">>\r\n>\r\n", ">>\n>\n\n"],
    ["no end", "no end\n\n"],
    ["From", "From\n\n"],
    ["", "\n"],
    ["a\rb\r\r\nFrom x", "a\rb\r\n>From x\n\n"],
  ];
  for (const [text, expected] of cases) {
    equal(encode(text), expected, JSON.stringify(text));
    equal(encode(text, 1), expected, JSON.stringify(text));
  }
});

Deno.test("mbox: a message comes back as it was, and in whatever pieces it came", () => {
  const line = fc.array(fc.constantFrom("From ", ">", "From", " ", "x", "é"), { maxLength: 6 })
    .map((parts) => parts.join(""));
  fc.assert(fc.property(fc.array(line, { maxLength: 8 }), fc.integer({ min: 1, max: 7 }), (lines, split) => {
    const text = lines.map((one) => `${one}\r\n`).join("");
    equal(decode(encode(text)), text);
    equal(encode(text, split), encode(text));
  }));
});

Deno.test("mbox: the line before says who sent it and when, as asctime does", () => {
  const line = (sender: string, time: number) => new TextDecoder().decode(fromLine(sender, time));
  equal(line("a@x.example", Date.UTC(2026, 10, 1, 4, 5, 6)), "From a@x.example Sun Nov  1 04:05:06 2026\n");
  equal(line("", Date.UTC(2026, 0, 31, 23, 59, 59)), "From MAILER-DAEMON Sat Jan 31 23:59:59 2026\n");
  equal(line('"a b"@x.example', 0), 'From "a_b"@x.example Thu Jan  1 00:00:00 1970\n');
});
