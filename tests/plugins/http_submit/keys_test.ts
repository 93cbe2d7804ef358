import { match, ok, strictEqual as equal, throws } from "node:assert/strict";
import { findKey, maySendAs, readKeys } from "../../../plugins/http_submit/keys.ts";
import { digest } from "../../../plugins/http_submit/idempotency.ts";
import { readYaml } from "../../../plugins/yaml_file.ts";

const read = (text: string) => readYaml("keys.yaml", text, readKeys);
const hash = await digest(new TextEncoder().encode("secret-key"));

Deno.test("http-submit: a key is found by its hash, and may send as it says", async () => {
  const keys = read(`shop: { sha256: ${hash}, from: [Shop@Example.org, "*@shop.example"], hourly: 5 }`);
  const key = (await findKey(keys, "Bearer secret-key"))!;
  equal(key.name, "shop");
  equal(key.hourly, 5);
  equal(key.recipients, 100);
  ok(maySendAs(key, "shop@EXAMPLE.org"));
  ok(maySendAs(key, "anyone@shop.example"));
  ok(!maySendAs(key, "eve@example.org"));
  ok(!maySendAs(key, "shop@sub.shop.example"));
  for (
    const given of [
      null,
      "",
      "secret-key",
      "Basic secret-key",
      "Bearer",
      "Bearer secret-kez",
      `Bearer ${hash}`,
    ]
  ) {
    equal(await findKey(keys, given), undefined, String(given));
  }
});

Deno.test("http-submit: mistakes in the file have their place", () => {
  const broken = (text: string, expected: RegExp) =>
    throws(() => read(text), (error: Error) => (match(error.message, expected), true));
  broken("- a", /^keys\.yaml:1:1: is not a mapping/);
  broken("shop: {}", /keys\.yaml:1:1: shop: has no sha256/);
  broken("shop: { sha256: abc, from: [a@b.c] }", /1:17: shop: sha256 is 64 hexadecimal/);
  broken(`shop: { sha256: ${hash} }`, /has no from/);
  broken(`shop: { sha256: ${hash}, from: [b.c] }`, /"b\.c" is not an address/);
  broken(`shop: { sha256: ${hash}, from: [a@b.c], hourly: 0 }`, /hourly is a number, 1 or more/);
  broken(`shop: { sha256: ${hash}, from: [a@b.c], rate: 1 }`, /there is no "rate"/);
  broken(
    `a: { sha256: ${hash}, from: [a@b.c] }\nb: { sha256: ${hash}, from: [a@b.c] }`,
    /b has the key of a/,
  );
});
