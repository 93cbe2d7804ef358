/** The plugin `recipients`: who exists, by each of its sources, and what is said while a source is down. */
import { deepStrictEqual as deepEqual, match, ok, rejects, strictEqual as equal } from "node:assert/strict";
import { defer, reject } from "../../../server/plugin.ts";
import { mailboxes, type TestServer, testServer } from "../../../server/testing/mod.ts";
import { folder } from "../maildir/disk.ts";
import { serve, writeDatabase } from "./sources.ts";

const domains = ["example.org"];
const boxes = mailboxes(domains);
const withIt = (options: Record<string, unknown>) =>
  testServer({ plugins: [["recipients", { domains, ...options }], boxes] });
const said = async (server: TestServer, to: string) => {
  const { reply } = await server.send({ to });
  return `${reply.code} ${reply.status}`;
};

Deno.test("recipients: a file says who exists, and is followed", async () => {
  await using root = await folder();
  const file = `${root.path}/users.yaml`;
  await Deno.writeTextFile(file, "alice@example.org: { password: x }\nbob:\n");
  await using server = await withIt({ file });
  const rows: [string, string][] = [
    ["alice@example.org", "250 2.0.0"],
    ["ALICE+tag@EXAMPLE.org", "250 2.0.0"],
    ["bob@example.org", "250 2.0.0"],
    ["carol@example.org", "550 5.1.1"],
    ["postmaster@example.org", "250 2.0.0"],
    ["abuse@example.org", "250 2.0.0"],
    ["alice@elsewhere.example", "550 5.7.1"],
  ];
  for (const [to, reply] of rows) equal(await said(server, to), reply, to);
  await Deno.writeTextFile(file, "- carol@example.org\n");
  await server.clock.advance("1s");
  equal(await said(server, "carol@example.org"), "250 2.0.0");
  equal(await said(server, "alice@example.org"), "550 5.1.1");
});

Deno.test("recipients: a row, and the user exists; another database in the same place counts", async () => {
  await using root = await folder();
  const database = `${root.path}/users.db`;
  await writeDatabase(
    database,
    "create table box (address text)",
    "insert into box values ('alice@example.org')",
  );
  await using server = await withIt({
    sql: { database, query: "select 1 from box where address = :address" },
    cache: { yes: "1m", no: "1m" },
  });
  equal(await said(server, "Alice+x@example.org"), "250 2.0.0");
  equal(await said(server, "carol@example.org"), "550 5.1.1");
  // A08: what a stranger writes is a value, never a part of the query.
  equal(await said(server, `"x' or '1'='1"@example.org`), "550 5.1.1");
  await Deno.remove(database);
  await server.clock.advance("2m");
  equal(await said(server, "alice@example.org"), "250 2.0.0", "what was known stands");
  equal(await said(server, "new@example.org"), "451 4.3.0");
  ok(server.log.entries.some(({ fields }) => /users\.db/.test(String(fields["error"]))));
  await writeDatabase(
    database,
    "create table box (address text)",
    "insert into box values ('new@example.org')",
  );
  await server.clock.advance("2s");
  equal(await said(server, "new@example.org"), "250 2.0.0");
  equal(await said(server, "alice@example.org"), "550 5.1.1");
});

Deno.test("recipients: tags are asked for as they are, if wanted", async () => {
  await using root = await folder();
  const database = `${root.path}/users.db`;
  await writeDatabase(
    database,
    "create table box (name text)",
    "insert into box values ('alice'), ('bob+tag')",
  );
  const sql = { database, query: "select name from box where name = :local and :domain = 'example.org'" };
  await using server = await withIt({ sql, tags: "keep" });
  equal(await said(server, "Bob+TAG@example.org"), "250 2.0.0");
  equal(await said(server, "alice+tag@example.org"), "550 5.1.1");
});

Deno.test("recipients: what can't be asked of a database is said at the start", async () => {
  await using root = await folder();
  const database = `${root.path}/users.db`;
  await writeDatabase(database, "create table box (address text)");
  const rows: [Record<string, unknown>, RegExp][] = [
    [{ database, query: "select 1 from boxes where address = :address" }, /users\.db: no such table: boxes/],
    [{ database, query: "delete from box where address = :address" }, /no SELECT|readonly/],
    [{ database: `${root.path}/none.db`, query: "select :address" }, /none\.db: .*no such file/i],
    [{ database, query: "select 1 from box" }, /asks about no address/],
  ];
  for (const [sql, problem] of rows) await rejects(withIt({ sql }), problem);
});

