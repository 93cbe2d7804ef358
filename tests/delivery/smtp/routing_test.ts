/** From a domain to addresses: the configuration's routes, MX, and what DNS can't or won't say. */
import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import { outbound } from "../../../server/config/outbound.ts";
import { isPublic } from "../../../server/delivery/smtp/addresses.ts";
import { Destinations } from "../../../server/delivery/smtp/destination.ts";
import { mailHosts } from "../../../server/delivery/smtp/mx.ts";
import type { Hop } from "../../../server/plugin.ts";
import { fakeDns, type FakeName } from "../../../server/testing/dns.ts";
import { sender, short } from "./kit.ts";
import { startPeer } from "./peer.ts";

const signal = new AbortController().signal;

async function hostsOf(
  records: readonly [number, string][],
  random: () => number = () => 0,
): Promise<string[] | string> {
  const MX = records.map(([preference, host]) => ({ preference, host }));
  const { query } = fakeDns({ "d.example": { MX } });
  const found = await mailHosts("d.example", { query, ownNames: new Set(["us.example"]), random, signal });
  return found.kind === "hosts" ? [...found.hosts] : `${found.kind} ${found.status}`;
}

Deno.test("G02 MX: by preference; our own name drops its preference and worse; IP literals are unusable", async () => {
  const table: [[number, string][], string[] | string][] = [
    [[[20, "b.example"], [10, "a.example"]], ["a.example", "b.example"]],
    [[[10, "A.Example"], [20, "a.example"]], ["a.example"]],
    [[[10, "a.example"], [20, "US.example"], [20, "b.example"], [30, "c.example"]], ["a.example"]],
    [[[10, "us.example"]], "failed 5.4.6"],
    [[[10, "us.example"], [20, "b.example"]], "failed 5.4.6"],
    [[[10, "192.0.2.1"], [20, "b.example"]], ["b.example"]],
    [[[10, "192.0.2.1"], [20, "2001:db8::1"]], "failed 5.4.4"],
    [[[0, "."]], "failed 5.1.10"],
    [[[0, "."], [10, "a.example"]], ["a.example"]],
    [[[65535, "a.example"]], ["a.example"]],
  ];
  for (const [records, expected] of table) {
    deepEqual(await hostsOf(records), expected, JSON.stringify(records));
  }
});

Deno.test("MX of one preference: chance decides, each time anew", async () => {
  const chances = [0.9, 0.1, 0.5, 0.2, 0.7, 0.4];
  const random = () => chances.shift()!;
  const records: [number, string][] = [[10, "a.example"], [10, "b.example"], [10, "c.example"]];
  deepEqual(await hostsOf(records, random), ["b.example", "c.example", "a.example"]);
  deepEqual(await hostsOf(records, random), ["a.example", "c.example", "b.example"]);
});

Deno.test("G01 what DNS says decides: failed where there is none, deferred where nobody knows", async () => {
  const mx = (...hosts: string[]) => ({ MX: hosts.map((host, n) => ({ preference: n, host })) });
  const names: Record<string, FakeName> = {
    "null.example": mx("."),
    "servfail.example": "servfail",
    "refused.example": "refused",
    "timeout.example": "timeout",
    "malformed.example": { MX: "malformed" },
    "empty.example": { TXT: ["nothing else"] },
    "gone.example": mx("nowhere.example"),
    "lame.example": mx("lame-host.example"),
    "lame-host.example": { A: "servfail" },
    "half.example": mx("nowhere.example", "lame-host.example"),
    "private.example": mx("private-host.example"),
    "private-host.example": {
      A: ["127.0.0.1", "10.1.2.3"],
      AAAA: ["::1", "fe80::1", "fd00::1", "::ffff:10.0.0.1"],
    },
    "implicit-private.example": { A: ["192.168.0.1"] },
    "own.example": mx("us.example.net"),
  };
  const table: [string, string][] = [
    ["nowhere.example", "failed 5.1.2"],
    ["null.example", "failed 5.1.10"],
    ["servfail.example", "deferred 4.4.3 dns down"],
    ["refused.example", "deferred 4.4.3 dns down"],
    ["timeout.example", "deferred 4.4.3 dns down"],
    ["malformed.example", "deferred 4.4.3 dns down"],
    ["empty.example", "failed 5.1.2"],
    ["gone.example", "failed 5.4.4"],
    ["lame.example", "deferred 4.4.3 dns down"],
    ["half.example", "deferred 4.4.3 dns down"],
    ["private.example", "failed 5.4.4"],
    ["implicit-private.example", "failed 5.4.4"],
    ["own.example", "failed 5.4.6"],
    ["[127.0.0.1]", "failed 5.4.4"],
    ["[ipv6:::1]", "failed 5.4.4"],
  ];
  await using us = sender({ config: {}, names });
  for (const [domain, expected] of table) deepEqual(short(await us.send(`b@${domain}`)), [expected], domain);
});

