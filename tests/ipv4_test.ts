import { strictEqual as equal } from "node:assert/strict";
import fc from "fast-check";
import ipaddr from "ipaddr.js";
import { ipv4Number } from "../server/ipv4.ts";

Deno.test("ipv4: every canonical address is its number", () => {
  fc.assert(fc.property(fc.ipV4(), (text) => {
    const [a, b, c, d] = ipaddr.IPv4.parse(text).octets as [number, number, number, number];
    equal(ipv4Number(text), ((a * 256 + b) * 256 + c) * 256 + d);
  }));
});

Deno.test("ipv4: anything else is left to others", () => {
  for (
    const text of [
      "",
      "unix",
      "1.2.3",
      "1.2.3.",
      ".1.2.3",
      "1..2.3",
      "1.2.3.4.",
      "1.2.3.4.5",
      "1.2.3.256",
      "01.2.3.4",
      "1.2.3.00",
      "1.2.3.4 ",
      "-1.2.3.4",
      "+1.2.3.4",
      "0x1.2.3.4",
      "::ffff:1.2.3.4",
      "１.2.3.4",
    ]
  ) equal(ipv4Number(text), undefined, text);
  equal(ipv4Number("0.0.0.0"), 0);
  equal(ipv4Number("255.255.255.255"), 2 ** 32 - 1);
});

Deno.test("ipv4: what is no canonical address is no number", () => {
  fc.assert(fc.property(fc.string(), (text) => {
    const number = ipv4Number(text);
    if (number !== undefined) equal(ipaddr.IPv4.parse(text).toString(), text);
  }));
});
