import { deepStrictEqual as deepEqual, match, ok, rejects, strictEqual as equal } from "node:assert/strict";
import {
  accept,
  defer,
  definePlugin,
  delivered,
  type Hooks,
  type On,
  type Outcome,
  reject,
} from "../server/plugin.ts";
import { mailboxes, type TestPlugin, type TestServer, testServer } from "../server/testing/mod.ts";

const box = mailboxes(["example.org"]);
const alice = "alice@example.org";

/** A plugin with one handler. */
function on<K extends keyof Hooks>(hook: K, handler: Hooks[K], name = "plugin") {
  return definePlugin({ name, setup: (on: On) => on(hook, handler) });
}

const login = on("auth", (_session, { user }) => accept({ user }), "login");
const serverOf = (...plugins: TestPlugin[]) => testServer({ plugins });

/** What alice got, without the server's own Received on top. */
function got(server: TestServer): string {
  return server.delivered.at(-1)!.content.replace(/^Received: [^\n]*\n(\t[^\n]*\n)*/, "");
}

// ── What the server itself does ────────────────────────────────────────────────────────────────────

Deno.test("intake: bytes are what was sent, under one Received", async () => {
  await using server = await serverOf(box);
  const content = Uint8Array.from(
    { length: 70_000 },
    (_, i) => i % 251 === 13 || i % 251 === 10 ? 65 : i % 251,
  );
  const sent = await server.send({ to: alice, content });
  equal(sent.outcome === "accepted" && sent.id, "M0001");
  const { bytes, id, from, to } = server.delivered[0]!;
  deepEqual([id, from, to], ["M0001", "sender@example.net", alice]);
  const kept = bytes.subarray(bytes.length - content.length - 2);
  deepEqual(kept.subarray(0, -2), content);
  match(
    new TextDecoder().decode(bytes.subarray(0, -content.length - 2)),
    /^Received: from client\.example\.net \(\[192\.0\.2\.1\]\)\r\n\tby mx\.example\.org with ESMTP\r\n\tid M0001 for <alice@example\.org>;\r\n\tSat, 21 Nov 2026 22:00:00 \+0000\r\n$/,
  );
});

Deno.test("intake: the kinds of Received", async () => {
  await using server = await serverOf(login, box);
  const kind = () => / with (\S+)/.exec(server.delivered.at(-1)!.content)?.[1];
  await server.send({ to: alice, tls: "implicit" });
  equal(kind(), "ESMTPS");
  match(server.delivered.at(-1)!.content, /with ESMTPS \(TLSv1\.3 cipher TLS_AES_256_GCM_SHA384\)/);
  await server.send({ to: alice, user: { name: alice, password: "x" } });
  equal(kind(), "ESMTPSA");
  await server.send({ to: alice, protocol: "lmtp" });
  equal(kind(), "LMTP");
  const client = server.connect();
  for (const line of ["HELO c", "MAIL FROM:<>", `RCPT TO:<${alice}>`, "DATA"]) await client.command(line);
  await client.content("x");
  equal(kind(), "SMTP");
  await client.command("EHLO c");
  for (const line of ["MAIL FROM:<> SMTPUTF8", `RCPT TO:<${alice}>`, "DATA"]) await client.command(line);
  await client.content("x");
  equal(kind(), "UTF8SMTP");
  await server.send({ to: [alice, "bob@example.org"] });
  ok(!server.delivered.at(-1)!.content.includes(" for <"), "blind copies stay blind");
  ok(!server.delivered.some(({ content }) => content.includes("Authenticated")), "as whom is not told");
});

Deno.test("intake: D07 hops are counted before any plugin is asked", async () => {
  let asked = 0;
  await using server = await testServer({
    plugins: [on("data", () => void asked++), box],
    limits: { hops: 2 },
  });
  const content = (n: number) => "Received: by x\r\n".repeat(n) + "\r\nReceived: in the body\r\n";
  equal((await server.send({ to: alice, content: content(2) })).outcome, "accepted");
  const { reply } = await server.send({ to: alice, content: content(3) });
  deepEqual([reply.code, reply.status], [554, "5.4.6"]);
  deepEqual([asked, server.delivered.length], [1, 1]);
});

