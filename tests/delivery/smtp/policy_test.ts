/** What TLS a host gets: the operator's word, raised by DANE (RFC 7672) and MTA-STS (RFC 8461). */
import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import { createHash, X509Certificate } from "node:crypto";
import { readStsPolicy } from "../../../server/delivery/mta_sts/policy.ts";
import type { StsFinding } from "../../../server/delivery/mta_sts/policies.ts";
import type { Tlsa } from "../../../server/delivery/smtp/dane.ts";
import { dial as realDial } from "../../../server/delivery/smtp/dial.ts";
import { trusting } from "../../../server/delivery/smtp/tls.ts";
import type { FakeName } from "../../../server/testing/dns.ts";
import { certificateOf, fileOf } from "./certs/files.ts";
import { sender, type SenderHow, short } from "./kit.ts";
import { type Behaviour, startPeer, type TestPeer } from "./peer.ts";

const good = { cert: fileOf("server.chain.pem"), key: fileOf("server.key") };
const expired = { cert: fileOf("expired.chain.pem"), key: fileOf("expired.key") };
const forged = { cert: fileOf("forged-v1.pem"), key: fileOf("forged-v1.key") };
const trust = trusting(Deno.readTextFileSync(fileOf("authority.pem")));

function tlsa(name: string, usage = 3): Tlsa {
  const certificate = new Uint8Array(createHash("sha256").update(certificateOf(name).publicKey).digest());
  return { usage, selector: 1, matchingType: 1, certificate };
}

interface Case {
  readonly peer?: Behaviour;
  /** Of `_PORT._tcp.mx.example.test`. */
  readonly tlsa?: FakeName;
  /** Whether MX and addresses are validated. */
  readonly secure?: boolean;
  /** The policy of `example.org`, its first and last line aside. */
  readonly sts?: string;
  readonly config?: Record<string, unknown>;
  readonly trusted?: boolean;
}

/** Everything about it, for one mail to `example.org`, whose MX is `mx.example.test`, here. */
async function run(
  { peer: behaviour = { tls: { certificate: good } }, tlsa, secure = true, sts, config, trusted = false }:
    Case,
  check: (us: ReturnType<typeof sender>, peer: TestPeer) => Promise<void>,
): Promise<void> {
  await using peer = await startPeer(behaviour);
  const how: SenderHow = {
    config: { port: peer.port, allowPrivateAddresses: true, ...config },
    names: {
      "example.org": { MX: [{ preference: 10, host: "mx.example.test" }], ad: secure },
      "mx.example.test": { A: ["127.0.0.1"], ad: secure },
      ...(tlsa !== undefined && { [`_${peer.port}._tcp.mx.example.test`]: tlsa }),
    },
    trust: trusted ? trust : false,
    ...(sts !== undefined && { sts: policies(sts) }),
  };
  await using us = sender(how);
  await check(us, peer);
}

function policies(text: string): { of(domain: string): Promise<StsFinding> } {
  const policy = readStsPolicy(`version: STSv1\n${text}\nmax_age: 86400`);
  ok(typeof policy !== "string", String(policy));
  return {
    of: (domain) =>
      Promise.resolve({ policy: domain === "example.org" ? policy : undefined, problem: undefined }),
  };
}

const noTls: Behaviour = {};
const brokenTls: Behaviour = {
  offers: ["STARTTLS"],
  reply: (command) => command === "STARTTLS" ? "454 4.7.0 no" : undefined,
};
const waits = "deferred 4.7.5 tls down";
const fits: FakeName = { TLSA: [tlsa("server")], ad: true };
const fitsNot: FakeName = { TLSA: [tlsa("forged")], ad: true };
const useless: FakeName = { TLSA: [tlsa("server", 1)], ad: true };
const enforce = "mode: enforce\nmx: mx.example.test";
const elsewhere = "mode: enforce\nmx: *.example.org";
const required = { tls: { "example.org": "required" } };

