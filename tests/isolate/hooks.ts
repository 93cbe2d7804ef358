/** Each hook across the border, as an author would test it. */
import { Buffer } from "node:buffer";
import { createHash, createHmac, pbkdf2Sync } from "node:crypto";
import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import { systemCli } from "../../server/cli/io.ts";
import { main } from "../../server/cli/main.ts";
import { accept, definePlugin, reject } from "../../server/plugin.ts";
import { mailboxes, type TestEntry, type TestServer, testServer } from "../../server/testing/mod.ts";
import { Folder } from "../load/fixture.ts";
import { file, logged } from "./plugin.ts";

async function withPlugin(
  setup: string,
  run: (server: TestServer, folder: Folder) => Promise<void>,
  more: Partial<TestEntry> = {},
): Promise<void> {
  await using folder = await Folder.of({ "mine.ts": file(setup) });
  const entry = { use: new URL(`file://${folder.path}/mine.ts`), isolate: {}, ...more };
  await using server = await testServer({ plugins: [entry, mailboxes(["example.org"])] });
  await run(server, folder);
}

Deno.test("isolate: auth, vrfy, expn and command are answered from inside", () =>
  withPlugin(
    `on("auth", (session, credentials) => credentials.user === "alice@example.org" && credentials.password.reveal() === "secret"
      ? accept({ user: credentials.user, sendAs: ["*@example.org"] }) : undefined);
  on("mail", ({ user }, { sender }) => user?.sendAs.includes("*@" + sender.domain) ? undefined : reject("5.7.1", "Not as " + sender));
  on("vrfy", (session, text) => accept({ reply: "<" + text + "@example.org>" }));
  on("expn", (session, text) => accept({ reply: ["<a@example.org>", "<b@example.org>"] }));
  on("command", (session, verb, argument) => verb === "XECHO" ? accept({ reply: argument, code: 250 }) : undefined);`,
    async (server) => {
      const user = { name: "alice@example.org", password: "secret" };
      const send = (from: string, password = "secret") =>
        server.send({ user: { ...user, password }, from, to: "alice@example.org" });
      equal((await send("bob@example.org")).outcome, "accepted");
      match((await send("bob@example.net")).reply.text, /Not as bob@example\.net/);
      equal((await send("bob@example.org", "wrong")).reply.code, 535);
      const client = server.connect();
      await client.reply();
      await client.command("EHLO client.example");
      match((await client.command("VRFY carol")).text, /<carol@example\.org>/);
      equal((await client.command("EXPN list")).lines.length, 2);
      equal((await client.command("XECHO hello")).text, "hello");
      equal((await client.command("XNONE")).code, 500);
    },
  ));

Deno.test("isolate: SCRAM is offered as its options have it, and proved with keys from inside", async () => {
  const [salt, iterations] = [crypto.getRandomValues(new Uint8Array(16)), 4096];
  const salted = pbkdf2Sync("secret", salt, iterations, 32, "sha256");
  const hmac = (text: string) => createHmac("sha256", salted).update(text).digest();
  const storedKey = createHash("sha256").update(hmac("Client Key")).digest();
  const hex = {
    salt: Buffer.from(salt).toString("hex"),
    storedKey: storedKey.toString("hex"),
    serverKey: hmac("Server Key").toString("hex"),
  };
  await using folder = await Folder.of({
    "mine.ts": file(
      `on("auth", (session, { mechanism, user, proof }) => {
    host.log.info("asked", { mechanism, proof });
    const keys = Object.fromEntries(Object.entries(options).map(([name, hex]) => [name, Uint8Array.fromHex(hex)]));
    return proof === "awaited" ? accept({ user, keys: { ...keys, iterations: 4096 } }) : undefined;
  });`,
      `options: z.object({ salt: z.string(), storedKey: z.string(), serverKey: z.string() }), mechanisms: (options) => options.salt ? ["SCRAM-SHA-256"] : [],`,
    ),
  });
  const use = new URL(`file://${folder.path}/mine.ts`);
  await using server = await testServer({ plugins: [{ use, with: hex, isolate: {} }] });
  const client = server.connect({ role: "submission", tls: "implicit" });
  await client.reply();
  ok((await client.command("EHLO client.example")).lines.includes("AUTH SCRAM-SHA-256"));
  const encode = (text: string) => Buffer.from(text).toString("base64");
  const bare = "n=alice@example.org,r=nonce";
  const challenge = Buffer.from(
    (await client.command(`AUTH SCRAM-SHA-256 ${encode(`n,,${bare}`)}`)).text,
    "base64",
  ).toString();
  const final = `c=biws,r=${/r=([^,]+)/.exec(challenge)![1]}`;
  const signature = createHmac("sha256", storedKey).update([bare, challenge, final].join(",")).digest();
  const proof = hmac("Client Key").map((octet, i) => octet ^ signature[i]!);
  const last = await client.command(encode(`${final},p=${Buffer.from(proof).toString("base64")}`));
  equal(last.code === 334 ? (await client.command("")).code : last.code, 235);
  deepEqual(server.log.of("asked").map(({ fields }) => fields?.proof), ["awaited", "right"]);
});

