/** Forwarding, in the whole server: where copies go, who sends them, and what comes back. */
import {
  deepStrictEqual as deepEqual,
  match,
  ok,
  rejects,
  strictEqual as equal,
  throws,
} from "node:assert/strict";
import aliases from "../../../plugins/aliases/mod.ts";
import forward from "../../../plugins/forward/mod.ts";
import { readKeys } from "../../../plugins/forward/keys.ts";
import { readYaml } from "../../../plugins/yaml_file.ts";
import { accept, definePlugin, type Hop, type HostHop, reject } from "../../../server/plugin.ts";
import { mailboxes, type TestServer, testServer } from "../../../server/testing/mod.ts";
import { folder } from "../maildir/disk.ts";

const key = "0123456789abcdef0123456789abcdef";
const box = mailboxes(["alice@example.org", "carol@example.org"]);
const stranger = "sam@far.example";

interface Open extends AsyncDisposable {
  readonly server: TestServer;
  readonly keys: string;
}

/** A server with these rules, whose senders are rewritten. */
async function open(rules: Record<string, unknown>, more: Record<string, unknown> = {}): Promise<Open> {
  await using undo = new AsyncDisposableStack();
  const at = undo.use(await folder());
  const keys = `${at.path}/srs.keys`;
  await Deno.writeTextFile(keys, `- ${key}\n`);
  const srs = { domain: "example.org", keys };
  const server = undo.use(await testServer({ plugins: [[forward, { rules, srs, ...more }], box] }));
  const all = undo.move();
  return { server, keys, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

const where = (hops: readonly Hop[] | undefined) => hops?.map(({ host, path }) => host ?? path);
const left = (server: TestServer) =>
  server.sent.map(({ from, to, hops }) => [from.replace(/=.*=/, "=…="), ...to, where(hops)]);

Deno.test("forward: to another address, with the sender rewritten and Delivered-To of the address it came for", async () => {
  await using it = await open({ "alice@example.org": "alice@mail.example" });
  const { server } = it;
  const sent = await server.send({ from: stranger, to: "Alice+news@example.org" });
  equal(sent.outcome, "accepted");
  deepEqual(left(server), [["SRS0=…=sam@example.org", "alice@mail.example", undefined]]);
  match(server.sent[0]!.content, /^Delivered-To: Alice\+news@example\.org\r\nReceived: /);
  deepEqual(server.delivered, []);
  await server.send({ from: "", to: "alice@example.org" });
  await server.send({ from: "carol@example.org", to: "alice@example.org" });
  deepEqual(
    server.sent.slice(1).map(({ from }) => from),
    ["", "carol@example.org"],
    "these stay as they are",
  );
});

Deno.test("forward: a copy is kept where asked: its sender is the original, and nothing stands on top of it", async () => {
  await using it = await open({
    "alice@example.org": { to: ["a@mail.example", "carol@example.org"], keep: true },
  });
  const { server } = it;
  await server.send({ from: stranger, to: "alice@example.org" });
  deepEqual(left(server), [["SRS0=…=sam@example.org", "a@mail.example", undefined]]);
  deepEqual(server.delivered.map(({ from, to, original }) => [from, to, original]), [
    [stranger, "alice@example.org", "alice@example.org"],
    [stranger, "carol@example.org", "alice@example.org"],
  ]);
  ok(server.delivered.every(({ content }) => !content.includes("Delivered-To")));
});

Deno.test("forward: a bounce to a rewritten sender goes to the original one, whoever brings it; what is forged goes nowhere", async () => {
  await using it = await open({ "alice@example.org": "alice@mail.example" });
  const { server } = it;
  await server.send({ from: stranger, to: "alice@example.org" });
  const rewritten = server.sent[0]!.from;
  await server.send({ from: "", to: rewritten.toLowerCase(), content: "Subject: it failed\r\n\r\n" });
  const bounce = server.sent[1]!;
  deepEqual([bounce.from, bounce.to, bounce.hops], ["", [stranger], undefined]);
  match(bounce.content, /Subject: it failed/);
  // Not a bounce: it is a forwarded copy like others.
  await server.send({ from: "auto@mail.example", to: rewritten });
  deepEqual(left(server)[2], ["SRS0=…=auto@example.org", stranger, undefined]);
  const forged = rewritten.replace("=sam@", "=victim@");
  for (
    const to of [
      forged,
      "SRS0=aaaaaaaa=aa=far.example=x@example.org",
      "SRS1=aaaaaaaa=far.example==x@example.org",
    ]
  ) {
    const { reply, recipients } = await server.send({ from: "", to });
    deepEqual([reply.code, recipients[0]!.reply.status], [550, "5.1.1"], to);
  }
  await server.clock.advance("22d");
  equal((await server.send({ from: "", to: rewritten })).reply.code, 550);
  equal(server.sent.length, 3);
});

Deno.test("forward: a copy that is refused is reported to the original sender, naming the address as it was given", async () => {
  await using it = await open({ "alice@example.org": "gone@mail.example" });
  const { server } = it;
  server.smtp = ({ from }) => from === "" ? undefined : reject("5.1.1", "No such user");
  await server.send({ from: stranger, to: "alice@example.org" });
  const [report] = server.sent;
  deepEqual([report!.from, report!.to], ["", [stranger]]);
  match(report!.content, /^Final-Recipient: rfc822; ?alice@example\.org\r$/m);
  match(report!.content, /^Diagnostic-Code: smtp; ?550 5\.1\.1 No such user\r$/m);
  ok(!report!.content.includes("gone@mail.example"), "where Alice reads her mail is her own affair");
});

Deno.test("forward: key files: the first signs, all undo; a change counts; a mistake leaves the old keys in force", async () => {
  await using it = await open({ "alice@example.org": "alice@mail.example" });
  const { server, keys } = it;
  await server.send({ from: stranger, to: "alice@example.org" });
  const old = server.sent[0]!.from;
  await Deno.writeTextFile(keys, `- a newer key\n- ${key}\n`);
  await server.clock.advance("2s");
  equal((await server.send({ from: "", to: old })).outcome, "accepted", "the last good keys stay in force");
  ok(server.log.entries.some(({ level }) => level === "error"));
  await Deno.writeTextFile(keys, `- newer-key-newer-key-newer-key\n- ${key}\n`);
  await server.clock.advance("2s");
  await server.send({ from: stranger, to: "alice@example.org" });
  equal((await server.send({ from: "", to: old })).outcome, "accepted");
  const fresh = server.sent.at(-2)!.from;
  ok(fresh !== old && fresh.startsWith("SRS0="), fresh);
  await Deno.writeTextFile(keys, "newer-key-newer-key-newer-key\n");
  await server.clock.advance("2s");
  equal((await server.send({ from: "", to: old })).reply.code, 550);
  equal((await server.send({ from: "", to: fresh })).outcome, "accepted");
});

Deno.test("forward: bad key files are told by line and column, and no key is", async () => {
  const rows: [string, RegExp][] = [
    ["", /^srs\.keys:1:1: there is no key in this file/],
    [`- ${key}\n- short\n`, /^srs\.keys:2:3: a key has at least 16 characters/],
    [`- ${key}\n- two words two words\n`, /^srs\.keys:2:3: a key has no spaces/],
    [`${key}\n${key}\n`, /^srs\.keys:1:1: a key has no spaces; several are a list/],
    [`- ${key}\n- { key: x }\n`, /^srs\.keys:2:3: a key is a text/],
    [`- ${key}\n- other-key-other-key\n- ${key}\n`, /^srs\.keys:3:3: this key stands here twice/],
    [`- "${key}\n`, /^srs\.keys:2:1: /],
    ["[]", /^srs\.keys:1:1: there is no key in this list/],
  ];
  for (const [text, expected] of rows) {
    throws(() => readYaml("srs.keys", text, readKeys), (error: Error) => {
      match(error.message, expected, JSON.stringify(text));
      return !error.message.includes(key);
    });
  }
  deepEqual(readYaml("srs.keys", "12345678901234567890\n", readKeys), ["12345678901234567890"], "no number");
  deepEqual(readYaml("srs.keys", `# the newest\n- ${key}\n- 1234e5678901234567\n`, readKeys), [
    key,
    "1234e5678901234567",
  ]);
  const srs = { domain: "example.org", keys: "/nowhere/srs.keys" };
  const missing = [[forward, { rules: {}, srs }], box] as const;
  await rejects(testServer({ plugins: missing }), /there is no file \/nowhere\/srs\.keys: make it/);
});

Deno.test("D07 forward: a message that was forwarded for this address before is in a loop", async () => {
  await using it = await open({
    "alice@example.org": { to: "alice@mail.example", keep: true },
    "bob@example.org": "bob@mail.example",
  });
  const { server } = it;
  const content = "Delivered-To: <ALICE@example.org>\r\nSubject: x\r\n\r\n";
  const { reply } = await server.send({ to: "alice@example.org", content });
  equal(`${reply.code} ${reply.status}`, "550 5.4.6");
  deepEqual(server.sent, []);
  // In one transaction with others, SMTP has one reply: this recipient fails, the other gets its copy.
  await server.send({ from: stranger, to: ["alice@example.org", "bob@example.org"], content });
  deepEqual(left(server).map(([from, to]) => [from, to]).sort(), [
    ["", stranger],
    ["SRS0=…=sam@example.org", "bob@mail.example"],
  ]);
  match(server.sent.map(({ content }) => content).join(), /Action: failed[^]*mail loop/);
});

Deno.test("D07 forward: what two servers forward to each other ends at the second visit", async () => {
  await using it = await open({ "alice@example.org": "alice@mail.example" });
  const { server } = it;
  await server.send({ from: stranger, to: "alice@example.org" });
  const [first] = server.sent;
  const again = await server.send({ from: first!.from, to: "alice@example.org", content: first!.content });
  equal(again.reply.status, "5.4.6");
  equal(server.sent.length, 1);
});

Deno.test("forward: whole domains to other hosts: failover, round robin, credentials; addresses and senders stay", async () => {
  await using it = await open({
    "one.example": { host: "mail.one.example", port: 2525, tls: "required" },
    "*.one.example": {
      hosts: ["a.one.example", { host: "b.one.example", port: 26 }],
      port: 2525,
      auth: { user: "u", password: "p" },
    },
    "two.example": { hosts: ["a", "b", "c"], order: "roundRobin", srs: true },
    "boss@one.example": "boss@two.example",
  });
  const { server } = it;
  await server.send({ from: stranger, to: ["x@one.example", "y@one.example"] });
  deepEqual(left(server), [[stranger, "x@one.example", "y@one.example", ["mail.one.example"]]]);
  const [hop] = server.sent[0]!.hops as [HostHop];
  deepEqual([hop.port, hop.tls], [2525, "required"]);
  ok(!server.sent[0]!.content.includes("Delivered-To"), "the next host may be where it is delivered");
  await server.send({ from: stranger, to: "x@sub.one.example" });
  deepEqual((server.sent[1]!.hops as HostHop[]).map(({ host, port, auth }) => [host, port, auth?.user]), [
    ["a.one.example", 2525, "u"],
    ["b.one.example", 26, "u"],
  ]);
  for (let n = 0; n < 4; n++) await server.send({ from: stranger, to: ["x@two.example", "y@two.example"] });
  deepEqual(
    left(server).slice(2),
    ["abc", "bca", "cab", "abc"].map((hosts) => [
      "SRS0=…=sam@example.org",
      "x@two.example",
      "y@two.example",
      [...hosts],
    ]),
  );
  await server.send({ from: stranger, to: "boss@one.example" });
  deepEqual(left(server).at(-1), ["SRS0=…=sam@example.org", "boss@two.example", ["b", "c", "a"]]);
});

Deno.test("R01 forward: no address is handed on that the next server could take apart", async () => {
  await using it = await open({
    "one.example": { host: "mail.one.example" },
    "old.example": "*@one.example",
    "alice@example.org": "alice@mail.example",
  });
  const { server } = it;
  for (
    const to of [
      "victim%far.example@one.example",
      "far.example!victim@one.example",
      '"victim@far.example"@old.example',
    ]
  ) {
    equal((await server.send({ to })).reply.status, "5.1.3", to);
  }
  equal((await server.send({ to: "user@one.example" })).outcome, "accepted");
  deepEqual(server.sent.length, 1);
});

Deno.test("forward: the hook `route` is asked for what no rule has hosts for", async () => {
  const router = definePlugin({
    name: "router",
    setup: (on) =>
      void on(
        "route",
        ({ domain }) => domain === "mail.example" ? accept({ hops: [{ host: "r" }] }) : undefined,
      ),
  });
  await using at = await folder();
  const keys = `${at.path}/srs.keys`;
  await Deno.writeTextFile(keys, key);
  const rules = { "alice@example.org": "a@mail.example", "mail.example": { host: "h" } };
  await using server = await testServer({
    plugins: [router, [forward, {
      rules: { "alice@example.org": rules["alice@example.org"] },
      srs: { domain: "example.org", keys },
    }], box],
  });
  await server.send({ from: stranger, to: "alice@example.org" });
  deepEqual(left(server), [["SRS0=…=sam@example.org", "a@mail.example", ["r"]]]);
  await server.reload([router, [forward, { rules }], box]);
  await server.send({ from: stranger, to: "alice@example.org" });
  deepEqual(left(server)[1], [stranger, "a@mail.example", ["h"]], "without `srs` the sender stays");
});

Deno.test("forward: unknown addresses of its own domains are unknown; other domains are nobody's", async () => {
  await using it = await open(
    {
      "alice@old.example": "*@example.org",
      "postmaster@old.example": "alice@example.org",
      "old2.example": "*@example.org",
    },
    { domains: ["old.example"] },
  );
  const { server } = it;
  equal((await server.send({ to: "alice@old.example" })).outcome, "accepted");
  equal((await server.send({ to: "carol@old2.example" })).outcome, "accepted");
  deepEqual(server.delivered.map(({ to }) => to), ["alice@example.org", "carol@example.org"]);
  equal((await server.send({ to: "bob@old.example" })).reply.status, "5.1.1");
  equal(
    (await server.send({ to: "bob@old2.example" })).reply.status,
    "5.1.1",
    "nobody has the mailbox there",
  );
  equal((await server.send({ to: "bob@elsewhere.example" })).reply.status, "5.7.1");
});

Deno.test("forward: taken out of the configuration while mail waits: deferred 4.3.5, shown, and never bounced", async () => {
  await using it = await open({ "alice@example.org": "a@mail.example" });
  const { server, keys } = it;
  server.smtp = () => "unreachable";
  await server.send({ from: "carol@example.org", to: "alice@example.org" });
  await server.reload([box]);
  await server.clock.advance("6d");
  match((await server.queue())[0]!.recipients[0]!.reply, /^4\.3\.5 No plugin has the transport "forward"/);
  deepEqual(server.delivered.filter(({ content }) => content.includes("Action: failed")), []);
  server.smtp = () => {};
  await server.reload([[forward, {
    rules: { "alice@example.org": "other@mail.example" },
    srs: { domain: "us.example", keys },
  }], box]);
  // Just when it is due: the key file is looked at then, and no more time is to pass meanwhile.
  await server.clock.advance((await server.queue())[0]!.recipients[0]!.due! - server.clock.now());
  await server.settled();
  deepEqual(
    left(server),
    [["SRS0=…=carol@us.example", "a@mail.example", undefined]],
    "to whom it was queued for",
  );
  deepEqual(await server.queue(), []);
});

Deno.test("forward: senders that stay: the null sender, our own, `except`, and what would get too long", async () => {
  await using at = await folder();
  const keys = `${at.path}/srs.keys`;
  await Deno.writeTextFile(keys, key);
  const srs = { domain: "srs.example", keys, except: ["Example.ORG"] };
  await using server = await testServer({
    plugins: [[forward, { rules: { "alice@example.org": "a@mail.example" }, srs }], box],
  });
  const long = `x@${"d.".repeat(118)}example`;
  for (const from of ["", "x@srs.example", "carol@example.org", long]) {
    await server.send({ from, to: "alice@example.org" });
  }
  deepEqual(server.sent.map(({ from }) => from), ["", "x@srs.example", "carol@example.org", long]);
  ok(server.log.entries.some(({ event }) => event === "sender too long to be rewritten"));
});

Deno.test("aliases: with `onward: forward` their targets elsewhere get rewritten senders, too", async () => {
  await using at = await folder();
  const keys = `${at.path}/srs.keys`;
  await Deno.writeTextFile(keys, key);
  const table = { "team@example.org": ["alice@example.org", "bob@mail.example"] };
  await using server = await testServer({
    plugins: [[aliases, { aliases: table, onward: "forward" }], [forward, {
      rules: {},
      srs: { domain: "example.org", keys },
    }], box],
  });
  await server.send({ from: stranger, to: "team@example.org" });
  deepEqual(left(server), [["SRS0=…=sam@example.org", "bob@mail.example", undefined]]);
  match(server.sent[0]!.content, /^Delivered-To: team@example\.org/);
  deepEqual(server.delivered.map(({ from, to }) => [from, to]), [[stranger, "alice@example.org"]]);
});

Deno.test("forward: what an operator gets wrong is said, and where", async () => {
  const rows: [Record<string, unknown>, RegExp][] = [
    [{ "alice@example.org": {} }, /leads nowhere/],
    [{ "alice@example.org": { keep: true } }, /leads nowhere/],
    [{ "alice@example.org": "bob" }, /"bob" is not an address/],
    [{ "alice@example.org": ["b@x.example", "x y@z"] }, /"x y@z" is not an address/],
    [{ "alice@example.org": { to: "*" } }, /"\*" is not an address/],
    [{ "x.example": { host: "a", hosts: ["b"] } }, /one of `to`, `host` and `hosts`/],
    [{ "x.example": { host: "a:25" } }, /not a host such as/],
    [{ "x.example": { host: "a", keep: true } }, /copy can only be kept/],
    [{ "x.example": { to: "b@x.example", port: 25 } }, /belongs beside a `host`/],
    [{ "x.example": { host: "a", auth: { user: "u" } } }, /"password" or a "passwordFile"/],
    [{ "x.example": { host: "a", order: "roundRobin" } }, /needs several `hosts`/],
    [{ "x.example": { hosts: [] } }, /hosts/],
    [{ "x.example": { hots: ["a"] } }, /did you mean "hosts?"/],
    [{ "*": { host: "a" } }, /outbound\.route/],
    [{ "a b": "x@y.example" }, /neither an address/],
  ];
  for (const [rules, expected] of rows) {
    await rejects(testServer({ plugins: [[forward, { rules }], box] }), expected, JSON.stringify(rules));
  }
});
