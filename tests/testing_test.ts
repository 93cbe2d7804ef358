import {
  deepStrictEqual as deepEqual,
  match,
  ok,
  rejects,
  strictEqual as equal,
  throws,
} from "node:assert/strict";
import { accept, cidr, defer, definePlugin, delivered, duration, reject, z } from "../server/plugin.ts";
import { FakeClock, mailboxes, runDialog, testServer } from "../server/testing/mod.ts";

const box = mailboxes(["example.org"]);
const alice = "alice@example.org";

const greylist = definePlugin({
  name: "greylist",
  options: z.object({ wait: duration("5m"), trusted: z.array(cidr()).default([]) }),
  setup(on, { wait, trusted }, { clock, store }) {
    on("rcpt", async ({ remote }, rcpt, { sender }) => {
      if (trusted.some((network) => network.has(remote.address))) return;
      const first = await store.getOrSet(`${remote.network} ${sender} ${rcpt}`, clock.now(), { ttl: "36h" });
      if (clock.now() - first < wait) return defer("4.7.1", "Greylisted, please try again later");
    });
  },
});

Deno.test("testing: options go through the schema, the clock moves when it is told to, the store remembers", async () => {
  await using server = await testServer({
    plugins: [[greylist, { wait: "10m", trusted: ["10.0.0.0/8"] }], box],
  });
  equal((await server.send({ to: alice })).reply.code, 451);
  equal((await server.send({ to: alice, ip: "10.1.2.3" })).outcome, "accepted");
  await server.clock.advance("599s");
  equal((await server.send({ to: alice })).reply.code, 451);
  await server.clock.advance(1000);
  equal(
    (await server.send({ to: alice, ip: "192.0.2.99" })).outcome,
    "accepted",
    "the network, not the address",
  );
  equal(
    await server.store("greylist").get("192.0.2.0/24 sender@example.net alice@example.org"),
    1795298400000,
  );
});

Deno.test("testing: what is wrong with the plugins is said, all of it, by their number", async () => {
  const settings = testServer({
    plugins: [box, { use: greylist, timeout: "0s" }],
    limits: { recipients: 0 },
    trustedNetworks: ["10.0.0.0/33"],
  });
  await rejects(settings, (error: Error) => {
    match(error.message, /plugin 2: "timeout" must be more than nothing/);
    match(error.message, /"recipients"/);
    match(error.message, /"10\.0\.0\.0\/33" is not a network/);
    return true;
  });
  const rest = testServer({
    plugins: [[greylist, { wait: "5 minutes", wayt: 1 }], "no-such-plugin", [box, { x: 1 }]],
  });
  await rejects(rest, (error: Error) => {
    match(error.message, /plugin 1: .*"5 minutes" is not a duration/);
    match(error.message, /plugin 1: unknown key "wayt"/);
    match(error.message, /plugin 2: no plugin is called "no-such-plugin"/);
    match(error.message, /plugin 3: mailboxes takes no options/);
    return true;
  });
  await rejects(testServer({ plugins: [[greylist, { wait: () => 5 }]] }), /"wait" is not plain data/);
  await rejects(testServer({ plugins: [[greylist, new Map()]] }), TypeError);
});

Deno.test("testing: plugins in all forms, bundled ones by name, one of them twice", async () => {
  const byApi = ({ definePlugin: define, reject: no }: typeof import("../server/plugin.ts")) =>
    define({
      name: "by-api",
      setup: (on) => on("mail", (_, { sender }) => sender.user === "bad" ? no("5.7.1", "No") : undefined),
    });
  await using server = await testServer({
    plugins: [
      byApi,
      ["relay", { networks: ["10.0.0.0/8"] }],
      { use: mailboxes(["first.example"]), as: "first" },
      { use: mailboxes(["second.example"]), as: "second" },
    ],
  });
  equal((await server.send({ from: "bad@example.net", to: "a@first.example" })).outcome, "refused");
  await server.send({ to: "a@first.example" });
  await server.send({ to: "a@second.example" });
  deepEqual(server.delivered.map(({ to }) => to), ["a@first.example", "a@second.example"]);
  const relayed = await server.send({ to: "u@elsewhere.example", ip: "10.0.0.1" });
  equal(relayed.recipients[0]!.reply.code, 250);
  equal((await server.send({ to: "u@elsewhere.example" })).recipients[0]!.reply.code, 550);
});

