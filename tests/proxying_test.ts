/** Proxy mode through the whole chain: what the client hears is what the next hop says, and nothing is in the queue. */
import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import {
  accept,
  defer,
  definePlugin,
  delivered,
  type Hop,
  type ProxyRoute,
  reject,
} from "../server/plugin.ts";
import { Binding } from "../server/proxying.ts";
import type { Answer, Passage } from "../server/delivery/passing.ts";
import { ClientSession, Envelope, ownMailParams } from "../server/envelope.ts";
import type { Instance } from "../server/generation.ts";
import { parseAddress } from "../server/smtp/address.ts";
import {
  FakeClock,
  mailboxes,
  memoryLog,
  type NextHopAnswer,
  type TestPlugin,
  type TestReply,
  testServer,
} from "../server/testing/mod.ts";

const inside: Hop = { host: "inside.test" };

/** Proxies `*.proxied.test`, each label to a host of its own name. */
const proxy = (route: ProxyRoute = ({ domain }) => accept({ hops: [{ host: domain.split(".")[0]! }] })) =>
  definePlugin({
    name: "gate",
    setup(on, _options, host) {
      const via = host.proxy("gate", route, { xforward: true });
      on("resolve", ({ domain }) => domain.endsWith(".proxied.test") ? accept({ via }) : undefined);
    },
  });

const there = (...more: TestPlugin[]) => [...more, proxy(), mailboxes(["local.test"])];
const a = "a@in.proxied.test", b = "b@in.proxied.test", other = "c@out.proxied.test", local = "d@local.test";

/** A reply as it was on the wire. */
const words = ({ code, status, text }: TestReply) => `${code} ${status} ${text}`;
/** The codes and statuses of these recipients' replies. */
const short = (recipients: readonly { reply: TestReply }[]) =>
  recipients.map(({ reply: { code, status } }) => `${code} ${status}`);

Deno.test("proxy: the next hop's words at RCPT and at the dot are the client's", async () => {
  const nextHop: NextHopAnswer = ({ to }) =>
    to === b ? reject("5.1.1", "<b>: no such user", 550) : delivered("2.1.5 Fine");
  await using server = await testServer({
    plugins: there(),
    nextHop,
    smtp: () => delivered("2.0.0 Ok: queued as 7"),
  });
  const sent = await server.send({ to: [a, b] });
  deepEqual(sent.recipients.map(({ reply }) => words(reply)), [
    "250 2.1.5 Fine",
    "550 5.1.1 <b>: no such user",
  ]);
  equal(words(sent.reply), "250 2.0.0 Ok: queued as 7");
  deepEqual(server.sent.map(({ to, hops }) => [to, hops]), [[[a], [{ host: "in" }]]]);
  match(server.sent[0]!.content, /^Received: from client\.example\.net /);
  equal((await server.queue()).length, 0);
  for (
    const [said, code] of [[reject("5.7.1", "Spam", 554), "554 5.7.1 Spam"], [
      defer("4.3.1", "Full", 452),
      "452 4.3.1 Full",
    ]] as const
  ) {
    server.smtp = () => said;
    const refused = await server.send({ to: a });
    equal(refused.outcome, "refused");
    equal(words(refused.reply), code);
  }
  equal(server.sent.length, 1);
  equal((await server.queue()).length, 0);
});

Deno.test("proxy: a transaction goes one way: whoever goes elsewhere gets 452 4.5.3", async () => {
  await using server = await testServer({ plugins: there() });
  const mixed = await server.send({ to: [a, other, local, b] });
  deepEqual(short(mixed.recipients), ["250 2.0.0", "452 4.5.3", "452 4.5.3", "250 2.0.0"]);
  deepEqual(server.sent.map(({ to }) => to), [[a, b]]);
  const localFirst = await server.send({ to: [local, a] });
  deepEqual(short(localFirst.recipients), ["250 2.1.5", "452 4.5.3"]);
  equal(server.delivered.length, 1);
  // Whom the next hop refuses binds nothing.
  server.nextHop = ({ to }) => to === a ? reject("5.1.1", "No") : undefined;
  const rebound = await server.send({ to: [a, other, local] });
  deepEqual(short(rebound.recipients), ["550 5.1.1", "250 2.0.0", "452 4.5.3"]);
});

Deno.test("proxy: nobody answers: 451 without a word of our network, and others may go elsewhere", async () => {
  await using server = await testServer({ plugins: there(), nextHop: () => "unreachable" });
  const sent = await server.send({ to: [a, local] });
  deepEqual(sent.recipients.map(({ reply }) => words(reply)), [
    "451 4.4.1 The next server does not answer now, please try again later",
    "250 2.1.5 Recipient OK",
  ]);
  equal(server.log.of("not passed on")[0]?.fields["error"], "No connection");
});

