import { deepStrictEqual as deepEqual, ok, strictEqual as equal } from "node:assert/strict";
import { accept, defer, definePlugin, delivered, type Hooks, type On, reject } from "../server/plugin.ts";
import { mailboxes, type TestPlugin, type TestServer, testServer } from "../server/testing/mod.ts";

const box = mailboxes(["example.org"]);
const [alice, bob] = ["alice@example.org", "bob@example.org"];
const nothing = { connections: 0, octets: 0, files: 0, timers: 0 };

/** A plugin with one handler. */
function on<K extends keyof Hooks>(hook: K, handler: Hooks[K], name = "plugin") {
  return definePlugin({ name, setup: (on: On) => on(hook, handler) });
}

const serverOf = (...plugins: TestPlugin[]) => testServer({ plugins });
const relay = on("rcpt", () => accept(), "relay");
const aliases = on("resolve", ({ user }) => {
  if (user === "ali") return accept({ to: [alice] });
  if (user === "list") return accept({ to: [alice, bob] });
}, "aliases");

/** Takes each recipient to its mailbox when `open` says so. */
const gated = (open: () => boolean) =>
  mailboxes(["example.org"], { answer: () => open() ? undefined : defer("4.2.2", "Full") });

/** Who got it: mailbox and queue id. */
const got = (server: TestServer) => server.delivered.map(({ id, to }) => `${id} ${to}`);

// ── Who is asked, in which order ───────────────────────────────────────────────────────────────────

Deno.test("keeping: first a queue plugin, which takes the whole message or objects to it", async () => {
  const taken: unknown[] = [];
  let answer: ReturnType<Hooks["queue"]>;
  const queue = on("queue", async (_session, message, { recipients }) => {
    taken.push(new TextDecoder().decode(await message.bytes()).split("\r\n")[0], recipients.map(String));
    return await answer;
  });
  await using server = await serverOf(queue, box);
  answer = accept({ id: "elsewhere-7\x1b" });
  const sent = await server.send({ to: [alice, bob] });
  deepEqual([sent.reply.code, sent.reply.text], [250, "Queued as elsewhere-7?"]);
  equal(String(taken[0]).startsWith("Received: from client.example.net"), true);
  deepEqual(taken[1], [alice, bob]);
  answer = defer("4.3.2", "Next hop is down");
  equal((await server.send({ to: [alice, bob] })).reply.text, "Next hop is down");
  deepEqual([await server.queue(), got(server)], [[], []], "what it took or refused is nobody else's");
  answer = undefined;
  equal(
    (await server.send({ to: alice })).reply.text,
    "Delivered as M0003",
    "nobody speaks: the next is asked",
  );
});

Deno.test("keeping: one final recipient is tried before the reply, and nothing is queued for it", async () => {
  await using server = await serverOf(aliases, gated(() => false));
  equal((await server.send({ to: "ali@example.org" })).reply.text, "Full", "an alias of one, too");
  equal((await server.send({ to: [alice, "ALICE@example.org"] })).reply.status, "4.2.2");
  deepEqual(await server.queue(), []);
});

Deno.test("keeping: everything else is queued: several recipients, other domains, transports that aren't inline", async () => {
  const slow = definePlugin({
    name: "slow",
    setup(on, _options, host) {
      const via = host.transport("slow", () => Promise.resolve(delivered()));
      on("resolve", ({ user }) => user === "slow" ? accept({ via }) : undefined);
    },
  });
  const events: string[] = [];
  const tell = on("delivered", ({ id, recipient, transport, attempts }) => {
    events.push(`${id} ${recipient} ${transport} ${attempts}`);
  }, "tell");
  await using server = await serverOf(tell, relay, slow, aliases, box);
  for (const to of [[alice, bob], ["list@example.org"], ["u@elsewhere.example"], ["slow@example.org"]]) {
    const { reply, recipients } = await server.send({ to });
    deepEqual([reply.code, reply.text.replace(/M\d+/, "")], [250, "Queued as "], to.join());
    ok(recipients.every(({ reply }) => reply.code === 250));
  }
  deepEqual(events, [
    "M0001 alice@example.org mailboxes 1",
    "M0001 bob@example.org mailboxes 1",
    "M0002 alice@example.org mailboxes 1",
    "M0002 bob@example.org mailboxes 1",
    "M0003 u@elsewhere.example smtp 1",
    "M0004 slow@example.org slow 1",
  ]);
  deepEqual(await server.queue(), []);
});

// ── Copies ─────────────────────────────────────────────────────────────────────────────────────────