Deno.test("testing: send says where it ended, and what each was told", async () => {
  const fussy = definePlugin({
    name: "fussy",
    setup(on) {
      on("connect", ({ remote }) => remote.address === "192.0.2.66" ? reject("5.7.1", "No") : undefined);
      on("helo", (_session, name) => name === "bad" ? reject("5.7.1", "No") : undefined);
      on("auth", (_session, { user }) => user === alice ? accept({ user }) : undefined);
      on("mail", (_session, { sender }) => sender.user === "bad" ? reject("5.7.1", "No") : undefined);
      on("data", (_session, { headers }) => headers.get("X-Bad") ? reject("5.7.1", "No") : undefined);
    },
  });
  await using server = await testServer({ plugins: [fussy, mailboxes([alice])] });
  const phase = async (mail: Partial<Parameters<typeof server.send>[0]>) => {
    const sent = await server.send({ to: alice, ...mail });
    return sent.outcome === "refused" ? sent.phase : sent.id;
  };
  equal(await phase({ ip: "192.0.2.66" }), "connect");
  equal(await phase({ helo: "bad" }), "helo");
  equal(await phase({ user: { name: "bob", password: "x" } }), "auth");
  equal(await phase({ from: "bad@example.net" }), "mail");
  equal(await phase({ to: ["bob@example.org", "u@elsewhere.example"] }), "rcpt");
  equal(await phase({ content: "X-Bad: 1\r\n\r\n" }), "data");
  equal(await phase({ user: { name: alice, password: "x" } }), "M0004");
  const { recipients, reply } = await server.send({ to: ["bob@example.org", alice] });
  deepEqual(recipients.map(({ address, reply }) => [address, reply.code]), [["bob@example.org", 550], [
    alice,
    250,
  ]]);
  deepEqual([reply.code, reply.status, reply.text], [250, "2.0.0", "Delivered as M0005"]);
});

Deno.test("testing: content as text, lines or octets", async () => {
  await using server = await testServer({ plugins: [box] });
  const got = async (content: string | Uint8Array | string[]) => {
    await server.send({ to: alice, content });
    return server.delivered.at(-1)!.content.replace(/^Received: [^\n]*\n(\t[^\n]*\n)*/, "");
  };
  equal(await got("Subject: ü\n\n.\n..\nx"), "Subject: ü\r\n\r\n.\r\n..\r\nx\r\n");
  equal(await got(["a: b", "", "c"]), "a: b\r\n\r\nc\r\n");
  equal(await got(Uint8Array.of(97, 13, 10)), "a\r\n");
});

Deno.test("testing: mailboxes know their users, tags, postmaster and abuse, and no others", async () => {
  await using server = await testServer({ plugins: [mailboxes([alice, "any.example"])] });
  const code = async (to: string) => (await server.send({ to })).reply.code;
  for (
    const to of [
      alice,
      "ALICE+tag@Example.org",
      "postmaster@example.org",
      "abuse@example.org",
      "x@any.example",
    ]
  ) {
    equal(await code(to), 250, to);
  }
  equal(await code("bob@example.org"), 550);
  throws(() => mailboxes(["not an address@"]), TypeError);
  throws(() => mailboxes(["-"]), TypeError);
});

Deno.test("testing: DNS, state and a client that is used by hand", async () => {
  const look = definePlugin({
    name: "look",
    setup(on, _options, host) {
      on("connect", async ({ remote }, { signal }) => {
        const names = await host.dns.ptr(remote.address, signal);
        return names.length > 0 ? undefined : reject("5.7.1", "No name");
      });
      on("vrfy", () => accept({ reply: host.state }));
    },
  });
  await using server = await testServer({
    plugins: [look, box],
    dns: { "192.0.2.1": { PTR: ["c.example"] } },
  });
  const client = server.connect();
  const folder = (await client.command("VRFY x")).text;
  ok((await Deno.stat(folder)).isDirectory, "made when first asked for");
  server.dns.set("192.0.2.1", undefined);
  equal((await server.send({ to: alice })).reply.code, 554);
  server.dns.set("192.0.2.1", "servfail");
  equal((await server.send({ to: alice })).reply.code, 421, "whoever forgets, defers");
  await client.send("QUIT\r\n");
  equal((await client.reply()).code, 221);
  await client.closed;
  await rejects(client.reply(), /closed the connection without a reply/);
});

