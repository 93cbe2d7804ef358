import { deepStrictEqual as deepEqual, ok, strictEqual as equal } from "node:assert/strict";
import fc from "fast-check";
import { whyNotWhere } from "../../server/cli/queue_where.ts";
import { longestWhere, matches, parseWhere, type Row, WhereProblem } from "../../server/control/where.ts";

const row: Row = {
  domain: "yahoo.com",
  sender: "Bounce-7=x@News.example",
  recipient: "Bob@Yahoo.com",
  state: "deferred",
  size: 65_536,
  age: 7_200_001,
  attempts: 4,
  reply: "421 4.7.0 [TSS04] Temporarily deferred",
  transport: "smtp",
  destination: "mx.relay.example:587",
};

const isTrue = (text: string, of: Row = row) => matches(parseWhere(text), of);

Deno.test("where: what DESIGN promises", () => {
  ok(isTrue("domain = yahoo.com and attempts > 3 and age > 2h"));
  ok(!isTrue("domain = yahoo.com and attempts > 4 and age > 2h"));
});

Deno.test("where: every field by every comparison", () => {
  const cases: [string, boolean][] = [
    ["domain = YAHOO.com", true],
    ["domain != yahoo.com", false],
    ["domain ~ ahoo", true],
    ["domain = hoo.com", false],
    ["recipient = bob@yahoo.com", true],
    ["sender = bounce-7=x@news.example", true],
    ["sender=bounce-7=x@news.example", true],
    ["sender ~ bounce-*@news", true],
    ["sender ~ news*bounce", false],
    ["sender = <>", false],
    ["sender!=<>", true],
    ["state = deferred", true],
    ["state != HELD", true],
    ["size = 64KiB", true],
    ["size >= 65536", true],
    ["size > 65536", false],
    ["size < 1MiB", true],
    ["age > 120m", true],
    ["age <= 2h", false],
    ["attempts = 4", true],
    ["attempts != 4", false],
    ["attempts>=4", true],
    ["attempts<4", false],
    ['reply ~ "temporarily deferred"', true],
    ["reply ~ 'TSS*defer'", true],
    ["reply ~ [tss04]", true],
    ['reply = ""', false],
    ["transport = SMTP", true],
    ["destination ~ relay.example", true],
    ["destination = mx.relay.example:587", true],
  ];
  for (const [text, expected] of cases) equal(isTrue(text), expected, text);
  ok(isTrue("sender = <>", { ...row, sender: "" }));
  ok(isTrue("domain = straße.example", { ...row, domain: "xn--strae-oqa.example" }));
});

Deno.test("where: not binds most, then and, then or; words in any case", () => {
  const [t, f] = ["attempts = 4", "attempts = 0"];
  const cases: [string, boolean][] = [
    [`${t} or ${f} and ${f}`, true],
    [`(${t} or ${f}) and ${f}`, false],
    [`not ${f} and ${t}`, true],
    [`not (${f} or ${t})`, false],
    [`not not ${t}`, true],
    [`NOT(${f})AND(${t})`, true],
    [`not ${t} or ${t}`, true],
  ];
  for (const [text, expected] of cases) equal(isTrue(text), expected, text);
});

Deno.test("where: quotes keep what would end a value, a backslash what would end them", () => {
  deepEqual(parseWhere(String.raw`reply ~ "a \"b\" \\ (c) and"`), {
    kind: "compare",
    field: "reply",
    operator: "~",
    value: String.raw`a "b" \ (c) and`,
  });
});

