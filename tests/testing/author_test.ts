/** What authors test of their plugins, written as they would: each of these is a plugin somebody runs somewhere. */
import { deepStrictEqual as deepEqual, match, ok, rejects, strictEqual as equal } from "node:assert/strict";
import { join } from "node:path";
import fc from "fast-check";
import {
  accept,
  defer,
  definePlugin,
  delivered,
  disconnect,
  duration,
  reject,
  transport,
  z,
} from "postrider";
import { logins, mailboxes, testServer } from "postrider/testing";

const [alice, bob] = ["alice@example.org", "bob@elsewhere.example"];
const box = mailboxes(["example.org"]);

Deno.test("author: who refused, and what each plugin said", async () => {
  const tagger = definePlugin({ name: "tagger", setup: (on) => on("rcpt", () => accept()) });
  const blocklist = definePlugin({
    name: "blocklist",
    setup(on) {
      on("rcpt", (_session, _recipient, { sender }) => {
        if (sender.domain === "spam.example") return reject("5.7.1", "Not from you");
      });
    },
  });
  await using server = await testServer({ plugins: [tagger, blocklist, box] });
  const sent = await server.send({ from: "a@spam.example", to: alice });
  deepEqual(sent.said, [
    { plugin: "tagger", hook: "rcpt", verdict: accept() },
    { plugin: "blocklist", hook: "rcpt", verdict: reject("5.7.1", "Not from you") },
  ]);
  ok(sent.outcome === "refused");
  equal(
    `${sent.by} at ${sent.phase}: ${sent.reply.code} ${sent.reply.text}`,
    "blocklist at rcpt: 550 Not from you",
  );
  const relayed = await server.send({ to: "nobody@nowhere.example", from: "" });
  equal(relayed.outcome, "accepted", "tagger vouches for anything");
});

Deno.test("author: what an observed plugin would have said is marked, and decides nothing", async () => {
  const strict = definePlugin({ name: "strict", setup: (on) => on("rcpt", () => reject("5.7.1", "Never")) });
  await using server = await testServer({ plugins: [{ use: strict, observe: true }, box] });
  const sent = await server.send({ to: alice });
  equal(sent.outcome, "accepted");
  deepEqual(sent.said.filter(({ hook }) => hook === "rcpt"), [
    { plugin: "strict", hook: "rcpt", verdict: reject("5.7.1", "Never"), observed: true },
  ]);
});

Deno.test("author: several messages at once are told apart", async () => {
  const slow = definePlugin({
    name: "slow",
    setup(on, _options, { clock }) {
      on("rcpt", async (_session, { user }) => {
        await clock.sleep(user === "first" ? 2000 : 1000);
        return defer("4.7.1", user);
      });
    },
  });
  await using server = await testServer({ plugins: [slow, box] });
  const sending = ["first", "second"].map((user) => server.send({ to: `${user}@example.org` }));
  await server.clock.advance("2s");
  const said = (await Promise.all(sending)).map((sent) => sent.said);
  deepEqual(
    said,
    ["first", "second"].map((user) => [{ plugin: "slow", hook: "rcpt", verdict: defer("4.7.1", user) }]),
  );
});

Deno.test("author: a DNS block list, and what becomes of mail while it can't be asked", async () => {
  const dnsbl = definePlugin({
    name: "dnsbl",
    options: z.object({ zone: z.string() }),
    setup(on, { zone }, { dns }) {
      on("rcpt", async ({ remote }, _recipient, _transaction, { signal }) => {
        const name = `${remote.address.split(".").reverse().join(".")}.${zone}`;
        if ((await dns.a(name, signal)).length > 0) return reject("5.7.1", `Listed by ${zone}`);
      });
    },
  });
  await using server = await testServer({
    plugins: [[dnsbl, { zone: "bl.example" }], box],
    dns: { "7.100.51.198.bl.example": { A: ["127.0.0.2"] }, "8.100.51.198.bl.example": "timeout" },
  });
  equal((await server.send({ to: alice, ip: "198.51.100.7" })).reply.text, "Listed by bl.example");
  equal((await server.send({ to: alice, ip: "198.51.100.9" })).outcome, "accepted");
  const unsure = await server.send({ to: alice, ip: "198.51.100.8" });
  equal(unsure.reply.code, 451);
  const [said] = unsure.said;
  ok(said && "error" in said, "what the plugin threw is at hand, not only in the log");
  match(said.error, /8\.100\.51\.198\.bl\.example/);
});

