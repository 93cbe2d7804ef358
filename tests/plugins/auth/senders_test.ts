import { deepStrictEqual as deepEqual, strictEqual as equal } from "node:assert/strict";
import fc from "fast-check";
import { readAuthors } from "../../../plugins/auth/from.ts";
import { accountName, maySendAs, meaning, meant, readSendAs } from "../../../plugins/auth/senders.ts";

const names: [text: string, name: string | undefined][] = [
  ["alice@example.org", "alice@example.org"],
  ["Alice@Example.ORG", "alice@example.org"],
  ["jörg@straße.de", "jörg@xn--strae-oqa.de"],
  ["jo\u0308rg@example.org", "jörg@example.org"],
  ["a..b.@example.org", "a..b.@example.org"],
  ["alice+lists@example.org", "alice+lists@example.org"],
  ["x@[127.0.0.1]", "x@[127.0.0.1]"],
  ["alice", undefined],
  ["@example.org", undefined],
  ["alice@", undefined],
  ["alice@example.org.", undefined],
  ["alice@-example.org", undefined],
  ["alice@exa mple.org", undefined],
  ["al ice@example.org", undefined],
  ["alice@b@example.org", undefined],
  ['"al ice"@example.org', undefined],
  ["alice\0@example.org", undefined],
  ["<alice@example.org>", undefined],
  [`${"a".repeat(400)}@example.org`, undefined],
  ["__proto__", undefined],
  ["", undefined],
];

Deno.test("names of accounts are addresses, compared without case", () => {
  for (const [text, name] of names) equal(accountName(text), name, text);
});

Deno.test("sendAs entries: an address, a domain, anything", () => {
  equal(readSendAs("*"), "*");
  equal(readSendAs("*@Example.ORG"), "*@example.org");
  equal(readSendAs("Sales@example.org"), "sales@example.org");
  for (const bad of ["*@", "**", "*@*", "sales", "*sales@example.org ", "@example.org"]) {
    equal(readSendAs(bad), undefined, bad);
  }
});

const alice = { name: "alice@example.org", sendAs: ["sales@example.org", "*@shop.example"] };
const senders: [address: string, may: boolean][] = [
  ["alice@example.org", true],
  ["ALICE@EXAMPLE.ORG", true],
  ["alice+bounces=x=y@example.org", true],
  ['"alice"@example.org', true],
  ["sales@example.org", true],
  ["sales+x@example.org", false],
  ["anyone@shop.example", true],
  ["anyone@sub.shop.example", false],
  ["anyone@notshop.example", false],
  ["bob@example.org", false],
  ["alice@example.com", false],
  ["+alice@example.org", false],
  ['"alice@example.org"@evil.example', false],
];

Deno.test("U06 who may send as whom", () => {
  for (const [address, may] of senders) equal(maySendAs(alice, meaning(address)!), may, address);
  equal(maySendAs({ name: "a@b", sendAs: ["*"] }, meaning("ceo@bank.example")!), true);
});

Deno.test("U06 an account that is itself a sub-address does not own the address without its tag", () => {
  const user = { name: "alice+app@example.org", sendAs: [] };
  equal(maySendAs(user, meaning("alice+app@example.org")!), true);
  equal(maySendAs(user, meaning("alice@example.org")!), false);
  equal(maySendAs(user, meaning("alice+other@example.org")!), false);
});

const fields: [field: string, authors: string[] | "unreadable"][] = [
  ["alice@example.org", ["alice@example.org"]],
  ["Alice <alice@example.org>", ["alice@example.org"]],
  ['"Alice, CEO <boss@bank.example>" <alice@example.org>', ["alice@example.org"]],
  ['"a \\" <boss@bank.example>" <alice@example.org>', ["alice@example.org"]],
  ["alice@example.org (boss@bank.example)", ["alice@example.org"]],
  ["(a (nested \\) boss@bank.example) comment) alice@example.org", ["alice@example.org"]],
  ["Doe, John <j@example.org>", ["j@example.org"]],
  ["Scanner [Lobby] <scan@example.org>", ["scan@example.org"]],
  ["=?utf-8?q?J=C3=B6rg?= <j@example.org>", ["j@example.org"]],
  ["Jörg <jörg@straße.de>", ["jörg@xn--strae-oqa.de"]],
  ['"al ice"@example.org', ["al ice@example.org"]],
  ["A <a@x.example>, B <b@y.example>", ["a@x.example", "b@y.example"]],
  ["Team: a@x.example, B <b@y.example>;", ["a@x.example", "b@y.example"]],
  ["undisclosed: ;", []],
  ["", []],
  ["Alice", []],
  ["<>", []],
  // What readers disagree on: each address that one of them could show.
  ["<alice@example.org> <boss@bank.example>", ["alice@example.org", "boss@bank.example"]],
  ["boss@bank.example <alice@example.org>", ["boss@bank.example", "alice@example.org"]],
  ["alice@example.org boss@bank.example", ["alice@example.org", "boss@bank.example"]],
  ["alice@example.org\0boss@bank.example", ["alice@example.org", "boss@bank.example"]],
  ["alice@example.org(x)boss@bank.example", ["alice@example.org", "boss@bank.example"]],
  ['"x"boss@bank.example', ["boss@bank.example"]],
  ["<@evil.example:alice@example.org>", "unreadable"],
  ["alice @ example.org", "unreadable"],
  ["alice@example.org, (never ends <boss@bank.example>", "unreadable"],
  ['alice@example.org, "never ends', "unreadable"],
  ['A \\" <boss@bank.example> " <alice@example.org>', "unreadable"],
  ['a"b@x"@y.example', "unreadable"],
  ["boss@bank.example@example.org", "unreadable"],
];

Deno.test("U06 From: every address that any reader could find", () => {
  for (const [field, expected] of fields) {
    const read = readAuthors(field);
    deepEqual("authors" in read ? read.authors.map(({ whole }) => whole) : "unreadable", expected, field);
  }
});

Deno.test("U06 From: an address that stands bare anywhere in the field is never missed", () => {
  const noise = fc.string({
    unit: fc.constantFrom("a", " ", "<", ">", ",", ";", ":", "@", '"', "(", ")", "\\", "é"),
  });
  fc.assert(fc.property(noise, noise, (before, after) => {
    // Balanced on its own, so that it can't be inside quotes or a comment that began before it.
    if ("unreadable" in readAuthors(before)) return;
    const read = readAuthors(`${before} boss@bank.example ${after}`);
    equal("unreadable" in read || read.authors.some(({ whole }) => whole === "boss@bank.example"), true);
  }));
});

Deno.test("U06 From: 64 KB of any special character take linear time", () => {
  // Linear is a few milliseconds; quadratic would be minutes.
  for (const piece of ["(", ")", '"', "\\", "<", "@", "a.", "a@b,", "()", '""', "x: "]) {
    readAuthors(piece.repeat(65536 / piece.length));
  }
});

Deno.test("an address means the same parsed here and parsed by the server", () => {
  deepEqual(meaning("Alice+Tag@Example.org"), meant("Alice+Tag", "example.org"));
});