Deno.test("G01 a smart host that DNS doesn't know is the operator's mistake: deferred", async () => {
  await using us = sender({ config: { route: { "*": { host: "smart.example" } } } });
  const results = await us.send("b@example.org");
  deepEqual(short(results), ["deferred 4.3.5 dns down"]);
  match(results[0]!.reply, /smart\.example/);
});

Deno.test("a domain without MX is its own host, and an address literal too", async () => {
  await using peer = await startPeer();
  const config = { port: peer.port, allowPrivateAddresses: true };
  await using us = sender({ config, names: { "a.example": { A: ["127.0.0.1"] } } });
  deepEqual(short(await us.send("b@a.example")), ["delivered"]);
  deepEqual(short(await us.send("b@[127.0.0.1]")), ["delivered"]);
});

Deno.test("an MX host without address is passed over", async () => {
  await using peer = await startPeer();
  const names = {
    "example.org": { MX: [{ preference: 1, host: "nowhere.example" }, { preference: 2, host: "b.example" }] },
    "b.example": { A: ["127.0.0.1"] },
  };
  await using us = sender({ config: { port: peer.port, allowPrivateAddresses: true }, names });
  deepEqual(short(await us.send("b@example.org")), ["delivered"]);
});

Deno.test("public addresses are those of the internet", () => {
  const table: [string, boolean][] = [
    ["8.8.8.8", true],
    ["2606:4700::1111", true],
    ["64:ff9b::808:808", true],
    ["64:ff9b::7f00:1", false],
    ["127.0.0.1", false],
    ["0.0.0.0", false],
    ["10.0.0.1", false],
    ["172.16.0.1", false],
    ["192.168.1.1", false],
    ["169.254.169.254", false],
    ["100.64.0.1", false],
    ["224.0.0.1", false],
    ["255.255.255.255", false],
    ["::1", false],
    ["::", false],
    ["::ffff:127.0.0.1", false],
    ["::ffff:8.8.8.8", true],
    ["fe80::1", false],
    ["fc00::1", false],
    ["2002:7f00:1::", false],
  ];
  for (const [address, expected] of table) equal(isPublic(address), expected, address);
});

