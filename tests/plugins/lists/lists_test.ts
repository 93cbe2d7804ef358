/** The plugin `lists`: who may post, what members get, where bounces and everything else goes. */
import { deepStrictEqual as deepEqual, match, ok, rejects, strictEqual as equal } from "node:assert/strict";
import fc from "fast-check";
import lists from "../../../plugins/lists/mod.ts";
import { List, listOption, Lists } from "../../../plugins/lists/list.ts";
import { defer, definePlugin, type Host, type Plugin, reject } from "../../../server/plugin.ts";
import { Progress } from "../../../plugins/lists/progress.ts";
import { memoryStore } from "../../../server/store.ts";
import { FakeClock } from "../../../server/testing/clock.ts";
import { logins, mailboxes, type TestPlugin, testServer } from "../../../server/testing/mod.ts";
import { parseAddress } from "../../../server/smtp/address.ts";
import { folder } from "../maildir/disk.ts";
import { writeDatabase } from "../recipients/sources.ts";

const team = "team@example.org";
const boxes = mailboxes(["alice@example.org", "bob@example.org", "boss@example.org"]);
const members = ["alice@example.org", "Bob@example.org", "carol@elsewhere.example", "bob@EXAMPLE.org"];
const option = { members, owners: ["boss@example.org"] };

const listsOf = (more: Record<string, unknown> = {}, ...above: TestPlugin[]) =>
  testServer({ plugins: [...above, ["lists", { lists: { [team]: { ...option, ...more } } }], boxes] });
type Server = Awaited<ReturnType<typeof listsOf>>;

const from = (author: string, ...headers: string[]) =>
  [`From: ${author}`, "To: team@example.org", "Subject: hello", ...headers].join("\r\n") +
  "\r\n\r\nHello.\r\n";
const post = (server: Server, author = "alice@example.org", ...headers: string[]) =>
  server.send({ from: author, to: team, content: from(author, ...headers) });
const field = (content: string, name: string) =>
  new RegExp(`^${name}: (.*(?:\\r\\n[ \\t].*)*)\\r$`, "mi").exec(
    content.slice(0, content.indexOf("\r\n\r\n") + 2),
  )?.[1];
const reached = (server: Server) =>
  [...server.delivered.map(({ to }) => to), ...server.sent.flatMap(({ to }) => to)].sort();

Deno.test("lists: what a member posts is each member's once, under the list's sender, with its fields", async () => {
  await using server = await listsOf({ name: "The team" });
  equal((await post(server)).outcome, "accepted");
  deepEqual(reached(server), ["Bob@example.org", "alice@example.org", "carol@elsewhere.example"]);
  for (const { from, content } of [...server.delivered, ...server.sent]) {
    equal(from, "team-bounces@example.org");
    const expected = {
      "List-Id": '"The team" <team.example.org>',
      "List-Post": "<mailto:team@example.org>",
      "List-Help": "<mailto:team-request@example.org?subject=help>",
      "List-Owner": "<mailto:team-owner@example.org>",
      "List-Unsubscribe": "<mailto:team-owner@example.org?subject=unsubscribe>",
      "Precedence": "list",
      "Sender": "<team-bounces@example.org>",
      "From": "alice@example.org",
      "Subject": "hello",
      "List-Unsubscribe-Post": undefined,
      "Reply-To": undefined,
    };
    for (const [name, value] of Object.entries(expected)) equal(field(content, name), value, name);
    ok(content.endsWith("\r\n\r\nHello.\r\n"));
  }
});

Deno.test("lists: who may post: members with any tag, owners, who is allowed; one author of two is not enough", async () => {
  const table: [Record<string, unknown>, string, number][] = [
    [{}, "alice+tag@example.org", 250],
    [{}, "ALICE@Example.org", 250],
    [{}, "boss@example.org", 250],
    [{}, "stranger@elsewhere.example", 550],
    [{}, "alice@example.org, stranger@elsewhere.example", 550],
    [{}, "stranger@elsewhere.example, alice@example.org", 550],
    [{}, '"alice@example.org" <stranger@elsewhere.example>', 550],
    [{}, "nobody at all", 550],
    [{ post: "owners" }, "alice@example.org", 550],
    [{ post: "owners" }, "boss@example.org", 250],
    [{ post: "owners", allow: ["alice@example.org"] }, "alice@example.org", 250],
    [{ allow: ["*@elsewhere.example"] }, "stranger@elsewhere.example", 250],
    [{ allow: ["*@elsewhere.example"] }, "stranger@sub.elsewhere.example", 550],
    [{ post: "anyone" }, "stranger@elsewhere.example", 250],
    [{ members: [], post: "anyone" }, "stranger@elsewhere.example", 550],
  ];
  for (const [more, author, code] of table) {
    await using server = await listsOf(more);
    const { reply } = await server.send({ from: "x@elsewhere.example", to: team, content: from(author) });
    equal(reply.code, code, `${JSON.stringify(more)} ${author}`);
    equal(reached(server).length > 0, code === 250);
  }
});

