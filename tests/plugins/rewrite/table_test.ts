import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import fc from "fast-check";
import { partsOf, Table } from "../../../plugins/rewrite/table.ts";
import { masquerade } from "../../../plugins/rewrite/masquerade.ts";

function table(entries: Record<string, string>): Table {
  const made = new Table();
  for (const [key, target] of Object.entries(entries)) equal(made.add(key, target), undefined, key);
  return made;
}

const everything = table({
  "alice@example.org": "Alice.Liddell@example.com",
  '"a b"@example.org': "ab@example.org",
  "sales-*@example.org": "*@sales.example.org",
  "sales-eu-*@example.org": "eu@sales.example.org",
  "*@old.example": "*@example.org",
  "*@*.inside.example": "*@example.org",
  "*@*.db.inside.example": "db@example.org",
  "@exämple.org": "all@example.org",
});

for (
  const [address, becomes] of [
    ["alice@example.org", "Alice.Liddell@example.com"],
    ["ALICE@EXAMPLE.ORG", "Alice.Liddell@example.com"],
    ["alice+news@example.org", "Alice.Liddell+news@example.com"],
    ['"a b"@example.org', "ab@example.org"],
    ["sales-de@example.org", "de@sales.example.org"],
    ["sales-eu-de@example.org", "eu@sales.example.org"],
    ["sales-@example.org", undefined],
    ["Bob@old.example", "Bob@example.org"],
    ['"b@b"@old.example', '"b@b"@example.org'],
    ["root@web.inside.example", "root@example.org"],
    ["root@a.db.inside.example", "db@example.org"],
    ["root@inside.example", undefined],
    ["x@xn--exmple-cua.org", "all@example.org"],
    ["bob@example.org", undefined],
  ] as const
) {
  Deno.test(`rewrite: ${address} becomes ${becomes ?? "nothing else"}`, () => {
    equal(everything.rewrite(partsOf(address)!), becomes);
  });
}

for (
  const [key, target, wrong] of [
    ["alice", "a@example.org", /"alice" is not an address/],
    ["a*b*@example.org", "a@example.org", /not an address/],
    ["alice@example.org", "alice", /"alice" is not an address/],
    ["alice@example.org", "*@example.com", /has a star/],
    ["a b@example.org", "a@example.org", /not an address/],
    ["a@-", "a@@", /not an address/],
  ] as const
) {
  Deno.test(`rewrite: ${key} → ${target} is no entry`, () => {
    match(new Table().add(key, target) ?? "", wrong);
  });
}

Deno.test("rewrite: an entry twice is one too many", () => {
  const made = table({ "alice@example.org": "a@example.org", "x-*@example.org": "*@example.net" });
  match(made.add("ALICE@example.ORG", "b@example.org") ?? "", /twice/);
  match(made.add("X-*@example.org", "b@example.org") ?? "", /twice/);
});

Deno.test("rewrite: whatever an address is, what it becomes is one, and never itself", () => {
  const made = table({ "*@example.org": "x-*@example.net", "*@*.example.org": "*@example.org" });
  const local = fc.string({ unit: "grapheme", minLength: 1, maxLength: 80 });
  fc.assert(fc.property(local, fc.constantFrom("example.org", "a.example.org"), (local, domain) => {
    const becomes = made.rewrite({ local, domain });
    if (becomes === undefined) return;
    ok(partsOf(becomes) && becomes.length <= 254, becomes);
    ok(becomes !== `${local}@${domain}`);
  }));
});

Deno.test("rewrite: hosts hide behind their domain, those that are named don't", () => {
  const hide = masquerade(["!db.example.org", "example.org"], ["root"]);
  const hidden = [
    "a@web.example.org",
    "a@x.web.example.org",
    "a@db.example.org",
    "a@x.db.example.org",
    "a@example.org",
    "Root@web.example.org",
    "a@notexample.org",
  ].map((text) => hide(partsOf(text)!));
  deepEqual(hidden, [
    "a@example.org",
    "a@example.org",
    undefined,
    undefined,
    undefined,
    undefined,
    undefined,
  ]);
});
