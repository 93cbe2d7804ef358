import {
  deepStrictEqual as deepEqual,
  match,
  ok,
  rejects,
  strictEqual as equal,
  throws,
} from "node:assert/strict";
import fc from "fast-check";
import { type DnsOptions, openDns, reverseName } from "../server/dns.ts";
import { readReply } from "../server/dns/packet.ts";
import { configuredServers, isLoopback, readServer, serverText } from "../server/dns/servers.ts";
import { FakeClock } from "../server/testing/clock.ts";
import { fakeDns } from "../server/testing/dns.ts";
import { dnsContract } from "./contract/dns.ts";
import { answering, type Asked, dnsServer, framed, type Handler, reply, soa } from "./dns_server.ts";

dnsContract("fake", (names) => {
  return Promise.resolve({ ...fakeDns(names), [Symbol.asyncDispose]: () => Promise.resolve() });
});
dnsContract("stub", async (names) => {
  const server = await dnsServer(answering(names));
  const dns = openDns({ servers: [server.address] });
  return { ...dns, [Symbol.asyncDispose]: () => (dns.close(), server[Symbol.asyncDispose]()) };
});

/** An answer to the question, with one record. */
function found(asked: Asked, data = "192.0.2.1", ttl = 60): Uint8Array {
  return reply({ ...asked, answers: [{ type: asked.type, name: asked.name, ttl, data }] });
}

/** A server for each handler, asked by one resolver on a clock that stands still. */
async function opened(handlers: Handler | Handler[], options: DnsOptions = {}) {
  const servers = await Promise.all([handlers].flat().map(dnsServer));
  const clock = new FakeClock();
  const dns = openDns({ servers: servers.map((server) => server.address), clock, ...options });
  return {
    dns,
    clock,
    servers,
    server: servers[0]!,
    async [Symbol.asyncDispose]() {
      dns.close();
      for (const server of servers) await server[Symbol.asyncDispose]();
    },
  };
}

const silence: Handler = () => [];
const servfail: Handler = (asked) => [reply({ ...asked, rcode: 2 })];

Deno.test("G01 dns: silence is a time-out, after every server was tried twice", async () => {
  await using t = await opened([silence, silence], { timeout: 3000 });
  const asking = t.dns.query("example.org", "MX");
  for (let attempt = 0; attempt < 4; attempt++) {
    await t.servers[attempt % 2]!.untilAsked(Math.floor(attempt / 2) + 1);
    await t.clock.advance(3000);
  }
  deepEqual(await asking, { kind: "failed", reason: "timeout", server: t.server.address });
  deepEqual(t.servers.map((server) => server.asked.length), [2, 2]);
  deepEqual(t.clock.pending, []);
});

Deno.test("dns: a silent server's successor is asked, and from then on first", async () => {
  await using t = await opened([silence, (asked) => [found(asked, "x")]]);
  const asking = t.dns.txt("one.example");
  await t.server.untilAsked(1);
  await t.clock.advance(3000);
  deepEqual(await asking, ["x"]);
  deepEqual(await t.dns.txt("two.example"), ["x"]);
  deepEqual(t.servers.map((server) => server.asked.length), [1, 2]);
});

Deno.test("G01 dns: a server that says no is passed over, and not asked twice", async () => {
  const refused: Handler = (asked) => [reply({ ...asked, rcode: 5 })];
  await using good = await opened([servfail, refused, (asked) => [found(asked, "192.0.2.7")]]);
  deepEqual((await good.dns.query("example.org", "A")).kind, "found");
  await using bad = await opened([refused, servfail]);
  deepEqual(await bad.dns.query("example.org", "A"), {
    kind: "failed",
    reason: "servfail",
    server: bad.servers[1]!.address,
  });
  deepEqual(bad.servers.map((server) => server.asked.length), [1, 1]);
});

Deno.test("G03 dns: wrong ids, questions and source ports are ignored, the true answer is waited for", async () => {
  await using t = await opened((asked) => [
    found({ ...asked, id: asked.id ^ 1 }, "192.0.2.66"),
    found({ ...asked, name: "example.net" }, "192.0.2.66"),
    reply({ ...asked, type: "AAAA", answers: [{ type: "A", name: asked.name, data: "192.0.2.66" }] }),
    found(asked, "192.0.2.66").fill(0, 2, 3), // not a response
    new Uint8Array([1, 2, 3]),
    { bytes: found(asked, "192.0.2.66"), from: "elsewhere" },
    found({ ...asked, name: asked.name.toUpperCase() }, "192.0.2.1"),
  ]);
  const result = await t.dns.query("example.org", "A");
  deepEqual(result.kind === "found" && result.records, ["192.0.2.1"]);
});