Deno.test("D07 lists: loops, bounces and automatic replies are refused", async () => {
  await using server = await listsOf({ post: "anyone" });
  const table: [string, RegExp][] = [
    ["List-Id: <TEAM.example.org>", /mail loop/],
    ["Delivered-To: Team@example.org", /mail loop/],
    ["Auto-Submitted: auto-replied (vacation)", /Automatic replies/],
  ];
  for (const [header, why] of table) match((await post(server, "alice@example.org", header)).reply.text, why);
  equal((await server.send({ from: "", to: team })).reply.status, "5.7.1");
  equal(
    (await post(server, "cron@example.org", "Auto-Submitted: auto-generated", "List-Id: <other.example.org>"))
      .outcome,
    "accepted",
  );
});

Deno.test("lists: bounces, and mail for -owner, go to the owners; unknown addresses beside the list don't exist", async () => {
  await using server = await listsOf({ verp: true });
  for (const to of ["team-bounces@example.org", "team-bounces+carol=elsewhere.example@example.org"]) {
    await server.send({ from: "", to });
  }
  await server.send({ from: "stranger@elsewhere.example", to: "Team-Owner@example.org" });
  deepEqual(server.delivered.map(({ from, to }) => [from, to]), [
    ["", "boss@example.org"],
    ["", "boss@example.org"],
    ["stranger@elsewhere.example", "boss@example.org"],
  ]);
  equal((await server.send({ to: "team-subscribe@example.org" })).reply.status, "5.1.1");
});

Deno.test("lists: a member who fails is the owners' to hear of, never the author's", async () => {
  await using server = await listsOf();
  server.smtp = () => reject("5.1.1", "No such user");
  await post(server);
  const reports = server.delivered.filter(({ from }) => from === "");
  deepEqual(reports.map(({ to }) => to), ["boss@example.org"]);
  match(reports[0]!.content, /Final-Recipient: rfc822; ?carol@elsewhere\.example/);
});

Deno.test("lists: members who don't exist here are told to the owners, the others have it", async () => {
  await using server = await listsOf({ members: ["nobody@example.org", "alice@example.org"] });
  equal((await post(server)).outcome, "accepted");
  deepEqual(server.delivered.map(({ to }) => to), ["alice@example.org", "boss@example.org"]);
  match(server.delivered[1]!.content, /nobody@example\.org: 5\.1\.1/);
});

Deno.test("lists: members who can't be looked up have it later, and nobody has it twice", async () => {
  let isDown = true;
  const ill = definePlugin({
    name: "ill",
    setup: (on) => on("resolve", ({ user }) => isDown && user === "bob" ? defer("4.3.0", "Down") : undefined),
  });
  await using server = await listsOf({}, ill);
  equal((await post(server)).outcome, "accepted");
  deepEqual(reached(server), ["alice@example.org", "carol@elsewhere.example"]);
  isDown = false;
  await server.clock.advance("10m");
  deepEqual(reached(server), ["Bob@example.org", "alice@example.org", "carol@elsewhere.example"]);
  equal((await server.queue()).length, 0);
});

Deno.test("lists: what fails in the middle goes on there: who had it has it once, who joined meanwhile hasn't", async () => {
  let fails = true;
  const ill = definePlugin({
    name: "ill",
    setup: (on) =>
      on(
        "data",
        ({ protocol }, _message, { recipients }) =>
          fails && protocol === "internal" && recipients[0]!.user === "bob"
            ? defer("4.3.0", "Full")
            : undefined,
      ),
  });
  const personal = { unsubscribe: "https://example.org/leave?{member}" };
  await using server = await listsOf(personal, ill);
  equal((await post(server)).outcome, "accepted");
  deepEqual(reached(server), ["alice@example.org"]);
  fails = false;
  await server.reload([["lists", {
    lists: { [team]: { ...option, ...personal, members: ["boss@example.org", ...members] } },
  }], boxes]);
  await server.clock.advance("10m");
  deepEqual(reached(server), ["Bob@example.org", "alice@example.org", "carol@elsewhere.example"]);
  equal((await server.queue()).length, 0);
});

