/** Which certificates prove anything: those that every reader reads alike. */
import { deepStrictEqual as deepEqual, ok, strictEqual as equal } from "node:assert/strict";
import fc from "fast-check";
import { extensionIds, readCertificate } from "../../../server/channel/x509/certificate.ts";
import { certificateOf, derOf } from "../../delivery/smtp/certs/files.ts";

Deno.test("a certificate of version 3 is read: its key, its extensions, its algorithm", () => {
  const one = certificateOf("server");
  equal(one.x509.subject, "CN=mx.example.test");
  deepEqual([...one.publicKey], [
    ...new Uint8Array(one.x509.publicKey.export({ type: "spki", format: "der" })),
  ]);
  ok(one.extensions.has(extensionIds.subjectAltName));
  equal(certificateOf("narrow").extensions.get(extensionIds.basicConstraints)?.critical, true);
  equal(one.algorithm, "2a8648ce3d040302");
});

Deno.test("one of version 1 is not: the runtime doesn't check the handshake that is signed with it", () => {
  equal(readCertificate(derOf("forged-v1")), undefined);
});

/** What a forger could change about a certificate and keep its key: where, by the octets that stand there. */
const changes: readonly (readonly [what: string, from: string, to: string])[] = [
  ["version 2", "a003020102", "a003020101"],
  ["a version in two octets", "a003020102", "a00402020002"],
  ["a length in more octets than it takes", "a003020102", "a081030201" + "02"],
  ["another algorithm inside than outside", "300a06082a8648ce3d040302", "300a06082a8648ce3d040303"],
  ["a key of a broken number of octets", "03420004", "03420104"],
  ["a high tag", "a003020102", "bf0003020102"],
];

for (const [what, from, to] of changes) {
  Deno.test(`a certificate changed is not read: ${what}`, () => {
    const whole = derOf("server").toHex();
    ok(whole.includes(from));
    const inner = whole.slice(8).replace(from, to);
    // The outer lengths are made right again, so that it is this change that is found.
    const grown = (inner.length - whole.length + 8) / 2;
    const lengthOf = (hex: string) => (Number.parseInt(hex, 16) + grown).toString(16).padStart(4, "0");
    const fixed = `3082${lengthOf(whole.slice(4, 8))}3082${lengthOf(inner.slice(4, 8))}${inner.slice(8)}`;
    equal(readCertificate(Uint8Array.fromHex(fixed)), undefined);
  });
}

Deno.test("octets behind it, or missing, and any octets at all: not read, and nothing thrown", () => {
  const whole = derOf("server");
  equal(readCertificate(new Uint8Array([...whole, 0])), undefined);
  for (let length = 0; length < whole.length; length++) {
    equal(readCertificate(whole.slice(0, length)), undefined);
  }
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => readCertificate(bytes) === undefined));
  fc.assert(
    fc.property(fc.nat(whole.length - 1), fc.nat(255), (at, octet) => {
      const changed = whole.slice();
      changed[at] = octet;
      const read = readCertificate(changed);
      return read === undefined || read.der.length === whole.length;
    }),
  );
});