Deno.test("G03 dns: records of other names in an answer are not taken", async () => {
  await using t = await opened((asked) => [
    reply({
      ...asked,
      answers: [
        { type: "A", name: "bank.example", ttl: 60, data: "192.0.2.66" },
        { type: "A", name: asked.name, ttl: 60, data: "192.0.2.1" },
        { type: "TXT", name: asked.name, ttl: 60, data: "not asked for" },
      ],
    }),
  ]);
  const result = await t.dns.query("example.org", "A");
  deepEqual(result.kind === "found" && result.records, ["192.0.2.1"]);
});

Deno.test("G03 dns: garbage and pointer loops under the right id are malformed, never a hang", async () => {
  const broken: ((whole: Uint8Array) => Uint8Array)[] = [
    (whole) => whole.subarray(0, whole.length - 2),
    (whole) => whole.subarray(0, 14),
    (whole) => whole.fill(0xc0, 12),
    (whole) => whole.with(12, 0xc0).with(13, 12) as Uint8Array,
    (whole) => whole.with(7, 9) as Uint8Array, // nine answers announced
    (whole) => whole.with(5, 2) as Uint8Array, // two questions
    (whole) => whole.with(whole.length - 5, 3) as Uint8Array, // an A record of three octets
  ];
  for (const breakIt of broken) {
    await using t = await opened((asked) => [breakIt(found(asked))], { rounds: 1 });
    const result = await t.dns.query("example.org", "A");
    deepEqual(
      [result.kind, result.kind === "failed" && result.reason],
      ["failed", "malformed"],
      String(breakIt),
    );
  }
});

Deno.test("G03 dns: reading a reply ends without an error for any bytes", () => {
  const question = { name: "example.org", type: "TXT" } as const;
  const whole = reply({
    id: 7,
    ...question,
    answers: [{ type: "TXT", name: "example.org", data: ["a", "b"] }],
    authorities: [soa(60)],
  });
  const kinds = new Set([
    "foreign",
    "malformed",
    "truncated",
    "not-understood",
    "servfail",
    "refused",
    "answer",
  ]);
  fc.assert(fc.property(
    fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { maxLength: 6 }),
    fc.nat(whole.length),
    (edits, length) => {
      const bytes = whole.slice(0, length);
      for (const [at, value] of edits) if (at < length) bytes[at] = value;
      ok(kinds.has(readReply(bytes, 7, question).kind));
    },
  ));
  fc.assert(fc.property(fc.uint8Array({ maxLength: 600 }), (tail) => {
    ok(kinds.has(readReply(new Uint8Array([0, 7, 0x80, 0, ...tail]), 7, question).kind));
  }));
});

Deno.test("G03 dns: a truncated answer is asked for again by TCP", async () => {
  await using t = await opened((asked) => {
    if (asked.over === "udp") return [reply({ ...asked, flags: 0x200 })];
    const answers = Array.from(
      { length: 500 },
      (_, n) => ({ type: "A", name: asked.name, data: `10.0.${n >> 8}.${n & 255}` }),
    );
    return [framed(reply({ ...asked, answers }))];
  });
  const result = await t.dns.query("example.org", "A");
  equal(result.kind === "found" && result.records.length, 500);
  deepEqual(t.server.asked.map(({ over }) => over), ["udp", "tcp"]);
});

Deno.test("G03 dns: TCP that is cut, garbled, or answers something else fails", async () => {
  const table: [string, (asked: Asked) => Uint8Array][] = [
    ["network", (asked) => framed(found(asked)).subarray(0, 20)],
    ["network", () => new Uint8Array()],
    ["malformed", (asked) => framed(found({ ...asked, id: asked.id ^ 1 }))],
    ["malformed", (asked) => framed(reply({ ...asked, flags: 0x200 }))],
  ];
  for (const [reason, tcp] of table) {
    const handler: Handler = (
      asked,
    ) => [asked.over === "udp" ? reply({ ...asked, flags: 0x200 }) : tcp(asked)];
    await using t = await opened(handler, { rounds: 1 });
    deepEqual(await t.dns.query("example.org", "A"), { kind: "failed", reason, server: t.server.address });
    deepEqual(t.clock.pending, []);
  }
});

