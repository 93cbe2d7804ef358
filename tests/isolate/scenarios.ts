import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import { systemClock } from "../../server/clock.ts";
import type { LoadRequest } from "../../server/load.ts";
import { memoryStore } from "../../server/store.ts";
import { fakeServices, type Files, Folder, problemsOf } from "../load/fixture.ts";
import { testServer } from "../../server/testing/mod.ts";
import { file, isolated, later, logged } from "./plugin.ts";
import { Talk } from "./talk.ts";

Deno.test("isolate: it may do what is listed", async () => {
  await using folder = await Folder.of({
    "postrider.yaml": `plugins: [{ use: ./mine.ts, isolate: { read: [./words.txt] } }]\n`,
    "words.txt": "hello",
    "secret.txt": "secret",
    "mine.ts": file(`on("helo", async () => {
    const words = await Deno.readTextFile(new URL("words.txt", import.meta.url));
    const other = await Deno.readTextFile(new URL("secret.txt", import.meta.url)).catch((error) => error.name);
    return reject("5.0.0", words + " " + other);
  });`),
  });
  await using talk = await Talk.with(folder);
  deepEqual(await talk.helo(), ["550 hello NotCapable"]);
});

Deno.test("isolate: mail and rcpt and resolve are one round trip, data and all of dataFor the other", async () => {
  await using folder = await Folder.of({
    "postrider.yaml": isolated(),
    "mine.ts": file(`
  const notes = host.notes(() => ({ seen: [] as string[] }));
  const via = host.transport("box", async (message, recipients) =>
    delivered(String((await message.bytes()).length) + " octets for " + recipients.join()));
  on("mail", (session, transaction) => void notes(transaction).seen.push("mail " + transaction.sender));
  on("rcpt", (session, recipient, transaction) => void notes(transaction).seen.push("rcpt " + recipient.user));
  on("resolve", ({ user }) => user === "nobody" ? undefined : accept({ via }));
  on("data", (session, message, transaction) => {
    message.prependHeader("X-Seen", notes(transaction).seen.join(", ") + ", " + message.headers.get("subject"));
  });
  on("dataFor", (session, recipient, message) => {
    recipient.prependHeader("X-For", recipient.user + " " + message.headers.get("x-seen"));
  });`),
  });
  await using talk = await Talk.with(folder);
  using heard = Talk.listen();
  const replies = await talk.send("alice@example.org", ["bob@example.org"], "Subject: hi\r\n\r\nText\r\n");
  deepEqual(heard.questions, ["rcpt", "data"]);
  deepEqual(replies, ["250", "250", "250"]);
  const kept = await talk.kept();
  match(kept, /X-For: bob mail alice@example\.org, rcpt bob, hi\r\n/);
  match(kept, /X-Seen: mail alice@example\.org, rcpt bob, hi\r\n/);
});

Deno.test("isolate: what it objects to at MAIL is said to each RCPT", async () => {
  await using folder = await Folder.of({
    "postrider.yaml": isolated(),
    "mine.ts": file(`
  let asked = 0;
  on("mail", () => reject("5.7.1", "not from you, " + ++asked));
  on("resolve", () => accept({ via: { transport: "smtp" } }));`),
  });
  await using talk = await Talk.with(folder);
  deepEqual(await talk.send("alice@example.org", ["bob@example.org", "carol@example.org"]), [
    "250",
    "550 5.7.1 not from you, 1",
    "550 5.7.1 not from you, 1",
  ]);
});