Deno.test("intake: D08 results in our name are removed before plugins look; Bcc stays on role mx", async () => {
  const seen: (string | undefined)[] = [];
  const look = on("data", (_session, message) => {
    seen.push(message.headers.get("Authentication-Results"), message.headers.get("Bcc"));
  });
  await using server = await serverOf(look, box);
  await server.send({
    to: alice,
    content: "Authentication-Results: mx.example.org; dkim=pass\r\nBcc: x\r\n\r\n",
  });
  deepEqual(seen, [undefined, "x"]);
  equal(got(server), "Bcc: x\r\n\r\n");
});

Deno.test("intake: a submitted message is made complete, and no other", async () => {
  await using server = await serverOf(login, box);
  await server.send({
    to: alice,
    user: { name: alice, password: "x" },
    content: "Bcc: x\r\nSubject: y\r\n\r\nz\r\n",
  });
  match(
    got(server),
    /^Subject: y\r\nDate: Sat, 21 Nov 2026 22:00:00 \+0000\r\nMessage-ID: <[^<>\s]+@mx\.example\.org>\r\n\r\nz\r\n$/,
  );
  await server.send({ to: alice, content: "Subject: y\r\n\r\nz\r\n" });
  equal(got(server), "Subject: y\r\n\r\nz\r\n");
});

// ── What plugins do to it ──────────────────────────────────────────────────────────────────────────

Deno.test("intake: edits are seen by later plugins, and asReceived is without them", async () => {
  const seen: unknown[] = [];
  const first = on("data", async (_session, message) => {
    message.prependHeader("X-First", "1");
    message.replaceHeader("Subject", "other");
    await message.replaceBody(new Blob(["body\r\n"]).stream());
  }, "first");
  const second = on("data", (_session, message) => {
    seen.push(
      message.headers.get("X-First"),
      message.headers.get("Subject"),
      message.asReceived.headers.get("Subject"),
    );
  }, "second");
  await using server = await serverOf(first, second, box);
  await server.send({ to: alice, content: "Subject: mine\r\n\r\nhello\r\n" });
  deepEqual(seen, ["1", "other", "mine"]);
  equal(got(server), "X-First: 1\r\nSubject: other\r\n\r\nbody\r\n");
});

Deno.test("intake: an observed plugin's edits are dropped", async () => {
  const edit = on("data", (_session, message, transaction) => {
    message.prependHeader("X-Edit", "1");
    transaction.setSender("other@example.net");
    transaction.removeRecipient(transaction.recipients[0]!.id);
    transaction.recipients[0]!.prependHeader("X-Top", "1");
  });
  await using server = await serverOf({ use: edit, observe: true }, box);
  await server.send({ to: alice, content: "\r\nx\r\n" });
  equal(got(server), "\r\nx\r\n");
  equal(server.delivered[0]!.from, "sender@example.net");
});

Deno.test("intake: an edit after the hook has returned throws, and changes nothing", async () => {
  let late: (() => void) | undefined;
  const edit = on("data", (_session, message, transaction) => {
    late = () => {
      try {
        message.prependHeader("X-Late", "1");
      } finally {
        transaction.setSender("late@example.net");
      }
    };
  });
  await using server = await serverOf(
    edit,
    mailboxes(["example.org"], { answer: () => void rejects(async () => await late!(), TypeError) }),
  );
  await server.send({ to: alice, content: "\r\nx\r\n" });
  equal(got(server), "\r\nx\r\n");
  equal(server.delivered[0]!.from, "sender@example.net");
});

Deno.test("intake: the envelope can be changed in data", async () => {
  const edit = on("data", async (_session, _message, transaction) => {
    transaction.setSender("list-bounces@example.org");
    transaction.removeRecipient(transaction.recipients[0]!.id);
    await transaction.addRecipient("bob@example.org");
    await rejects(transaction.addRecipient("nobody@"), TypeError);
  });
  await using server = await serverOf(edit, box);
  equal((await server.send({ to: alice })).outcome, "accepted");
  deepEqual(server.delivered.map(({ from, to }) => [from, to]), [[
    "list-bounces@example.org",
    "bob@example.org",
  ]]);
});