Deno.test("G03 dns: TCP that says nothing is a time-out", async () => {
  const never = Promise.withResolvers<[]>();
  const handler: Handler = (asked) =>
    asked.over === "udp" ? [reply({ ...asked, flags: 0x200 })] : never.promise;
  await using t = await opened(handler, { rounds: 1 });
  const asking = t.dns.query("example.org", "A");
  await t.server.untilAsked(2);
  await t.clock.advance(3000);
  deepEqual(await asking, { kind: "failed", reason: "timeout", server: t.server.address });
  never.resolve([]);
});

Deno.test("G03 dns: every query has a port and an id of its own", async () => {
  await using t = await opened((asked) => [found(asked, "x")]);
  for (let n = 0; n < 20; n++) await t.dns.txt(`n${n}.example`);
  ok(new Set(t.server.asked.map(({ port }) => port)).size > 10);
  ok(new Set(t.server.asked.map(({ id }) => id)).size > 15);
});

Deno.test("dns: an answer is kept for its TTL, on the clock that nobody sets", async () => {
  await using t = await opened((asked) => [found(asked, "192.0.2.1", 60)]);
  const ask = () => t.dns.query("example.org", "A");
  await ask();
  await t.clock.advance(20_000);
  t.clock.step(86_400_000);
  const again = await t.dns.query("EXAMPLE.org.", "A");
  equal(again.kind === "found" && again.ttl, 40);
  equal(t.server.asked.length, 1);
  await t.clock.advance(39_999);
  await ask();
  equal(t.server.asked.length, 1);
  await t.clock.advance(1);
  await ask();
  equal(t.server.asked.length, 2);
});

Deno.test("dns: absence is kept for the SOA's minimum (RFC 2308), without an SOA and on failure not at all", async () => {
  const rcodes: Record<string, number> = {
    "no.example": 3,
    "empty.example": 0,
    "bare.example": 3,
    "bad.example": 2,
  };
  await using t = await opened((asked) => {
    const authorities = asked.name === "bare.example" ? [] : [soa(30, 3600)];
    return [reply({ ...asked, rcode: rcodes[asked.name]!, authorities })];
  });
  const askAll = async () => {
    for (const name of Object.keys(rcodes)) await t.dns.query(name, "A");
    return t.server.asked.length;
  };
  equal(await askAll(), 4);
  equal(await askAll(), 6, "those without an SOA and the failed one");
  await t.clock.advance(30_000);
  equal(await askAll(), 10);
});

Deno.test("dns: the cache is bounded", async () => {
  await using t = await opened((asked) => [found(asked, "x")], { cacheEntries: 2 });
  for (const name of ["a.example", "b.example", "a.example", "c.example", "a.example"]) await t.dns.txt(name);
  equal(t.server.asked.length, 3);
  await t.dns.txt("b.example");
  equal(t.server.asked.length, 4);
});

Deno.test("dns: the same question under way is asked once; who gives up disturbs no one", async () => {
  const go = Promise.withResolvers<void>();
  await using t = await opened(async (asked) => (await go.promise, [found(asked, "x")]));
  const controller = new AbortController();
  const gaveUp = rejects(t.dns.txt("example.org", controller.signal), /enough/);
  const others = Array.from({ length: 10 }, () => t.dns.txt("Example.ORG"));
  await t.server.untilAsked(1);
  controller.abort(new Error("enough"));
  await gaveUp;
  go.resolve();
  deepEqual(await Promise.all(others), Array(10).fill(["x"]));
  equal(t.server.asked.length, 1);
});

Deno.test("dns: no more sockets than allowed are open, the others wait their turn", async () => {
  const go = Promise.withResolvers<void>();
  await using t = await opened(async (asked) => (await go.promise, [found(asked, "x")]), { sockets: 4 });
  const all = Array.from({ length: 12 }, (_, n) => t.dns.txt(`n${n}.example`));
  await t.server.untilAsked(4);
  deepEqual(t.clock.pending.length, 4);
  go.resolve();
  deepEqual(await Promise.all(all), Array(12).fill(["x"]));
  equal(t.server.asked.length, 12);
});

