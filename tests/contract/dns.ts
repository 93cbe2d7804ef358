/** What every resolver owes: the same names, asked for in the same ways, give the same. */
import { deepStrictEqual as deepEqual, rejects, strictEqual as equal } from "node:assert/strict";
import { DnsFailed, type Resolver } from "../../server/dns.ts";
import type { FakeName } from "../../server/testing/dns.ts";

const certificate = new Uint8Array([0, 1, 0xff]);

const names: Record<string, FakeName> = {
  "example.org": {
    A: ["192.0.2.1", "192.0.2.2"],
    AAAA: ["2001:db8::1"],
    MX: [{ preference: 20, host: "b.example.org" }, { preference: 10, host: "a.example.org" }],
    TXT: ["v=spf1 -all", "x".repeat(600)],
    ttl: 60,
    ad: true,
  },
  "_25._tcp.mx.example.org": { TLSA: [{ usage: 3, selector: 1, matchingType: 1, certificate }] },
  "null.example.org": { MX: [{ preference: 0, host: "." }] },
  "v6.example.org": { AAAA: ["2001:db8::2"] },
  "alias.example.org": { CNAME: ["other.example.org"], ttl: 30 },
  "other.example.org": { CNAME: ["EXAMPLE.org"], ttl: 90 },
  "dangling.example.org": { CNAME: ["nowhere.example"] },
  "one.example.org": { CNAME: ["two.example.org"] },
  "two.example.org": { CNAME: ["one.example.org"] },
  "broken.example": "servfail",
  "private.example": "refused",
  "half.example": { A: ["192.0.2.3"], AAAA: "servfail" },
  "xn--strae-oqa.de": { A: ["192.0.2.4"] },
  "192.0.2.1": { PTR: ["example.org", "www.example.org"] },
  "2001:db8::1": { PTR: ["six.example.org"] },
};

export function dnsContract(
  kind: string,
  open: (names: Record<string, FakeName>) => Promise<Resolver & AsyncDisposable>,
): void {
  const test = (name: string, body: (dns: Resolver) => Promise<void>) =>
    Deno.test(`${kind} dns: ${name}`, async () => {
      await using dns = await open(names);
      await body(dns);
    });

  test("records of each type are found, with TTL and AD", async (dns) => {
    const found = { kind: "found", ad: true, ttl: 60, canonical: "example.org" };
    deepEqual(await dns.query("example.org", "A"), { ...found, records: ["192.0.2.1", "192.0.2.2"] });
    deepEqual(await dns.query("example.org", "AAAA"), { ...found, records: ["2001:db8::1"] });
    deepEqual(await dns.query("example.org", "TXT"), { ...found, records: ["v=spf1 -all", "x".repeat(600)] });
    const tlsa = await dns.query("_25._tcp.mx.example.org", "TLSA");
    deepEqual(tlsa, {
      kind: "found",
      ad: false,
      ttl: 300,
      canonical: "_25._tcp.mx.example.org",
      records: [{ usage: 3, selector: 1, matchingType: 1, certificate }],
    });
  });

  test("plugins see addresses of both kinds, joined texts, exchanges by preference", async (dns) => {
    deepEqual(await dns.a("example.org"), ["192.0.2.1", "192.0.2.2", "2001:db8::1"]);
    deepEqual(await dns.a("v6.example.org"), ["2001:db8::2"]);
    deepEqual(await dns.txt("example.org"), ["v=spf1 -all", "x".repeat(600)]);
    deepEqual(await dns.mx("example.org"), [
      { preference: 10, host: "a.example.org" },
      { preference: 20, host: "b.example.org" },
    ]);
    deepEqual(await dns.mx("null.example.org"), [{ preference: 0, host: "." }]);
  });

  test("PTR of both kinds of address", async (dns) => {
    deepEqual(await dns.ptr("192.0.2.1"), ["example.org", "www.example.org"]);
    deepEqual(await dns.ptr("::ffff:192.0.2.1"), ["example.org", "www.example.org"]);
    deepEqual(await dns.ptr("2001:db8::1"), ["six.example.org"]);
    deepEqual(await dns.ptr("192.0.2.9"), []);
    await rejects(dns.ptr("example.org"), /"example\.org" is not an IP address/);
    await rejects(dns.ptr("127.1"), TypeError);
  });

  test("G01 no such name and no such record are told apart, and are [] for plugins", async (dns) => {
    deepEqual(await dns.query("nowhere.example", "MX"), {
      kind: "none",
      reason: "nxdomain",
      ad: false,
      ttl: 300,
    });
    const nodata = await dns.query("v6.example.org", "A");
    deepEqual([nodata.kind, nodata.kind === "none" && nodata.reason], ["none", "nodata"]);
    deepEqual(await dns.mx("nowhere.example"), []);
    deepEqual(await dns.txt("v6.example.org"), []);
    deepEqual(await dns.a("nowhere.example"), []);
  });

  test("G01 a failure is neither: it says which, and throws for plugins", async (dns) => {
    const failed = await dns.query("broken.example", "MX");
    deepEqual([failed.kind, failed.kind === "failed" && failed.reason], ["failed", "servfail"]);
    const refused = await dns.query("private.example", "MX");
    deepEqual([refused.kind, refused.kind === "failed" && refused.reason], ["failed", "refused"]);
    await rejects(dns.mx("broken.example"), (error) => {
      equal(error instanceof DnsFailed && error.reason, "servfail");
      return /^MX of broken\.example: DNS server [0-9.]+:\d+ answered SERVFAIL$/.test(
        (error as Error).message,
      );
    });
    await rejects(dns.a("broken.example"), DnsFailed);
    await rejects(dns.a("half.example"), /^DnsFailed: AAAA of half\.example/);
  });

  test("CNAMEs are followed, their TTLs count; what they lead to decides", async (dns) => {
    const found = await dns.query("alias.example.org", "A");
    const records = ["192.0.2.1", "192.0.2.2"];
    deepEqual(found, { kind: "found", records, ad: false, ttl: 30, canonical: "example.org" });
    const dangling = await dns.query("dangling.example.org", "A");
    deepEqual([dangling.kind, dangling.kind === "none" && dangling.reason], ["none", "nxdomain"]);
    deepEqual((await dns.query("alias.example.org", "CNAME")).kind, "found");
  });

  test("G02 a circle of CNAMEs is a failure", async (dns) => {
    const circle = await dns.query("one.example.org", "A");
    deepEqual([circle.kind, circle.kind === "failed" && circle.reason], ["failed", "malformed"]);
  });

  test("A09 names compare without case; IDNs are mapped; the last dot is no part of the name", async (dns) => {
    for (
      const name of ["straße.de", "STRASSE.DE".replace("SS", "ß"), "xn--strae-oqa.de", "XN--STRAE-OQA.de."]
    ) {
      deepEqual(await dns.a(name), ["192.0.2.4"], name);
    }
  });

  test("what can't be a name doesn't exist", async (dns) => {
    const label = "a".repeat(63);
    const impossible = [
      "",
      ".",
      "..",
      "a..example.org",
      ".example.org",
      "a b.example.org",
      "a\0.example.org",
    ];
    impossible.push(`${label}a.example.org`, `${label}.${label}.${label}.${label}`, "a\r\nb.ü.example.org");
    for (const name of impossible) {
      deepEqual(await dns.query(name, "A"), { kind: "none", reason: "nxdomain", ad: false, ttl: 0 }, name);
    }
  });

  test("an aborted signal rejects with its reason", async (dns) => {
    await rejects(dns.txt("example.org", AbortSignal.abort(new Error("the client went"))), /the client went/);
  });
}