Deno.test("lists: VERP: each copy that leaves has a sender that names its member", async () => {
  await using server = await listsOf({ verp: true });
  await post(server);
  deepEqual(server.sent.map(({ from, to }) => [from, to]), [
    ["team-bounces+carol=elsewhere.example@example.org", ["carol@elsewhere.example"]],
  ]);
  equal(server.delivered.length, 2);
});

Deno.test("lists: VERP: the address leads back to the list, whoever the member is", () => {
  const list = new List(team, listOption.parse({ ...option, verp: true }));
  const lists = new Lists({ [team]: list.option });
  fc.assert(fc.property(fc.stringMatching(/^[A-Za-z0-9+=._-]{1,70}$/), (local) => {
    const sender = parseAddress(list.senderTo(`${local}@elsewhere.example`))!;
    ok(sender.address.lastIndexOf("@") <= 64);
    equal(lists.find(sender)?.role, "bounces");
  }));
});

Deno.test("lists: one click: each member has a message of its own, with a link of its own", async () => {
  await using server = await listsOf({
    unsubscribe: "https://example.org/leave?who={member}",
    oneClick: true,
    verp: true,
  });
  await post(server);
  const all = [
    ...server.delivered.map(({ to, content, from }) => ({ to, content, from })),
    ...server.sent.map(({ to, content, from }) => ({ to: to[0]!, content, from })),
  ];
  equal(all.length, 3);
  for (const { to, content, from } of all) {
    equal(field(content, "List-Unsubscribe"), `<https://example.org/leave?who=${encodeURIComponent(to)}>`);
    equal(field(content, "List-Unsubscribe-Post"), "List-Unsubscribe=One-Click");
    equal(from, `team-bounces+${to.replace("@", "=")}@example.org`);
  }
});

Deno.test("lists: prefix and Reply-To by option; what is an answer already has its prefix", async () => {
  await using server = await listsOf({ members: ["alice@example.org"], prefix: "[team]", replyTo: "list" });
  const table: [string, string][] = [
    ["Subject: hello", "[team] hello"],
    ["Subject: Re: [Team] hello", "Re: [Team] hello"],
    ["Subject: =?utf-8?q?Re=3A_=5Bteam=5D_h=C3=A4?=", "=?utf-8?q?Re=3A_=5Bteam=5D_h=C3=A4?="],
    ["X-Other: none", "[team]"],
    [`Subject: ${"long ".repeat(20)}\r\n and folded`, `[team]\r\n ${"long ".repeat(20)}\r\n and folded`],
  ];
  for (const [header, expected] of table) {
    const content = `From: alice@example.org\r\nReply-To: x@example.org\r\n${header}\r\n\r\nx\r\n`;
    await server.send({ from: "alice@example.org", to: team, content });
    equal(field(server.delivered.at(-1)!.content, "Subject"), expected);
    equal(field(server.delivered.at(-1)!.content, "Reply-To"), "<team@example.org>");
  }
});

Deno.test("lists: what the author's message says as a list would, or asks of each member's program, is gone", async () => {
  await using server = await listsOf();
  await post(
    server,
    "alice@example.org",
    "List-Post: <mailto:evil@elsewhere.example>",
    "Precedence: bulk",
    "Sender: x@y.example",
    "Disposition-Notification-To: alice@example.org",
    "DKIM-Signature: v=1; kept",
    "Reply-To: alice@home.example",
  );
  const { content } = server.delivered[0]!;
  equal(content.match(/^List-Post:/gmi)!.length, 1);
  equal(content.match(/^Precedence:/gmi)!.length, 1);
  equal(content.match(/^Sender:/gmi)!.length, 1);
  ok(!/^Disposition-Notification-To:/mi.test(content));
  equal(field(content, "DKIM-Signature"), "v=1; kept");
  equal(field(content, "Reply-To"), "alice@home.example");
});