Deno.test("author: a message from a file, and what became of its header and text", async () => {
  const attachments = definePlugin({
    name: "attachments",
    setup(on) {
      on("data", async (_session, message) => {
        const names = /filename="([^"]*)"/.exec(new TextDecoder().decode(await message.bytes()));
        message.prependHeader("X-Attachment", names?.[1] ?? "none");
      });
    },
  });
  await using server = await testServer({ plugins: [attachments, box] });
  await server.send({ to: alice, content: new URL("invoice.eml", import.meta.url) });
  await server.send({
    to: alice,
    headers: { Subject: "No attachment", "X-Tag": ["a", "b"] },
    text: "Nothing.\n",
  });
  const [withOne, without] = server.delivered;
  equal(withOne?.headers.get("x-attachment"), "invoice.exe");
  equal(withOne?.headers.get("Subject"), "=?utf-8?Q?Rechnung_f=C3=BCr_November?=");
  match(withOne?.text ?? "", /^--b1\r\n/);
  ok(!withOne?.content.replaceAll("\r\n", "").includes("\n"), "lines of a file end as SMTP wants it");
  deepEqual(without?.headers.all("X-Tag"), ["a", "b"]);
  equal(without?.text, "Nothing.\r\n");
  await rejects(
    server.send({ to: alice, content: new URL("missing.eml", import.meta.url) }),
    Deno.errors.NotFound,
  );
  await rejects(server.send({ to: alice, content: "a: b\n\n", text: "c" }), TypeError);
});

Deno.test("author: marks are put on top of a file's header", async () => {
  await using server = await testServer({ plugins: [box] });
  await server.send({
    to: alice,
    headers: { "X-Spam": "yes" },
    content: new URL("invoice.eml", import.meta.url),
  });
  const names = [...server.delivered[0]!.headers].map(([name]) => name);
  deepEqual(names.slice(0, 3), ["Received", "X-Spam", "Received"]);
});

Deno.test("author: outgoing mail of a user who logs in, with a footer", async () => {
  const footer = definePlugin({
    name: "footer",
    setup(on) {
      on("data", async (session, message) => {
        if (!session.user) return;
        const text = new TextDecoder().decode(await message.bytes());
        await message.replaceBody(`${text.slice(text.indexOf("\r\n\r\n") + 4)}-- \nExample Ltd.\n`);
      });
    },
  });
  await using server = await testServer({ plugins: [logins([alice]), footer, box] });
  await server.send({ user: alice, from: alice, to: bob, text: "Hello.\n" });
  equal(server.sent[0]?.text, "Hello.\r\n-- \r\nExample Ltd.\r\n");
  equal((await server.send({ to: bob })).reply.code, 550, "strangers don't relay");
  const stranger = await server.send({ user: "eve@example.org", to: bob });
  ok(stranger.outcome === "refused");
  deepEqual([stranger.phase, stranger.by, stranger.reply.code], ["auth", "core", 535]);
});

Deno.test("author: four days of a full mailbox, to the bounce", async () => {
  await using server = await testServer({
    plugins: [logins(), box],
    outbound: { giveUpAfter: "4d", delayNoticeAfter: "4h" },
    smtp: () => defer("4.2.2", "Mailbox full"),
  });
  await server.send({ user: alice, from: alice, to: bob, headers: { "Message-ID": "<1@example.org>" } });
  await server.clock.advance("97h");
  deepEqual(
    server.delivered.map(({ from, to }) => [from, to]),
    [["", alice], ["", alice]],
    "a notice, and the end",
  );
  match(server.delivered[1]!.headers.get("Content-Type") ?? "", /^multipart\/report/);
  match(server.delivered[1]!.text, /452|4\.2\.2 Mailbox full/);
  deepEqual(await server.queue(), []);
});

Deno.test("author: a webhook that is down is asked again, one message of many stays", async () => {
  let down = true;
  const hook = definePlugin({
    name: "hook",
    setup(on, _options, host) {
      const via = host.transport("hook", async (message) => {
        await Promise.resolve();
        if (down && message.headers.get("Subject") === "bad") throw new Error("connection refused");
        return delivered("HTTP 200");
      });
      on("resolve", ({ domain }) => domain === "hook.example" ? accept({ via }) : undefined);
    },
  });
  await using server = await testServer({ plugins: [hook, box] });
  for (const Subject of ["good", "bad"]) await server.send({ to: "in@hook.example", headers: { Subject } });
  const [waiting, ...others] = await server.queue();
  deepEqual([waiting?.id, waiting?.recipients[0]?.attempts, others.length], ["M0002", 1, 0]);
  down = false;
  await server.clock.advance("1m");
  deepEqual(await server.queue(), []);
});

Deno.test("author: a quota fails closed when its store does, and waits no longer than it may", async () => {
  const quota = definePlugin({
    name: "quota",
    setup(on, _options, { store }) {
      on("mail", async (session) => {
        const count = await store.increment(session.remote.network, 1, { ttl: "1h" });
        if (count > 2) return disconnect("4.7.0", "Enough for this hour");
      });
    },
  });
  await using server = await testServer({ plugins: [{ use: quota, timeout: "10s" }, box] });
  server.stores = "fail";
  equal((await server.send({ to: alice })).reply.code, 451);
  server.stores = "hang";
  const hanging = server.send({ to: alice });
  await server.clock.advance("10s");
  const [late] = (await hanging).said;
  ok(late && "error" in late);
  match(late.error, /no answer within 10000 ms/);
  server.stores = "work";
  const codes = [];
  for (let i = 0; i < 2; i++) codes.push((await server.send({ to: alice })).reply.code);
  deepEqual(codes, [250, 421], "what was asked of the store before is counted once it works again");
  await server.clock.advance("1h");
  equal((await server.send({ to: alice })).outcome, "accepted");
});

