/** Text to octets and back, and contents that are in no memory, for the tests of messages. */
import fc from "fast-check";
import type { Content } from "../../server/message/content.ts";

export function bytes(value: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(value);
}

/** Every octet as it is, so that what differs shows. */
export function text(value: Uint8Array): string {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(value);
}

/** A content read in pieces of this size, as one in a file is. */
export function piecewise(octets: Uint8Array<ArrayBuffer>, piece: number): Content {
  return {
    size: octets.length,
    memory: undefined,
    head: octets.slice(0, 256 * 1024),
    async *read(offset = 0) {
      for (let at = offset; at < octets.length; at += piece) yield octets.slice(at, at + piece);
    },
  };
}

const lineParts = fc.constantFrom(
  "\r\n",
  "\r",
  "\n",
  " ",
  "\t",
  ":",
  "A",
  "Subject: hello",
  "Bcc:x",
  "__proto__: 1",
  "From x",
  "\0",
  "\u00e9",
);
/** What is a header section, nearly one, or none. */
export const contents: fc.Arbitrary<Uint8Array<ArrayBuffer>> = fc.oneof(
  fc.array(lineParts, { maxLength: 40 }).map((parts) => bytes(parts.join(""))),
  fc.uint8Array({ maxLength: 200 }).map((octets) => octets.slice()),
);
