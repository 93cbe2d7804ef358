/** Which entry an address falls under, and what an operator may write. */
import { deepStrictEqual as deepEqual, match, strictEqual as equal } from "node:assert/strict";
import { parseAddress } from "../../../server/smtp/address.ts";
import { ruleOf, Rules, targetsOf } from "../../../plugins/forward/rules.ts";

const rules = new Rules();
for (
  const key of [
    "alice@example.org",
    "alice+vip@example.org",
    "sales-*@example.org",
    "sales-eu-*@example.org",
    "*-bot@example.org",
    "a*b*c@example.org",
    '"odd*name"@example.org',
    "example.org",
    "@second.example",
    "*.example.org",
    "*.deep.example.org",
    "Straße.example",
    "__proto__@example.net",
  ]
) equal(rules.add(key, ruleOf(`${key.replaceAll(/[^a-z]/g, "")}@x.example`)), undefined, key);

const found = (text: string) => {
  const rule = rules.find(parseAddress(text)!);
  return rule?.kind === "others" ? rule.to[0]!.split("@")[0] : undefined;
};

Deno.test("forward: the entry that fits best counts", () => {
  const rows: [string, string | undefined][] = [
    ["alice@example.org", "aliceexampleorg"],
    ["ALICE+x@Example.ORG", "aliceexampleorg"],
    ["alice+VIP@example.org", "alicevipexampleorg"],
    ["sales-us@example.org", "salesexampleorg"],
    ["sales-eu-de@example.org", "saleseuexampleorg"],
    ["x-bot@example.org", "botexampleorg"],
    ["sales-bot@example.org", "salesexampleorg"],
    ["a1b2c@example.org", "abcexampleorg"],
    ["abc@example.org", "abcexampleorg"],
    ["abcb@example.org", "exampleorg"],
    ["ac@example.org", "exampleorg"],
    ['"odd*name"@example.org', "oddnameexampleorg"],
    ["oddXname@example.org", "exampleorg"],
    ["anyone@second.example", "secondexample"],
    ["a@x.example.org", "exampleorg"],
    ["a@x.deep.example.org", "deepexampleorg"],
    ["a@deep.example.org", "exampleorg"],
    ["a@xn--strae-oqa.example", "traeexample"],
    ["a@notexample.org", undefined],
    ["a@other.example", undefined],
    ["__proto__@example.net", "protoexamplenet"],
    ["constructor@example.net", undefined],
  ];
  for (const [address, expected] of rows) equal(found(address), expected, address);
});

Deno.test("forward: what is no key, or stands there twice", () => {
  for (
    const [key, wrong] of [
      ["*", /outbound\.route/],
      ["@*", /outbound\.route/],
      ["*.com", /whole top-level domain/],
      ["*@*.org", /whole top-level domain/],
      ["a b@example.org", /neither an address/],
      ["alice@", /neither an address/],
      ["x-*@*.example.org", /neither an address/],
      ["|prog", /neither an address/],
      ["EXAMPLE.org", /stands here twice/],
      ["Alice@example.org", /stands here twice/],
      ["SALES-*@example.org", /stands here twice/],
      ["*@example.org", /stands here twice/],
    ] as const
  ) match(rules.add(key, ruleOf("x@y.example"))!, wrong, key);
});

Deno.test("forward: targets: the same name elsewhere, and the copy that stays", () => {
  const targets = (to: string[], keep: boolean, text: string) =>
    targetsOf({ kind: "others", to, keep }, parseAddress(text)!);
  deepEqual(targets(["bob@x.example"], false, "alice@example.org"), ["bob@x.example"]);
  deepEqual(targets(["bob@x.example"], true, "Alice+t@example.org"), [
    "Alice+t@example.org",
    "bob@x.example",
  ]);
  deepEqual(targets(["*@new.example"], false, "Alice+t@example.org"), ["Alice+t@new.example"]);
  deepEqual(targets(["*@new.example"], false, '"a b"@example.org'), ['"a b"@new.example']);
  deepEqual(targets(["alice@example.org", "b@x.example"], false, "ALICE@example.org"), [
    "ALICE@example.org",
    "b@x.example",
  ]);
  deepEqual(targets(["alice@example.org"], false, "alice@example.org"), ["alice@example.org"]);
});

Deno.test("forward: a pattern costs linear time, whatever the address", () => {
  const slow = new Rules();
  slow.add(`${"a*".repeat(50)}b@example.org`, ruleOf("x@y.example"));
  const began = performance.now();
  for (let n = 0; n < 100; n++) slow.find({ local: "a".repeat(10_000), user: "a", domain: "example.org" });
  equal(performance.now() - began < 2000, true);
});
