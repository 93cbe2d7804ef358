/** Plugins that are asked in the queue (`when: queued`): nothing is tried unasked, and what they say becomes of it. */
import { deepStrictEqual as deepEqual, match, ok, rejects, strictEqual as equal } from "node:assert/strict";
import {
  accept,
  defer,
  definePlugin,
  disconnect,
  fact,
  type Hooks,
  type Plugin,
  reject,
  type Session,
} from "../server/plugin.ts";
import { mailboxes, type TestPlugin, testServer } from "../server/testing/mod.ts";

const [alice, bob, carol] = ["alice@example.org", "bob@example.org", "carol@elsewhere.example"];
const box = mailboxes(["example.org"]);
const anywhere = definePlugin({ name: "anywhere", setup: (on) => on("rcpt", () => accept()) });

/** A scanner with these handlers. */
const scanner = (hooks: Partial<Pick<Hooks, "data" | "dataFor">>): Plugin =>
  definePlugin({
    name: "scanner",
    setup(on) {
      if (hooks.data) on("data", hooks.data);
      if (hooks.dataFor) on("dataFor", hooks.dataFor);
    },
  }) as Plugin;

const queued = (use: Plugin, more: Record<string, unknown> = {}): TestPlugin => ({
  use,
  when: "queued",
  ...more,
});

const open = (use: Plugin, more: Record<string, unknown> = {}, outbound = {}) =>
  testServer({ plugins: [anywhere, queued(use, more), box], outbound });

Deno.test("queued: the reply comes first, then the scanner, then the attempt; what it edits everybody gets, and it is asked once", async () => {
  const seen = Promise.withResolvers<void>();
  const go = Promise.withResolvers<void>();
  let asked = 0;
  await using server = await open(scanner({
    async data(_session, message) {
      asked++;
      seen.resolve();
      await go.promise;
      match(await new Response(message.stream()).text(), /^X-Arrived: yes\r\n/m);
      message.prependHeader("X-Scanned", "yes");
      message.removeHeader("X-Arrived");
    },
  }));
  const sent = await server.send({ to: [alice, bob, carol], headers: { "X-Arrived": "yes" } });
  equal(sent.outcome, "accepted");
  await seen.promise;
  equal(server.delivered.length, 0, "not before the scanner has spoken");
  go.resolve();
  await server.settled();
  deepEqual(server.delivered.map(({ to }) => to).sort(), [alice, bob]);
  equal(server.sent.length, 1);
  for (const content of [...server.delivered.map(({ content }) => content), server.sent[0]!.content]) {
    match(content, /^X-Scanned: yes\r$/m);
    match(content, /^(?:(?!X-Arrived)[^])*$/);
  }
  equal(asked, 1);
  equal((await server.queue()).length, 0);
});

Deno.test("queued: the scanner is told of the session what the queue knows", async () => {
  const sessions: Session[] = [];
  const tell = (session: Session) => void sessions.push(session);
  const scan = scanner({ data: tell });
  await using server = await testServer({
    plugins: [queued(scan), definePlugin({ name: "now", setup: (on) => on("data", tell) }), box],
    trustedNetworks: ["192.0.2.0/24"],
  });
  await server.send({ to: alice, helo: "client.example" });
  await server.settled();
  const plain = ({ id, role, protocol, remote, helo, trusted, tls, user }: Session) => ({
    ...{ id, role, protocol, remote, helo, trusted, tls, user },
  });
  deepEqual(plain(sessions[1]!), plain(sessions[0]!));
});

for (
  const [said, code] of [[reject("5.7.1", "Bad"), "5.7.1"], [disconnect("5.7.1", "Bad"), "5.7.1"]] as const
) {
  Deno.test(`queued: ${said.verdict}: nobody gets it, and the sender is told why`, async () => {
    await using server = await open(
      scanner({ data: ({ protocol }) => protocol === "internal" ? undefined : said }),
    );
    equal((await server.send({ from: bob, to: [alice, carol] })).outcome, "accepted");
    await server.settled();
    equal(server.sent.length, 0);
    equal(server.delivered.length, 1);
    const [report] = server.delivered;
    equal(report!.to, bob);
    match(report!.content, new RegExp(`^Status: ${code}\\r$`, "m"));
    match(report!.content, /Bad/);
    equal((await server.queue()).length, 0);
  });
}