/** Each with what becomes of the mail, whether it went encrypted, and what was seen of the session for reports. */
const cases: readonly (readonly [what: string, how: Case, result: string, tls: boolean, seen: string])[] = [
  [
    "DANE: a certificate that fits, though nobody else vouches for it",
    { tlsa: fits },
    "delivered",
    true,
    "tlsa success",
  ],
  [
    "DANE: expired, but in the record",
    { tlsa: { TLSA: [tlsa("expired")], ad: true }, peer: { tls: { certificate: expired } } },
    "delivered",
    true,
    "tlsa success",
  ],
  [
    "DANE: a certificate that doesn't, though an authority vouches for it",
    { tlsa: fitsNot, trusted: true },
    waits,
    false,
    "tlsa validation-failure",
  ],
  ["DANE: no STARTTLS", { tlsa: fits, peer: noTls }, waits, false, "tlsa starttls-not-supported"],
  ["DANE: STARTTLS fails", { tlsa: fits, peer: brokenTls }, waits, false, "tlsa validation-failure"],
  [
    "DANE: a certificate of version 1, whose handshake nobody checks",
    {
      tlsa: { TLSA: [{ ...tlsa("server"), certificate: v1Key() }], ad: true },
      peer: { tls: { certificate: forged } },
    },
    waits,
    false,
    "tlsa validation-failure",
  ],
  [
    "DANE: an authority, sent along",
    { tlsa: { TLSA: [tlsa("intermediate", 2)], ad: true } },
    "delivered",
    true,
    "tlsa success",
  ],
  [
    "DANE: an authority, and the certificate expired",
    { tlsa: { TLSA: [tlsa("intermediate", 2)], ad: true }, peer: { tls: { certificate: expired } } },
    waits,
    false,
    "tlsa certificate-expired",
  ],
  [
    "DANE: records that are not validated count for nothing",
    { tlsa: { TLSA: [tlsa("forged")] } },
    "delivered",
    true,
    "no-policy-found success",
  ],
  [
    "DANE: nor do those of a zone that is not signed",
    { tlsa: fitsNot, secure: false },
    "delivered",
    true,
    "no-policy-found success",
  ],
  [
    "DANE: records that can't be asked for (SERVFAIL)",
    { tlsa: { TLSA: "servfail" } },
    "deferred 4.4.3 dns down",
    false,
    "tlsa dnssec-invalid",
  ],
  [
    "DANE: records that can't be asked for (no answer)",
    { tlsa: { TLSA: "timeout" } },
    "deferred 4.4.3 dns down",
    false,
    "",
  ],
  [
    "DANE: none of a zone that is not signed is asked for",
    { tlsa: { TLSA: "servfail" }, secure: false },
    "delivered",
    true,
    "no-policy-found success",
  ],
  ["DANE: unusable: TLS with any certificate", { tlsa: useless }, "delivered", true, "tlsa tlsa-invalid"],
  ["DANE: unusable: but TLS", { tlsa: useless, peer: noTls }, waits, false, "tlsa starttls-not-supported"],
  [
    "DANE: unusable: and no clear text after a failure",
    { tlsa: useless, peer: brokenTls },
    waits,
    false,
    "tlsa validation-failure",
  ],
  [
    "DANE: unusable, and the operator requires more",
    { tlsa: useless, config: required },
    waits,
    false,
    "tlsa certificate-not-trusted",
  ],
  [
    "DANE: what fits is verified, as the operator requires",
    { tlsa: fits, config: required },
    "delivered",
    true,
    "tlsa success",
  ],
  [
    "DANE: turned off",
    { tlsa: fitsNot, config: { dane: false } },
    "delivered",
    true,
    "no-policy-found success",
  ],

  [
    "MTA-STS: a certificate that is good for the name",
    { sts: enforce, trusted: true },
    "delivered",
    true,
    "sts success",
  ],
  ["MTA-STS: nobody vouches for it", { sts: enforce }, waits, false, "sts certificate-not-trusted"],
  [
    "MTA-STS: expired",
    { sts: enforce, trusted: true, peer: { tls: { certificate: expired } } },
    waits,
    false,
    "sts certificate-expired",
  ],
  [
    "MTA-STS: a forged one of version 1",
    { sts: enforce, trusted: true, peer: { tls: { certificate: forged } } },
    waits,
    false,
    "sts validation-failure",
  ],
  [
    "MTA-STS: another host's",
    { sts: enforce, trusted: true, peer: { tls: { certificate: "other.example.test" } } },
    waits,
    false,
    "sts certificate-not-trusted",
  ],
  [
    "MTA-STS: no STARTTLS",
    { sts: enforce, trusted: true, peer: noTls },
    waits,
    false,
    "sts starttls-not-supported",
  ],
  [
    "MTA-STS: STARTTLS fails",
    { sts: enforce, trusted: true, peer: brokenTls },
    waits,
    false,
    "sts validation-failure",
  ],
  [
    "MTA-STS: a host that the policy doesn't name",
    { sts: elsewhere, trusted: true },
    waits,
    false,
    "sts validation-failure",
  ],
  [
    "MTA-STS: mode none asks for nothing",
    { sts: "mode: none", peer: noTls },
    "delivered",
    false,
    "no-policy-found starttls-not-supported",
  ],
  [
    "MTA-STS testing: met",
    { sts: "mode: testing\nmx: mx.example.test", trusted: true },
    "delivered",
    true,
    "sts success",
  ],
  [
    "MTA-STS testing: a certificate nobody vouches for",
    { sts: "mode: testing\nmx: mx.example.test" },
    "delivered",
    true,
    "sts certificate-not-trusted",
  ],
  [
    "MTA-STS testing: a host it doesn't name",
    { sts: "mode: testing\nmx: *.example.org", trusted: true },
    "delivered",
    true,
    "sts validation-failure",
  ],
  [
    "MTA-STS testing: no STARTTLS",
    { sts: "mode: testing\nmx: mx.example.test", peer: noTls },
    "delivered",
    false,
    "sts starttls-not-supported",
  ],
  [
    "MTA-STS testing: the operator requires it all the same",
    { sts: "mode: testing\nmx: mx.example.test", config: required },
    waits,
    false,
    "sts certificate-not-trusted",
  ],

  [
    "both: DANE alone decides, a certificate that fits",
    { tlsa: fits, sts: elsewhere },
    "delivered",
    true,
    "tlsa success",
  ],
  [
    "both: DANE alone decides, one that doesn't",
    { tlsa: fitsNot, sts: enforce, trusted: true },
    waits,
    false,
    "tlsa validation-failure",
  ],
  [
    "both: unusable records lower nothing",
    { tlsa: useless, sts: enforce },
    waits,
    false,
    "tlsa certificate-not-trusted,sts certificate-not-trusted",
  ],

  [
    "the operator's none stands against both",
    { tlsa: fits, sts: enforce, config: { tls: { "*": "none" } } },
    "delivered",
    false,
    "",
  ],
  ["no policy at all, no TLS", { peer: noTls }, "delivered", false, "no-policy-found starttls-not-supported"],
  [
    "no policy at all, TLS that fails",
    { peer: brokenTls },
    "delivered",
    false,
    "no-policy-found validation-failure",
  ],
];

