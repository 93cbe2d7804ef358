import { deepStrictEqual as deepEqual, ok, strictEqual as equal } from "node:assert/strict";
import { memoryContent } from "../../server/message/content.ts";
import { EditedHeader } from "../../server/message/edits.ts";
import { readHeader } from "../../server/message/header.ts";
import { render } from "../../server/message/render.ts";
import { claimsOurName, completeSubmission, removeForgedResults } from "../../server/message/submission.ts";
import { bytes, text } from "./bytes.ts";

function edited(content: string, edit: (header: EditedHeader) => void): string {
  const octets = bytes(content);
  const header = new EditedHeader(readHeader(octets));
  edit(header);
  return text(render(memoryContent(octets), header.edits()) as Uint8Array);
}

const by = {
  hostname: "mx.example.org",
  now: 0,
  random: (octets: Uint8Array<ArrayBuffer>) => void octets.fill(0),
};
const date = "Date: Thu, 01 Jan 1970 00:00:00 +0000\r\n";
const id = `Message-ID: <0.${"0".repeat(24)}@mx.example.org>\r\n`;

const rows: readonly (readonly [it: string, content: string, out: string])[] = [
  ["what is complete stays", "Date: x\r\nMessage-Id: <y>\r\n\r\nz", "Date: x\r\nMessage-Id: <y>\r\n\r\nz"],
  ["what is missing is added below", "From: a@b\r\n\r\nz", `From: a@b\r\n${date}${id}\r\nz`],
  ["only Date is missing", "Message-Id: <y>\r\n\r\nz", `Message-Id: <y>\r\n${date}\r\nz`],
  ["an empty header is made one", "\r\nz", `${date}${id}\r\nz`],
  [
    "D08: Bcc is removed, every one, folded or not",
    "bcc: a\r\n b\r\nDate: x\r\nBCC : c\r\nMessage-Id: <y>\r\nResent-Bcc: d\r\n\r\nBcc: body",
    "Date: x\r\nMessage-Id: <y>\r\n\r\nBcc: body",
  ],
];
for (const [it, content, out] of rows) {
  Deno.test(`submission: ${it}`, () =>
    equal(edited(content, (header) => completeSubmission(header, by)), out));
}

const claims: readonly (readonly [value: string, ours: boolean])[] = [
  ["mx.example.org; spf=pass", true],
  ["MX.Example.ORG; spf=pass", true],
  ["mx.example.org. ; none", true],
  ["mx.example.org 1; spf=pass", true],
  ["mx.example.org/1; spf=pass", true],
  ["mx.example.org", true],
  ["mx.example.org(comment); none", true],
  [" (a (nested\\) \\( comment) ) mx.example.org; none", true],
  ['"mx.example.org"; none', true],
  ['"m\\x.example.org"; none', true],
  ["other.example.org; smtp.helo=mx.example.org", false],
  ["xmx.example.org; none", false],
  ["mx.example.org.evil.example; none", false],
  ["(mx.example.org) other.example; none", false],
  ["", false],
  ["(never closed", false],
  ["(never closed mx.example.org; spf=pass", true],
  ['"never closed mx.example.org', true],
  ["; mx.example.org", true],
  ["[mx.example.org]; none", true],
];
for (const [value, ours] of claims) {
  Deno.test(`submission: ${JSON.stringify(value)} ${ours ? "claims" : "does not claim"} our name`, () => {
    equal(claimsOurName(value, "mx.example.org"), ours);
  });
}

Deno.test("submission: a claim is the same as U-labels and as A-labels", () => {
  ok(claimsOurName("mx.stra\u00dfe.de; none", "mx.xn--strae-oqa.de"));
  ok(claimsOurName("[192.0.2.1]; none", "[192.0.2.1]"));
});

Deno.test("submission: D08 forged results are removed, others stay", () => {
  const content = "Authentication-Results: mx.example.org; spf=pass\r\n" +
    "Authentication-Results: other.example; spf=pass\r\n" +
    "authentication-results:\r\n\tMX.example.org;\r\n\tdkim=pass\r\n\r\n";
  const octets = bytes(content);
  const header = new EditedHeader(readHeader(octets));
  equal(removeForgedResults(header, "mx.example.org"), 2);
  deepEqual([...header], [["Authentication-Results", "other.example; spf=pass"]]);
});

Deno.test("submission: a claim of 256 KiB is read in linear time", () => {
  const start = performance.now();
  for (
    const value of [
      "(".repeat(262_144),
      "\\(".repeat(131_072),
      '"'.padEnd(262_144, "\\x"),
      "x".repeat(262_144),
    ]
  ) {
    claimsOurName(value, "mx.example.org");
  }
  ok(performance.now() - start < 2_000);
});