Deno.test("dns: a server that knows no EDNS is asked without", async () => {
  await using t = await opened((asked) => [
    asked.edns ? reply({ ...asked, rcode: 1 }).fill(0, 4, 6).subarray(0, 12) : found(asked, "x"),
  ]);
  deepEqual(await t.dns.txt("example.org"), ["x"]);
  deepEqual(t.server.asked.map(({ edns }) => edns), [true, false]);
});

Deno.test("G02 dns: a chain of CNAMEs that a server leaves unfinished is asked on, not without end", async () => {
  await using t = await opened((asked) => {
    const n = Number(/\d+/.exec(asked.name)![0]);
    if (asked.name.startsWith("good") && n === 3) return [found(asked, "192.0.2.3", 60)];
    const data = asked.name.replace(/\d+/, String(n + 1));
    return [reply({ ...asked, answers: [{ type: "CNAME", name: asked.name, ttl: 20 + n, data }] })];
  });
  deepEqual(await t.dns.query("good0.example", "A"), {
    kind: "found",
    records: ["192.0.2.3"],
    ad: false,
    ttl: 20,
    canonical: "good3.example",
  });
  equal(t.server.asked.length, 4);
  deepEqual((await t.dns.query("endless0.example", "A")).kind, "failed");
  ok(t.server.asked.length < 20);
});

Deno.test("dns: the AD bit is believed from this machine, from others only if told", () => {
  const all = ["127.0.0.1:53", "[::1]:53", "127.8.8.8:5353", "192.0.2.1:53", "[2001:db8::1]:53"];
  deepEqual(all.map((text) => isLoopback(readServer(text))), [true, true, true, false, false]);
});

Deno.test("dns: close ends what is under way", async () => {
  await using t = await opened(silence);
  const asking = t.dns.txt("example.org");
  const refused = rejects(asking, /^DnsFailed: TXT of example\.org: DNS server .* could not be reached$/);
  await t.server.untilAsked(1);
  t.dns.close();
  await refused;
  deepEqual(t.clock.pending, []);
});

Deno.test("dns: servers are read from their text, or the text is refused", () => {
  const good: Record<string, string> = {
    "127.0.0.1:53": "127.0.0.1:53",
    "192.0.2.1": "192.0.2.1:53",
    "[::1]:5353": "[::1]:5353",
    "2001:DB8:0::1": "[2001:db8::1]:53",
    "[2001:db8::1]": "[2001:db8::1]:53",
  };
  for (const [text, is] of Object.entries(good)) equal(serverText(readServer(text)), is);
  for (
    const text of [
      "",
      "localhost:53",
      "127.1:53",
      "127.0.0.1:0",
      "127.0.0.1:65536",
      "127.0.0.1:x",
      "[::1",
      "1.2.3.4.5",
    ]
  ) {
    throws(() => readServer(text), /is no DNS server's address: write an IP address and port such as/, text);
  }
});

Deno.test("dns: the system's servers are those of resolv.conf, or the local one", async () => {
  const file = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(
      file,
      "# x\nsearch example\nnameserver 192.0.2.53\nnameserver\t2001:db8::53 \nnameserver fe80::1%eth0\noptions x\n",
    );
    deepEqual(configuredServers(file).map(serverText), ["192.0.2.53:53", "[2001:db8::53]:53"]);
    await Deno.writeTextFile(file, "");
    deepEqual(configuredServers(file).map(serverText), ["127.0.0.1:53"]);
  } finally {
    await Deno.remove(file);
  }
  deepEqual(configuredServers("/no/such/file").map(serverText), ["127.0.0.1:53"]);
});

Deno.test("dns: reverse names", () => {
  equal(reverseName("192.0.2.1"), "1.2.0.192.in-addr.arpa");
  equal(reverseName("::ffff:192.0.2.1"), "1.2.0.192.in-addr.arpa");
  match(
    reverseName("2001:db8::567:89ab"),
    /^b\.a\.9\.8\.7\.6\.5\.0(\.0){16}\.8\.b\.d\.0\.1\.0\.0\.2\.ip6\.arpa$/,
  );
});

Deno.test("fake dns: remembers what was asked, and can be changed", async () => {
  const dns = fakeDns({ "example.org": { A: ["192.0.2.1"] } });
  await dns.a("example.org");
  dns.set("example.org", "timeout");
  await rejects(dns.a("example.org"), /did not answer in time/);
  dns.set("example.org", undefined);
  deepEqual(await dns.a("example.org"), []);
  deepEqual(dns.asked, ["A example.org", "AAAA example.org", "A example.org", "A example.org"]);
});