Deno.test("queued: defer: tried again by the schedule, with its reason in the queue; the scanner is asked again, and let pass it goes", async () => {
  let verdict: ReturnType<typeof defer> | undefined = defer("4.7.1", "Not sure yet");
  let asked = 0;
  await using server = await open(scanner({ data: () => (asked++, verdict) }), {}, { retry: ["5m"] });
  await server.send({ to: [alice, bob] });
  await server.settled();
  const [waiting] = await server.queue();
  deepEqual(waiting!.recipients.map(({ state, reply, attempts }) => [state, reply, attempts]), [
    ["due", "4.7.1 Not sure yet", 1],
    ["due", "4.7.1 Not sure yet", 1],
  ]);
  equal(asked, 1, "once for all recipients");
  verdict = undefined;
  await server.clock.advance("6m");
  await server.settled();
  equal(asked, 2);
  equal(server.delivered.length, 2);
});

const failures: readonly (readonly [string, () => never | Promise<never>])[] = [
  ["throws", () => {
    throw new Error("broken");
  }],
  ["is late", () => new Promise<never>(() => {})],
];

for (const [how, data] of failures) {
  Deno.test(`queued: a scanner that ${how}: the mail waits as long as it takes, and is never given up nor delivered unscanned`, async () => {
    await using server = await open(scanner({ data }), { timeout: "10s" }, {
      retry: ["5m"],
      giveUpAfter: "1h",
    });
    await server.send({ to: alice });
    for (let i = 0; i < 40; i++) await server.clock.advance("6m");
    equal(server.delivered.length, 0);
    const [waiting] = await server.queue();
    equal(waiting!.recipients[0]!.reply, "4.3.0 The plugin scanner could not look at the message");
    equal(waiting!.recipients[0]!.attempts, 0);
    ok(server.log.of("plugin failed").length > 5, "it is asked again and again");
  });
}

Deno.test("queued: onError: skip lets mail pass that the scanner could not look at", async () => {
  const scan = scanner({
    data: () => {
      throw new Error("broken");
    },
  });
  await using server = await open(scan, { onError: "skip" });
  await server.send({ to: alice });
  await server.settled();
  equal(server.delivered.length, 1);
});

Deno.test("queued: an observed scanner changes nothing, and what it would have said is in the log", async () => {
  const scan = scanner({
    data: (_session, message) => (message.prependHeader("X-A", "b"), reject("5.7.1", "Bad")),
  });
  await using server = await open(scan, { observe: true });
  await server.send({ to: alice });
  await server.settled();
  ok(!server.delivered[0]!.content.includes("X-A"));
  equal(server.log.of("observed")[0]?.fields["verdict"], "reject 5.7.1 Bad");
});

Deno.test("queued: dataFor: one is refused, one waits, one gets another transport's copy with a field of its own", async () => {
  let later = true;
  const quarantine = definePlugin({
    name: "quarantine",
    setup(on, _options, host) {
      const via = host.transport("quarantine", (message) => {
        taken.push(message.headers.get("X-Why") ?? "");
        return Promise.resolve({ verdict: "delivered" as const, text: "kept" });
      });
      on("dataFor", ({ protocol }, recipient) => {
        if (protocol === "internal") return;
        if (recipient.user === "bad") return reject("5.7.1", "Not for you");
        if (recipient.user === "later" && later) return defer("4.7.1", "Wait");
        if (recipient.user !== "odd") return;
        recipient.prependHeader("X-Why", "odd");
        return accept({ via });
      });
    },
  });
  const taken: string[] = [];
  await using server = await testServer({
    plugins: [{ use: quarantine, when: "queued" }, box],
    outbound: { retry: ["5m"] },
  });
  const to = ["good", "bad", "later", "odd"].map((user) => `${user}@example.org`);
  equal((await server.send({ from: bob, to })).outcome, "accepted");
  await server.settled();
  deepEqual(server.delivered.map(({ to }) => to).sort(), [bob, "good@example.org"].sort());
  deepEqual(taken, ["odd"]);
  later = false;
  await server.clock.advance("6m");
  await server.settled();
  deepEqual(server.delivered.at(-1)!.to, "later@example.org");
  equal((await server.queue()).length, 0);
});