Deno.test("author: mail is archived by another plugin's transport, in a folder of the plugin's own", async () => {
  const archive = definePlugin({
    name: "archive",
    setup(_on, _options, host) {
      host.transport("archive", async (message, _to, { signal }) => {
        const bytes = await message.bytes();
        signal.throwIfAborted();
        await Deno.writeFile(join(host.state, `${message.id}.eml`), bytes);
        return delivered();
      });
      host.log.info("ready", { folder: host.state });
    },
  });
  const router = definePlugin({
    name: "router",
    options: z.object({ via: transport("archive") }),
    setup(on, { via }) {
      on(
        "resolve",
        ({ user, domain }) => user === "archive" && domain === "example.org" ? accept({ via }) : undefined,
      );
    },
  });
  let folder;
  {
    await using server = await testServer({ plugins: [archive, router, box] });
    await server.send({ to: "archive@example.org" });
    await server.settled();
    folder = String(server.log.of("ready")[0]?.fields.folder);
    deepEqual((await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name), ["M0001.eml"]);
  }
  await rejects(Deno.stat(folder), Deno.errors.NotFound);
});

Deno.test("author: an auto-reply answers once, and never an auto-reply", async () => {
  const vacation = definePlugin({
    name: "vacation",
    options: z.object({ every: duration("7d") }),
    setup(on, _options, { store, submit }) {
      on("dataFor", async (session, { address }, message, { sender }) => {
        if (
          session.protocol === "internal" || sender.address === "" || message.headers.get("Auto-Submitted")
        ) return;
        const told = await store.increment(`${address} ${sender}`, 1, { ttl: "7d" });
        if (told > 1) return;
        await submit({
          sender: "",
          recipients: [sender.address],
          content: `Subject: Away\nAuto-Submitted: auto-replied\n\nI am away.\n`,
        });
      });
    },
  });
  await using server = await testServer({ plugins: [vacation, box] });
  for (let i = 0; i < 2; i++) await server.send({ from: bob, to: alice });
  await server.send({
    from: "list@elsewhere.example",
    to: alice,
    headers: { "Auto-Submitted": "auto-generated" },
  });
  await server.send({ from: "", to: alice });
  deepEqual(server.sent.map(({ from, to, headers }) => [from, to[0], headers.get("Subject")]), [[
    "",
    bob,
    "Away",
  ]]);
  await server.clock.advance("7d");
  await server.send({ from: bob, to: alice });
  equal(server.sent.length, 2);
});

Deno.test("author: a client that goes at any octet leaves no half message", async () => {
  const seen = definePlugin({
    name: "seen",
    setup(on, _options, host) {
      on("disconnect", ({ reason, messages }) => host.log.info("over", { reason, messages }));
    },
  });
  await using server = await testServer({ plugins: [seen, box] });
  const content = "Subject: whole\r\n\r\nFrom the first octet to the last.\r\n";
  await server.send({ to: alice, content });
  const whole = server.delivered[0]!.text;
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 300 }), async (cut) => {
      const before = server.delivered.length;
      const sent = await server.send({ to: alice, content, cut });
      const more = server.delivered.slice(before);
      ok(more.length <= 1 && more.every(({ text }) => text === whole), `cut at ${cut}`);
      if (sent.outcome === "accepted") equal(more.length, 1);
    }),
    { numRuns: 60 },
  );
  const early = await server.send({ to: alice, content, cut: 40 });
  equal(early.outcome, "lost");
  deepEqual(server.log.of("over").at(-1)?.fields, { plugin: "seen", reason: "lost", messages: 0 });
});

Deno.test("author: the disk is full, and nothing is said to be kept", async () => {
  await using server = await testServer({ plugins: [logins(), box] });
  const mail = { user: alice, to: [bob, "carol@elsewhere.example"] };
  server.room = "none";
  const early = await server.send(mail);
  ok(early.outcome === "refused");
  deepEqual([early.phase, early.by, early.reply.code], ["mail", "core", 452]);
  server.room = "runs-out";
  equal((await server.send(mail)).reply.code, 452);
  server.room = "enough";
  equal((await server.send(mail)).outcome, "accepted");
  equal(server.sent.length, 1);
});

Deno.test("author: a thousand messages through a chain of ten plugins take no time to speak of", async () => {
  const looks = Array.from({ length: 10 }, (_, i) =>
    definePlugin({
      name: `look-${i}`,
      setup(on) {
        on("rcpt", async () => {});
        on("data", (_session, message) => {
          if (message.headers.get("X-Bad")) return reject("5.7.1", "Bad");
        });
      },
    }));
  await using server = await testServer({ plugins: [...looks, box] });
  for (let i = 0; i < 1000; i++) await server.send({ to: alice });
  equal(server.delivered.length, 1000);
});