Deno.test("where: one clear error, with a caret under the place", () => {
  const cases: [string, string][] = [
    ["", `the expression is empty: one of these is missing here: ${fields}\n  \n  ^`],
    ["domian = x", `"domian" is nothing that can be asked about: did you mean domain?\n  domian = x\n  ^`],
    ["size > 3 and colour = red", at(13, `"colour" is nothing that can be asked about: there are ${fields}`)],
    ["domain yahoo.com", at(7, "a comparison is missing behind domain: there are = != ~")],
    ["domain == x", at(7, "== is no comparison: there are = != ~")],
    ["domain =", at(8, "a value is missing behind domain =")],
    ["domain = a..b", at(9, `"a..b" is not a domain such as example.org`)],
    ["attempts ~ 3", at(9, "attempts can't be compared by ~: there are = != < <= > >=")],
    ["attempts > many", at(11, `"many" is not a number of attempts such as 3`)],
    ["age > 2", at(6, `"2" is not a time such as 30s, 5m, 36h, 5d`)],
    ["size > 1MB", at(7, `"1MB" is not a size such as 4000, 64KiB, 25MiB`)],
    ["state = frozen", at(8, `"frozen" is not a state: there are ready, active, deferred, held`)],
    ["sender ~ <>", at(9, "everything contains that: the null sender is sender = <>")],
    [
      "reply ~ no such user",
      at(11, `"and" or "or" is missing here; a value with spaces stands in quotes`),
    ],
    ["(size > 3", at(0, `the ")" of this is missing`)],
    ["(size > 3 size < 4)", at(10, `"and", "or" or ")" is missing here`)],
    ["size > 3)", at(8, "this closes nothing")],
    ["size > 3 or", at(11, `one of these is missing here: ${fields}`)],
    [`reply ~ "no end`, at(8, `the second " of this is missing`)],
    ["東京 = x", at(0, `"東京" is nothing that can be asked about: there are ${fields}`)],
    [
      "reply = 東京 x",
      `"and" or "or" is missing here; a value with spaces stands in quotes\n  reply = 東京 x\n  ${
        " ".repeat(13)
      }^`,
    ],
    [
      "reply = \x1b[2J x",
      `"and" or "or" is missing here; a value with spaces stands in quotes\n  reply = \\x1b[2J x\n  ${
        " ".repeat(16)
      }^`,
    ],
  ];
  for (const [text, expected] of cases) {
    const tail = expected.includes("\n") ? "" : `\n  ${text}\n  ${" ".repeat(places.get(expected)!)}^`;
    equal(whyNotWhere(text), `--where: ${expected}${tail}`, text);
  }
});

const fields = "domain, sender, recipient, state, size, age, attempts, reply, transport, destination";
const places = new Map<string, number>();
function at(place: number, message: string): string {
  places.set(message, place);
  return message;
}

Deno.test("where: a long expression is shown around the place, in 80 columns", () => {
  const text = `${"size > 3 and ".repeat(20)}oops = 1 and ${"size > 3 and ".repeat(20)}size > 3`;
  const [, shown, caret] = whyNotWhere(text)!.split("\n");
  ok(shown!.length < 80, shown);
  equal(shown!.slice(caret!.indexOf("^")).slice(0, 4), "oops");
});

Deno.test("where: too long and too deep are problems, not a stack that overflows", () => {
  ok(whyNotWhere(`${"(".repeat(1000)}size > 3${")".repeat(1000)}`)?.includes("nested"));
  ok(whyNotWhere(`${"not ".repeat(900)}size > 3`)?.includes("nested"));
  ok(whyNotWhere("size > 3 or ".repeat(longestWhere))?.includes("longer"));
});

Deno.test("where: any text is an expression or a problem with a place in it", () => {
  const piece = fc.constantFrom(
    ...[
      "and",
      "or",
      "not",
      "(",
      ")",
      "domain",
      "age",
      "=",
      "!=",
      "~",
      "<",
      "2h",
      "x.example",
      '"',
      "'",
      "\\",
      " ",
      "<>",
    ],
  );
  const any = fc.oneof(fc.string({ unit: "binary" }), fc.array(piece).map((parts) => parts.join(" ")));
  fc.assert(
    fc.property(any, (text) => {
      try {
        matches(parseWhere(text), row);
      } catch (error) {
        ok(error instanceof WhereProblem, String(error));
        ok(error.at >= 0 && error.at <= text.length);
      }
    }),
    { numRuns: 2000 },
  );
});

Deno.test("where: what a pattern finds takes no longer than reading it", () => {
  const began = performance.now();
  ok(!isTrue(`reply ~ ${"a*".repeat(1500)}b`, { ...row, reply: "a".repeat(100_000) }));
  ok(performance.now() - began < 1000);
});