Deno.test("queued: a new body, another sender, a recipient less; and what is held waits for an operator", async () => {
  let hold = false;
  await using server = await open(scanner({
    async data(_session, message, transaction) {
      await message.replaceBody("new\n");
      transaction.setSender("other@example.net");
      transaction.removeRecipient(transaction.recipients.find(({ user }) => user === "bob")!.id);
      if (hold) transaction.hold("odd");
    },
  }));
  await server.send({ to: [alice, bob], text: "old\r\n" });
  await server.settled();
  deepEqual(server.delivered.map(({ to, from }) => [to, from]), [[alice, "other@example.net"]]);
  match(server.delivered[0]!.content, /\r\n\r\nnew\r\n$/);
  hold = true;
  await server.send({ to: [alice, bob] });
  await server.settled();
  equal(server.delivered.length, 1);
  equal((await server.queue())[0]?.held, "scanner: odd");
  equal((await server.inUse()).octets, 0);
});

Deno.test("queued: all recipients removed: it goes nowhere, and nobody is told", async () => {
  await using server = await open(scanner({
    data: (_session, _message, transaction) => {
      for (const { id } of transaction.recipients) transaction.removeRecipient(id);
    },
  }));
  equal((await server.send({ from: bob, to: [alice, carol] })).outcome, "accepted");
  await server.settled();
  deepEqual([server.delivered.length, server.sent.length, (await server.queue()).length], [0, 0, 0]);
});

Deno.test("queued: several are asked in their order, each sees what those before it did; roles count", async () => {
  const order: string[] = [];
  const one = (name: string) =>
    definePlugin({
      name,
      setup: (on) =>
        on("data", (_session, message) => {
          order.push(`${name} ${message.headers.get("X-By") ?? ""}`);
          message.replaceHeader("X-By", name);
        }),
    });
  await using server = await testServer({
    plugins: [
      { use: one("a"), when: "queued" },
      { use: one("b"), when: "queued", roles: ["submission"] },
      one("c"),
      { use: one("d"), when: "queued" },
      box,
    ],
  });
  await server.send({ to: alice });
  await server.settled();
  deepEqual(order, ["c ", "a c", "d a"]);
});

Deno.test("queued: a plugin that was taken out of the configuration isn't waited for; one that stays is asked though it stands elsewhere now", async () => {
  let verdict: ReturnType<typeof defer> | undefined = defer("4.7.1", "Wait");
  const scan = scanner({ data: () => verdict });
  await using server = await open(scan, {}, { retry: ["5m"] });
  await server.send({ to: alice });
  await server.settled();
  await server.reload([anywhere, scan, box]); // on arrival from now on
  await server.clock.advance("6m");
  await server.settled();
  equal(server.delivered.length, 0, "what it was kept for is asked all the same");
  verdict = undefined;
  await server.reload([anywhere, box]);
  await server.clock.advance("6m");
  await server.settled();
  equal(server.delivered.length, 1);
  equal(server.log.of("not looked at: the plugin is not in the configuration any more").length, 1);
});

Deno.test("queued: only so many messages are looked at at a time", async () => {
  let [now, most] = [0, 0];
  const go: (() => void)[] = [];
  await using server = await open(scanner({
    data: async () => {
      most = Math.max(most, ++now);
      await new Promise<void>((resolve) => go.push(resolve));
      now--;
    },
  }));
  for (let i = 0; i < 30; i++) await server.send({ to: alice });
  equal(most, 20);
  while (server.delivered.length < 30) {
    go.shift()?.();
    await new Promise((resolve) => setImmediate(resolve));
  }
  equal(most, 20);
});

const refused: readonly (readonly [string, TestPlugin[], RegExp])[] = [
  [
    "a hook that needs the session",
    [queued(definePlugin({ name: "early", setup: (on) => on("rcpt", () => accept()) }) as Plugin), box],
    /early can't be asked at "rcpt" with `when: queued`: the reply was given before\. Remove `when`/,
  ],
  [
    "nothing to ask",
    [queued(definePlugin({ name: "idle", setup: (on) => on("bounced", () => {}) }) as Plugin), box],
    /idle looks at no message/,
  ],
  [
    "who takes mail before the queue",
    [
      queued(scanner({ data: () => {} })),
      definePlugin({ name: "taker", setup: (on) => on("queue", () => {}) }),
      box,
    ],
    /scanner would never be asked about what taker \(line \d+\) takes before the queue/,
  ],
];

