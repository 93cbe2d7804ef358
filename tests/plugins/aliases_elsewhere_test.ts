/** Aliases from a database and from a web service: which entry counts, loops, VRFY and EXPN, and what is no alias. */
import { deepStrictEqual as deepEqual, ok, rejects, strictEqual as equal } from "node:assert/strict";
import { mailboxes, type TestServer, testServer } from "../../server/testing/mod.ts";
import { folder } from "./maildir/disk.ts";
import { serve, writeDatabase } from "./recipients/sources.ts";

const domains = ["example.org"];
const boxes = mailboxes(["alice@example.org", "bob@example.org", "boss@example.org", "x@example.net"]);
const query = "select goto from alias where address = :address";

const rows: [string, string | null][] = [
  ["sales@example.org", "alice, bob@example.org"],
  ["sales@example.org", "x@example.net"],
  ["sales+vip@example.org", "boss"],
  ["alice@example.org", "alice@example.org"],
  ["bob@example.org", "bob@example.org"],
  ["loop@example.org", "pool@example.org"],
  ["pool@example.org", "loop@example.org"],
  ['"odd name"@example.org', '"bob"@example.org'],
  ["program@example.org", "|/bin/sh"],
  ["empty@example.org", null],
  ["@example.org", "boss@example.org"],
];

async function database(path: string, content: typeof rows): Promise<string> {
  const quote = (text: string | null) => text === null ? "null" : `'${text}'`;
  const values = content.map(([address, to]) => `(${quote(address)}, ${quote(to)})`).join();
  await writeDatabase(
    path,
    "create table alias (address text, goto text)",
    `insert into alias values ${values}`,
  );
  return path;
}

const served = (options: Record<string, unknown>) =>
  testServer({ plugins: [{ use: "aliases", with: { domains, ...options }, onError: "skip" }, boxes] });

async function reached(server: TestServer, to: string): Promise<string> {
  const before = server.delivered.length;
  const { reply } = await server.send({ to });
  const there = server.delivered.slice(before).map(({ to }) => to).sort().join();
  return there || `${reply.code} ${reply.status}`;
}

Deno.test("aliases from a database: with its tag, without, the whole domain; a mailbox of its own; loops", async () => {
  await using root = await folder();
  await using server = await served({ sql: { database: await database(`${root.path}/a.db`, rows), query } });
  const table: [string, string][] = [
    ["Sales@Example.org", "alice@example.org,bob@example.org,x@example.net"],
    ["sales+VIP@example.org", "boss@example.org"],
    ["sales+else@example.org", "alice@example.org,bob@example.org,x@example.net"],
    ["alice@example.org", "alice@example.org"],
    ["anybody@example.org", "boss@example.org"],
    ["loop@example.org", "550 5.4.6"],
    ['"odd name"@example.org', '"bob"@example.org'],
    ["program@example.org", "451 4.3.0"],
    ["empty@example.org", "451 4.3.0"],
    [`"' or '1'='1"@example.org`, "boss@example.org"],
    ["sales@elsewhere.example", "550 5.7.1"],
    ["x@example.net", "x@example.net"],
  ];
  for (const [to, where] of table) equal(await reached(server, to), where, to);
  const said = JSON.stringify(server.log.entries);
  ok(said.includes("mail is not given to programs"));
  ok(said.includes("goes to nobody"));
});

Deno.test("C09 aliases from a database: VRFY and EXPN are for our own people", async () => {
  await using root = await folder();
  const sql = { database: await database(`${root.path}/a.db`, rows.slice(0, 5)), query };
  await using server = await served({ sql, networks: ["10.0.0.0/8"] });
  const ours = server.connect({ ip: "10.1.1.1" });
  const stranger = server.connect({ ip: "192.0.2.9" });
  for (const client of [ours, stranger]) await client.command("EHLO client.example");
  deepEqual((await ours.command("EXPN <sales+vip@example.org>")).lines, ["<boss@example.org>"]);
  equal((await ours.command("VRFY sales")).code, 250);
  equal((await ours.command("EXPN nobody")).code, 550);
  equal((await stranger.command("EXPN sales")).code, (await stranger.command("EXPN nobody")).code);
  equal((await stranger.command("VRFY sales")).code, 252);
});

Deno.test("aliases from a web service: lists, one address, none; while it is down what was known stands", async () => {
  const answers: Record<string, unknown> = {
    "/sales@example.org": ["alice", "bob@example.org"],
    "/boss2@example.org": "boss@example.org",
    "/both@example.org": { to: ["alice@example.org"], more: 1 },
    "/none@example.org": [],
    "/bad@example.org": [{ address: "alice@example.org" }],
  };
  await using service = await serve((path) => {
    const answer = answers[decodeURIComponent(path)];
    return answer === undefined ? new Response(null, { status: 404 }) : Response.json(answer);
  });
  await using server = await served({ http: { url: `${service.url}/{address}` } });
  const table: [string, string][] = [
    ["sales+x@example.org", "alice@example.org,bob@example.org"],
    ["boss2@example.org", "boss@example.org"],
    ["both@example.org", "alice@example.org"],
    ["none@example.org", "550 5.1.1"],
    ["bad@example.org", "451 4.3.0"],
    ["alice@example.org", "alice@example.org"],
  ];
  for (const [to, where] of table) equal(await reached(server, to), where, to);
  service.goDown();
  await server.clock.advance("2h");
  equal(await reached(server, "both@example.org"), "alice@example.org");
  equal(
    await reached(server, "alice@example.org"),
    "alice@example.org",
    "skipped, for a plugin below has it",
  );
  equal(await reached(server, "new@example.org"), "451 4.3.0", "nobody has it, but who knows");
});

Deno.test("aliases: one place, and the domains that are looked up", async () => {
  const sql = { database: "a.db", query };
  const table: [Record<string, unknown>, RegExp][] = [
    [{ sql, file: "a.yaml" }, /in one place, not in file and sql/],
    [{ sql, domains: [] }, /needs the `domains` whose addresses/],
    [{ sql: { ...sql, query: "select 1" } }, /asks about no address/],
    [{ http: { url: "https://a.test/x" } }, /asks about no address/],
  ];
  for (const [given, problem] of table) await rejects(served(given), problem);
});

Deno.test("aliases from a web service: what stands where all of them are listed is nobody's catch-all", async () => {
  await using service = await serve((path) =>
    path.endsWith("/sales")
      ? Response.json(["alice@example.org"])
      : path.endsWith("/")
      ? Response.json(["sales@example.org", "boss@example.org"])
      : new Response(null, { status: 404 })
  );
  await using server = await served({ http: { url: `${service.url}/aliases/{domain}/{local}` } });
  equal(await reached(server, "sales@example.org"), "alice@example.org");
  equal(await reached(server, "nobody@example.org"), "550 5.1.1");
});