Deno.test("proxy: lost before the reply to the dot is 451, never 250, and nothing is kept", async () => {
  await using server = await testServer({ plugins: there(), smtp: () => "unreachable" });
  const sent = await server.send({ to: a });
  equal(sent.reply.code, 451);
  equal((await server.queue()).length, 0);
});

Deno.test("proxy: data gates come first, and what they edit is what the next hop gets", async () => {
  let said: "reject" | undefined = "reject";
  const gate = definePlugin({
    name: "gate-keeper",
    setup: (on) =>
      on("data", (_session, message, transaction) => {
        if (said === "reject") return reject("5.7.1", "Not this");
        message.replaceHeader("Subject", "edited");
        transaction.setSender("srs@example.net");
      }),
  });
  await using server = await testServer({ plugins: there(gate) });
  equal(words((await server.send({ to: a })).reply), "550 5.7.1 Not this");
  equal(server.sent.length, 0);
  said = undefined;
  await server.send({ to: a });
  equal(server.sent[0]!.headers.get("subject"), "edited");
  equal(server.sent[0]!.from, "srs@example.net");
});

Deno.test("proxy: LMTP has one reply for each recipient, repeats included", async () => {
  await using server = await testServer({ plugins: there(), smtp: () => reject("5.7.1", "Spam", 554) });
  const sent = await server.send({ to: [a, b, a], protocol: "lmtp" });
  deepEqual(sent.replies.map(words), Array(3).fill("554 5.7.1 Spam"));
  server.smtp = () => {};
  await server.send({ to: [a, b, a], protocol: "lmtp" });
  deepEqual(server.sent.map(({ to }) => to), [[a, b]]);
});

const one = (mode: "refuse" | "defer" | "move" | "header") =>
  definePlugin({
    name: "for-b",
    setup(on, _options, host) {
      const aside = host.transport("aside", () => Promise.resolve(delivered("aside")));
      on("dataFor", (_session, recipient) => {
        if (recipient.address !== b) return;
        if (mode === "refuse") return reject("5.7.1", "Not for b");
        if (mode === "defer") return defer("4.7.1", "Not now for b");
        if (mode === "move") return accept({ via: aside });
        recipient.prependHeader("X-For", "b");
      });
    },
  });

Deno.test("proxy: a copy unlike the others goes by the queue, and only when the next hop has taken the rest", async (t) => {
  const table = {
    refuse: { via: "gate", header: /^X-Refused: 5\.7\.1 for-b\r$/m },
    header: { via: "gate", header: /^X-For: b\r$/m },
    defer: { via: "gate", header: /^Received:/ },
    move: { via: "aside", header: undefined },
  } as const;
  for (const [mode, { via, header }] of Object.entries(table)) {
    await t.step(mode, async () => {
      await using server = await testServer({ plugins: there(one(mode as keyof typeof table)) });
      const sent = await server.send({ to: [a, b] });
      equal(sent.outcome, "accepted");
      await server.settled();
      await server.clock.advance("20m");
      if (header) {
        deepEqual(server.sent.map(({ to }) => to), [[a], [b]]);
        match(server.sent[1]!.content, header);
      }
      const done = server.log.of("delivered").filter(({ fields }) => fields["transport"] === via);
      deepEqual(done.map(({ fields }) => fields["to"]), [b]);
      ok(!/X-Refused|X-For/.test(server.sent[0]!.content));
      equal((await server.queue()).length, 0);

      server.smtp = ({ to }) => to.includes(a) ? reject("5.7.1", "Spam", 554) : undefined;
      const count = server.sent.length;
      equal(words((await server.send({ to: [a, b] })).reply), "554 5.7.1 Spam");
      await server.clock.advance("2h");
      equal(server.sent.length, count);
      equal((await server.queue()).length, 0);
    });
  }
});

Deno.test("proxy: over LMTP who is refused behind the dot hears it, and the next hop gets the others' only", async () => {
  await using server = await testServer({ plugins: there(one("refuse")) });
  const sent = await server.send({ to: [a, b], protocol: "lmtp" });
  deepEqual(sent.replies.map(({ code }) => code), [250, 550]);
  deepEqual(server.sent.map(({ to }) => to), [[a]]);
  equal((await server.queue()).length, 0);
});