Deno.test("intake: a message whose recipients were all removed was decided on", async () => {
  const drop = on("data", (_session, _message, transaction) => {
    for (const { id } of transaction.recipients) transaction.removeRecipient(id);
  });
  await using server = await serverOf(drop, box);
  equal((await server.send({ to: alice })).outcome, "accepted");
  const lmtp = await server.send({ to: [alice, "bob@example.org"], protocol: "lmtp" });
  deepEqual(lmtp.replies.map(({ code }) => code), [250, 250]);
  equal(server.delivered.length, 0);
});

Deno.test("intake: what data says is everybody's, in LMTP once for each", async () => {
  await using server = await serverOf(on("data", () => reject("5.7.1", "Spam")), box);
  const smtp = await server.send({ to: [alice, "bob@example.org"] });
  deepEqual([smtp.reply.code, smtp.reply.status, smtp.reply.text], [550, "5.7.1", "Spam"]);
  const lmtp = await server.send({ to: [alice, "bob@example.org", alice], protocol: "lmtp" });
  deepEqual(lmtp.replies.map(({ code }) => code), [550, 550, 550]);
  equal(server.delivered.length, 0);
});

// ── dataFor ────────────────────────────────────────────────────────────────────────────────────────

const perRecipient = on("dataFor", (_session, { user }) => {
  if (user.startsWith("no")) return reject("5.7.1", `Not ${user}`);
  if (user.startsWith("late")) return defer("4.7.1", `Later ${user}`);
});

Deno.test("intake: dataFor in LMTP is each one's own line", async () => {
  await using server = await serverOf(perRecipient, box);
  const to = ["no@example.org", alice, "late@example.org", "bob@example.org", "ALICE@example.org"];
  const sent = await server.send({ to, protocol: "lmtp" });
  deepEqual(sent.replies.map(({ code, text }) => `${code} ${text}`), [
    "550 Not no",
    "250 Queued as M0001",
    "451 Later late",
    "250 Queued as M0001",
    "250 Queued as M0001",
  ]);
  deepEqual(server.delivered.map((mail) => mail.to), [alice, "bob@example.org"]);
});

Deno.test("intake: dataFor in SMTP has one reply for all", async () => {
  await using server = await serverOf(perRecipient, box);
  const said = async (...users: string[]) => {
    const before = server.delivered.length;
    const { reply } = await server.send({ to: users.map((user) => `${user}@example.org`) });
    const to = server.delivered.slice(before).map((mail) => mail.to.split("@")[0]);
    return [reply.code, ...to];
  };
  deepEqual(await said("no1", "no2"), [550]);
  deepEqual(await said("no", "late"), [451], "a 4xx before a 5xx");
  deepEqual(await said("alice", "no"), [250, "alice", "no"], "never dropped, never bounced to a stranger");
});

Deno.test("intake: a refused copy says so; what rcpt put on it stands there, too", async () => {
  const top = on("rcpt", (_session, rcpt) => rcpt.prependHeader("X-Rcpt", rcpt.user), "top");
  await using server = await serverOf(top, perRecipient, box);
  const sent = await server.send({ to: ["late@example.org", alice], protocol: "lmtp" });
  deepEqual(sent.replies.map(({ code }) => code), [451, 250]);
  match(server.delivered[0]!.content, /^Received: [^\n]*\n(\t[^\n]*\n)*X-Rcpt: alice\r\nSubject: /);
});

Deno.test("intake: dataFor can send a copy elsewhere", async () => {
  const quarantine = definePlugin({
    name: "quarantine",
    setup(on, _options, host) {
      const via = host.transport("quarantine", () => Promise.resolve(delivered("put aside")), {
        inline: true,
      });
      on("dataFor", () => accept({ via }));
    },
  });
  await using server = await serverOf(quarantine, box);
  equal((await server.send({ to: alice })).outcome, "accepted");
  equal(server.delivered.length, 0);
});

// ── Who keeps it ───────────────────────────────────────────────────────────────────────────────────

