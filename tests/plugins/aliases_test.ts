import { deepStrictEqual as deepEqual, match, rejects, strictEqual as equal } from "node:assert/strict";
import fc from "fast-check";
import aliases from "../../plugins/aliases/mod.ts";
import { address, call, recipient, type Rig, session, setUp, transaction } from "./harness.ts";
import { folder } from "./maildir/disk.ts";

const to = (...targets: string[]) => ({ verdict: "accept", claim: { to: targets } });
const resolve = async (rig: Rig, text: string) => await rig.handlers.resolve!(address(text), call());

const table = {
  "Sales@Example.org": ["alice@example.org", "bob@elsewhere.example"],
  "sales+vip@example.org": "boss@example.org",
  "info": "alice",
  "@example.net": "catch@example.org",
  "*@example.com": "catch@example.org",
  "me@example.net": "me@example.net",
  '"odd name"@example.org': "alice@STRASSE.example",
  "staff": ["alice", "bob@example.org"],
};
const options = {
  aliases: table,
  domains: ["example.org", "example.edu"],
  internal: ["staff@example.org"],
  networks: ["10.0.0.0/8"],
};

Deno.test("an address goes where its entry says: with its tag, without, local part, catch-all", async () => {
  const rig = await setUp(aliases, options);
  deepEqual(rig.owned, ["example.org", "example.edu"]);
  const rows: [string, unknown][] = [
    ["sales@example.org", to("alice@example.org", "bob@elsewhere.example")],
    ["SALES+x@EXAMPLE.org", to("alice@example.org", "bob@elsewhere.example")],
    ["sales+VIP@example.org", to("boss@example.org")],
    ["sales@example.edu", undefined],
    ["info@example.edu", to("alice@example.edu")],
    ["Info+x@example.org", to("alice@example.org")],
    ["info@example.net", to("catch@example.org")],
    ["anyone@example.com", to("catch@example.org")],
    ['"odd name"@example.org', to("alice@strasse.example")],
    ["nobody@example.org", undefined],
    ["sales@elsewhere.example", undefined],
    ["__proto__@example.org", undefined],
    ["constructor@example.org", undefined],
  ];
  for (const [text, verdict] of rows) deepEqual(await resolve(rig, text), verdict, text);
});

Deno.test("an address that is its own only target is left to whoever has the mailbox", async () => {
  const rig = await setUp(aliases, options);
  equal(await resolve(rig, "me@example.net"), undefined);
  equal(await resolve(rig, "ME+tag@example.net"), undefined);
});

Deno.test("A02 a quoted local part is looked up as a whole, and is no alias of another domain", async () => {
  const rig = await setUp(aliases, options);
  equal(await resolve(rig, '"sales@example.org"@example.edu'), undefined);
  equal(await resolve(rig, '"info@x"@example.org'), undefined);
});

Deno.test("the bare postmaster is the first domain's", async () => {
  const rig = await setUp(aliases, {
    aliases: { postmaster: "alice" },
    domains: ["example.org", "example.net"],
  });
  deepEqual(await resolve(rig, "Postmaster"), to("alice@example.org"));
});

Deno.test("internal aliases are for members, whatever the tag and case", async () => {
  const rig = await setUp(aliases, options);
  const ask = (client: Parameters<typeof session>[0], text: string) =>
    rig.handlers.rcpt!(session(client), recipient(text), transaction, call());
  for (const text of ["staff@example.org", "STAFF+x@example.org", '"staff"@example.org']) {
    deepEqual(ask({}, text), {
      verdict: "reject",
      status: "5.7.1",
      text: "Only members may write to this address",
    }, text);
    equal(ask({ user: "alice@example.org" }, text), undefined, text);
    equal(ask({ from: "10.1.1.1" }, text), undefined, text);
  }
  equal(ask({}, "sales@example.org"), undefined);
  equal(ask({}, "staff@example.edu"), undefined);
});

Deno.test("C09 VRFY and EXPN answer our own people; for others existing and missing are the same", async () => {
  const rig = await setUp(aliases, options);
  const { vrfy, expn } = rig.handlers;
  const ours = session({ user: "alice@example.org" });
  const stranger = session();
  deepEqual(await expn!(ours, "<Sales@example.org>", call()), {
    verdict: "accept",
    claim: { reply: ["<alice@example.org>", "<bob@elsewhere.example>"] },
  });
  deepEqual(await expn!(session({ from: "10.0.0.1" }), "staff", call()), {
    verdict: "accept",
    claim: { reply: ["<alice@example.org>", "<bob@example.org>"] },
  });
  deepEqual(await expn!(ours, "nobody", call()), {
    verdict: "reject",
    status: "5.1.1",
    text: "No such alias",
  });
  deepEqual(await vrfy!(ours, "info", call()), { verdict: "accept", claim: { reply: "<info@example.org>" } });
  deepEqual(await vrfy!(ours, '"odd name"@EXAMPLE.org', call()), {
    verdict: "accept",
    claim: { reply: '<"odd name"@example.org>' },
  });
  equal(await vrfy!(ours, "alice@example.org", call()), undefined);
  for (const text of ["sales@example.org", "nobody@example.org", "", "@", "<>"]) {
    equal(await vrfy!(stranger, text, call()), undefined);
    equal(await expn!(stranger, text, call()), undefined);
  }
});

