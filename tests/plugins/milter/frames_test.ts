import { deepStrictEqual as deepEqual, ok, strictEqual as equal, throws } from "node:assert/strict";
import fc from "fast-check";
import {
  largestPacket,
  MilterProtocolError,
  type Packet,
  packet,
  PacketReader,
} from "../../../plugins/milter/frames.ts";
import { offer, readAgreed } from "../../../plugins/milter/negotiation.ts";
import { readSaid } from "../../../plugins/milter/replies.ts";
import { say } from "./filter.ts";

const octets = (text: string) => new TextEncoder().encode(text);

Deno.test("milter: a packet is its length, its letter and its data", () => {
  deepEqual([...packet("H", octets("a\0"))], [0, 0, 0, 3, 0x48, 0x61, 0]);
});

Deno.test("milter: property: packets are the same however their octets come", () => {
  const packets = fc.array(fc.tuple(fc.constantFrom("c", "h", "b"), fc.uint8Array({ maxLength: 300 })));
  fc.assert(fc.property(packets, fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }), (all, cuts) => {
    const said = all.map(([code, data]) => packet(code, data));
    const whole = Uint8Array.from(said.flatMap((one) => [...one]));
    const read: Packet[] = [];
    const reader = new PacketReader();
    for (let at = 0, i = 0; at < whole.length; i++) {
      const length = cuts[i % cuts.length]!;
      read.push(...reader.read(whole.subarray(at, at += length)));
    }
    deepEqual(read.map(({ code, data }) => [code, [...data]]), all.map(([code, data]) => [code, [...data]]));
    deepEqual([...new PacketReader().read(whole)], read);
  }));
});

Deno.test("milter: property: any octets are packets or one clear error, never anything else", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 2000 }),
      fc.constantFrom(2 as const, 6 as const),
      (bytes, version) => {
        try {
          for (const one of new PacketReader().read(bytes)) {
            readAgreedOr(one, version);
            readSaid(one);
          }
        } catch (error) {
          ok(error instanceof MilterProtocolError, String(error));
        }
      },
    ),
  );
});

Deno.test("milter: property: any packet is an answer, a change or one clear error", () => {
  const codes = fc.constantFrom(..."cadrts4fpyhim+-eqb2Ox");
  fc.assert(fc.property(codes, fc.uint8Array({ maxLength: 200 }), (code, data) => {
    for (const read of [() => readSaid({ code, data }), () => readAgreed({ code, data }, 6)]) {
      try {
        read();
      } catch (error) {
        ok(error instanceof MilterProtocolError, String(error));
      }
    }
  }));
});

function readAgreedOr(one: Packet, version: 2 | 6): void {
  try {
    readAgreed(one, version);
  } catch (error) {
    ok(error instanceof MilterProtocolError, String(error));
  }
}

Deno.test("milter: a packet that is empty or too large is refused before it has come", () => {
  const reader = new PacketReader();
  throws(() => [...reader.read(Uint8Array.of(0, 0, 0, 0))], MilterProtocolError);
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, largestPacket + 1);
  throws(() => [...new PacketReader().read(length)], MilterProtocolError);
  throws(() => [...new PacketReader().read(octets("HTTP/1.1"))], MilterProtocolError);
});

const said = (bytes: Uint8Array) => readSaid([...new PacketReader().read(bytes)][0]!);

const rows: readonly (readonly [Uint8Array, unknown])[] = [
  [say.continue, { said: "answer", answer: { kind: "continue" } }],
  [say.progress, { said: "progress" }],
  [
    say.reply("550 5.7.1 No"),
    { said: "answer", answer: { kind: "reply", code: 550, status: "5.7.1", text: "No" } },
  ],
  [
    say.reply("451-4.3.0 100%% wrong\r\n451 4.3.0 here"),
    { said: "answer", answer: { kind: "reply", code: 451, status: "4.3.0", text: "100% wrong here" } },
  ],
  [say.reply("421"), { said: "answer", answer: { kind: "reply", code: 421, status: undefined, text: "" } }],
  [
    say.changeHeader(2, "Subject", ""),
    { said: "change", change: { kind: "change header", index: 2, name: "Subject", value: "" } },
  ],
  [say.addRecipient("<a@b.example>"), {
    said: "change",
    change: { kind: "add recipient", address: "a@b.example" },
  }],
  [say.changeSender("<>"), { said: "change", change: { kind: "change sender", address: "" } }],
];

for (const [bytes, expected] of rows) {
  Deno.test(`milter: read: ${JSON.stringify(expected)}`, () => deepEqual(said(bytes), expected));
}

for (const line of ["250 OK", "hello", "55 x", ""]) {
  Deno.test(`milter: ${JSON.stringify(line)} is no reply a filter may give`, () => {
    throws(() => said(say.reply(line)), MilterProtocolError);
  });
}

Deno.test("milter: a filter that wants what wasn't offered is refused, an older one is understood", () => {
  const agree = (...how: Parameters<typeof say.agree>) => [...new PacketReader().read(say.agree(...how))][0]!;
  throws(() => readAgreed(agree(7, 0, 0), 6), /version 7/);
  throws(() => readAgreed(agree(1, 0, 0), 6), /version 1/);
  throws(() => readAgreed(agree(6, 0x80, 0), 6), /weren't offered: 0x80/); // recipients with parameters
  throws(() => readAgreed(agree(2, 0, 0x80), 2), /weren't offered/);
  equal(readAgreed(agree(2, 1, 1), 6).version, 2);
  deepEqual(
    [...readAgreed(agree(6, 0x100, 0, [...say.macros(2, "i {auth_type}"), ...say.macros(9, "x")]), 6).macros],
    [["M", ["i", "{auth_type}"]]],
  );
});

Deno.test("milter: version 2 is offered without what came later", () => {
  const [two] = new PacketReader().read(offer(2));
  deepEqual([...two!.data], [0, 0, 0, 2, 0, 0, 0, 0x3f, 0, 0, 0, 0x7f]);
});