Deno.test("isolate: it says where mail goes, sends mail of its own, and hears what became of it", () =>
  withPlugin(
    `on("rcpt", (session, { user }) => user === "nobody" ? reject("5.1.1", "Nobody") : accept());
  on("route", ({ domain }, message) => accept({ hops: [{ host: message.headers.get("Subject") + "." + domain, port: 2500 }] }));
  on("data", async (session, message) => {
    if (session.protocol === "internal") return;
    const { id } = await host.submit({ sender: "", recipients: ["alice@example.org"], content: "Subject: copy\\r\\n\\r\\n" });
    host.log.info("told submitted", { id });
  });
  const kept = host.notes((session) => ({ seen: 0 }));
  on("connect", (session) => void kept(session).seen++);
  on("disconnect", ({ session, reason, messages }) => host.log.info("told disconnect", { reason, messages, seen: kept(session).seen }));
  on("rejected", ({ session, phase, plugin, verdict, recipient }) =>
    host.log.info("told rejected", { phase, plugin, text: verdict.text, to: recipient.user, seen: kept(session).seen }));
  for (const hook of ["delivered", "deferred", "bounced"]) {
    on(hook, ({ recipient, transport, reply, attempts }) =>
      host.log.info("told " + hook, { to: recipient.address, domain: recipient.domain, transport, attempts, reply: reply.slice(0, 3) }));
  }
  on("vrfy", () => accept({ reply: "<all@is.told>" }));`,
    async (server) => {
      server.smtp = ({ to }) => to.includes("never@other.example") ? reject("5.1.1", "No") : undefined;
      const to = ["bob@far.example", "never@other.example", "nobody@far.example"];
      await server.send({ to, from: "", headers: { Subject: "hop" } });
      await server.settled();
      deepEqual(server.sent[0]?.hops, [{ host: "hop.far.example", port: 2500 }]);
      equal(server.delivered[0]?.headers.get("Subject"), "copy");
      const client = server.connect();
      await client.reply();
      await client.command("EHLO client.example");
      await client.command("VRFY x"); // what was told before has been heard then
      const told = (hook: string) => server.log.of(`told ${hook}`).map(({ fields }) => fields);
      ok(told("submitted")[0]?.id);
      deepEqual(told("disconnect").map((fields) => [fields?.reason, fields?.messages, fields?.seen]), [[
        "quit",
        1,
        1,
      ]]);
      deepEqual(
        told("rejected").map((
          fields,
        ) => [fields?.phase, fields?.plugin, fields?.text, fields?.to, fields?.seen]),
        [
          ["rcpt", "mine", "Nobody", "nobody", 1],
        ],
      );
      deepEqual(told("delivered").map((fields) => [fields?.to, fields?.transport]).sort(), [
        ["alice@example.org", "mailboxes"],
        ["bob@far.example", "smtp"],
      ]);
      deepEqual(
        told("bounced").map((fields) => [fields?.to, fields?.domain, fields?.attempts, fields?.reply]),
        [
          ["never@other.example", "other.example", 1, "550"],
        ],
      );
    },
  ));

Deno.test("isolate: it holds a message, changes one field of several, leaves out whom nobody takes, and takes its time", () =>
  withPlugin(
    `on("resolve", ({ user }) => user === "nobody" ? reject("5.1.1", "Nobody") : undefined);
  on("data", async (session, message, transaction, call) => {
    if (session.protocol === "internal") return;
    message.removeHeader("X-One", 1);
    message.replaceHeader("X-Two", "changed", 0);
    if (message.headers.get("Subject") === "hold") transaction.hold("to be looked at");
    if (message.headers.get("Subject") === "long") {
      host.log.info("begun");
      for (let n = 0; n < 3; n++) { await host.clock.sleep(20_000); call.progress(); host.log.info("at work " + n); }
    }
    const refused = [];
    await host.submit({ sender: "", recipients: ["alice@example.org", "nobody@" + host.hostname], content: "\\r\\n",
      refused: (recipient, why) => void refused.push(recipient + " " + why.verdict) });
    host.log.info("submitted", { refused });
  });`,
    async (server) => {
      const headers = { "X-One": ["a", "b", "c"], "X-Two": ["a", "b"] };
      await server.send({ to: "alice@example.org", headers: { ...headers, Subject: "plain" } });
      const plain = server.delivered.find(({ headers }) => headers.get("Subject") === "plain")!;
      deepEqual([plain.headers.all("X-One"), plain.headers.all("X-Two")], [["a", "c"], ["changed", "b"]]);
      deepEqual(server.log.of("submitted")[0]?.fields?.refused, ["nobody@mx.example.org reject"]);
      equal(
        (await server.send({ to: "alice@example.org", headers: { Subject: "hold" } })).outcome,
        "accepted",
      );
      equal((await server.queue()).length, 1);
      const sending = server.send({ to: "alice@example.org", headers: { Subject: "long" } });
      await logged(server.log, "begun");
      for (const n of [0, 1, 2]) {
        await server.clock.advance("20s");
        await logged(server.log, `at work ${n}`);
      }
      equal((await sending).outcome, "accepted"); // 60 s, of a time-out of 30
    },
  ));