Deno.test("D04 lists: the body is posted octet by octet", async () => {
  await using server = await listsOf({ members: ["alice@example.org"] });
  const body = `.\r\n${"x".repeat(3000)}\r\n\0 ${"\u00e4"}\r\n\r\n\r\n`;
  await server.send({
    from: "alice@example.org",
    to: team,
    content: `From: alice@example.org\r\n\r\n${body}`,
  });
  ok(server.delivered[0]!.content.endsWith(`\r\n\r\n${body}`));
});

Deno.test("A10 lists: what came under SMTPUTF8 goes on so, and only that", async () => {
  const submitted: unknown[] = [];
  const real = lists as unknown as Plugin;
  const spied: Plugin = {
    ...real,
    setup(on, options, host) {
      const submit: Host["submit"] = (mail) => {
        submitted.push([mail.recipients, mail.utf8]);
        return host.submit(mail);
      };
      return real.setup(on, options, Object.create(host, { submit: { value: submit } }));
    },
  };
  const options = { lists: { [team]: { ...option, members: ["alice@example.org"] } } };
  await using server = await testServer({ plugins: [[spied, options], boxes] });
  const client = server.connect();
  await client.command("EHLO client.example");
  for (const [params, subject] of [[" SMTPUTF8", "h\u00e4llo"], ["", "hello"]]) {
    for (const line of [`MAIL FROM:<alice@example.org>${params}`, `RCPT TO:<${team}>`, "DATA"]) {
      await client.command(line);
    }
    const content = `From: alice@example.org\r\nSubject: ${subject}\r\n\r\nx\r\n.`;
    equal((await client.command(content)).code, 250);
    await server.clock.advance("1s");
  }
  deepEqual(submitted, [[["alice@example.org"], true], [["alice@example.org"], false]]);
  equal(field(server.delivered[0]!.content, "Subject"), "h\u00e4llo");
});

Deno.test("lists: what is refused for the list alone is the owners', not the members'", async () => {
  await using server = await listsOf();
  const content = from("stranger@elsewhere.example");
  const { outcome } = await server.send({
    from: "stranger@elsewhere.example",
    to: [team, "bob@example.org"],
    content,
  });
  equal(outcome, "accepted");
  deepEqual(server.delivered.map(({ to }) => to).sort(), ["bob@example.org", "boss@example.org"]);
  match(
    server.delivered.find(({ to }) => to === "boss@example.org")!.content,
    /^X-Refused: 5\.7\.1 lists\r$/m,
  );
  equal(server.sent.length, 0);
});

Deno.test("lists: an alias that leads to a list is asked who may post", async () => {
  const aliases = ["aliases", {
    domains: ["example.org"],
    aliases: { all: [team, "bob"], only: team },
  }] as const;
  await using server = await listsOf({}, aliases);
  const stranger = "stranger@elsewhere.example";
  equal(
    (await server.send({ from: stranger, to: "only@example.org", content: from(stranger) })).reply.code,
    550,
  );
  equal(
    (await server.send({ from: stranger, to: "all@example.org", content: from(stranger) })).reply.code,
    250,
  );
  deepEqual(server.delivered.map(({ to }) => to).sort(), ["bob@example.org", "boss@example.org"]);
});

Deno.test("lists: a list may be a member of another that allows it; what a client says of itself counts for nothing", async () => {
  const all = "all@example.org";
  const lists = {
    [team]: option,
    [all]: { members: [team, "boss@example.org"], owners: ["boss@example.org"], allow: ["boss@example.org"] },
  };
  for (const allow of [[], [all]]) {
    await using server = await testServer({
      plugins: [
        ["lists", { lists: { ...lists, [team]: { ...option, allow } } }],
        mailboxes(["alice@example.org", "bob@example.org", "boss@example.org", "dave@example.org"]),
      ],
    });
    const more = { ...lists[all], allow: ["dave@example.org"] };
    await server.reload([
      ["lists", { lists: { [team]: { ...option, allow }, [all]: more } }],
      mailboxes(["alice@example.org", "bob@example.org", "boss@example.org", "dave@example.org"]),
    ]);
    await server.send({ from: "dave@example.org", to: all, content: from("dave@example.org") });
    equal(server.delivered.some(({ to }) => to === "alice@example.org"), allow.length > 0);
    const forged = await server.send({
      from: "all-bounces@example.org",
      to: team,
      content: from("dave@example.org"),
    });
    equal(forged.reply.code, 550);
  }
});

