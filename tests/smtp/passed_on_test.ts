/** A next hop's words as our client hears them: RFC 5321 §4.2's syntax, whatever it said. */
import { deepStrictEqual as deepEqual, ok } from "node:assert/strict";
import fc from "fast-check";
import type { ClientReply } from "../../server/smtp/client_reply.ts";
import { passOn } from "../../server/smtp/passed_on.ts";
import { format } from "../../server/smtp/reply.ts";

Deno.test("code, status and text go on", () => {
  const table: [number, string[], string][] = [
    [250, ["2.1.5 Ok"], "250 2.1.5 Ok\r\n"],
    [251, ["2.1.5 will forward"], "251 2.1.5 will forward\r\n"],
    [250, [""], "250 2.0.0 OK\r\n"],
    [220, ["2.0.0 odd"], "250 2.0.0 odd\r\n"],
    [550, ["5.1.1 <x@y>: No such user"], "550 5.1.1 <x@y>: No such user\r\n"],
    [550, ["No such user"], "550 5.0.0 No such user\r\n"],
    [550, ["5.7.26 one", "5.7.26 two", "three"], "550-5.7.26 one\r\n550-5.7.26 two\r\n550 5.7.26 three\r\n"],
    [452, ["4.2.2 full"], "452 4.2.2 full\r\n"],
    // We go on, though it closes.
    [421, ["4.3.2 bye"], "451 4.3.2 bye\r\n"],
    // What it wants of us is ours to mend.
    [530, ["5.7.0 Authentication required"], "451 4.3.5 Authentication required\r\n"],
    [599, ["x"], "550 5.0.0 x\r\n"],
    [487, ["x"], "451 4.0.0 x\r\n"],
    [554, ["5.7.1 schön\x1b[31m"], "554 5.7.1 sch?n?[31m\r\n"],
  ];
  for (const [code, lines, expected] of table) deepEqual(format(passOn({ code, lines })), expected);
});

Deno.test("O08 nothing but a reply comes of it, and not an endless one", () => {
  const said = fc.record({
    code: fc.integer({ min: 200, max: 599 }).filter((code) => code < 300 || code >= 400),
    lines: fc.array(fc.string({ unit: "binary", maxLength: 700 }), { minLength: 1, maxLength: 40 }),
  });
  fc.assert(fc.property(said, (reply: ClientReply) => {
    const text = format(passOn(reply));
    ok(
      /^(?:([245][0-5][0-9])-[\x20-\x7e]*\r\n)*[245][0-5][0-9] [245]\.\d{1,3}\.\d{1,3} [\x20-\x7e]+\r\n$/
        .test(text),
      JSON.stringify(text),
    );
    ok(text.length < 2048);
    ok(text.split("\r\n").every((line) => line.length <= 510));
    // A no stays a no, and a temporary one temporary.
    const kind = text[0]!;
    ok(reply.code < 300 ? kind === "2" : reply.code < 500 ? kind === "4" : kind === "5" || kind === "4");
  }));
});
