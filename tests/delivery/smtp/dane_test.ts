/** TLSA records: which can be used, where they are looked for, and what fits them (RFC 6698, 7671, 7672). */
import { deepStrictEqual as deepEqual, strictEqual as equal } from "node:assert/strict";
import { createHash } from "node:crypto";
import { checkServerIdentity, type PeerCertificate } from "node:tls";
import {
  type DaneFinding,
  isUsable,
  lookUpDane,
  matchDane,
  type Tlsa,
} from "../../../server/delivery/smtp/dane.ts";
import { fakeDns, type FakeName } from "../../../server/testing/dns.ts";
import { certificateOf } from "./certs/files.ts";

type Matching = 0 | 1 | 2;

/** A record for a certificate of `certs/`. */
function tlsa(usage: number, selector: 0 | 1, matchingType: Matching, name: string): Tlsa {
  const { der, publicKey } = certificateOf(name);
  const whole = selector === 0 ? der : publicKey;
  const digest = ["", "sha256", "sha512"][matchingType]!;
  const certificate = digest === "" ? whole : new Uint8Array(createHash(digest).update(whole).digest());
  return { usage, selector, matchingType, certificate };
}

/** Holds a leaf with what came with it against records; the names are those that the certificate has. */
function hold(records: readonly Tlsa[], leaf: string, sent: readonly string[], name = "mx.example.test") {
  const certificate = certificateOf(leaf);
  const isFor = (wanted: string) =>
    checkServerIdentity(wanted, certificate.x509.toLegacyObject() as PeerCertificate) === undefined;
  const shown = { leaf: certificate, sent: sent.map(certificateOf), isFor };
  return matchDane(records, shown, [name], Date.now());
}

for (const selector of [0, 1] as const) {
  for (const matching of [0, 1, 2] as const) {
    Deno.test(`DANE-EE, selector ${selector}, matching ${matching}: the server's own certificate or key, and no other`, () => {
      const record = tlsa(3, selector, matching, "server");
      equal(isUsable(record), true);
      equal(hold([record], "server", []), "match");
      equal(hold([record], "expired", ["intermediate"]), "no-match");
      // Neither names nor times count (RFC 7672 §3.1.1).
      equal(hold([record], "server", [], "elsewhere.example"), "match");
      equal(hold([tlsa(3, selector, matching, "expired")], "expired", []), "match");
    });
    Deno.test(`DANE-TA, selector ${selector}, matching ${matching}: an issuer that was sent, or stands in the record`, () => {
      const record = tlsa(2, selector, matching, "intermediate");
      equal(isUsable(record), true);
      equal(hold([record], "server", ["intermediate"]), "match");
      // Without the issuer's certificate there is only the record to take it from (RFC 7671 §5.2).
      equal(hold([record], "server", []), matching === 0 ? "match" : "no-match");
      equal(
        hold([tlsa(2, selector, matching, "authority")], "server", ["intermediate", "authority"]),
        "match",
      );
      equal(hold([record], "forged", ["intermediate"]), "no-match");
      equal(hold([record], "server", ["intermediate"], "elsewhere.example"), "wrong-name");
      equal(hold([record], "expired", ["intermediate"]), "expired");
    });
  }
}

Deno.test("DANE: one record that fits is enough, whatever the others say", () => {
  const other = tlsa(3, 1, 1, "forged");
  equal(hold([other, tlsa(3, 1, 1, "server")], "server", []), "match");
  equal(hold([other, tlsa(2, 0, 1, "authority")], "server", ["intermediate", "authority"]), "match");
  equal(hold([other], "server", []), "no-match");
});

Deno.test("DANE: of two digests of the same kind only the stronger counts (RFC 7671 §9)", () => {
  const weak = tlsa(3, 1, 1, "server");
  equal(hold([weak, tlsa(3, 1, 2, "forged")], "server", []), "no-match");
  equal(hold([weak, tlsa(3, 0, 2, "forged")], "server", []), "match");
});

Deno.test("DANE: a host's certificate is no authority, though a record of an authority fits it", () => {
  equal(hold([tlsa(2, 0, 1, "server")], "server", []), "no-match");
  equal(hold([tlsa(2, 0, 1, "server")], "by-server", ["server"]), "no-match");
});