for (const [what, plugins, message] of refused) {
  Deno.test(`queued: ${what} is refused at load, with a sentence`, async () => {
    await rejects(testServer({ plugins }), message);
  });
}

Deno.test("queued: mail for <postmaster> alone, which has no domain, is asked about like any other", async () => {
  const users: string[] = [];
  const scan = scanner({ dataFor: (_session, { user, domain }) => void users.push(`${user}@${domain}`) });
  const owner = definePlugin({ name: "owner", setup: (_on, _options, host) => host.owns(["example.org"]) });
  await using server = await testServer({ plugins: [queued(scan), owner, box] });
  const sent = await server.send({ to: "postmaster" });
  equal(sent.outcome, "accepted", JSON.stringify(sent.recipients));
  await server.settled();
  deepEqual(users, ["postmaster@"]);
  deepEqual(server.delivered.map(({ to }) => to), ["postmaster@example.org"]);
});

Deno.test("queued: two spellings of one mailbox are one, and nobody gets lost by it", async () => {
  await using server = await open(scanner({ data: () => {}, dataFor: () => {} }));
  equal(
    (await server.send({ to: [alice, "alice@EXAMPLE.ORG", "Alice+tag@example.org"] })).outcome,
    "accepted",
  );
  await server.settled();
  deepEqual(server.delivered.map(({ to }) => to).sort(), ["Alice+tag@example.org", alice].sort());
  equal((await server.queue()).length, 0);
});

const facts = fact<string>("colour");
const tells = definePlugin({
  name: "tells",
  setup(on, _options, host) {
    const tell = host.provides(facts);
    on("data", (_session, _message, transaction) => tell(transaction, "red"));
  },
});
const wants = definePlugin({
  name: "wants",
  setup(on, _options, host) {
    const colourOf = host.needs(facts);
    on(
      "data",
      (_session, message, transaction) => message.prependHeader("X-Colour", colourOf(transaction) ?? ""),
    );
  },
});

Deno.test("queued: what one plugin tells another both find on arrival or both in the queue", async () => {
  await rejects(
    testServer({ plugins: [{ use: tells, when: "queued" }, wants, box] }),
    /wants needs the fact "colour" from tells \(line 2\), which is asked only once the message is queued: give wants/,
  );
  await rejects(
    testServer({ plugins: [tells, { use: wants, when: "queued" }, box] }),
    /which is asked on arrival, which is over by then: give both the same `when`/,
  );
  await using server = await testServer({
    plugins: [{ use: tells, when: "queued" }, { use: wants, when: "queued" }, box],
  });
  await server.send({ to: alice });
  await server.settled();
  match(server.delivered[0]!.content, /^X-Colour: red\r$/m);
});

Deno.test("queued: our own mail is asked about, too; a report that is rejected is a line in the log, never a loop", async () => {
  await using server = await open(scanner({ data: () => reject("5.7.1", "Bad") }));
  await server.send({ from: bob, to: carol });
  await server.settled();
  deepEqual([server.delivered.length, server.sent.length, (await server.queue()).length], [0, 0, 0]);
  ok(server.log.of("refused in the queue").length === 2, "the message, and the report of it");
});

Deno.test("queued: who is to be tried later is asked about with the message, and not again", async () => {
  const asked: string[] = [];
  const first = definePlugin({
    name: "first",
    setup: (on) => on("dataFor", (_session, { user }) => user === "bob" ? defer("4.2.1", "Wait") : undefined),
  });
  const scan = scanner({
    data: () => void asked.push("data"),
    dataFor: (_session, { user }) => void asked.push(user),
  });
  await using server = await testServer({ plugins: [first, queued(scan), box] });
  await server.send({ to: [alice, bob] });
  await server.settled();
  deepEqual([asked, server.delivered.map(({ to }) => to)], [["data", "alice", "bob"], [alice]]);
  await server.clock.advance("16m");
  await server.settled();
  deepEqual([asked.length, server.delivered.at(-1)!.to], [3, bob]);
});