Deno.test("lists: -request answers those who may post, once a day; others' mail is the owners'", async () => {
  await using server = await listsOf();
  const ask = (who: string, ...headers: string[]) =>
    server.send({
      from: who,
      to: "team-request@example.org",
      content: from(who || "x@y.example", ...headers),
    });
  await ask("bob@example.org", "Message-ID: <1@example.org>");
  await ask("bob@example.org");
  deepEqual(server.delivered.map(({ from, to }) => [from, to]), [["", "bob@example.org"]]);
  match(server.delivered[0]!.content, /^Auto-Submitted: auto-replied\r$/m);
  match(server.delivered[0]!.content, /^In-Reply-To: <1@example\.org>\r$/m);
  await server.clock.advance("25h");
  await ask("bob@example.org");
  equal(server.delivered.length, 2);
  for (
    const [who, header] of [["stranger@elsewhere.example", "X-A: b"], ["", "X-A: b"], [
      "alice@example.org",
      "Auto-Submitted: auto-replied",
    ]] as const
  ) {
    await ask(who, header);
    equal(server.delivered.at(-1)!.to, "boss@example.org");
  }
  equal(server.sent.length, 0);
});

Deno.test("C09 lists: EXPN is for members, owners and networks; others can't tell a list from nothing", async () => {
  const login = logins(["alice@example.org", "eve@example.org"]);
  await using server = await testServer({
    plugins: [login, ["lists", { lists: { [team]: option }, networks: ["10.0.0.0/8"] }], boxes],
  });
  const expn = async (ip: string, user: string | undefined, text: string) => {
    const client = server.connect({ ip, ...user && { tls: "implicit", role: "submission" } });
    await client.command("EHLO client.example");
    if (user) await client.command(`AUTH PLAIN ${btoa(`\0${user}\0x`)}`);
    const { code, lines } = await client.command(`EXPN ${text}`);
    await client.command("QUIT");
    return [code, ...lines];
  };
  const all = [250, "<alice@example.org>", "<Bob@example.org>", "<carol@elsewhere.example>"];
  deepEqual(await expn("10.1.1.1", undefined, "<team@example.org>"), all);
  const stranger = await expn("192.0.2.1", undefined, team);
  equal(stranger[0], 502);
  deepEqual(await expn("192.0.2.1", undefined, "none@example.org"), stranger);
  deepEqual(await expn("10.1.1.1", undefined, "team-owner@example.org"), stranger);
  deepEqual(await expn("192.0.2.1", "alice@example.org", team), all);
  deepEqual(await expn("192.0.2.1", "eve@example.org", team), stranger);
});

Deno.test("lists: members in a file that is followed, and in a database", async () => {
  await using root = await folder();
  const sql = { database: `${root.path}/m.db`, query: "select who from m where list = :address" };
  for (const more of [{ file: `${root.path}/team.yaml` }, { sql }]) {
    await Deno.writeTextFile(`${root.path}/team.yaml`, "- alice@example.org\n");
    await writeDatabase(
      `${root.path}/m.db`,
      "create table m (list text, who text)",
      "insert into m values ('team@example.org', 'alice@example.org'), ('other@example.org', 'bob@example.org')",
    );
    await using server = await listsOf({ members: undefined, ...more });
    equal((await post(server, "bob@example.org")).reply.code, 550);
    equal((await post(server)).outcome, "accepted");
    deepEqual(server.delivered.map(({ to }) => to), ["alice@example.org"]);
    await Deno.writeTextFile(`${root.path}/team.yaml`, "bob@example.org\nalice@example.org\n");
    await writeDatabase(
      `${root.path}/m.db`,
      "create table m (list text, who text)",
      "insert into m values ('team@example.org', 'bob@example.org')",
    );
    await server.clock.advance("2m");
    equal((await post(server, "bob@example.org")).outcome, "accepted");
    ok(server.delivered.some(({ to }) => to === "bob@example.org"));
  }
});