Deno.test("proxy: a report of success that the next hop won't make is made by the queue: N02", async () => {
  const at = parseAddress(a)!;
  const envelope = new Envelope(
    "1",
    parseAddress("s@example.net")!,
    ownMailParams(false),
    () => Promise.resolve([]),
  );
  const session = new ClientSession("1", "mx", "smtp", {
    address: "192.0.2.1",
    network: "192.0.2.0/24",
    port: 1,
  });
  for (const offersDsn of [true, false]) {
    const yes: Answer = { kind: "said", reply: { code: 250, lines: ["2.1.5 Ok"] } };
    const passage: Passage = {
      host: "there",
      tls: undefined,
      offersDsn,
      released: Promise.resolve(),
      rcpt: () => Promise.resolve(yes),
      send: () => Promise.resolve(yes),
      release: () => Promise.resolve(),
    };
    const binding = new Binding(session, envelope, {
      clock: new FakeClock(),
      log: memoryLog(),
      gone: new AbortController().signal,
      passing: { keyOf: () => "", open: () => Promise.resolve({ kind: "open", passage, answer: yes }) },
    });
    const hopsOf = () => accept({ hops: [inside] });
    const by = { name: "gate", timeout: 1000, onError: "defer" } as Instance;
    const transport = { name: "gate", by, hopsOf, route: hopsOf, proxy: { xclient: false, xforward: false } };
    for (const notify of [["SUCCESS"], ["FAILURE"], undefined] as const) {
      const recipient = envelope.candidate(at, {
        kind: "params",
        params: new Map(),
        ...(notify && { notify }),
      });
      recipient.finals = [{ address: at, via: "gate", by: "gate" }];
      equal((await binding.rcpt(recipient, recipient.finals[0]!, transport)).reply.code, 250);
      equal(binding.carries(recipient), offersDsn || notify?.[0] !== "SUCCESS", `${offersDsn} ${notify}`);
    }
  }
});

Deno.test("proxy: what the disk can't keep beside it is not passed on either", async () => {
  await using server = await testServer({ plugins: there(one("header")) });
  server.disk = "fails";
  equal((await server.send({ to: [a, b] })).reply.code, 451);
  equal(server.sent.length, 0);
});

Deno.test("proxy: a recipient that a plugin adds or removes", async () => {
  const changes = definePlugin({
    name: "changes",
    setup: (on) =>
      on("data", async (_session, _message, transaction) => {
        await transaction.addRecipient(local);
        transaction.removeRecipient(transaction.recipients[1]!.id);
      }),
  });
  await using server = await testServer({ plugins: there(changes) });
  equal((await server.send({ to: [a, b] })).outcome, "accepted");
  deepEqual(server.sent.map(({ to }) => to), [[a]]);
  deepEqual(server.delivered.map(({ to }) => to), [local]);
});

Deno.test("proxy: a `queue` plugin may take it instead", async () => {
  const takes = definePlugin({ name: "takes", setup: (on) => on("queue", () => accept({ id: "mine" })) });
  await using server = await testServer({ plugins: there(takes) });
  equal(words((await server.send({ to: a })).reply), "250 2.0.0 Queued as mine");
  equal(server.sent.length, 0);
});

Deno.test("proxy: mail of our own goes by the queue, and is tried again", async () => {
  await using server = await testServer({ plugins: there(), nextHop: () => reject("5.1.1", "never asked") });
  server.smtp = ({ attempt }) => attempt === 1 ? defer("4.2.0", "Later") : undefined;
  await server.submit({ sender: "", recipients: [a], content: "Subject: x\r\n\r\nx\r\n" });
  equal((await server.queue())[0]!.recipients[0]!.via, "gate");
  await server.clock.advance("2m");
  deepEqual(server.sent.map(({ to, hops }) => [to, hops]), [[[a], [{ host: "in" }]]]);
});

Deno.test("proxy: an alias with one target is passed on, with several it goes by the queue", async () => {
  const aliases = definePlugin({
    name: "al",
    setup: (on) =>
      on("resolve", ({ local: name, domain }) => {
        if (domain === "in.proxied.test" && name === "one") return accept({ to: [b] });
        if (domain === "in.proxied.test" && name === "two") return accept({ to: [b, local] });
      }),
  });
  await using server = await testServer({ plugins: there(aliases), nextHop: () => delivered("2.1.5 There") });
  const [first, second] = [
    await server.send({ to: "one@in.proxied.test" }),
    await server.send({ to: "two@in.proxied.test" }),
  ];
  equal(words(first.recipients[0]!.reply), "250 2.1.5 There");
  equal(words(second.recipients[0]!.reply), "250 2.1.5 Recipient OK");
  deepEqual(server.sent.map(({ to }) => to), [[b], [b]]);
  equal(server.delivered.length, 1);
});