function v1Key(): Uint8Array {
  // Of a certificate that can't be read here; the runtime can.
  const { publicKey } = new X509Certificate(Deno.readTextFileSync(fileOf("forged-v1.pem")));
  return new Uint8Array(
    createHash("sha256").update(publicKey.export({ type: "spki", format: "der" })).digest(),
  );
}

for (const [what, how, result, tls, seen] of cases) {
  Deno.test(`${what} → ${result}`, async () => {
    await run(how, async (us, peer) => {
      const results = await us.send("b@example.org");
      deepEqual(short(results), [result], results[0]?.reply);
      deepEqual(peer.messages.map((one) => one.tls), result === "delivered" ? [tls] : []);
      const [one] = results;
      if (one?.outcome === "delivered") equal(one.verifiedBy === "dane", seen === "tlsa success");
      equal(us.seen.map(({ policy, result }) => `${policy.type} ${result}`).join(), seen);
      ok(us.seen.every(({ domain }) => domain === "example.org"));
    });
  });
}

Deno.test("what a refusal says: the host, the policy, what is wrong", async () => {
  await run({ sts: elsewhere }, async (us, peer) => {
    const [one] = await us.send("b@example.org");
    equal(one?.reply, "MTA-STS: the policy of example.org does not name the host mx.example.test");
    equal(peer.connections, 0);
  });
  await run({ tlsa: fitsNot }, async (us) => {
    match((await us.send("b@example.org"))[0]!.reply, /fits none of its TLSA records/);
  });
  await run({ tlsa: { TLSA: "servfail" } }, async (us) => {
    match(
      (await us.send("b@example.org"))[0]!.reply,
      /^DNS: the TLSA of _[0-9]+\._tcp\.mx\.example\.test could not/,
    );
  });
});

