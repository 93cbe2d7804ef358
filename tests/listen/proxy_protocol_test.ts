import { deepStrictEqual as deepEqual, ok, strictEqual as equal } from "node:assert/strict";
import fc from "fast-check";
import { crc32 } from "hash-wasm";
import { parseProxyHeader, type ProxyHeader } from "../../server/listen/proxy_protocol.ts";
import { addresses4, addresses6, tlv, v1, v2, withChecksum } from "./proxy_headers.ts";

const encode = (text: string) => new TextEncoder().encode(text);

function told(header: ProxyHeader): string {
  if (header.kind === "bad") return `bad: ${header.why}`;
  if (header.kind !== "client") return header.kind;
  const { source, destination } = header;
  return `${source.address} ${source.port} > ${destination.address} ${destination.port}`;
}

const six = "2001:db8::7 4711 > 2001:db8::19 25";
const four = "192.0.2.7 4711 > 198.51.100.25 25";
const unixAddresses = Array<number>(216).fill(0x2f);

const headers: readonly (readonly [name: string, bytes: Uint8Array, told: string])[] = [
  ["v1 TCP4", v1("TCP4 192.0.2.7 198.51.100.25 4711 25"), four],
  ["v1 TCP6", v1("TCP6 2001:db8::7 2001:DB8:0::0019 4711 25"), six],
  ["v1 TCP6 with a mapped address", v1("TCP6 ::ffff:192.0.2.7 ::ffff:198.51.100.25 4711 25"), four],
  ["v1 UNKNOWN", v1("UNKNOWN"), "own"],
  ["v1 UNKNOWN and more", v1("UNKNOWN whatever this \x00 is"), "own"],
  ["v2 TCP4", v2(0x21, 0x11, addresses4), four],
  ["v2 TCP6", v2(0x21, 0x21, addresses6), six],
  [
    "v2 a mapped address",
    v2(0x21, 0x21, [...Array(10).fill(0), 255, 255, 192, 0, 2, 7, ...addresses6.slice(16)]),
    "192.0.2.7 4711 > 2001:db8::19 25",
  ],
  [
    "v2 with TLVs",
    v2(0x21, 0x11, [...addresses4, ...tlv(0x01, [1, 2]), ...tlv(0x04, []), ...tlv(0xe0, [9])]),
    four,
  ],
  ["v2 LOCAL", v2(0x20, 0x00, []), "own"],
  ["v2 LOCAL with addresses that count for nothing", v2(0x20, 0x11, addresses4), "own"],
  ["v2 LOCAL with octets that are nothing", v2(0x20, 0x11, [1, 2, 3]), "own"],
  ["v2 UNSPEC", v2(0x21, 0x00, []), "own"],
  ["v2 UNSPEC with TLVs", v2(0x21, 0x00, tlv(0x02, [0x61])), "own"],
  ["v2 a Unix socket", v2(0x21, 0x31, unixAddresses), "own"],
];