Deno.test("isolate: where it is only observed, what it says and edits is recorded and changes nothing", () =>
  withPlugin(
    `on("rcpt", () => reject("5.7.1", "Nobody here"));
  on("data", (session, message) => message.prependHeader("X-Mine", String(host.observed)));`,
    async (server) => {
      const sent = await server.send({ to: "alice@example.org" });
      equal(sent.outcome, "accepted");
      equal(server.delivered[0]?.headers.get("X-Mine"), undefined);
      const said = sent.said.filter(({ plugin }) => plugin === "mine");
      deepEqual(said.map((one) => ["verdict" in one && one.verdict, one.observed]), [[
        reject("5.7.1", "Nobody here"),
        true,
      ]]);
      ok(server.log.of("observed").some(({ fields }) => String(fields?.edits).includes("X-Mine")));
    },
    { observe: true },
  ));

Deno.test("isolate: it may be asked when the message is queued", () =>
  withPlugin(
    `on("data", (session, message, transaction) => message.prependHeader("X-Mine", host.queued + " " + transaction.sender));
  on("dataFor", (session, recipient) => recipient.prependHeader("X-For", recipient.user));`,
    async (server) => {
      equal((await server.send({ from: "bob@example.net", to: "alice@example.org" })).outcome, "accepted");
      for (let tries = 0; server.delivered.length === 0 && tries < 1000; tries++) await server.settled();
      const { headers } = server.delivered[0]!;
      deepEqual([headers.get("X-Mine"), headers.get("X-For")], ["true bob@example.net", "alice"]);
    },
    { when: "queued" },
  ));

Deno.test("isolate: a reload ends its thread, and imports its file anew", async () => {
  const version = (text: string) =>
    file(
      `on("helo", () => reject("5.0.0", "${text}")); return () => host.store.set("ended", "${text}", { ttl: "1h" });`,
    );
  await using folder = await Folder.of({ "mine.ts": version("first") });
  const plugins = [{ use: new URL(`file://${folder.path}/mine.ts`), isolate: {} }];
  await using server = await testServer({ plugins });
  const { terminate } = Worker.prototype;
  let ended = 0;
  const over = Promise.withResolvers<void>();
  Worker.prototype.terminate = function (this: Worker) {
    ended++;
    over.resolve();
    terminate.call(this);
  };
  try {
    match((await server.send({ to: "a@example.org" })).reply.text, /first/);
    await folder.write("mine.ts", version("second"));
    await server.reload(plugins);
    match((await server.send({ to: "a@example.org" })).reply.text, /second/);
    await over.promise; // the first's, since its last session is over
    equal(await server.store("mine").get("ended"), "first");
  } finally {
    Worker.prototype.terminate = terminate;
  }
  equal(ended, 1);
});

Deno.test("isolate: plugins of one server, isolated and not, tell each other who comes first", async () => {
  const first = definePlugin({ name: "first", setup: (on) => on("rcpt", () => accept()) });
  await using folder = await Folder.of({
    "mine.ts": file(
      `on("rcpt", (session, { user }) => user === "bob" ? reject("5.7.1", "Not Bob") : undefined);`,
    ),
  });
  const use = new URL(`file://${folder.path}/mine.ts`);
  await using server = await testServer({
    plugins: [first, { use, isolate: {} }, mailboxes(["example.org"])],
  });
  const sent = await server.send({ to: ["bob@example.org", "alice@example.org"] });
  deepEqual(sent.recipients.map(({ reply }) => reply.code), [550, 250]);
});

Deno.test("isolate: explain tells what it says and edits", async () => {
  await using folder = await Folder.of({
    "postrider.yaml":
      "hostname: mx.example.org\nstate: ./state\nlisten: [{ port: 0, address: 127.0.0.1 }]\n" +
      "plugins:\n  - { use: ./mine.ts, isolate: {} }\n  - discard\n",
    "mine.ts": file(
      `on("rcpt", (session, { user }) => user === "bob" ? reject("5.7.1", "Not Bob") : undefined);
  on("data", (session, message, transaction, { dryRun }) => message.prependHeader("X-Dry", String(dryRun)));`,
    ),
  });
  const explain = async (to: string) => {
    let out = "";
    const io = { ...systemCli, columns: () => 100, stdout: { write: (text: string) => void (out += text) } };
    const code = await main(
      ["explain", "--config", `${folder.path}/postrider.yaml`, "--from", "a@example.net", "--to", to],
      io,
    );
    return { code, out };
  };
  const refused = await explain("bob@example.org");
  equal(refused.code, 4); // refused for good
  match(refused.out, /mine .*reject 5\.7\.1 Not Bob/);
  match((await explain("alice@example.org")).out, /mine .*prependHeader X-Dry/s);
});
