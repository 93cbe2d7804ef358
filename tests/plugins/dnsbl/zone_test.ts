import { deepStrictEqual as deepEqual, strictEqual as equal } from "node:assert/strict";
import fc from "fast-check";
import { queryName, readAnswer, readPattern } from "../../../plugins/dnsbl/zone.ts";

Deno.test("dnsbl: the names that are asked are those of RFC 5782's examples", () => {
  equal(queryName("192.0.2.99", "bad.example.com"), "99.2.0.192.bad.example.com");
  equal(queryName("::ffff:192.0.2.99", "bad.example.com"), "99.2.0.192.bad.example.com");
  equal(
    queryName("2001:db8:1:2:3:4:567:89ab", "ugly.example.com"),
    "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.ugly.example.com",
  );
  equal(queryName("unix", "bad.example.com"), undefined);
});

Deno.test("dnsbl: answers outside of 127.0.0.0/8, 127.0.0.1 and errors list nobody", () => {
  const any = () => true;
  deepEqual(
    ["127.0.0.2", "127.1.2.3", "127.0.0.1", "127.255.255.254", "203.0.113.1"].map((one) =>
      readAnswer(one, any)
    ),
    ["listed", "listed", "nothing", "error", "nothing"],
  );
});

Deno.test("dnsbl: a pattern says which answers count", () => {
  const trusted = readPattern("127.0.*.1-3")!;
  deepEqual(["127.0.5.0", "127.0.5.1", "127.0.9.3", "127.0.0.255"].map(trusted), [false, true, true, false]);
  for (
    const bad of [
      "",
      "127.0.0",
      "127.0.0.256",
      "127.0.0.3-1",
      "127.0.0.x",
      "127.0.0.1.2",
      "127.0..1",
      "1e1.0.0.1",
    ]
  ) {
    equal(readPattern(bad), undefined, bad);
  }
});

Deno.test("dnsbl: every address of IPv4 is a pattern that matches itself, and no other that differs in an octet", () => {
  fc.assert(fc.property(fc.ipV4(), fc.nat(3), fc.integer({ min: 1, max: 255 }), (address, place, by) => {
    const other = address.split(".").map((octet, i) => i === place ? (Number(octet) + by) % 256 : octet).join(
      ".",
    );
    const matches = readPattern(address)!;
    return matches(address) && !matches(other);
  }));
});