Deno.test("testing: the end of a server resets its clients and disposes of its plugins", async () => {
  let disposed = 0;
  const plugin = definePlugin({ name: "plugin", setup: () => () => void disposed++ });
  const server = await testServer({ plugins: [plugin, box] });
  const client = server.connect();
  await client.command("EHLO c");
  await server[Symbol.asyncDispose]();
  await client.closed;
  await rejects(client.reply());
  equal(disposed, 1);
});

Deno.test("testing: time as people write it", async () => {
  const clock = new FakeClock();
  const start = clock.monotonic();
  await clock.advance("1h");
  equal(clock.monotonic() - start, 3_600_000);
  await rejects(clock.advance("1 hour" as "1h"), TypeError);
});

// ── The queue ──────────────────────────────────────────────────────────────────────────────────────

const anywhere = definePlugin({ name: "anywhere", setup: (on) => on("rcpt", () => accept()) });

Deno.test("testing: what leaves is in `sent`, what waits in the queue, as the test answers for the hosts", async () => {
  await using server = await testServer({
    plugins: [anywhere, box],
    outbound: { retry: ["2m"], giveUpAfter: "1h", delayNoticeAfter: "1h" },
    smtp: ({ to, attempt }) => attempt < 3 ? defer("4.7.1", `Not yet, ${to}`) : undefined,
  });
  const { reply } = await server.send({ to: "u@elsewhere.example", content: "a: b\r\n\r\n" });
  equal(reply.text, "Queued as M0001");
  const due = server.clock.now() + 120_000;
  deepEqual(await server.queue(), [{
    id: "M0001",
    from: "sender@example.net",
    ret: undefined,
    envid: undefined,
    held: undefined,
    recipients: [{
      to: "u@elsewhere.example",
      original: "u@elsewhere.example",
      via: "smtp",
      state: "due",
      due,
      attempts: 1,
      reply: "451 4.7.1 Not yet, u@elsewhere.example",
      notify: undefined,
      orcpt: undefined,
    }],
  }]);
  await server.clock.advance("4m");
  const [mail] = server.sent;
  deepEqual([mail!.id, mail!.from, mail!.to, mail!.attempt], [
    "M0001",
    "sender@example.net",
    ["u@elsewhere.example"],
    3,
  ]);
  match(mail!.content, /\r\na: b\r\n\r\n$/);
  equal(new TextDecoder().decode(mail!.bytes), mail!.content);
  await rejects(testServer({ plugins: [box], outbound: { retry: ["2 minutes"] } }), /did you mean "2m"/);
});

Deno.test("testing: who answers for the hosts may change, say nothing of some, or fail", async () => {
  await using server = await testServer({ plugins: [anywhere, box] });
  const to = ["a@x.example", "b@x.example"];
  const replies = async () => (await server.queue()).at(-1)!.recipients.map(({ reply }) => reply);
  server.smtp = () => [delivered("yes")];
  await server.send({ to });
  deepEqual(await replies(), ["yes", "451 4.3.0 The test gave no outcome for this recipient"]);
  server.smtp = async () => {
    await Promise.resolve();
    throw new Error("a bug of the test");
  };
  await server.send({ to });
  deepEqual(await replies(), ["4.3.0 The transport failed", "4.3.0 The transport failed"]);
  match(String(server.log.of("transport failed")[0]!.fields.error), /a bug of the test/);
  server.smtp = () => "unreachable";
  await server.send({ to });
  deepEqual(await replies(), ["4.4.1 No connection", "4.4.1 No connection"]);
});

