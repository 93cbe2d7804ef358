import { deepStrictEqual as deepEqual, ok, strictEqual as equal } from "node:assert/strict";
import etrn from "../../plugins/etrn.ts";
import relay from "../../plugins/relay.ts";
import { defer } from "../../server/plugin.ts";
import { logins, type SmtpAnswer, type TestServer, testServer } from "../../server/testing/mod.ts";

const [branch, stranger] = ["192.0.2.7", "198.51.100.1"];

/** A server whose mail for others waits: the hosts say "later" until `up`. */
async function serving(
  options: Record<string, unknown>,
  answer: SmtpAnswer = () => defer("4.2.1", "Later"),
): Promise<TestServer> {
  return await testServer({
    plugins: [
      logins(["alice@example.org"]),
      { use: relay, with: { networks: ["0.0.0.0/8", "10.0.0.0/8"], domains: ["*.test"] } },
      { use: etrn, with: options },
    ],
    smtp: answer,
    outbound: { retry: ["5h"] },
  });
}

async function hello(server: TestServer, ip: string) {
  const client = server.connect({ ip });
  const { lines } = await client.command("EHLO client.test");
  return { client, offers: lines.includes("ETRN") };
}

Deno.test("etrn: offered to those who may, and unknown to everybody else", async () => {
  await using server = await serving({ networks: [branch] });
  const mine = await hello(server, branch);
  ok(mine.offers);
  equal((await mine.client.command("ETRN branch.test")).code, 251);
  const other = await hello(server, stranger);
  ok(!other.offers);
  const { code, status } = await other.client.command("ETRN branch.test");
  deepEqual([code, status], [500, "5.5.1"]);
});

Deno.test("etrn: trusted networks may, without being named", async () => {
  await using server = await testServer({ plugins: [etrn], trustedNetworks: ["192.0.2.0/24"] });
  ok((await hello(server, branch)).offers);
  ok(!(await hello(server, stranger)).offers);
});

Deno.test("etrn: authenticated users may, unless the configuration says otherwise", async () => {
  const table: [unknown, number][] = [
    [undefined, 251],
    [false, 500],
    [["alice@example.org"], 251],
    [["*@example.org"], 251],
    [["bob@example.org", "*@example.net"], 500],
  ];
  for (const [users, code] of table) {
    await using server = await serving(users === undefined ? {} : { users });
    const client = server.connect({ role: "submission", tls: "implicit" });
    await client.command("EHLO client.test");
    equal((await client.command("ETRN branch.test")).code, 500);
    equal((await client.login("alice@example.org", "secret")).code, 235);
    equal((await client.command("ETRN branch.test")).code, code, JSON.stringify(users));
    equal((await client.command("EHLO client.test")).lines.includes("ETRN"), code === 251);
  }
});

Deno.test("etrn: a domain's mail is tried now, that of others and held mail isn't", async () => {
  let up = false;
  const tried: string[] = [];
  await using server = await serving({ networks: [branch], every: "1m" }, ({ to }) => {
    tried.push(...to);
    return up && !to.some((address) => address.endsWith("other.test")) ? undefined : defer("4.2.1", "Later");
  });
  for (
    const to of [["a@branch.test"], ["b@branch.test", "b@other.test"], ["c@sub.branch.test"], [
      "d@other.test",
    ]]
  ) {
    await server.send({ to, from: "x@elsewhere.example" });
  }
  await server.settled();
  tried.splice(0);
  up = true;
  const { client } = await hello(server, branch);
  const { code, text } = await client.command("ETRN Branch.test");
  deepEqual([code, text], [253, "OK, 2 pending messages for node Branch.test started"]);
  await server.settled();
  deepEqual(tried.toSorted(), ["a@branch.test", "b@branch.test"]);
  equal((await client.command("ETRN branch.test")).code, 252);
  await server.clock.advance("1m");
  deepEqual((await client.command("ETRN branch.test")).code, 251);
  const below = await client.command("ETRN @branch.test");
  deepEqual([below.code, below.text], [253, "OK, 1 pending messages for node @branch.test started"]);
  await server.settled();
  deepEqual(tried.toSorted(), ["a@branch.test", "b@branch.test", "c@sub.branch.test"]);
});

Deno.test("etrn: a destination that sleeps is woken, others sleep on", async () => {
  const tried: string[] = [];
  await using server = await serving({ networks: [branch] }, ({ to }) => {
    tried.push(...to);
    return "unreachable";
  });
  for (const domain of ["branch.test", "other.test"]) {
    for (let i = 0; i < 4; i++) await server.send({ to: `u${i}@${domain}`, from: "x@elsewhere.example" });
  }
  await server.settled();
  tried.splice(0);
  const { client } = await hello(server, branch);
  equal((await client.command("ETRN branch.test")).code, 253);
  await server.settled();
  ok(tried.length > 0);
  ok(tried.every((address) => address.endsWith("@branch.test")), tried.join());
});

Deno.test("etrn: what it can't do, in RFC 1985's words", async () => {
  await using server = await serving({ networks: [branch], domains: ["branch.test", "*.more.test"] });
  const { client } = await hello(server, branch);
  const table: [string, number, string][] = [
    ["ETRN", 501, "5.5.4"],
    ["ETRN two words", 501, "5.5.4"],
    ["ETRN @", 501, "5.5.4"],
    ["ETRN a..b", 501, "5.5.4"],
    ["ETRN [192.0.2.1]", 501, "5.5.4"],
    ["ETRN #", 501, "5.5.4"],
    ["ETRN #uucp", 458, "4.3.5"],
    ["ETRN other.test", 459, "4.7.1"],
    ["ETRN more.test", 459, "4.7.1"],
    ["etrn a.more.test", 251, "2.0.0"],
    ["ETRN branch.test", 251, "2.0.0"],
    ["TURN", 502, "5.5.1"],
  ];
  for (const [line, code, status] of table) {
    const reply = await client.command(line);
    deepEqual([reply.code, reply.status], [code, status], line);
  }
});

Deno.test("etrn: not before EHLO and not during a transaction, which goes on", async () => {
  await using server = await serving({ networks: [branch] });
  const client = server.connect({ ip: branch });
  equal((await client.command("ETRN branch.test")).code, 503);
  await client.command("EHLO client.test");
  await client.command("MAIL FROM:<a@example.net>");
  equal((await client.command("ETRN branch.test")).code, 503);
  await client.command("RCPT TO:<b@x.test>");
  equal((await client.command("ETRN branch.test")).code, 503);
  equal((await client.command("DATA")).code, 354);
});

Deno.test("etrn: TURN points to it", async () => {
  await using server = await serving({});
  const { client } = await hello(server, stranger);
  ok((await client.command("TURN")).text.includes("ETRN (RFC 1985)"));
});