Deno.test("isolate: a plugin that blocks is ended at its time-out, its transaction deferred, and started again; one that waits isn't", async () => {
  await using folder = await Folder.of({
    "mine.ts": file(`let asked = 0;
  on("rcpt", (session, { user }) => {
    asked++;
    if (user !== "bob") host.log.info(user);
    if (user === "wait") return new Promise(() => {});
    if (user === "loop") for (;;);
    return asked > 1 ? accept() : reject("5.0.0", "Begun anew");
  });`),
  });
  const use = new URL(`file://${folder.path}/mine.ts`);
  await using server = await testServer({ plugins: [{ use, isolate: {}, timeout: "10s" }] });
  const client = server.connect();
  await client.reply();
  await client.command("EHLO client.example");
  await client.command("MAIL FROM:<a@example.org>");
  for (const user of ["wait", "loop"]) {
    const reply = client.command(`RCPT TO:<${user}@example.com>`);
    await logged(server.log, user); // it is asked
    await server.clock.advance("10s");
    equal((await reply).code, 451);
    if (user === "wait") equal((await client.command("RCPT TO:<bob@example.com>")).code, 250);
  }
  const { fields } = await logged(server.log, "isolated plugin ended");
  equal(fields?.reason, "it blocks: it was ended at its time-out");
  equal((await client.command("RCPT TO:<bob@example.com>")).text, "Begun anew");
  equal((await client.command("RCPT TO:<bob@example.com>")).code, 250);
});

Deno.test("isolate: one that is not there again within a minute is started anew, and a generation ends while it starts", async () => {
  await using folder = await Folder.of({
    "mine.ts": `export default ({ accept, definePlugin }: any) => definePlugin({
  name: "mine",
  async setup(on: any, options: any, host: any) {
    on("rcpt", (session: any, { user }: any) => user === "end" ? Deno.exit() : accept());
    const starts = await host.store.increment("starts", 1, { ttl: "1d" });
    host.log.info("start " + starts);
    if (starts === 2 || starts === 4) await new Promise(() => {});
  },
});
`,
  });
  const use = new URL(`file://${folder.path}/mine.ts`);
  await using server = await testServer({ plugins: [{ use, isolate: {}, timeout: "10m" }] });
  const client = server.connect();
  await client.reply();
  await client.command("EHLO client.example");
  await client.command("MAIL FROM:<a@example.org>");
  const rcpt = async (user: string) => (await client.command(`RCPT TO:<${user}@example.com>`)).code;
  equal(await rcpt("end"), 451);
  const waiting = rcpt("bob");
  await logged(server.log, "start 2");
  await server.clock.advance("1m");
  equal(await waiting, 451);
  await server.clock.advance("1m"); // it is left alone for a while
  equal(await rcpt("bob"), 250);
  equal(await rcpt("end"), 451);
  await server.clock.advance("1m");
  const last = rcpt("bob");
  await logged(server.log, "start 4");
  client.abort();
  await last.catch(() => {});
  await server.clock.advance("10s"); // it is noticed
  await client.closed; // and the end of the block ends the generation
});

Deno.test("isolate: store, cache, clock, dns and log of the host work from inside", async () => {
  await using folder = await Folder.of({
    "postrider.yaml": isolated(),
    "mine.ts": file(`on("helo", async () => {
    const count = [await host.store.increment("n", 2, { ttl: "1h" }), await host.cache.getOrSet("c", "x", { ttl: "1h" })];
    await host.store.set("s", { deep: [1] }, { ttl: "1h" });
    const dns = await host.dns.txt("nothing.example");
    host.log.info("looked", { count: count.length });
    await host.clock.sleep(1);
    return reject("5.0.0", JSON.stringify([count, await host.store.get("s"), await host.store.get("none") ?? null, dns]));
  });`),
  });
  await using talk = await Talk.with(folder);
  deepEqual(await talk.helo(), ['550 [[2,"x"],{"deep":[1]},null,[]]']);
  ok(talk.log.entries.some(({ event }) => event === "looked"));
});