Deno.test("queued: asking that a stop cuts off is as if nobody had been asked: the next start begins with it", async () => {
  const server = await open(scanner({ data: () => new Promise<never>(() => {}) }), {}, { retry: ["5m"] });
  await server.send({ to: alice });
  const before = await server.queue();
  await server[Symbol.asyncDispose]();
  deepEqual(await server.queue(), before);
});

Deno.test("queued: who has waited for a place is asked about by the configuration of then", async () => {
  const go = Promise.withResolvers<void>();
  const asked = { before: 0, after: 0 };
  const hanging = scanner({
    data: async () => {
      asked.before++;
      await go.promise;
    },
  });
  await using server = await open(hanging);
  for (let i = 0; i < 25; i++) await server.send({ to: alice });
  equal(asked.before, 20);
  await server.reload([anywhere, queued(scanner({ data: () => void asked.after++ })), box]);
  go.resolve();
  await server.settled();
  deepEqual([asked, server.delivered.length], [{ before: 20, after: 5 }, 25]);
});

for (const how of ["was not due", "could not be asked about"]) {
  Deno.test(`queued: of one who ${how} when the message was looked at, dataFor knows what data has found, and the message isn't edited twice`, async () => {
    let broken = how === "could not be asked about";
    const first = definePlugin({
      name: "first",
      setup: (on) =>
        on("dataFor", (_, { user }) => user === "bob" && !broken ? defer("4.2.1", "Wait") : undefined),
    });
    const bad = new WeakSet<object>();
    const scan = scanner({
      data({ protocol }, message, transaction) {
        if (protocol === "internal") return;
        bad.add(transaction);
        message.prependHeader("X-Bad", "yes");
        transaction.setSender(`x-${transaction.sender.address}`);
      },
      dataFor(_session, { user }, _message, transaction) {
        if (user !== "carol" && broken) throw new Error("no threshold");
        if (user === "bob" && bad.has(transaction)) return reject("5.7.1", "Too bad for bob");
      },
    });
    await using server = await testServer({
      plugins: [anywhere, first, queued(scan), box],
      outbound: { retry: ["15m"] },
    });
    await server.send({ from: carol, to: [alice, bob, "carol@example.org"] });
    await server.settled();
    broken = false;
    await server.clock.advance("16m");
    await server.settled();
    deepEqual(server.delivered.map(({ to, from }) => [to, from]).sort(), [
      [alice, `x-${carol}`],
      ["carol@example.org", `x-${carol}`],
    ]);
    for (const { content } of server.delivered) equal(content.match(/^X-Bad/gm)?.length, 1);
    match(server.sent[0]!.content, /Too bad for bob/);
    equal((await server.queue()).length, 0);
  });
}

Deno.test("queued: who was let pass is asked about no more, though his delivery is tried again while another waits to be asked about", async () => {
  let isFirst = true;
  const taken: string[] = [];
  const flaky = definePlugin({
    name: "flaky",
    setup(on, _options, host) {
      const via = host.transport("flaky", (_message, targets) => {
        if (isFirst) return Promise.resolve(defer("4.2.1", "Busy"));
        taken.push(...[targets].flat().map(({ address }) => address));
        return Promise.resolve({ verdict: "delivered" as const, text: "kept" });
      });
      on("resolve", ({ user }) => user === "alice" ? accept({ via }) : undefined);
    },
  });
  const scan = scanner({
    data: ({ protocol }) => isFirst || protocol === "internal" ? undefined : reject("5.7.1", "Bad by now"),
    dataFor: (_session, { user }) => isFirst && user === "bob" ? defer("4.7.1", "Wait") : undefined,
  });
  await using server = await testServer({
    plugins: [queued(scan), flaky, box],
    outbound: { retry: ["5m"] },
  });
  await server.send({ from: "carol@example.org", to: [alice, bob] });
  await server.settled();
  isFirst = false;
  await server.clock.advance("6m");
  await server.settled();
  deepEqual(taken, [alice]);
  deepEqual(server.delivered.map(({ to }) => to), ["carol@example.org"]);
  match(server.delivered[0]!.content, /Bad by now/);
  ok(!server.delivered[0]!.content.includes("RFC822; alice"));
});