const malformed: readonly (readonly [name: string, bytes: Uint8Array, why: string])[] = [
  ["no header", encode("EHLO client.example\r\n"), "the connection does not begin with a PROXY header"],
  ["a ClientHello", Uint8Array.of(0x16, 3, 1, 2, 0), "the connection does not begin with a PROXY header"],
  [
    "lower case",
    encode("proxy TCP4 192.0.2.7 198.51.100.25 4711 25\r\n"),
    "the connection does not begin with a PROXY header",
  ],
  ["a family of the future", v1("TCP5 192.0.2.7 198.51.100.25 4711 25"), "the PROXY line is malformed"],
  ["UNKNOWNS", v1("UNKNOWNS"), "the PROXY line is malformed"],
  ["two spaces", v1("TCP4  192.0.2.7 198.51.100.25 4711 25"), "the PROXY line is malformed"],
  ["a space at the end", v1("TCP4 192.0.2.7 198.51.100.25 4711 25 "), "the PROXY line is malformed"],
  ["a port with a zero in front", v1("TCP4 192.0.2.7 198.51.100.25 04711 25"), "the PROXY line is malformed"],
  ["a negative port", v1("TCP4 192.0.2.7 198.51.100.25 -1 25"), "the PROXY line is malformed"],
  ["no ports", v1("TCP4 192.0.2.7 198.51.100.25"), "the PROXY line is malformed"],
  [
    "a port too large",
    v1("TCP4 192.0.2.7 198.51.100.25 65536 25"),
    "the PROXY line names no valid address and port",
  ],
  [
    "an octet too large",
    v1("TCP4 192.0.2.256 198.51.100.25 1 25"),
    "the PROXY line names no valid address and port",
  ],
  [
    "a zero in front",
    v1("TCP4 192.0.2.07 198.51.100.25 1 25"),
    "the PROXY line names no valid address and port",
  ],
  ["three octets", v1("TCP4 127.1 198.51.100.25 1 25"), "the PROXY line names no valid address and port"],
  ["IPv6 as TCP4", v1("TCP4 ::1 ::2 1 25"), "the PROXY line names no valid address and port"],
  ["IPv4 as TCP6", v1("TCP6 192.0.2.7 198.51.100.25 1 25"), "the PROXY line names no valid address and port"],
  [
    "a lone LF",
    encode("PROXY TCP4 192.0.2.7 198.51.100.25 4711 25\n"),
    "the PROXY line does not end with CRLF",
  ],
  ["108 octets", encode(`PROXY UNKNOWN ${"x".repeat(92)}\r\n`), "the PROXY line is too long"],
  ["endless", encode(`PROXY ${"1".repeat(5000)}`), "the PROXY line is too long"],
  ["version 3", v2(0x31, 0x11, addresses4), "version 3 of the PROXY header is not known"],
  ["a command of the future", v2(0x22, 0x11, addresses4), "the command of the PROXY header is not known"],
  ["a family of the future in v2", v2(0x21, 0x41, addresses4), "the family of the PROXY header is not known"],
  ["a protocol of the future", v2(0x21, 0x13, addresses4), "the family of the PROXY header is not known"],
  ["UDP", v2(0x21, 0x12, addresses4), "the PROXY header tells of a client that does not speak TCP"],
  ["addresses cut short", v2(0x21, 0x11, addresses4.slice(1)), "the PROXY header is too short"],
  ["IPv6 cut short", v2(0x21, 0x21, addresses4), "the PROXY header is too short"],
  ["a TLV cut short", v2(0x21, 0x11, [...addresses4, 1, 0]), "a TLV of the PROXY header is malformed"],
  [
    "a TLV longer than the header",
    v2(0x21, 0x11, [...addresses4, 1, 0, 9, 1]),
    "a TLV of the PROXY header is malformed",
  ],
  [
    "a checksum of three octets",
    v2(0x21, 0x11, [...addresses4, ...tlv(3, [1, 2, 3])]),
    "a TLV of the PROXY header is malformed",
  ],
  [
    "two checksums",
    v2(0x21, 0x11, [...addresses4, ...tlv(3, [1, 2, 3, 4]), ...tlv(3, [1, 2, 3, 4])]),
    "a TLV of the PROXY header is malformed",
  ],
  ["17 KiB", v2(0x21, 0x11, Array<number>(17 * 1024).fill(0)), "the PROXY header is too long"],
];

for (const [name, bytes, expected] of headers) {
  Deno.test(`R03 PROXY ${name}: whole, cut anywhere, and followed by more`, () => {
    const whole = parseProxyHeader(bytes);
    equal(told(whole), expected);
    equal(whole.kind === "client" || whole.kind === "own" ? whole.length : -1, bytes.length);
    for (let cut = 0; cut < bytes.length; cut++) {
      equal(parseProxyHeader(bytes.subarray(0, cut)).kind, "incomplete", `cut at ${cut}`);
    }
    deepEqual(parseProxyHeader(Uint8Array.from([...bytes, ...encode("PROXY TCP4\r\n\0")])), whole);
  });
}

for (const [name, bytes, why] of malformed) {
  Deno.test(`R03 PROXY malformed, ${name}: refused, as soon as that is certain`, () => {
    equal(told(parseProxyHeader(bytes)), `bad: ${why}`);
    const kinds = Array.from(bytes, (_, cut) => parseProxyHeader(bytes.subarray(0, cut)).kind);
    ok(kinds.every((kind) => kind === "incomplete" || kind === "bad"));
    ok(kinds.indexOf("bad") < 0 || kinds.slice(kinds.indexOf("bad")).every((kind) => kind === "bad"));
  });
}

Deno.test("R03 PROXY a checksum is told with what it is over", async () => {
  const bytes = await withChecksum(0x21, 0x11, [...addresses4, ...tlv(0x01, [1])]);
  const header = parseProxyHeader(bytes);
  ok(header.kind === "client" && header.checksum);
  equal(await crc32(header.checksum.over, 0x82f63b78), header.checksum.said.toString(16).padStart(8, "0"));
  equal(await crc32("123456789", 0x82f63b78), "e3069283"); // the check value of CRC-32C (RFC 3720 §B.4's polynomial)
});

Deno.test("R03 PROXY any octets: an answer, never an error, and what is certain stays so", () => {
  const starts = fc.constantFrom(...headers.map(([, bytes]) => bytes), new Uint8Array(0));
  const mutated = fc.tuple(starts, fc.uint8Array({ maxLength: 300 }), fc.nat(40), fc.nat(255)).map(
    ([start, more, at, octet]) => {
      const all = Uint8Array.from([...start, ...more]);
      if (at < all.length) all[at] = octet;
      return all;
    },
  );
  fc.assert(fc.property(mutated, fc.nat(300), (bytes, cut) => {
    const whole = parseProxyHeader(bytes);
    const part = parseProxyHeader(bytes.subarray(0, cut));
    if (part.kind !== "incomplete") deepEqual(whole, part);
    if (whole.kind === "client" || whole.kind === "own") ok(whole.length <= bytes.length);
  }));
});
