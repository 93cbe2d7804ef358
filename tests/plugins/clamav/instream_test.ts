import { deepStrictEqual as deepEqual, ok, strictEqual as equal, throws } from "node:assert/strict";
import fc from "fast-check";
import { instream, readFinding } from "../../../plugins/clamav/instream.ts";

const utf8 = new TextEncoder();

/** What clamd would read. */
function chunks(said: Uint8Array): Uint8Array[] {
  const command = utf8.encode("zINSTREAM\0");
  deepEqual(said.subarray(0, command.length), command);
  const found: Uint8Array[] = [];
  const view = new DataView(said.buffer, said.byteOffset, said.byteLength);
  for (let at = command.length;;) {
    const length = view.getUint32(at);
    at += 4;
    if (length === 0) {
      equal(at, said.length, "nothing follows the end");
      return found;
    }
    ok(at + length < said.length);
    found.push(said.subarray(at, at + length));
    at += length;
  }
}

async function joined(pieces: AsyncIterable<Uint8Array>): Promise<Uint8Array<ArrayBuffer>> {
  const all: Uint8Array[] = [];
  for await (const piece of pieces) all.push(piece);
  return new Uint8Array(await new Blob(all as Uint8Array<ArrayBuffer>[]).arrayBuffer());
}

Deno.test("clamav: every octet is said once, whatever the pieces, empty ones too", async () => {
  await fc.assert(fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 300 })), async (pieces) => {
    const said = await joined(instream((async function* () {
      for (const piece of pieces) yield await Promise.resolve(piece);
    })()));
    deepEqual(chunks(said).flatMap((chunk) => [...chunk]), pieces.flatMap((piece) => [...piece]));
  }));
});

Deno.test("clamav: what clamd says is a finding, and anything else is no clean message", () => {
  deepEqual(readFinding("stream: OK\0"), { kind: "clean" });
  deepEqual(readFinding("stream: Win.Test.EICAR_HDB-1 FOUND\0"), {
    kind: "infected",
    signature: "Win.Test.EICAR_HDB-1",
  });
  deepEqual(readFinding("INSTREAM size limit exceeded. ERROR\0"), { kind: "too large" });
  const odd = readFinding(`stream: a\r\n250 b\u{1b}${"x".repeat(500)} FOUND\0`.replace("\r\n", " "));
  ok(odd.kind === "infected" && /^[!-~]{1,100}$/.test(odd.signature), "a name is one printable word");
  for (
    const bad of [
      "",
      "stream: O",
      "stream: OK",
      "stream: Clean",
      "OK",
      "stream: OK\nstream: X FOUND\0",
      "UNKNOWN COMMAND\0",
      "stream: Can't allocate memory ERROR\0",
    ]
  ) {
    throws(() => readFinding(bad), /clamd could not scan/, bad);
  }
});