Deno.test("DANE: records that can't be used: other usages, unknown numbers, digests of a wrong length, broken contents", () => {
  const good = tlsa(3, 1, 1, "server");
  equal(isUsable(good), true);
  const bad: Partial<Tlsa>[] = [
    { usage: 0 },
    { usage: 1 },
    { usage: 4 },
    { usage: 255 },
    { selector: 2 },
    { matchingType: 3 },
    { matchingType: 2 },
    { certificate: good.certificate.slice(1) },
    { matchingType: 0 },
    { matchingType: 0, selector: 0 },
  ];
  for (const change of bad) equal(isUsable({ ...good, ...change }), false, JSON.stringify(change));
});

const signed = tlsa(3, 1, 1, "server");
const useless = tlsa(1, 1, 1, "server");

/** What DNS holds, and what is found for `mx.example.test`, whose addresses stand at `canonical` or at itself. */
const lookups: readonly {
  readonly what: string;
  readonly names: Record<string, FakeName>;
  readonly secure?: boolean;
  readonly canonical?: string;
  readonly kind: DaneFinding["kind"];
  readonly base?: string;
}[] = [
  {
    what: "records that are validated",
    names: { "_25._tcp.mx.example.test": { TLSA: [signed], ad: true } },
    kind: "usable",
    base: "mx.example.test",
  },
  { what: "records that are not", names: { "_25._tcp.mx.example.test": { TLSA: [signed] } }, kind: "none" },
  {
    what: "addresses that are not",
    names: { "_25._tcp.mx.example.test": { TLSA: [signed], ad: true } },
    secure: false,
    kind: "none",
  },
  { what: "no records", names: {}, kind: "none" },
  {
    what: "records of which some can be used",
    names: { "_25._tcp.mx.example.test": { TLSA: [useless, signed], ad: true } },
    kind: "usable",
    base: "mx.example.test",
  },
  {
    what: "records of which none can be used",
    names: { "_25._tcp.mx.example.test": { TLSA: [useless], ad: true } },
    kind: "unusable",
    base: "mx.example.test",
  },
  {
    what: "records that can't be asked for",
    names: { "_25._tcp.mx.example.test": { TLSA: "servfail" } },
    kind: "failed",
  },
  {
    what: "a server that doesn't answer",
    names: { "_25._tcp.mx.example.test": { TLSA: "timeout" } },
    kind: "failed",
  },
  {
    what: "an alias: the records of what it stands for",
    canonical: "real.example.net",
    names: {
      "_25._tcp.real.example.net": { TLSA: [signed], ad: true },
      "_25._tcp.mx.example.test": { TLSA: [useless], ad: true },
    },
    kind: "usable",
    base: "real.example.net",
  },
  {
    what: "an alias of what has none: its own",
    canonical: "real.example.net",
    names: { "_25._tcp.mx.example.test": { TLSA: [signed], ad: true } },
    kind: "usable",
    base: "mx.example.test",
  },
  {
    what: "a validated alias of what is not: its own",
    canonical: "real.example.net",
    secure: false,
    names: {
      "mx.example.test": { CNAME: ["real.example.net"], ad: true },
      "_25._tcp.mx.example.test": { TLSA: [signed], ad: true },
      "_25._tcp.real.example.net": { TLSA: [useless], ad: true },
    },
    kind: "usable",
    base: "mx.example.test",
  },
  {
    what: "an alias that is not validated itself",
    canonical: "real.example.net",
    secure: false,
    names: {
      "mx.example.test": { CNAME: ["real.example.net"] },
      "_25._tcp.mx.example.test": { TLSA: [signed], ad: true },
    },
    kind: "none",
  },
  {
    what: "an alias that can't be asked for",
    canonical: "real.example.net",
    secure: false,
    names: { "mx.example.test": { CNAME: "servfail" } },
    kind: "failed",
  },
];

for (const { what, names, secure = true, canonical = "mx.example.test", kind, base } of lookups) {
  Deno.test(`RFC 7672 §2.2.2 ${what} → ${kind}${base === undefined ? "" : ` at ${base}`}`, async () => {
    const dns = fakeDns(names);
    const target = { host: "mx.example.test", port: 25, canonical, secure };
    const found = await lookUpDane(target, dns.query, new AbortController().signal);
    deepEqual([found.kind, "base" in found ? found.base : undefined], [kind, base]);
    if (!secure && kind === "none") equal(dns.asked.some((one) => one.startsWith("TLSA")), false);
  });
}
