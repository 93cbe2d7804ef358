import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import fc from "fast-check";
import { type Edit, editUsers, readUsers } from "../../../plugins/auth/users.ts";
import { cheapHash } from "./rig.ts";

const hash = cheapHash("secret");
const digest = hash.split("$").at(-1)!;

Deno.test("users file: accounts and what they may send as", () => {
  const { accounts, problems } = readUsers(
    `# people\nAlice@Example.org: { password: "${hash}", sendAs: [Sales@example.org, "*@Straße.de", "*"] }\n` +
      `bob@example.org:\n  password: ${hash}\n`,
  );
  deepEqual(problems, []);
  deepEqual([...accounts.keys()], ["alice@example.org", "bob@example.org"]);
  deepEqual(accounts.get("alice@example.org")?.sendAs, ["sales@example.org", "*@xn--strae-oqa.de", "*"]);
  deepEqual(accounts.get("bob@example.org")?.sendAs, []);
});

Deno.test("users file: nothing, comments and an empty map are no accounts and no problem", () => {
  for (const text of ["", "# nobody yet\n", "{}\n", "---\n"]) {
    const { accounts, problems } = readUsers(text);
    deepEqual([accounts.size, problems], [0, []], JSON.stringify(text));
  }
});

const broken: [text: string, ...problems: [line: number, column: number, message: RegExp][]][] = [
  ["- alice@example.org\n", [1, 1, /list of `address/]],
  ["alice@example.org\n", [1, 1, /list of `address/]],
  [`alice: { password: "${hash}" }\n`, [1, 1, /is an address/]],
  [`? [alice@example.org]\n: { password: "${hash}" }\n`, [1, 3, /is an address/]],
  [`a@b.c: { password: "${hash}" }\nA@B.C: { password: "${hash}" }\n`, [2, 1, /twice/]],
  ["a@b.c: secret\n", [1, 8, /written as/]],
  ["a@b.c:\n", [1, 7, /written as/]],
  ["a@b.c: { sendAs: [] }\n", [1, 1, /has no `password`/]],
  ['a@b.c: { password: "secret" }\n', [1, 20, /must start with/]],
  ["a@b.c:\n  password: 4711\n", [2, 13, /text of a password hash/]],
  ["a@b.c:\n  password:\n", [2, 12, /text of a password hash/]],
  [`a@b.c:\n  password: ${hash}\n  sendas: [x@y.z]\n`, [3, 3, /unknown key/]],
  [`a@b.c:\n  password: ${hash}\n  password: ${hash}\n`, [3, 3, /twice/]],
  [`a@b.c:\n  password: ${hash}\n  sendAs: x@y.z\n`, [3, 11, /is a list/]],
  [`a@b.c:\n  password: ${hash}\n  sendAs: [x@y.z, "y", 7]\n`, [3, 19, /entry is an/], [
    3,
    24,
    /entry is an/,
  ]],
  [`a@b.c: &a { password: "${hash}" }\nb@b.c: *a\n`, [2, 8, /written as/]],
  [`a@b.c: { password: ${hash} }\n`, [1, 20, /must stand in quotes/]],
  [`a@b.c:\n\tpassword: "${hash}"\n`, [2, 1, /not valid YAML/]],
  [`a@b.c: { password: "${hash}\n`, [1, 20, /./]],
  [`a: b: ${hash}\n`, [1, 4, /not valid YAML/]],
  [`a@b.c: { password: !hash "${hash}" }\n`, [1, 20, /not valid YAML: Unresolved tag$/]],
];

Deno.test("users file: each problem has its line and column, and repeats nothing of a hash", () => {
  for (const [text, ...expected] of broken) {
    const { problems } = readUsers(text);
    for (const [i, [line, column, message]] of expected.entries()) {
      const problem = problems[i];
      ok(problem, `${text}: no problem ${i}`);
      match(problem.message, message, text);
      if (message.source !== ".") deepEqual([problem.line, problem.column], [line, column], text);
    }
    for (const problem of problems) ok(!problem.message.includes(digest.slice(0, 6)), problem.message);
  }
});

Deno.test("users file: any text gives accounts or problems, never another error", () => {
  const piece = fc.oneof(
    fc.string(),
    fc.constantFrom("a@b.c:", " password: ", `"${hash}"`, "{", "}", "\n", "&a", "*a", "<<: "),
  );
  fc.assert(fc.property(fc.array(piece), (pieces) => {
    for (const { line, column } of readUsers(pieces.join("")).problems) ok(line >= 1 && column >= 1);
  }));
});

const commented = `# Users of example.org

# the boss
alice@example.org:
  password: "${hash}" # of 2024
  sendAs: [ sales@example.org ]

# from here on: staff
Bob@example.org: { password: "${hash}" } # trailing
`;

function edited(text: string, edit: Edit): string {
  const result = editUsers(text, edit);
  ok(result.outcome === "edited", result.outcome);
  return result.text;
}

Deno.test("an added account stands below the others, which stay as they were, comments too", () => {
  equal(
    edited(commented, { action: "add", name: "carol@example.org", hash: "$x,y" }),
    `${commented}carol@example.org:\n  password: "$x,y"\n`,
  );
});

Deno.test("accounts are added to nothing, to comments and to an empty map", () => {
  const entry = 'a@b.c:\n  password: "$x"\n';
  const add: Edit = { action: "add", name: "a@b.c", hash: "$x" };
  equal(edited("", add), entry);
  equal(edited("# people\n", add), `# people\n\n${entry}`);
  equal(edited("{}\n", add), entry);
});

Deno.test("a new password changes nothing else", () => {
  const other = cheapHash("other", 2);
  equal(
    edited(commented, { action: "passwd", name: "bob@example.org", hash: other }),
    commented.replace(`{ password: "${hash}" }`, `{ password: "${other}" }`),
  );
});

Deno.test("a removed account takes along the comment right above it, and no other", () => {
  equal(
    edited(commented, { action: "remove", name: "alice@example.org" }),
    `# Users of example.org\n\n# from here on: staff\nBob@example.org: { password: "${hash}" } # trailing\n`,
  );
  match(edited(commented, { action: "remove", name: "bob@example.org" }), /^# Users of[^]*# the boss\nalice/);
});

Deno.test("edits that can't be made say why", () => {
  equal(editUsers(commented, { action: "add", name: "bob@example.org", hash }).outcome, "exists");
  equal(editUsers(commented, { action: "passwd", name: "dora@example.org", hash }).outcome, "unknown");
  equal(editUsers(commented, { action: "remove", name: "dora@example.org" }).outcome, "unknown");
  equal(editUsers(`${commented}x: 1\n`, { action: "remove", name: "bob@example.org" }).outcome, "broken");
});

Deno.test("adding and then removing any accounts gives the accounts there were", () => {
  const name = fc.stringMatching(/^[a-z]{1,8}@[a-z]{1,8}\.org$/);
  fc.assert(fc.property(fc.uniqueArray(name, { maxLength: 6 }), (names) => {
    let text = commented;
    for (const name of names) text = edited(text, { action: "add", name, hash });
    equal(readUsers(text).accounts.size, names.length + 2);
    for (const name of names) text = edited(text, { action: "remove", name });
    deepEqual([...readUsers(text).accounts.keys()], ["alice@example.org", "bob@example.org"]);
  }));
});