Deno.test("proxy: a route that fails, is late, says nothing or speaks LMTP is a temporary refusal, by onError", async () => {
  const routes: [ProxyRoute, RegExp][] = [
    [() => {
      throw new Error("broken");
    }, /broken/],
    [() => new Promise(() => {}), /no outcome within/],
    [(() => undefined) as unknown as ProxyRoute, /not told where to/],
    [() => accept({ hops: [{ path: "/lmtp", protocol: "lmtp" }] }), /speaks SMTP/],
    [() => accept({ hops: [] }), /cannot accept/],
  ];
  for (const [route, why] of routes) {
    for (const [onError, code] of [["defer", 451], ["skip", 451], ["reject", 550]] as const) {
      await using server = await testServer({ plugins: [{ use: proxy(route), onError, timeout: "5s" }] });
      const sending = server.send({ to: a });
      await server.clock.advance("6s");
      equal((await sending).reply.code, code, `${why} ${onError}`);
      match(String(server.log.of("plugin failed")[0]?.fields["error"]), why);
    }
  }
  await using server = await testServer({ plugins: [proxy(() => defer("4.7.1", "Not yet"))] });
  equal(words((await server.send({ to: a })).reply), "451 4.7.1 Not yet");
});

Deno.test("proxy: a next hop that thinks too long is 451 after the entry's time-out", async () => {
  await using server = await testServer({
    plugins: [{ use: proxy(() => accept({ hops: [inside] })), timeout: "10s" }],
    nextHop: () => new Promise(() => {}),
  });
  const sending = server.send({ to: a });
  await server.clock.advance("11s");
  equal((await sending).reply.code, 451);
});

Deno.test("proxy: the next hop is told who the client is", async () => {
  const clients: unknown[] = [];
  await using server = await testServer({
    plugins: there(),
    nextHop: ({ client }) => void clients.push(client),
  });
  await server.send({ to: a, ip: "198.51.100.9" });
  deepEqual(clients, [{ address: "198.51.100.9", helo: "client.example.net", login: undefined }]);
});

Deno.test("proxy: `delivered` is told, with the transport and the next hop's words", async () => {
  const told: unknown[] = [];
  const listens = definePlugin({
    name: "listens",
    setup: (on) =>
      on(
        "delivered",
        ({ recipient, transport, reply }) => void told.push([`${recipient}`, transport, reply]),
      ),
  });
  await using server = await testServer({ plugins: there(listens), smtp: () => delivered("2.0.0 Kept") });
  await server.send({ to: a });
  deepEqual(told, [[a, "gate", "250 2.0.0 Kept"]]);
});

// ── `onward`: all that is nobody's here

const outward = definePlugin({
  name: "outward",
  setup(on, _options, host) {
    const onward = host.proxy("outward", () => accept({ hops: [inside] }));
    on("resolve", () => accept({ onward }));
  },
});
const vouches = definePlugin({
  name: "vouches",
  setup: (on) => on("rcpt", ({ remote }) => remote.address === "10.0.0.1" ? accept() : undefined),
});

Deno.test("onward: it claims nothing: strangers don't relay, mailboxes below are found, unknown ones aren't", async () => {
  await using server = await testServer({ plugins: [vouches, outward, mailboxes([local])] });
  equal(words((await server.send({ to: "x@elsewhere.test" })).reply).slice(0, 9), "550 5.7.1");
  equal((await server.send({ to: local })).outcome, "accepted");
  equal(words((await server.send({ to: "nobody@local.test" })).reply).slice(0, 9), "550 5.1.1");
  equal(server.sent.length, 0);
  equal((await server.send({ to: "x@elsewhere.test", ip: "10.0.0.1" })).outcome, "accepted");
  deepEqual(server.sent.map(({ to, hops }) => [to, hops]), [[["x@elsewhere.test"], [inside]]]);
  // Nobody waits for mail of our own: by the same way, from the queue.
  await server.submit({ sender: "", recipients: ["y@elsewhere.test"], content: "Subject: x\r\n\r\nx\r\n" });
  deepEqual(server.sent[1]!.hops, [inside]);
});

Deno.test("onward: the first such word counts, and a claim below it stands above it", async () => {
  const says = (name: string) =>
    definePlugin({
      name,
      setup(on, _options, host) {
        const onward = host.proxy(name, () => accept({ hops: [{ host: name }] }));
        on("resolve", () => accept({ onward }));
      },
    });
  await using server = await testServer({
    plugins: [vouches, says("one"), says("two"), mailboxes(["local.test"])],
  });
  await server.send({ to: "x@elsewhere.test", ip: "10.0.0.1" });
  deepEqual(server.sent[0]!.hops, [{ host: "one" }]);
  equal((await server.send({ to: local })).outcome, "accepted");
  equal(server.delivered.length, 1);
});

Deno.test("onward: whose mailbox it is can't be said: not lost to somebody else's server", async () => {
  const broken = definePlugin({
    name: "broken",
    setup: (on) => on("resolve", () => Promise.reject(new Error("down"))),
  });
  await using server = await testServer({
    plugins: [outward, { use: broken, onError: "skip" }, mailboxes([local])],
  });
  equal((await server.send({ to: "nobody@local.test" })).reply.code, 451);
});