Deno.test("recipients: a query that doesn't end is ended, and its thread starts anew", async () => {
  await using root = await folder();
  const database = `${root.path}/users.db`;
  await writeDatabase(database, "create table box (address text)");
  const query = "with recursive n(i) as (select 1 union all select i + 1 from n where :local = 'slow') " +
    "select i from n where i < 0";
  await using server = await withIt({ sql: { database, query, timeout: "2s" } });
  const sent = server.send({ to: "slow@example.org" });
  await server.clock.advance("2s");
  equal((await sent).reply.code, 451);
  await server.clock.advance("2s");
  equal((await server.send({ to: "quick@example.org" })).reply.code, 550);
});

Deno.test("recipients: a web service answers by its status, knows its client, and is asked once", async () => {
  await using root = await folder();
  await Deno.writeTextFile(`${root.path}/token`, "s3cr3t-token\n");
  await using service = await serve((path) =>
    new Response(null, { status: path === "/box/alice%40example.org" ? 204 : 404 })
  );
  await using server = await withIt({
    http: {
      url: `${service.url}/box/{address}?key=s3cr3t`,
      tokenFile: `${root.path}/token`,
      headers: { "X-For": "mail" },
    },
  });
  equal(await said(server, "alice+a@example.org"), "250 2.0.0");
  equal(await said(server, "alice+b@example.org"), "250 2.0.0");
  equal(service.asked.length, 1);
  equal(service.asked[0]!.headers.get("authorization"), "Bearer s3cr3t-token");
  equal(service.asked[0]!.headers.get("x-for"), "mail");
  equal(await said(server, "carol@example.org"), "550 5.1.1");
  for (const status of [500, 403, 302, 429]) {
    service.answer = () =>
      new Response("no", { status, headers: status === 302 ? { Location: "/login" } : {} });
    equal(await said(server, `x${status}@example.org`), "451 4.3.0", `${status} is no word on a user`);
    await server.clock.advance("1s");
  }
  const logged = JSON.stringify(server.log.entries);
  ok(logged.includes("it answers 302"));
  ok(!logged.includes("s3cr3t"), "no secret is in the log");
});

Deno.test("A08 recipients: what stands in a local part is one segment of a path, or nobody", async () => {
  await using service = await serve(() => new Response(null, { status: 200 }));
  await using server = await withIt({ http: { url: `${service.url}/a/{local}/b` } });
  for (const local of ["..", ".", '"../../admin"', '"x?y#z"', '"a/b"']) {
    await server.send({ to: `${local}@example.org` });
  }
  for (const { url } of service.asked) match(new URL(url).pathname, /^\/a\/[^/]+\/b$/);
  equal(await said(server, "..@example.org"), "550 5.1.1");
});

Deno.test("recipients: a web service answers in JSON; what isn't meant is no answer", async () => {
  const answers = [
    '{"exists": true, "name": "x"}',
    '{"exists": false}',
    "[]",
    '{"exists": "yes"}',
    "<html>",
    "",
  ];
  await using service = await serve((path) => new Response(answers[Number(path.slice(1))]));
  await using server = await withIt({ http: { url: `${service.url}/{local}`, answer: "json" } });
  const replies = [];
  for (const at of answers.keys()) replies.push((await server.send({ to: `${at}@example.org` })).reply.code);
  deepEqual(replies, [250, 550, 451, 451, 451, 451]);
});

Deno.test("recipients: a web service that is down defers whom nobody knows yet", async () => {
  await using service = await serve(() => new Response(null));
  await using server = await withIt({
    http: { url: `${service.url}/{address}?key=s3cr3t` },
    cache: { yes: "1m", stale: "1h" },
  });
  equal(await said(server, "alice@example.org"), "250 2.0.0");
  service.goDown();
  await server.clock.advance("5m");
  equal(await said(server, "alice@example.org"), "250 2.0.0");
  equal(await said(server, "bob@example.org"), "451 4.3.0");
  await server.clock.advance("2h");
  equal(await said(server, "alice@example.org"), "451 4.3.0");
  ok(!JSON.stringify(server.log.entries).includes("s3cr3t"));
});