Deno.test("VRFY and EXPN take any text", async () => {
  const rig = await setUp(aliases, options);
  const ours = session({ user: "alice@example.org" });
  await fc.assert(fc.asyncProperty(fc.string({ unit: "binary" }), async (text) => {
    await rig.handlers.vrfy!(ours, text, call());
    await rig.handlers.expn!(ours, text, call());
  }));
});

Deno.test("a file is followed; a broken change keeps the old table", async () => {
  await using root = await folder();
  const file = `${root.path}/aliases.yaml`;
  await Deno.writeTextFile(
    file,
    "sales@example.org: [alice@example.org, bob]\n'@example.net': alice@example.org\n",
  );
  const rig = await setUp(aliases, { file: "aliases.yaml" }, root.path);
  deepEqual(rig.owned, []);
  deepEqual(await resolve(rig, "sales@example.org"), to("alice@example.org", "bob@example.org"));
  deepEqual(await resolve(rig, "x@example.net"), to("alice@example.org"));

  await Deno.writeTextFile(file, "sales@example.org: |program\n");
  rig.time += 1000;
  deepEqual(await resolve(rig, "sales@example.org"), to("alice@example.org", "bob@example.org"));
  match(String(rig.log.at(-1)!.fields.error), /aliases\.yaml:1:/);

  await Deno.writeTextFile(file, "sales@example.org: carol@example.org\n");
  rig.time += 1000;
  deepEqual(await resolve(rig, "sales@example.org"), to("carol@example.org"));
});

Deno.test("A08 a file that can't be meant is refused with line and column", async () => {
  const rows: [string, RegExp][] = [
    ["- sales", /:1:1: must be a mapping/],
    [
      "a@example.org: x@example.org\nsales: alice@example.org",
      /:2:1: "sales" has no domain: write sales@example\.org/,
    ],
    ["sales@example.org:", /:1:1: "sales@example.org" goes to nobody/],
    ["sales@example.org: []", /:1:1: "sales@example.org" goes to nobody/],
    ["sales@example.org: [a@b.example, 5]", /:1:34: .*must go to an address/],
    ["sales@example.org: { a: b }", /:1:20: .*must go to an address/],
    ["sales@example.org: '|/bin/sh'", /mail is not given to programs or files/],
    ["sales@example.org: /etc/passwd", /mail is not given to programs or files/],
    ["sales@example.org: ':include:/etc/x'", /mail is not given to programs or files/],
    ["sales@example.org: a b@example.org", /is not an address/],
    ["sales@example.org: Alice <alice@example.org>", /no domain that can exist|is not an address/],
    ["sales@exa mple: a@example.org", /no domain that can exist/],
    ["'@': a@example.org", /no domain that can exist/],
    ["'*@example.org': a@example.org\n'@example.org': b@example.org", /:2:1: .*stands here twice/],
    ["A@example.org: b@example.org\na@EXAMPLE.org: c@example.org", /:2:1: .*stands here twice/],
    ["*@example.org : a@example.org", /:1:1: .*in quotes/],
    ["*@example.org: a@example.org", /:1:\d+: /],
    ["5: a@example.org", /:1:1: an alias is an address, as text/],
  ];
  await using root = await folder();
  for (const [content, sentence] of rows) {
    await Deno.writeTextFile(`${root.path}/a.yaml`, content);
    await rejects(setUp(aliases, { file: "a.yaml" }, root.path), sentence, content);
  }
  await Deno.writeTextFile(`${root.path}/a.yaml`, "# nothing yet\n");
  await setUp(aliases, { file: "a.yaml" }, root.path);
  await rejects(setUp(aliases, { file: "missing.yaml" }, root.path), /No such file/);
});

Deno.test("options that can't work are refused with a sentence", async () => {
  const rows: [object, RegExp][] = [
    [{}, /give one of them/],
    [{ file: "a.yaml", aliases: {} }, /in one place, not in file and aliases/],
    [{ aliases: { sales: "alice@example.org" } }, /\\"sales\\" has no domain|"sales" has no domain/],
    [{ aliases: { "a@b.example": [] } }, /goes to nobody/],
    [{ aliases: {}, internal: ["staff"] }, /not an address such as/],
    [{ aliases: {}, domains: ["a b"] }, /not a domain such as/],
  ];
  for (const [given, sentence] of rows) await rejects(setUp(aliases, given), sentence);
});

Deno.test("it says which alias decided", async () => {
  const rig = await setUp(aliases, options);
  await resolve(rig, "sales+x@example.org");
  await resolve(rig, "anyone@example.com");
  deepEqual(rig.rules, ["the alias sales@example.org", "the alias @example.com"]);
});
