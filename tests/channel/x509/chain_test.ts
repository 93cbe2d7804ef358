/** Where the signatures of a chain lead. */
import { strictEqual as equal } from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { type Anchors, follow } from "../../../server/channel/x509/chain.ts";
import { certificateOf, fileOf } from "../../delivery/smtp/certs/files.ts";

const authority = new X509Certificate(Deno.readTextFileSync(fileOf("authority.pem")));
const anchors: Anchors = {
  issuersOf: ({ x509 }) => x509.issuer === authority.subject ? [authority] : [],
};
const now = Date.now();

const cases: readonly (readonly [what: string, leaf: string, sent: readonly string[], led: string])[] = [
  ["two links", "server", ["intermediate"], "trusted"],
  [
    "in any order, and more than it takes",
    "server",
    ["narrow", "forged", "intermediate", "server"],
    "trusted",
  ],
  ["a link is missing", "server", [], "untrusted"],
  ["signed by someone of the authority's name", "forged", [], "untrusted"],
  ["expired", "expired", ["intermediate"], "expired"],
  ["for clients", "client", ["intermediate"], "untrusted"],
  ["an issuer that is no authority", "by-server", ["server", "intermediate"], "untrusted"],
  ["more issuers than the authority allows", "by-below-narrow", ["below-narrow", "narrow"], "untrusted"],
  ["an issuer limited to other names", "by-limited", ["limited"], "untrusted"],
];

for (const [what, leaf, sent, led] of cases) {
  Deno.test(`a chain: ${what} → ${led}`, () => {
    equal(follow(certificateOf(leaf), sent.map(certificateOf), anchors, now), led);
  });
}

Deno.test("a chain: an intermediate of its time, and none of another", () => {
  const [leaf, sent] = [certificateOf("server"), [certificateOf("intermediate")]];
  equal(follow(leaf, sent, anchors, Date.UTC(2200, 0)), "expired");
  equal(follow(leaf, sent, anchors, Date.UTC(2000, 0)), "expired");
});

Deno.test("a chain: limits of names are the runtime's to check, where it does", () => {
  const lenient: Anchors = { ...anchors, constraintsAreChecked: true };
  equal(follow(certificateOf("by-limited"), [certificateOf("limited")], lenient, now), "trusted");
});

Deno.test("a chain: a peer that sends hundreds of issuers costs a bounded number of signatures", () => {
  let verified = 0;
  const counting = (name: string) => {
    const one = certificateOf(name);
    const verify = one.x509.verify.bind(one.x509);
    Object.defineProperty(one.x509, "verify", { value: (key: never) => (verified++, verify(key)) });
    return one;
  };
  equal(
    follow(counting("server"), Array.from({ length: 300 }, () => counting("intermediate")), {
      issuersOf: () => [],
    }, now),
    "untrusted",
  );
  equal(verified <= 30, true);
});