Deno.test("a policy that is only tested is logged, once an hour; the operator's none against a policy, once a day", async () => {
  const warnings = (us: ReturnType<typeof sender>) =>
    us.log.filter(({ level }) => level === "warning").map(({ event }) => event);
  await run({ sts: "mode: testing\nmx: *.example.org", trusted: true }, async (us) => {
    for (let n = 0; n < 3; n++) {
      await us.send("b@example.org");
      await us.clock.advance(10_000); // for a new session
    }
    deepEqual(warnings(us), ["MTA-STS policy not met, and only being tested"]);
    equal(us.seen.length, 3);
  });
  await run({ tlsa: fits, config: { tls: { "*": "none" } } }, async (us) => {
    for (let n = 0; n < 3; n++) {
      await us.send("b@example.org");
      await us.clock.advance(10_000);
    }
    deepEqual(warnings(us), ["sent in the clear as `outbound` says, against the domain's policy"]);
  });
});

Deno.test("hosts are tried in turn: one that can't meet the policy is passed over for one that can", async () => {
  await using bad = await startPeer(noTls);
  await using peer = await startPeer({ tls: { certificate: good } });
  const dial = (how: Parameters<typeof realDial>[0]) =>
    realDial(how.address === "127.0.0.2" ? { ...how, address: "127.0.0.1", port: bad.port } : how);
  const names: Record<string, FakeName> = {
    "example.org": {
      MX: [{ preference: 5, host: "strange.example" }, { preference: 10, host: "bad.example.test" }, {
        preference: 20,
        host: "mx.example.test",
      }],
      ad: true,
    },
    "strange.example": { A: ["127.0.0.3"], ad: true },
    "bad.example.test": { A: ["127.0.0.2"], ad: true },
    "mx.example.test": { A: ["127.0.0.1"], ad: true },
  };
  await using us = sender({
    config: { port: peer.port, allowPrivateAddresses: true },
    names,
    trust,
    dial,
    sts: policies("mode: enforce\nmx: *.example.test"),
  });
  deepEqual(short(await us.send("b@example.org")), ["delivered"]);
  equal(bad.messages.length, 0);
  deepEqual(us.seen.map(({ host, result }) => `${host} ${result}`), [
    "strange.example validation-failure",
    "bad.example.test starttls-not-supported",
    "mx.example.test success",
  ]);
});

Deno.test("a session of one domain is not taken for another's that asks for more", async () => {
  await using peer = await startPeer({ tls: { certificate: good } });
  const names: Record<string, FakeName> = {
    "example.org": { MX: [{ preference: 10, host: "mx.example.test" }] },
    "easy.example": { MX: [{ preference: 10, host: "mx.example.test" }] },
    "mx.example.test": { A: ["127.0.0.1"] },
  };
  await using us = sender({
    config: { port: peer.port, allowPrivateAddresses: true },
    names,
    sts: policies(enforce),
  });
  deepEqual(short(await us.send("b@easy.example")), ["delivered"]);
  deepEqual(short(await us.send("b@example.org")), [waits]);
  deepEqual(short(await us.send("c@easy.example")), ["delivered"]);
  equal(peer.messages.length, 2);
});

Deno.test("RFC 8460 §3 a report on TLS goes whatever policies say, and nothing is reported of it", async () => {
  await using peer = await startPeer(noTls);
  const names: Record<string, FakeName> = {
    "example.org": { MX: [{ preference: 10, host: "mx.example.test" }], ad: true },
    "mx.example.test": { A: ["127.0.0.1"], ad: true },
    [`_${peer.port}._tcp.mx.example.test`]: fits,
  };
  await using us = sender({
    config: { port: peer.port, allowPrivateAddresses: true },
    names,
    sts: policies(enforce),
    isTlsReport: ({ id, sender }) => Promise.resolve(id === "7" && sender === ""),
  });
  deepEqual(short(await us.send("b@example.org")), [waits]);
  const before = us.seen.length;
  deepEqual(short(await us.send("b@example.org", { id: "7", sender: "" })), ["delivered"]);
  equal(us.seen.length, before);
  // Nor does other mail go by the session that is left from it.
  deepEqual(short(await us.send("b@example.org")), [waits]);
});

Deno.test("DANE of a host that the operator names, at its port; an IP address has none", async () => {
  await using peer = await startPeer({ tls: { certificate: good } });
  const route = (host: string) => ({ route: { "*": { host, port: peer.port } } });
  const names: Record<string, FakeName> = {
    "mx.example.test": { A: ["127.0.0.1"], ad: true },
    [`_${peer.port}._tcp.mx.example.test`]: fitsNot,
  };
  await using us = sender({ config: route("mx.example.test"), names, trust });
  deepEqual(short(await us.send("b@example.org")), [waits]);
  await using other = sender({ config: route("127.0.0.1"), names, trust });
  deepEqual(short(await other.send("b@example.org")), ["delivered"]);
});
