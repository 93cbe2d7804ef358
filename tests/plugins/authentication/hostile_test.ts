/** Fields and records that are made to cost time, or to be read in two ways (CASES D05): each is judged, and soon. */
import { ok, strictEqual as equal } from "node:assert/strict";
import { createPrivateKey } from "node:crypto";
import fc from "fast-check";
import type { FakeName } from "../../../server/testing/mod.ts";
import { letter, newKey, results, server } from "./rig.ts";
import { dkim, record } from "./signer.ts";

const key = createPrivateKey(newKey());
const all = ["spf", "dkim", "arc", ["dmarc", { enforce: false }]] as const;
const known: Record<string, FakeName> = {
  "s1._domainkey.example.net": { TXT: [record(key)] },
  "_dmarc.example.net": { TXT: ["v=DMARC1; p=reject"] },
};
const good = dkim(letter, { key });
const much = 200_000;
const folds = "\r\n ".repeat(much / 3);

const messages: Record<string, string> = {
  "10,000 foldings in a signature": `DKIM-Signature: v=1;${"\r\n a".repeat(10_000)}\r\n${letter}`,
  "a signature of white space": `DKIM-Signature: v=1; h=${
    " ".repeat(8_000)
  }x; d=a.example; s=s1; a=rsa-sha256\r\n${letter}`,
  "ten signatures of white space":
    `DKIM-Signature: v=1; d=a.example; s=s1; a=rsa-sha256; bh=x; b=x; h=from${" ".repeat(8_000)}:x\r\n`
      .repeat(10) + letter,
  "a signature that is folded all over": `DKIM-Signature: v=1; h=from;${folds} d=a.example\r\n${letter}`,
  "a signature that names 4,000 fields":
    `DKIM-Signature: v=1; a=ed25519-sha256; d=example.net; s=s1; bh=x; b=x; h=from${
      ":x".repeat(3_900)
    }\r\n${letter}`,
  "40,000 fields": `${"a:\r\n".repeat(40_000)}${good}`,
  "900 fields, and signatures that name 500": `${"x:\r\n".repeat(900)}${
    `DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed; d=example.net; s=s1; bh=x; b=x; h=from${
      ":y".repeat(490)
    }\r\n`.repeat(10)
  }${letter}`,
  "2,000 signatures": `${
    "DKIM-Signature: v=1; a=rsa-sha256; d=a.example; s=s; h=from; bh=x; b=x\r\n".repeat(2_000)
  }${letter}`,
  "2,000 lengths of the body": Array.from(
    { length: 900 },
    (_, n) => `DKIM-Signature: v=1; a=rsa-sha256; d=a.example; s=s; l=${n}; h=from; bh=x; b=x\r\n`,
  ).join("") + letter,
  "a From of quotes": letter.replace("Alice", '"'.repeat(8_000)),
  "a From of brackets": letter.replace("Alice", "<".repeat(much)),
  "a From of nested groups": letter.replace("Alice <alice@example.net>", "a:".repeat(4_000)),
  "a From of comments": letter.replace("Alice", "(".repeat(8_000)),
  "a From of many authors": letter.replace("Alice <alice@example.net>", "a@b.example,".repeat(600)),
  "a Content-Type of parameters": `Content-Type: multipart/x; ${"a*0*=x;".repeat(1_100)}\r\n${good}`,
  "a Content-Type of quotes": `Content-Type: multipart/x; boundary=${'"\\'.repeat(4_000)}\r\n${good}`,
  "seals in disorder": "ARC-Seal: i=7; cv=none\r\nARC-Seal: i=__proto__\r\nARC-Message-Signature: i=1e3\r\n" +
    letter,
  "900 seals": Array.from(
    { length: 300 },
    (_, n) => `ARC-Seal: i=${n}; cv=pass; d=a.example; s=s; b=x; a=rsa-sha256\r\n`,
  ).join("") + letter,
  "__proto__ as a tag": `DKIM-Signature: __proto__=1; constructor=2; v=1\r\n${letter}`,
  "no field at all": "\r\nHello.\r\n",
  "nothing": "",
};

for (const [title, content] of Object.entries(messages)) {
  Deno.test(`hostile: a message with ${title} is judged, soon`, async () => {
    await using receiving = await server(all, known);
    await receiving.send({ to: "bob@example.org", content: letter }); // what loads is loaded
    const began = performance.now();
    const sent = await receiving.send({ to: "bob@example.org", content });
    const took = performance.now() - began;
    equal(sent.outcome, "accepted", sent.reply.text);
    ok(/; dkim=\w+/.test(results(receiving)) && /; dmarc=\w+/.test(results(receiving)), results(receiving));
    ok(took < 3_000, `${took} ms`);
  });
}

const records: Record<string, string> = {
  "of semicolons": ";".repeat(60_000),
  "of white space": `v=DKIM1;${" ".repeat(60_000)}p=x`,
  "of base64 that is none": `v=DKIM1; p=${"A".repeat(60_000)}!`,
  "of a very long key": `v=DKIM1; p=${"MIIB".repeat(15_000)}`,
  "with octets that are no text": "v=DKIM1; p=\u0000\ufffd\u0001",
  "of lists": `v=DKIM1; h=${"sha1:".repeat(10_000)}; p=x`,
};

for (const [title, text] of Object.entries(records)) {
  Deno.test(`hostile: a record ${title} is read, soon, wherever it stands`, async () => {
    const names = ["s1._domainkey.example.net", "example.net", "_dmarc.example.net"];
    const texts = [text, text.replace("v=DKIM1;", "v=spf1 "), text.replace("v=DKIM1", "v=DMARC1")];
    const dns = Object.fromEntries(names.map((name, n) => [name, { TXT: [texts[n]!] }]));
    await using receiving = await server(all, dns);
    const began = performance.now();
    equal(
      (await receiving.send({ from: "a@example.net", to: "bob@example.org", content: good })).outcome,
      "accepted",
    );
    ok(!results(receiving).includes("dkim=pass"), results(receiving));
    ok(performance.now() - began < 5_000, `${performance.now() - began} ms`);
  });
}

Deno.test("hostile: any fields of authentication get results, and never another error", async () => {
  const piece = fc.constantFrom(
    "v=1",
    "a=",
    "rsa-sha256",
    "d=",
    "example.net",
    ";",
    " ",
    "\r\n ",
    "h=from",
    ":",
    "b=",
    "=",
    '"',
    "(",
    "\\",
    "i=1",
    "cv=none",
    "\t",
    "s=s1",
    "é",
  );
  const name = fc.constantFrom(
    "DKIM-Signature",
    "ARC-Seal",
    "ARC-Message-Signature",
    "ARC-Authentication-Results",
    "From",
    "Content-Type",
    "Return-Path",
  );
  const field = fc.tuple(name, fc.array(piece, { maxLength: 25 })).map(([one, parts]) =>
    `${one}: ${parts.join("")}\r\n`
  );
  await using receiving = await server(all, known);
  await fc.assert(
    fc.asyncProperty(fc.array(field, { maxLength: 6 }), async (fields) => {
      const sent = await receiving.send({ to: "bob@example.org", content: `${fields.join("")}${letter}` });
      equal(sent.outcome, "accepted", `${sent.reply.code} ${sent.reply.text}`);
    }),
    { numRuns: 300 },
  );
  equal(receiving.log.of("plugin failed").length, 0);
});
