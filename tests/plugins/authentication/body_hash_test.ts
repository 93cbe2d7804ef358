import { ok, strictEqual as equal } from "node:assert/strict";
import { createHash } from "node:crypto";
import fc from "fast-check";
import { BodyHash } from "../../../plugins/authentication/body_hash.ts";

const encode = (text: string) => Uint8Array.from(text, (char) => char.charCodeAt(0));

/** By the words of RFC 6376 §3.4.3 and §3.4.4, slowly. */
function canonical(form: "simple" | "relaxed", body: string): string {
  const lines = form === "simple"
    ? body
    : body.replaceAll(/[ \t]+(?=\r\n|$)/g, "").replaceAll(/[ \t]+/g, " ");
  const trimmed = lines.replace(/(?:\r\n)+$/, "");
  return trimmed === "" && form === "relaxed" ? "" : `${trimmed}\r\n`;
}

const sha256 = (text: string) => createHash("sha256").update(encode(text)).digest("base64");

function hashed(form: "simple" | "relaxed", pieces: readonly Uint8Array[], limit?: number) {
  const hash = new BodyHash(form, "sha256", limit);
  for (const piece of pieces) hash.update(piece);
  return { value: hash.digest("base64"), hash };
}

const bodies = fc.array(fc.constantFrom("\r\n", " ", "\t", "a", "b c", ".", "\r", "é"), { maxLength: 40 })
  .map((parts) => parts.join(""));

for (const form of ["simple", "relaxed"] as const) {
  Deno.test(`body hash: ${form}: as the RFC has it, whole or octet by octet`, () => {
    fc.assert(fc.property(bodies, (body) => {
      const octets = encode(body);
      const wanted = sha256(canonical(form, body));
      equal(hashed(form, [octets]).value, wanted);
      equal(hashed(form, [...octets].map((octet) => Uint8Array.of(octet))).value, wanted);
    }));
  });

  Deno.test(`body hash: ${form}: l= hashes the first octets, and counts them all`, () => {
    fc.assert(fc.property(bodies, fc.nat(60), (body, limit) => {
      const whole = canonical(form, body);
      const { value, hash } = hashed(form, [encode(body)], limit);
      equal(value, sha256(whole.slice(0, limit)));
      equal(hash.canonicalizedLength, whole.length);
      equal(hash.bodyHashedBytes, Math.min(limit, whole.length));
      equal(hash.byteLength, body.length);
    }));
  });
}

Deno.test("body hash: RFC 6376 §3.4.3, §3.4.4: the empty body", () => {
  equal(hashed("simple", []).value, "frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY=");
  equal(hashed("relaxed", []).value, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
});

Deno.test("body hash: D05 D04 a line of 40 MB in pieces, and 20 million empty lines, take linear time", () => {
  const began = performance.now();
  for (const text of ["x", " ", "\r\n", "x \t\t"]) {
    const piece = encode(text.repeat(65_536 / text.length));
    hashed("relaxed", [...Array<Uint8Array>(640).fill(piece), encode("x")]);
  }
  ok(performance.now() - began < 20_000, `${performance.now() - began} ms`); // quadratic time is a minute each
});
