import { ok, strictEqual as equal } from "node:assert/strict";
import fc from "fast-check";
import { replaceMailboxes } from "../../../plugins/rewrite/mailboxes.ts";

const rewrite = (address: string) =>
  ({ "a@x.org": "b@y.org", '"a b"@x.org': "ab@y.org" } as Record<string, string>)[address];

for (
  const [value, becomes] of [
    ["a@x.org", "b@y.org"],
    ["A B <a@x.org>, c@x.org", "A B <b@y.org>, c@x.org"],
    ['"a@x.org" <a@x.org>', '"a@x.org" <b@y.org>'],
    ["a@x.org (was a@x.org)", "b@y.org (was a@x.org)"],
    ['team: a@x.org, "a b"@x.org;', "team: b@y.org, ab@y.org;"],
    ["<@relay.org:a@x.org>", "<@relay.org:b@y.org>"],
    ["=?utf-8?q?a=40x=2Eorg?= <a@x.org>", "=?utf-8?q?a=40x=2Eorg?= <b@y.org>"],
    ["aa@x.org, a@x.org.uk", "aa@x.org, a@x.org.uk"],
    ['"open <a@x.org>', '"open <a@x.org>'],
    ["(open a@x.org", "(open a@x.org"],
    ["", ""],
  ] as const
) {
  Deno.test(`rewrite: the addresses in ${JSON.stringify(value)}`, () => {
    equal(replaceMailboxes(value, rewrite), becomes);
  });
}

Deno.test("rewrite: a field in which no address is to change stays as it is, letter by letter, in no time", () => {
  const unit = fc.constantFrom("a", "@", "<", ">", '"', "(", ")", "\\", ",", " ", ".", ":", ";", "é");
  fc.assert(fc.property(fc.string({ unit }), (value) => {
    equal(replaceMailboxes(value, () => undefined), value);
  }));
  const began = performance.now();
  for (const one of ['"', "(", "\\", "a@b,", "<"]) replaceMailboxes(one.repeat(200_000), () => undefined);
  ok(performance.now() - began < 2000);
});
