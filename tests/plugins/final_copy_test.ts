import { deepStrictEqual as deepEqual, strictEqual as equal } from "node:assert/strict";
import fc from "fast-check";
import {
  type FileBody,
  joined,
  type LineEndings,
  streamedBody,
  ToLf,
  wholeBody,
  withoutField,
} from "../../plugins/final_copy.ts";
import { message } from "./harness.ts";

const latin1 = (bytes: Uint8Array) => Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
const bytes = (text: string) => Uint8Array.from(text, (letter) => letter.charCodeAt(0));
const lineBytes = fc.array(fc.constantFrom(..."\r\n\r\nab: \t"), { maxLength: 60 }).map((letters) =>
  letters.join("")
);

async function read(body: FileBody): Promise<{ text: string; bareLines: number }> {
  const pieces: Uint8Array[] = [];
  const source = body.pieces();
  for (let next = await source.next();; next = await source.next()) {
    if (next.done) return { text: latin1(joined(pieces)), bareLines: next.value };
    pieces.push(next.value);
  }
}

Deno.test("CRLF becomes LF and nothing else changes, however the bytes are split", () => {
  fc.assert(fc.property(lineBytes, fc.array(fc.nat(60)), (text, cuts) => {
    const lines = new ToLf();
    let out = "", from = 0;
    for (const cut of [...cuts.sort((a, b) => a - b), text.length]) {
      out += latin1(lines.convert(bytes(text.slice(from, Math.max(from, cut)))));
      from = Math.max(from, cut);
    }
    out += latin1(lines.finish());
    equal(out, text.replaceAll("\r\n", "\n"));
    equal(lines.bareLines, [...out.matchAll(/(?<!\r)\n/g)].length);
  }));
});

Deno.test("D08 a field is taken out with its continuation lines, only from the header section", () => {
  const table: [string, string][] = [
    ["", ""],
    ["A: b\r\n\r\nReturn-Path: <x>\r\n", "A: b\r\n\r\nReturn-Path: <x>\r\n"],
    ["Return-Path: <a@b>\r\nA: b\r\n\r\nbody", "A: b\r\n\r\nbody"],
    [
      "A: b\r\nRETURN-path : <a@b>\r\n\tc\r\n d\r\nC: d\r\nReturn-Path: x\r\n\r\nbody",
      "A: b\r\nC: d\r\n\r\nbody",
    ],
    ["Return-Path: <a@b>", ""],
    ["Return-Path-Not: <a@b>\r\n\r\n", "Return-Path-Not: <a@b>\r\n\r\n"],
    ["no header\r\nReturn-Path: <a@b>\r\n", "no header\r\nReturn-Path: <a@b>\r\n"],
  ];
  for (const [before, after] of table) {
    equal(latin1(withoutField(bytes(before), "return-path")), after, before);
  }
});

Deno.test("a message in memory and a streamed one become the same file", async () => {
  const header = fc.constantFrom(
    "",
    "Return-Path: <a@b>\r\n c\r\n",
    "X: y\r\n",
    "X: y\r\nReturn-Path: z\r\n",
  );
  const endings = fc.constantFrom<LineEndings>("lf", "crlf");
  await fc.assert(
    fc.asyncProperty(
      header,
      lineBytes,
      endings,
      fc.integer({ min: 1, max: 9 }),
      async (head, text, ending, size) => {
        const content = `${head}\r\n${text}`;
        const whole = await read(wholeBody(bytes(content), ending, true));
        deepEqual(await read(streamedBody(message(content, size), ending, true)), whole);
        deepEqual(await read(streamedBody(message(content, size), ending, true)), whole);
      },
    ),
  );
});

Deno.test("a long message streams in pieces of bounded size, its Return-Path gone, its bytes whole", async () => {
  const content = `A: ${"x".repeat(100_000)}\r\nReturn-Path: <a@b>\r\n\r\n${"line\r\n".repeat(200_000)}`;
  const source = streamedBody(message(content, 60_000), "lf", true).pieces();
  const pieces: Uint8Array[] = [];
  for (let next = await source.next(); !next.done; next = await source.next()) pieces.push(next.value);
  equal(latin1(joined(pieces)), content.replace("Return-Path: <a@b>\r\n", "").replaceAll("\r\n", "\n"));
  equal(pieces.every((piece) => piece.length <= 256 * 1024 + 60_000), true);
});