Deno.test("recipients: the next hop is asked by RCPT; only a no to the address is one", async () => {
  await using server = await withIt({ nextHop: { host: "inside.test", port: 2525 }, cache: { no: "1s" } });
  const rows = [
    [undefined, 250],
    [reject("5.1.1", "No such user"), 550],
    [reject("5.2.1", "Disabled"), 550],
    [reject("5.7.1", "You are on a block list"), 451],
    [defer("4.2.0", "Greylisted"), 451],
    ["unreachable", 451],
  ] as const;
  const heard: unknown[] = [];
  for (const [at, [answer, code]] of rows.entries()) {
    server.nextHop = ({ from, to, hops }) => {
      heard.push([from, to, hops]);
      return answer;
    };
    equal((await server.send({ to: `u${at}+tag@example.org` })).reply.code, code, `${at}`);
    await server.clock.advance("2s");
  }
  deepEqual(heard[0], ["", "u0@example.org", [{ host: "inside.test", port: 2525 }]]);
  equal(server.sent.length, 0, "no message went there");
});

Deno.test("recipients: `via` says where the mail of those goes who exist", async () => {
  await using root = await folder();
  const file = `${root.path}/users`;
  await Deno.writeTextFile(file, "alice\n");
  await using server = await testServer({ plugins: [["recipients", { domains, file, via: "smtp" }]] });
  equal(await said(server, "alice@example.org"), "250 2.0.0");
  equal(await said(server, "bob@example.org"), "550 5.1.1");
  deepEqual(server.sent.map(({ to }) => to), [["alice@example.org"]]);
});

Deno.test("recipients: what is wrong with its options is said", async () => {
  const url = "https://users.test/{address}";
  const ldap = { url: "ldaps://ldap.test", base: "dc=test" };
  const rows: [Record<string, unknown>, RegExp][] = [
    [{}, /file, sql, http, ldap, nextHop: give one/],
    [{ file: "x", http: { url } }, /has file and http/],
    [{ http: { url: "https://users.test/" } }, /asks about no address/],
    [{ http: { url: "https://{domain}/{address}" } }, /is not a URL/],
    [{ http: { url: "https://u:p@users.test/{address}" } }, /password doesn't belong in a URL/],
    [{ http: { url, headers: { "X-A": "a\r\nB: c" } } }, /one line/],
    [{ nextHop: {} }, /needs a "host"/],
    [{ ldap: { ...ldap, url: "http://x" } }, /is not a URL such as ldaps/],
    [{ ldap: { ...ldap, filter: "(mail={address}" } }, /is no filter/],
    [{ ldap: { ...ldap, filter: "(objectClass=*)" } }, /asks about no address/],
    [{ ldap: { ...ldap, startTls: true } }, /for ldap:\/\/ only/],
    [{ ldap: { ...ldap, bind: { dn: "cn=x" } } }, /one of them/],
    [{ ldap: { ...ldap, url: "ldap://ldap.test", bind: { dn: "cn=x", password: "y" } } }, /in the clear/],
  ];
  for (const [given, problem] of rows) await rejects(withIt(given), problem, JSON.stringify(given));
});

Deno.test("recipients: an address about which nothing is said doesn't put off the others", async () => {
  await using service = await serve((path) =>
    new Response(null, { status: path.includes("odd") ? 500 : 200 })
  );
  await using byHttp = await withIt({ http: { url: `${service.url}/u/{address}` } });
  await using byHop = await withIt({ nextHop: { host: "inside.test", port: 2525 } });
  byHop.nextHop = ({ to }) => to.startsWith("odd") ? defer("4.2.2", "Mailbox full") : undefined;
  for (const server of [byHttp, byHop]) {
    equal(await said(server, "odd@example.org"), "451 4.3.0");
    equal(await said(server, "alice@example.org"), "250 2.0.0");
  }
});

Deno.test("recipients: a query whose parameter nobody gives is a mistake; large ids are ids", async () => {
  await using root = await folder();
  const database = `${root.path}/users.db`;
  await writeDatabase(
    database,
    "create table box (id integer, address text)",
    "insert into box values (9223372036854775807, 'alice@example.org')",
  );
  for (const where of ["address = :address and x = :dom", "address = :address and x = ?", "address = ?1"]) {
    await rejects(
      withIt({ sql: { database, query: `select id from box where ${where}` } }),
      /has the parameter|asks about no address/,
    );
  }
  const query = "select id from box where address = :address and ':x' <> '@y' -- :z";
  await using server = await withIt({ sql: { database, query } });
  equal(await said(server, "alice@example.org"), "250 2.0.0");
});
