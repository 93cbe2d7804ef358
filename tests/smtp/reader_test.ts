/** The octets of a message, from an inbox that is cut anywhere: what is said of them never depends on that. */
import { deepStrictEqual as deepEqual, ok, strictEqual as equal } from "node:assert/strict";
import { Inbox } from "../../server/smtp/line.ts";
import { type ContentRules, MessageReader } from "../../server/smtp/reader.ts";

const bytes = (text: string) => Uint8Array.from(text, (character) => character.charCodeAt(0));
const text = (octets: Uint8Array) => String.fromCharCode(...octets);

/** What comes out of a reader: its content, and what it says at each end. */
function read(
  reader: MessageReader,
  stream: Uint8Array,
  size: number,
  chunks: readonly [number, boolean][] = [],
) {
  const inbox = new Inbox();
  const [first, ...others] = chunks;
  if (first) reader.chunk(...first);
  let content = "";
  const said: string[] = [];
  for (let at = 0; at <= stream.length; at += size) {
    inbox.push(stream.slice(at, at + size));
    for (let portion = reader.next(inbox); portion.kind !== "more"; portion = reader.next(inbox)) {
      if (portion.kind === "content") {
        content += text(portion.bytes);
        continue;
      }
      said.push(`${portion.kind} ${portion.problem}`);
      const next = portion.kind === "chunk" ? others.shift() : undefined;
      if (!next) return { content, said };
      reader.chunk(...next);
    }
  }
  return { content, said };
}

const rejecting: ContentRules = { limit: 10, bareNewlines: "reject" };

Deno.test("D02: reject reads to the true end, and gives nothing behind a bare newline", () => {
  const smuggled = bytes("a\r\n.\nMAIL FROM:<x>\r\nb\n.\r\n.\r\nQUIT\r\n");
  for (const size of [100, 1]) {
    const { content, said } = read(MessageReader.data({ ...rejecting, limit: 1000 }), smuggled, size);
    ok(!content.includes("MAIL"));
    deepEqual(said, ["end bare-newline"]);
  }
  const good = read(MessageReader.data({ ...rejecting, limit: 1000 }), bytes("a\r\n..b\r\n.\r\n"), 100);
  deepEqual(good, { content: "a\r\n.b\r\n", said: ["end undefined"] });
});

Deno.test("D02 D06: too large with a bare newline in it is the same however it is cut, chunks and all", () => {
  const chunk = bytes("0123456\n890123");
  for (const size of [1, 3, 100]) {
    deepEqual(
      read(MessageReader.chunks(rejecting), chunk, size, [[8, false], [6, true]]).said,
      ["chunk undefined", "end too-big"],
      `in pieces of ${size}`,
    );
    deepEqual(read(MessageReader.chunks(rejecting), chunk, size, [[14, false]]).said, ["chunk too-big"]);
    deepEqual(read(MessageReader.data(rejecting), bytes("0123456\n890123\r\n.\r\n"), size).said, [
      "end too-big",
    ]);
  }
  equal(read(MessageReader.chunks(rejecting), bytes("a\r\nb\nc"), 100, [[6, true]]).content, "");
});