Deno.test("keeping: one mailbox gets one copy, whatever leads to it", async () => {
  await using server = await serverOf(aliases, box);
  await server.send({ to: [alice, "ali@example.org", "Alice@EXAMPLE.org", "list@example.org"] });
  deepEqual(got(server), ["M0001 alice@example.org", "M0001 bob@example.org"]);
  deepEqual(server.delivered.map(({ original }) => original), [alice, "list@example.org"]);
});

Deno.test("keeping: each copy is as it would have been without a queue", async () => {
  const top = on("rcpt", (_session, rcpt) => rcpt.prependHeader("X-For", rcpt.user), "top");
  const edits = on("data", async (_session, message) => {
    message.replaceHeader("Subject", "other");
    await message.replaceBody(new Blob(["body\r\n"]).stream());
  }, "edits");
  await using server = await serverOf(top, edits, box);
  await server.send({ to: [alice, bob], content: "Subject: mine\r\nX-A: 1\r\n\r\nhello\r\n" });
  for (const { to, content } of server.delivered) {
    const rest = content.replace(/^Received: [^\n]*\n(\t[^\n]*\n)*/, "");
    equal(rest, `X-For: ${to.split("@")[0]}\r\nSubject: other\r\nX-A: 1\r\n\r\nbody\r\n`);
    ok(!content.includes(" for <"), "blind copies stay blind");
  }
});

Deno.test("keeping: what is too large for memory is kept whole, and its file goes", async () => {
  await using server = await serverOf(box);
  const content = `\r\n${"0123456789".repeat(40_000)}\r\n`;
  equal((await server.send({ to: [alice, bob], content })).reply.code, 250);
  for (const mail of server.delivered) ok(mail.content.endsWith(content));
  equal(server.delivered.length, 2);
  deepEqual(await server.inUse(), nothing);
});

Deno.test("keeping: N01 what MAIL and RCPT say of reports is kept", async () => {
  await using server = await serverOf(relay, gated(() => false));
  server.smtp = () => defer("4.7.1", "Greylisted");
  const client = server.connect();
  await client.command("EHLO c");
  await client.command("MAIL FROM:<a@example.net> RET=HDRS ENVID=QQ+2B314");
  await client.command(`RCPT TO:<${alice}> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Ali+40example.org`);
  await client.command("RCPT TO:<u@elsewhere.example> NOTIFY=NEVER");
  await client.command("DATA");
  equal((await client.content("\r\n")).code, 250);
  const [mail] = await server.queue();
  deepEqual([mail!.id, mail!.from, mail!.ret, mail!.envid], ["M0001", "a@example.net", "HDRS", "QQ+314"]);
  deepEqual(mail!.recipients.map(({ to, via, notify, orcpt }) => [to, via, notify, orcpt]), [
    [alice, "mailboxes", ["SUCCESS", "DELAY"], "rfc822;Ali@example.org"],
    ["u@elsewhere.example", "smtp", "NEVER", undefined],
  ]);
  client.abort();
});

// ── Where dataFor says different things ────────────────────────────────────────────────────────────

const perRecipient = on("dataFor", (_session, { user }) => {
  if (user.startsWith("no")) return reject("5.7.1", `Not ${user}`);
  if (user.startsWith("late") || user === "ali") return defer("4.7.1", `Later ${user}`);
}, "picky");

Deno.test("keeping: the deferred are tried later, the refused get it with a note, and nobody is lost", async () => {
  await using server = await serverOf(perRecipient, box);
  equal((await server.send({ to: [alice, "no@example.org", "late@example.org"] })).reply.code, 250);
  deepEqual(got(server), ["M0001 alice@example.org", "M0001 no@example.org"]);
  deepEqual(server.delivered.map(({ content }) => /^X-Refused: .*$/m.exec(content)?.[0]), [
    undefined,
    "X-Refused: 5.7.1 picky",
  ]);
  const [mail] = await server.queue();
  deepEqual(
    mail!.recipients.filter(({ state }) => state === "due").map((
      { to, due, attempts },
    ) => [to, due, attempts]),
    [
      ["late@example.org", server.clock.now() + 15 * 60_000, 0],
    ],
  );
  await server.clock.advance("14m");
  equal(server.delivered.length, 2);
  await server.clock.advance("1m");
  deepEqual(got(server).slice(2), ["M0001 late@example.org"]);
  deepEqual(await server.queue(), []);
});

Deno.test("keeping: a mailbox that may have it now under one name isn't given it again under another", async () => {
  await using server = await serverOf(aliases, perRecipient, box);
  await server.send({ to: ["ali@example.org", alice] });
  await server.clock.advance("1h");
  deepEqual(got(server), ["M0001 alice@example.org"]);
});

