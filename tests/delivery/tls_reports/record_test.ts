/** Where a domain wants its reports (RFC 8460 §3). */
import { deepStrictEqual as deepEqual } from "node:assert/strict";
import fc from "fast-check";
import { readReportTo } from "../../../server/delivery/tls_reports/record.ts";

const cases: readonly (readonly [records: readonly string[], to: readonly string[]])[] = [
  [["v=TLSRPTv1; rua=mailto:reports@example.com"], ["reports@example.com"]],
  [["v=TLSRPTv1;rua=https://reporting.example.com/v1/tlsrpt"], ["https://reporting.example.com/v1/tlsrpt"]],
  [["v=TLSRPTv1; rua=mailto:a@example.com , https://b.example:8443/x?y=1; more=z"], [
    "a@example.com",
    "https://b.example:8443/x?y=1",
  ]],
  [["v=spf1 -all", "v=TLSRPTv1; rua=mailto:a@example.com;"], ["a@example.com"]],
  [["v=TLSRPTv1; rua=mailto:a%21b@example.com"], ["a!b@example.com"]],
  [["v=TLSRPTv1; rua=mailto:a@example.com?subject=x"], ["a@example.com"]],
  [["v=TLSRPTv1; rua=mailto:a@example.com", "v=TLSRPTv1; rua=mailto:b@example.com"], []],
  [["v=TLSRPTv2; rua=mailto:a@example.com"], []],
  [["rua=mailto:a@example.com; v=TLSRPTv1;"], []],
  [["v=TLSRPTv1;"], []],
  [["v=TLSRPTv1; rua=http://example.com/"], []],
  [["v=TLSRPTv1; rua=mailto:nobody"], []],
  [["v=TLSRPTv1; rua=mailto:%zz@example.com"], []],
  [["v=TLSRPTv1; rua=mailto:a%0d%0aBcc:x@example.com"], []],
  [["v=TLSRPTv1; rua=https://user:password@example.com/"], []],
  [[`v=TLSRPTv1; rua=${Array.from({ length: 9 }, (_, n) => `mailto:a${n}@example.com`).join()}`], [
    "a0@example.com",
    "a1@example.com",
    "a2@example.com",
    "a3@example.com",
  ]],
];

for (const [records, to] of cases) {
  Deno.test(`RFC 8460 §3 ${JSON.stringify(records).slice(0, 90)} → ${to.join() || "nobody"}`, () => {
    deepEqual(readReportTo(records).map((one) => one.by === "mail" ? one.address : one.url.href), to);
  });
}

Deno.test("any text at all: never a throw", () => {
  fc.assert(fc.property(fc.string(), (text) => readReportTo([`v=TLSRPTv1; rua=${text}`]).length <= 4));
});