Deno.test("lists: thousands of members, in the configuration and in a database, are posted to once each", async () => {
  await using root = await folder();
  const many = Array.from(
    { length: 6000 },
    (_, at) => `member-${String(at).padStart(5, "0")}-of-a-long-list@departments.elsewhere.example`,
  );
  await writeDatabase(
    `${root.path}/m.db`,
    "create table m (who text)",
    `insert into m values ${["alice@example.org", ...many].map((one) => `('${one}')`)}`,
  );
  const sql = { database: `${root.path}/m.db`, query: "select who from m where :address <> ''" };
  for (const more of [{ members: ["alice@example.org", ...many] }, { members: undefined, sql }]) {
    await using server = await listsOf(more);
    for (let time = 1; time <= 2; time++) {
      equal((await post(server)).outcome, "accepted");
      equal(reached(server).length, time * 6001);
    }
    equal(new Set(reached(server)).size, 6001);
    equal((await server.queue()).length, 0);
  }
});

Deno.test("lists: who names a list by several tags in one transaction posts once", async () => {
  await using server = await listsOf();
  const { outcome } = await server.send({
    from: "alice@example.org",
    to: ["team+1@example.org", "Team@example.org", "TEAM+2@example.org"],
    content: from("alice@example.org"),
  });
  equal(outcome, "accepted");
  deepEqual(reached(server), ["Bob@example.org", "alice@example.org", "carol@elsewhere.example"]);
});

Deno.test("lists: killed before it is on record that all have had it, nobody has it twice", async () => {
  const clock = new FakeClock();
  const store = memoryStore(clock).for("lists");
  const all = () => Promise.resolve(["a@example.org", "b@example.org"]);
  const first = await Progress.open(store, "id", all);
  await first.done(first.next(1000), ["b@example.org"]);
  equal(await first.finish(), "some are left");
  const second = await Progress.open(store, "id", all);
  deepEqual(second.next(1000), ["b@example.org"]);
  await second.done(second.next(1000), []);
  equal(await second.finish(), "over");
  equal((await Progress.open(store, "id", all)).isOver, true);
});

Deno.test("lists: while the members can't be asked for beside others who take it, it is seen later who may post", async () => {
  await using root = await folder();
  const database = `${root.path}/m.db`;
  const write = () =>
    writeDatabase(
      database,
      "create table m (who text)",
      "insert into m values ('alice@example.org'), ('bob@example.org')",
    );
  for (
    const [author, had] of [
      ["alice@example.org", ["alice@example.org", "bob@example.org"]],
      ["x@y.example", ["boss@example.org"]],
    ] as const
  ) {
    await write();
    await using server = await listsOf({
      members: undefined,
      sql: { database, query: "select who from m where :address <> ''", timeout: "1h" },
    });
    await Deno.remove(database);
    await server.clock.advance("2s"); // it is looked at once a second
    const content = from(author);
    const { outcome } = await server.send({ from: author, to: [team, "boss@example.org"], content });
    equal(outcome, "accepted");
    deepEqual(reached(server), ["boss@example.org"]);
    await write();
    await server.clock.advance("16m");
    // The database answers from a thread, whose time is not the test's clock's.
    for (let look = 0; look < 500 && (await server.queue()).length > 0; look++) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    deepEqual(reached(server), [...had, "boss@example.org"].sort());
  }
});

Deno.test("lists: what is wrong with its options is said", async () => {
  const bad: [Record<string, unknown>, RegExp][] = [
    [{ members: undefined }, /one of members, file and sql/],
    [{ file: "x.yaml" }, /one of members, file and sql/],
    [{ owners: [] }, /owners/],
    [{ members: ["alice"] }, /is not an address/],
    [{ allow: ["*"] }, /nor \*@example/],
    [{ oneClick: true }, /needs an `unsubscribe`/],
    [{ oneClick: true, unsubscribe: "https://example.org/leave" }, /\{member\}/],
    [{ unsubscribe: "javascript:alert(1)" }, /neither a URL/],
    [{ unsubscribe: "https://example.org/a>b" }, /belongs in no URL|neither a URL/],
    [{ prefix: "a\r\nX: y" }, /one short line/],
    [{ name: 'x" <y>' }, /plain words/],
  ];
  for (const [more, problem] of bad) await rejects(listsOf(more), problem, JSON.stringify(more));
  for (
    const [address, problem] of [["team", /is not an address/], ["a-owner@example.org", /another list/], [
      "a+b@example.org",
      /no \+tag/,
    ]] as const
  ) {
    await rejects(testServer({ plugins: [["lists", { lists: { [address]: option } }]] }), problem);
  }
});
