/** What peers say, read: replies and what EHLO offers. */
import { deepStrictEqual as deepEqual, ok, strictEqual as equal } from "node:assert/strict";
import fc from "fast-check";
import { readOffered } from "../../server/smtp/client_command.ts";
import {
  type ClientReply,
  printable,
  ReplyReader,
  replyText,
  statusOf,
} from "../../server/smtp/client_reply.ts";

const encode = (text: string) => new TextEncoder().encode(text);

function readAll(bytes: Uint8Array): (ClientReply | string)[] {
  const reader = new ReplyReader();
  reader.push(bytes);
  const all: (ClientReply | string)[] = [];
  for (let reply = reader.next(); reply !== undefined; reply = reader.next()) {
    all.push(reply);
    if (typeof reply === "string") break;
  }
  return all;
}

Deno.test("O01 replies of every kind are read", () => {
  const table: [string, (ClientReply | string)[]][] = [
    ["250 fine\r\n", [{ code: 250, lines: ["fine"] }]],
    ["250\r\n", [{ code: 250, lines: [""] }]],
    ["250 \r\n", [{ code: 250, lines: [""] }]],
    ["250 fine\n", [{ code: 250, lines: ["fine"] }]],
    ["250-one\n250-two\r\n250 three\n", [{ code: 250, lines: ["one", "two", "three"] }]],
    ["250-one\r\n250\r\n", [{ code: 250, lines: ["one", ""] }]],
    // The last one counts; any 4xx makes it temporary.
    ["550-no\r\n250 yes\r\n", [{ code: 250, lines: ["no", "yes"] }]],
    ["250-yes\r\n550 no\r\n", [{ code: 550, lines: ["yes", "no"] }]],
    ["450-later\r\n550 no\r\n", [{ code: 450, lines: ["later", "no"] }]],
    ["450-later\r\n250 yes\r\n", [{ code: 450, lines: ["later", "yes"] }]],
    ["421-bye\r\n250 yes\r\n", [{ code: 421, lines: ["bye", "yes"] }]],
    ["250 a\r\n550 b\r\n", [{ code: 250, lines: ["a"] }, { code: 550, lines: ["b"] }]],
    ["HTTP/1.1 400 Bad Request\r\n", ["malformed"]],
    ["\r\n", ["malformed"]],
    ["25\r\n", ["malformed"]],
    ["2x0 a\r\n", ["malformed"]],
    ["25x a\r\n", ["malformed"]],
    ["150 a\r\n", ["malformed"]],
    ["600 a\r\n", ["malformed"]],
    ["250ok\r\n", ["malformed"]],
    [`250 ${"x".repeat(70_000)}\r\n`, ["too-long"]],
    ["250-x\r\n".repeat(10_000), ["too-long"]],
    ["x".repeat(70_000), ["too-long"]],
    ["25", []],
    ["250-a\r\n", []],
  ];
  for (const [text, expected] of table) {
    deepEqual(readAll(encode(text)), expected, JSON.stringify(text.slice(0, 60)));
  }
});

Deno.test("O01 replies do not depend on where the stream was cut", () => {
  const line = fc.tuple(
    fc.constantFrom("250", "451", "550", "421", "354"),
    fc.constantFrom(" ", "-"),
    fc.string({ maxLength: 12 }).map((text) => text.replaceAll(/[\r\n]/g, "")),
    fc.constantFrom("\r\n", "\n"),
  ).map((parts) => parts.join(""));
  fc.assert(
    fc.property(
      fc.array(line, { maxLength: 8 }),
      fc.infiniteStream(fc.integer({ min: 1, max: 9 })),
      (lines, sizes) => {
        const bytes = encode(lines.join(""));
        const reader = new ReplyReader();
        const replies: (ClientReply | string)[] = [];
        for (let at = 0; at < bytes.length;) {
          const size = sizes.next().value;
          const memory = bytes.slice(at, at + size);
          reader.push(memory);
          for (let reply = reader.next(); reply !== undefined; reply = reader.next()) replies.push(reply);
          reader.settle();
          memory.fill(0); // the bytes may be reused
          at += size;
        }
        deepEqual(replies, readAll(bytes));
      },
    ),
  );
});

Deno.test("O01 the enhanced status is the reply's own where it agrees with the code", () => {
  const table: [ClientReply, string, string][] = [
    [{ code: 550, lines: ["5.1.1 No such user"] }, "5.1.1", "550 5.1.1 No such user"],
    [{ code: 550, lines: ["No such user"] }, "5.0.0", "550 No such user"],
    [{ code: 450, lines: ["5.1.1 odd"] }, "4.0.0", "450 5.1.1 odd"],
    [{ code: 250, lines: [""] }, "2.0.0", "250"],
    [{ code: 550, lines: ["5.7.1 one", "5.7.1 two", "three"] }, "5.7.1", "550 5.7.1 one two three"],
    [{ code: 451, lines: ["a", "4.2.1 b"] }, "4.2.1", "451 a 4.2.1 b"],
    [{ code: 550, lines: ["5.1.1234 x"] }, "5.0.0", "550 5.1.1234 x"],
  ];
  for (const [reply, status, text] of table) {
    equal(statusOf(reply), status);
    equal(replyText(reply), text);
  }
});

Deno.test("O08 a peer's words are escaped, and 1 KB at most", () => {
  equal(printable("a\x1b[31mb\r\nX-Evil: 1\0\u202e\x9b"), "a\\x1b[31mb\\x0d\\x0aX-Evil: 1\\x00\\u202e\\x9b");
  equal(printable("schön 好"), "schön 好");
  fc.assert(fc.property(fc.string({ unit: "binary", maxLength: 1200 }), (text) => {
    const safe = printable(text);
    ok(encode(safe).length <= 1024);
    ok(!/[\p{Cc}\u2028\u2029\u202e]/u.test(safe));
    ok(safe.isWellFormed());
  }));
  ok(printable("好".repeat(2000)).endsWith("好…"));
});

Deno.test("what EHLO offers is read in any case, old forms included", () => {
  const offered = readOffered([
    "mx greets",
    "pipelining",
    "SIZE 1000",
    "8bitmime ",
    "AUTH=LOGIN",
    "AUTH PLAIN cram-md5",
    "!junk",
    "",
    "STARTTLS",
    "Chunking",
    "DSN",
    "SMTPUTF8",
    "xclient name addr",
    "XFORWARD NAME",
  ]);
  const { auth, xclient, xforward } = offered;
  deepEqual({ ...offered, auth: [...auth], xclient: [...xclient], xforward: [...xforward] }, {
    pipelining: true,
    eightBit: true,
    utf8: true,
    dsn: true,
    chunking: true,
    startTls: true,
    size: 1000,
    auth: ["LOGIN", "PLAIN", "CRAM-MD5"],
    xclient: ["NAME", "ADDR"],
    xforward: ["NAME"],
  });
  equal(readOffered(["PIPELINING"]).pipelining, false); // the first line greets
  equal(readOffered(["x", "SIZE"]).size, 0);
  equal(readOffered(["x", "SIZE 1e3"]).size, 0);
  equal(readOffered(["x"]).size, undefined);
});