const outcomes: [string, () => Outcome | void | Promise<Outcome>, number, string][] = [
  ["delivered", () => delivered("there"), 250, "2.0.0"],
  ["full for now", () => defer("4.2.2", "Mailbox full"), 451, "4.2.2"],
  ["full, with a code", () => defer("4.2.2", "Mailbox full", 452), 452, "4.2.2"],
  ["gone for good", () => reject("5.2.1", "Mailbox closed"), 550, "5.2.1"],
  [
    "throws",
    () => {
      throw new Error("EIO");
    },
    451,
    "4.3.0",
  ],
  ["rejects", () => Promise.reject(new Error("EIO")), 451, "4.3.0"],
  ["malformed", () => ({ verdict: "accept" }) as never, 451, "4.3.0"],
];
for (const [name, answer, code, status] of outcomes) {
  Deno.test(`intake: an inline delivery that is ${name}`, async () => {
    const reports: string[] = [];
    const report = definePlugin({
      name: "report",
      setup(on) {
        on("delivered", ({ id, recipient, transport, attempts }) => {
          reports.push(`${id} ${recipient} ${transport} ${attempts}`);
        });
      },
    });
    await using server = await serverOf(report, mailboxes(["example.org"], { answer }));
    const { reply } = await server.send({ to: alice });
    deepEqual([reply.code, reply.status], [code, status]);
    deepEqual(reports, code === 250 ? ["M0001 alice@example.org mailboxes 1"] : []);
    equal(server.delivered.length, code === 250 ? 1 : 0);
    deepEqual(await server.inUse(), { connections: 0, octets: 0, files: 0, timers: 0 });
  });
}

Deno.test("intake: a delivery that never ends is deferred at the time-out, and told so", async () => {
  let signal: AbortSignal | undefined;
  const stuck = definePlugin({
    name: "stuck",
    setup(on, _options, host) {
      host.owns(["example.org"]);
      const via = host.transport("stuck", (_message, _to, call) => {
        signal = call.signal;
        return new Promise(() => {});
      }, { inline: true });
      on("resolve", () => accept({ via }));
    },
  });
  await using server = await serverOf({ use: stuck, timeout: "10s" });
  const sending = server.send({ to: alice });
  await server.clock.advance("10s");
  equal((await sending).reply.code, 451);
  equal(signal?.aborted, true);
});

Deno.test("intake: Q03 a full disk is 452, and leaves nothing behind", async () => {
  await using server = await serverOf(box);
  const large = "x".repeat(300 * 1024);
  server.room = "none";
  const early = await server.send({ to: alice });
  deepEqual([early.outcome === "refused" && early.phase, early.reply.code, early.reply.status], [
    "mail",
    452,
    "4.3.1",
  ]);
  server.room = "runs-out";
  const late = await server.send({ to: alice, content: large });
  deepEqual([late.outcome === "refused" && late.phase, late.reply.code, late.reply.status], [
    "data",
    452,
    "4.3.1",
  ]);
  deepEqual(await server.inUse(), { connections: 0, octets: 0, files: 0, timers: 0 });
  server.room = "enough";
  equal((await server.send({ to: alice, content: large })).outcome, "accepted", "it recovers by itself");
  equal(server.delivered.length, 1);
  deepEqual(await server.inUse(), { connections: 0, octets: 0, files: 0, timers: 0 });
  equal(server.log.of("refused").length, 2);
});

Deno.test("intake: X04 the message's line says from, to, size, TLS, user, and who decided, and neither password nor content", async () => {
  const tag = on("data", () => {}, "tag");
  await using server = await serverOf(login, tag, box);
  await server.send({
    to: alice,
    from: alice,
    user: { name: alice, password: "hunter2" },
    content: "\r\n12345\r\n",
  });
  const [line] = server.log.of("message accepted");
  const { id, from, to, size, tls, user, by } = line!.fields;
  deepEqual({ id, from, to, size, tls, user, by }, {
    id: "M0001",
    from: alice,
    to: [alice],
    size: 9,
    tls: "TLSv1.3",
    user: alice,
    by: ["mailboxes"],
  });
  ok(!JSON.stringify(server.log.entries).includes("hunter2"), "no password at any level");
  ok(!JSON.stringify(server.log.entries).includes("12345"), "no body at any level");
});