Deno.test("testing: `settled` waits for transports that do I/O, and for nothing that waits for time", async () => {
  const file = await Deno.makeTempFile();
  const slow = definePlugin({
    name: "slow",
    setup(on, _options, { clock, transport }) {
      const disk = transport("disk", async (message) => {
        for (let i = 0; i < 20; i++) await Deno.writeTextFile(file, message.id, { append: true });
        return delivered();
      });
      const never = transport("later", async (_message, _to, { signal }) => {
        await clock.sleep(1000, signal);
        return delivered();
      });
      on("resolve", ({ user }) => accept({ via: user === "disk" ? disk : never }));
    },
  });
  await using server = await testServer({ plugins: [slow, anywhere] });
  await server.send({ to: "disk@example.org" });
  await server.settled();
  equal(await Deno.readTextFile(file), "M0001".repeat(20));
  deepEqual(await server.queue(), []);
  await server.send({ to: "later@example.org" });
  equal((await server.queue()).length, 1);
  await server.clock.advance("1s");
  await server.settled();
  deepEqual(await server.queue(), []);
  await Deno.remove(file);
});

// ── Dialogs ────────────────────────────────────────────────────────────────────────────────────────

const good = `
# A whole dialog.
@ limits.recipients 1
S: 220 mx.example.org ESMTP ready
C: EHLO c.example
S: 250 HELP
C: MAIL FROM:<a@example.net>
C: RCPT TO:<alice@example.org>
C: DATA
S: 250 *
S: 250 2.1.5 Recipient OK
S: 354 *
C> "a\\x80\\t\\"\\\\" "b"*3 "\\r\\n.\\r\\n"
S: 250 *
Q: 1 alice@example.org
M> "a\\x80\\t\\"\\\\bbb\\r\\n"
T: 4m
C: NOOP
S: 250 2.0.0 OK
T: 5m
S: 421 *
S: closed
`;

Deno.test("testing: a dialog that holds", async () => {
  await runDialog(good, { plugins: [box] });
});

const wrong: [string, string, string, RegExp][] = [
  [
    "another reply",
    "S: 250 2.1.5 Recipient OK",
    "S: 550 *",
    /line 11: expected 550 \*\n.*but it was 250 2\.1\.5/,
  ],
  ["a reply that nobody waits for", "S: 250 2.0.0 OK\n", "", /line 20: expected 421/],
  ["a reply that doesn't come", "Q: 1", "S: 250 x\nQ: 1", /expected 250 x\n.*silence/],
  ["more messages", "Q: 1", "Q: 2", /expected 2 messages kept/],
  ["another recipient", "Q: 1 alice", "Q: 1 bob", /expected bob@example\.org/],
  ["other content", 'bbb\\r\\n"', 'bb\\r\\n"', /line 16: expected/],
  ["no end", "T: 5m\nS: 421 *\n", "", /expected closed/],
  ["an unknown line", "S: closed", "X: closed", /a line begins with/],
  ["an unknown setting", "@ limits.recipients", "@ limit.recipients", /no such setting/],
  ["an unknown limit", "@ limits.recipients", "@ limits.recipient", /recipient/],
  ["a bad escape", "\\x80", "\\q", /is no escape/],
  ["a bad duration", "T: 5m", "T: five", /no duration/],
];
for (const [name, from, to, message] of wrong) {
  Deno.test(`testing: a dialog with ${name} fails`, async () => {
    ok(good.includes(from));
    const dialog = good.replace(from, to);
    await rejects(runDialog(dialog, { plugins: [box] }), message);
  });
}

Deno.test("testing: what a server says behind the dialog's end fails it", async () => {
  await rejects(
    runDialog("S: 220 *\nC: NOOP\n", { plugins: [box] }),
    /expected nothing more\n.*250 2\.0\.0 OK/,
  );
});

Deno.test("testing: a dialog is played joined and octet by octet, unless its split is fixed", async () => {
  const early = "S: 220 *\nC: EHLO c\nC: NOOP\nS: 250 HELP\nS: 250 2.0.0 OK\n";
  await rejects(runDialog(early, { plugins: [box] }), /sent joined/);
  await runDialog(`@ split fixed\n${early}`, { plugins: [box] });
  const late = 'S: 220 *\nC> "EHLO c\\r\\nNOOP\\r\\n"\nS: 554 *\nS: closed\n';
  await rejects(runDialog(late, { plugins: [box] }), /sent one octet at a time/);
});
