/** Whether DANE can be used: learnt at start. */
import { match, ok, strictEqual as equal } from "node:assert/strict";
import { probeDnssec } from "../../server/dns/probe.ts";
import { fakeDns, type FakeName } from "../../server/testing/dns.ts";

const here = { address: "127.0.0.1", port: 53 };
const there = { address: "192.0.2.53", port: 53 };

const cases: readonly (readonly [
  what: string,
  is: FakeName,
  servers: readonly typeof here[],
  trustAd: boolean,
  says: RegExp | undefined,
])[] = [
  ["validated", { TXT: ["x"], ad: true }, [here], false, undefined],
  [
    "not validated",
    { TXT: ["x"] },
    [here],
    false,
    /127\.0\.0\.1:53 does not say that org, .* turn validation on/,
  ],
  ["no answer", "timeout", [here], false, /could not be asked for org \(timeout\)/],
  [
    "on another machine",
    { TXT: ["x"], ad: true },
    [here, there],
    false,
    /192\.0\.2\.53:53 is on another machine.*trustAd: true/,
  ],
  ["on another machine, and trusted", { TXT: ["x"], ad: true }, [there], true, undefined],
];

for (const [what, is, servers, trustAd, says] of cases) {
  Deno.test(`DNSSEC is probed: ${what}`, async () => {
    const dns = fakeDns({ org: is });
    const probed = await probeDnssec({ query: dns.query, name: "org", servers, trustAd });
    if (says === undefined) return equal(probed.kind, "validates");
    ok(probed.kind === "does-not");
    match(probed.why, says);
    equal(dns.asked.length, servers.includes(there) && !trustAd ? 0 : 1);
  });
}