Deno.test("isolate: edits of all kinds come back, a large message is read in pieces", async () => {
  const line = `${"x".repeat(998)}\r\n`;
  await using folder = await Folder.of({
    "postrider.yaml": isolated(),
    "mine.ts": file(`
  on("resolve", () => accept({ via: { transport: "smtp" } }));
  on("data", async (session, message, transaction) => {
    let lines = 0;
    for await (const line of message.lines()) lines++;
    message.replaceHeader("Subject", String(lines));
    message.removeHeader("X-Gone");
    message.insertHeader(99, "X-Last", (await message.asReceived.bytes(1e7)).length + " " + message.asReceived.headers.get("subject"));
    await message.replaceBody("short\\n");
    transaction.setSender("other@example.org");
    await transaction.addRecipient("carol@example.org");
  });`),
  });
  await using talk = await Talk.with(folder);
  const content = `Subject: hi\r\nX-Gone: yes\r\n\r\n${line.repeat(600)}`;
  deepEqual(await talk.send("a@example.org", ["bob@example.org"], content), ["250", "250", "250"]);
  const kept = await talk.kept();
  match(kept, /Subject: 603\r\nX-Last: 600028 hi\r\n\r\nshort\r\n$/);
  equal(await talk.envelope(), "other@example.org → bob@example.org carol@example.org");
});

Deno.test("isolate: a throw, and a verdict that is none, are temporary refusals", async () => {
  await using folder = await Folder.of({
    "postrider.yaml": isolated(),
    "mine.ts": file(`on("rcpt", (session, { user }) => {
    if (user === "throw") throw new Error("no idea");
    return { verdict: "accept", claim: {}, text: user === "clone" ? () => {} : 1 } as never;
  });
  on("vrfy", () => "yes" as never);
`),
  });
  await using talk = await Talk.with(folder);
  deepEqual(await talk.send("a@example.org", ["throw@example.com", "clone@example.com"]), [
    "250",
    later,
    later,
  ]);
  const errors = talk.log.entries.filter(({ event }) => event === "plugin failed").map(({ fields }) =>
    String(fields?.error)
  );
  match(errors[0]!, /no idea\n.*mine\.ts:4:/s);
  match(
    errors[1]!,
    /its verdict or an edit can't leave the plugin's thread, only plain data can: .*could not be cloned/,
  );
});

Deno.test("isolate: what can't leave the thread is said by name, and nothing is taken for silence", async () => {
  await using folder = await Folder.of({
    "postrider.yaml": isolated(),
    "mine.ts": file(`
  const tell = host.provides(fact("told"));
  const errors = [];
  on("mail", async (session, transaction) => {
    for (const tried of [
      () => tell(transaction, () => {}),
      () => host.log.info("line", { what: () => {} }),
      () => host.store.set("key", () => {}, { ttl: "1h" }),
    ]) try { await tried(); } catch (error) { errors.push(error.message); }
    host.log.info("errors", { errors });
    return { ...reject("5.7.1", "Not from you"), rule: () => {} };
  });
  on("rcpt", () => accept());`),
  });
  await using talk = await Talk.with(folder);
  deepEqual(await talk.send("a@example.org", ["bob@example.org", "carol@example.org"]), [
    "250",
    later,
    later,
  ]);
  const errors = talk.log.entries.find(({ event }) => event === "errors")?.fields?.errors as string[];
  deepEqual(errors.map((text) => text.split(" can't leave the plugin's thread, only plain data can: ")[0]), [
    'the fact "told"',
    'what stands beside "line" in the log',
    "what is given to host.store",
  ]);
});

Deno.test("isolate: at the end of its generation what setup returned is called", async () => {
  await using folder = await Folder.of({
    "postrider.yaml": isolated(),
    "mine.ts": file(`on("helo", () => {}); return () => host.store.set("ended", true, { ttl: "1h" });`),
  });
  const store = memoryStore(systemClock);
  const talk = await Talk.with(folder, { store });
  await talk[Symbol.asyncDispose]();
  equal(await store.for("mine").get("ended"), true);
});