Deno.test("keeping: in LMTP each has its own line, and those refused aren't kept", async () => {
  await using server = await serverOf(perRecipient, box);
  const to = ["no@example.org", alice, "late@example.org", bob];
  const { replies } = await server.send({ to, protocol: "lmtp" });
  deepEqual(replies.map(({ code, text }) => `${code} ${text}`), [
    "550 Not no",
    "250 Queued as M0001",
    "451 Later late",
    "250 Queued as M0001",
  ]);
  await server.clock.advance("1h");
  deepEqual(got(server), ["M0001 alice@example.org", "M0001 bob@example.org"]);
  const one = await server.send({ to: ["no@example.org", alice], protocol: "lmtp" });
  deepEqual(
    one.replies.map(({ text }) => text),
    ["Not no", "Delivered as M0002"],
    "one is left: it is tried first",
  );
});

Deno.test("keeping: L01 a mailbox that is full for now is no other recipient's trouble", async () => {
  let open = false;
  await using server = await serverOf(mailboxes(["example.org"], {
    answer: (_message, { user }) => user === "full" && !open ? defer("4.2.2", "Full") : undefined,
  }));
  const { replies } = await server.send({ to: ["full@example.org", bob], protocol: "lmtp" });
  deepEqual(replies.map(({ code }) => code), [250, 250]);
  deepEqual(got(server), ["M0001 bob@example.org"]);
  open = true;
  await server.clock.advance("1m");
  deepEqual(got(server).slice(1), ["M0001 full@example.org"]);
});

// ── Promise 1 ──────────────────────────────────────────────────────────────────────────────────────

Deno.test("keeping: promise 1: no 250 before the disk has it", async () => {
  await using server = await serverOf(box);
  server.disk = "hangs";
  const client = server.connect();
  for (
    const line of ["EHLO c", "MAIL FROM:<a@example.net>", `RCPT TO:<${alice}>`, `RCPT TO:<${bob}>`, "DATA"]
  ) {
    await client.command(line);
  }
  let reply = "none";
  const replied = client.content("x\r\n").then(({ text }) => reply = text);
  await server.clock.advance("1h");
  deepEqual([reply, server.delivered.length], ["none", 0]);
  server.disk = "works";
  await replied;
  equal(reply, "Queued as M0001");
  await server.settled();
  equal(server.delivered.length, 2);
  client.abort();
});

const faults: [string, (server: TestServer) => void, number, string][] = [
  ["fails", (server) => server.disk = "fails", 451, "4.3.0"],
  ["is full", (server) => server.room = "runs-out", 452, "4.3.1"],
];
for (const [name, fault, code, status] of faults) {
  for (const protocol of ["smtp", "lmtp"] as const) {
    Deno.test(`keeping: Q03 a disk that ${name} is ${code} over ${protocol}, and leaves nothing`, async () => {
      await using server = await serverOf(box);
      fault(server);
      const { outcome, replies } = await server.send({ to: [alice, bob], protocol });
      equal(outcome, "refused");
      equal(replies.length, protocol === "lmtp" ? 2 : 1);
      for (const reply of replies) deepEqual([reply.code, reply.status], [code, status]);
      deepEqual([await server.queue(), got(server)], [[], []]);
      deepEqual(await server.inUse(), nothing);
      server.disk = "works";
      server.room = "enough";
      equal((await server.send({ to: [alice, bob], protocol })).outcome, "accepted", "it recovers by itself");
      equal(server.delivered.length, 2);
    });
  }
}

Deno.test("keeping: C12 a client that is reset while plugins think is told nothing, and nothing is kept", async () => {
  const thinking = Promise.withResolvers<void>();
  const asked = Promise.withResolvers<void>();
  const think = on("data", async () => {
    asked.resolve();
    await thinking.promise;
  });
  await using server = await serverOf(think, box);
  const client = server.connect();
  for (
    const line of ["EHLO c", "MAIL FROM:<a@example.net>", `RCPT TO:<${alice}>`, `RCPT TO:<${bob}>`, "DATA"]
  ) {
    await client.command(line);
  }
  await client.send("x\r\n.\r\n");
  await asked.promise;
  client.abort();
  await server.clock.advance("1s"); // then it is looked whether the client is still there
  thinking.resolve();
  await client.closed;
  await server.settled();
  deepEqual([await server.queue(), got(server)], [[], []]);
  deepEqual(await server.inUse(), nothing);
});