Deno.test("routes: the entry that fits best; what makes sessions differ is in the key", () => {
  const auth = { user: "u", password: "p" };
  const destinations = new Destinations(outbound.parse({
    route: {
      "*": { host: "smart.example", port: 587, auth },
      "*.example.org": { host: "inner.example" },
      "a.example.org": {},
      "straße.de": { host: "2001:DB8::1", port: 465 },
      "from.example": { source: "192.0.2.1", helo: "out.example" },
    },
    tls: { "bank.example.org": "required", "a.example.org": "required", "*": "none" },
  }));
  const of = (domain: string) => {
    const { key, kind, ...rest } = destinations.of(domain);
    return [key, kind, "tls" in rest ? rest.tls : rest.hops[0]!.tls];
  };
  deepEqual(of("example.net"), ["smart.example:587 (required) u", "hops", "required"]);
  deepEqual(of("example.org"), ["smart.example:587 (required) u", "hops", "required"]);
  deepEqual(of("x.example.org"), ["inner.example:25 (none)", "hops", "none"]);
  deepEqual(of("x.y.example.org"), ["inner.example:25 (none)", "hops", "none"]);
  deepEqual(of("bank.example.org"), ["inner.example:25 (required)", "hops", "required"]);
  deepEqual(of("a.example.org"), ["a.example.org", "mx", "required"]);
  deepEqual(of("xn--strae-oqa.de"), ["[2001:db8::1]:465 (implicit)", "hops", "implicit"]);
  deepEqual(of("from.example"), ["from.example", "mx", "none"]);
  deepEqual(of("__proto__"), ["smart.example:587 (required) u", "hops", "required"]);
  const hooked = destinations.of("bank.example.org", [{ host: "h.example", port: 26 }, {
    host: "i.example",
    tls: "none",
  }]);
  equal(hooked.key, "h.example:26 (required) i.example:25 (none)");
  equal(new Destinations(outbound.parse({})).of("example.org").key, "example.org");
  const keys = (...hops: Hop[]) => destinations.of("other.example", hops).key;
  equal(keys({ host: "h", port: 465 }), "h:465 (implicit)");
  equal(keys({ host: "h", tls: "opportunistic" }), "h:25");
  equal(keys({ host: "h", protocol: "lmtp", port: 24, tls: "opportunistic" }), "h:24 lmtp");
  equal(keys({ path: "/run/lmtp", protocol: "lmtp" }), "/run/lmtp lmtp");
  equal(keys({ path: "/run/lmtp" }), "/run/lmtp");
  equal(keys({ host: "h", auth: { user: "v", password: "secret" } }), "h:25 (required) v");
  equal(keys({ host: "h", auth: { user: "v", password: "secret" }, tls: "none" }), "h:25 (none) v");
  const other = keys({ host: "h", auth: { user: "v", password: "another" } });
  equal(other, "h:25 (required) v#1", "another password is another account, and neither is in the key");
  equal(keys({ host: "h", auth: { user: "v", password: "another" } }), other);
  ok(keys({ host: "h", auth: { user: "v", passwordFile: "/pw" } }) !== other);
});

Deno.test("hops of a plugin are tried in their order, at private addresses too", async () => {
  await using first = await startPeer({ greeting: "421 no" });
  await using second = await startPeer();
  await using us = sender({ config: {} });
  const hops = [{ host: "127.0.0.1", port: first.port }, { host: "127.0.0.1", port: second.port }];
  const destination = us.delivery.destinationOf("example.org", hops);
  deepEqual(short(await us.send("b@example.org", { destination })), ["delivered"]);
  deepEqual([first.connections, second.messages.length], [1, 1]);
});

Deno.test("from a source address only its own family is connected to", async () => {
  await using peer = await startPeer();
  const route = { "*": { host: "two.example", port: peer.port, source: "127.0.0.9" } };
  const names = { "two.example": { AAAA: ["::1"], A: ["127.0.0.1"] } };
  await using us = sender({ config: { route }, names });
  deepEqual(short(await us.send("b@example.org")), ["delivered"]);
  await using none = sender({ config: { route }, names: { "two.example": { AAAA: ["::1"] } } });
  deepEqual(short(await none.send("b@example.org")), ["deferred 4.3.5 local down"]);
  const elsewhere = { "*": { host: "127.0.0.1", port: peer.port, source: "192.0.2.1" } };
  await using wrong = sender({ config: { route: elsewhere } });
  const results = await wrong.send("b@example.org");
  deepEqual(short(results), ["deferred 4.4.1 local"]);
  match(results[0]!.reply, /^The source address is not one of this machine/);
});