Deno.test("isolate: facts cross in both directions, and an inline transport delivers from inside", async () => {
  await using folder = await Folder.of({
    "postrider.yaml":
      "plugins:\n  - use: ./mine.ts\n    as: above\n    with: &a { say: yes }\n  - { use: ./mine.ts, isolate: {}, with: {} }\n" +
      "  - { use: ./mine.ts, as: below, with: { hear: yes } }\n",
    "mine.ts": file(
      `
  const first = fact("first");
  const second = fact("second");
  if (options.say) {
    const tell = host.provides(first);
    return on("mail", (session, transaction) => tell(transaction, "one"));
  }
  if (options.hear) {
    const read = host.needs(second);
    return on("data", (session, message, transaction) => message.prependHeader("X-Heard", String(read(transaction))));
  }
  const read = host.needs(first), tell = host.provides(second);
  on("rcpt", (session, recipient, transaction) => tell(transaction, read(transaction) + " two"));
  const via = host.transport("box", async (message, recipients, call) => {
    const { user, sender } = recipients[0]!;
    host.log.info("taken", { what: [message.headers.get("x-heard") ?? "", user, sender, String(call.attempt)].join(", ") });
    return delivered();
  }, { inline: true });
  on("resolve", () => accept({ via }));`,
      "options: z.object({ say: z.string().optional(), hear: z.string().optional() }),",
    ),
  });
  await using talk = await Talk.with(folder);
  deepEqual(await talk.send("a@example.org", ["bob@example.org"], "Subject: hi\r\n\r\n"), [
    "250",
    "250",
    "250",
  ]);
  match(JSON.stringify(talk.log.entries), /one two, bob, a@example\.org, 1/);
});

const refused: { name: string; files: Files; problems: string[] }[] = [
  {
    name: "a bundled plugin",
    files: { "postrider.yaml": "plugins: [{ use: discard, isolate: {} }]\n" },
    problems: ["postrider.yaml:1:18: discard is bundled, and can't be isolated: only a file of your own can"],
  },
  {
    name: "options that its schema refuses, in their places",
    files: {
      "postrider.yaml":
        "plugins:\n  - use: ./mine.ts\n    isolate: {}\n    with:\n      wait: soon\n      wrod: x\n",
      "mine.ts": file("", 'options: z.object({ wait: duration("5m"), word: z.string().optional() }),'),
    },
    problems: [
      'postrider.yaml:5:13: "wait": "soon" is not a duration such as 30s, 5m, 36h',
      'postrider.yaml:6:7: unknown key "wrod": did you mean "word"?',
    ],
  },
  {
    name: "a syntax error",
    files: { "postrider.yaml": isolated(), "mine.ts": "const b = = 2;\n" },
    problems: ["postrider.yaml:1:18: ./mine.ts cannot be isolated: Expression expected (./mine.ts:1:11)"],
  },
  {
    name: "no default export",
    files: { "postrider.yaml": isolated(), "mine.ts": "export const plugin = 1;\n" },
    problems: [
      "postrider.yaml:1:18: ./mine.ts has no default export, only plugin: it needs export default definePlugin({ … })",
    ],
  },
  {
    name: "a setup that throws",
    files: { "postrider.yaml": isolated(), "mine.ts": file('throw new Error("no database");') },
    problems: ["postrider.yaml:1:18: setup of mine failed: no database (./mine.ts:3:7)"],
  },
  {
    name: "the hook queue, which hands a message over for good",
    files: { "postrider.yaml": isolated(), "mine.ts": file('on("queue", () => accept({ id: "1" }));') },
    problems: [
      `postrider.yaml:1:18: setup of mine failed: an isolated plugin can't have the hook "queue": use it without isolate (./mine.ts:3:1)`,
    ],
  },
  {
    name: "a relay",
    files: { "postrider.yaml": isolated(), "mine.ts": file('host.relay("x", () => {});') },
    problems: [
      `postrider.yaml:1:18: setup of mine failed: an isolated plugin can't have a relay: use it without isolate (./mine.ts:3:6)`,
    ],
  },
];

for (const { name, files, problems } of refused) {
  Deno.test(`isolate: refused: ${name}`, async () => {
    deepEqual(
      await problemsOf(
        files,
        { services: { ...fakeServices(), clock: systemClock } } as Partial<LoadRequest>,
      ),
      problems,
    );
  });
}
