import { deepStrictEqual as deepEqual, ok, strictEqual as equal } from "node:assert/strict";
import {
  accept,
  defer,
  definePlugin,
  type Disconnected,
  type Hooks,
  type On,
  reject,
  type Rejected,
} from "../server/plugin.ts";
import {
  mailboxes,
  type TestClient,
  type TestServer,
  testServer,
  type TestServerOptions,
} from "../server/testing/mod.ts";

const box = mailboxes(["example.org"]);
const alice = "alice@example.org";
const nothing = { connections: 0, octets: 0, files: 0, timers: 0 };

/** A plugin with one handler. */
function on<K extends keyof Hooks>(hook: K, handler: Hooks[K], name = "plugin") {
  return definePlugin({ name, setup: (on: On) => on(hook, handler) });
}

/** A server that remembers the ends of its connections. */
async function watched(options: Partial<TestServerOptions> = {}) {
  const ends: string[] = [];
  const watch = on(
    "disconnect",
    ({ reason, messages }: Disconnected) => void ends.push(`${reason} ${messages}`),
    "watch",
  );
  const server = await testServer({ ...options, plugins: [watch, ...options.plugins ?? [box]] });
  return { server, ends };
}

/** A client that has come as far as DATA's 354. */
async function inData(server: TestServer): Promise<TestClient> {
  const client = server.connect();
  for (const line of ["EHLO c.example", "MAIL FROM:<a@example.net>", `RCPT TO:<${alice}>`]) {
    equal((await client.command(line)).code, 250);
  }
  equal((await client.command("DATA")).code, 354);
  return client;
}

Deno.test("connection: P01 the replies of a group are written together", async () => {
  await using server = await testServer({ plugins: [box] });
  const client = server.connect();
  await client.command("EHLO c.example");
  await client.send(`MAIL FROM:<a@b.example>\r\nRCPT TO:<${alice}>\r\nRCPT TO:<x@y.example>\r\nDATA\r\n`);
  deepEqual((await client.segment())!.split("\r\n").map((line) => line.slice(0, 3)), [
    "250",
    "250",
    "550",
    "354",
    "",
  ]);
});

// ── Ends ───────────────────────────────────────────────────────────────────────────────────────────

Deno.test("connection: why it ended is reported, with its messages", async () => {
  const { server, ends } = await watched({ timeouts: { command: "1m", data: "2m" } });
  await using _ = server;
  await server.send({ to: alice });
  equal(ends.pop(), "quit 1");

  const lost = server.connect();
  await lost.command("EHLO c");
  lost.abort();
  await lost.closed;
  equal(ends.pop(), "lost 0");

  const closed = await inData(server);
  closed.end();
  await closed.closed;
  equal(ends.pop(), "lost 0");

  const silent = server.connect();
  await silent.reply();
  await server.clock.advance("1m");
  equal((await silent.reply()).status, "4.4.2");
  await silent.closed;
  equal(ends.pop(), "timeout 0");

  const web = server.connect();
  await web.command("GET / HTTP/1.1");
  await web.closed;
  equal(ends.pop(), "refused 0");
  deepEqual(await server.inUse(), nothing);
});

Deno.test("connection: an objection at connect is the greeting, and closes", async () => {
  for (
    const [verdict, code] of [[reject("5.7.1", "Go away"), 554], [defer("4.7.0", "Not now"), 421]] as const
  ) {
    const { server, ends } = await watched({ plugins: [on("connect", () => verdict), box] });
    await using _ = server;
    const client = server.connect();
    const greeting = await client.reply();
    deepEqual([greeting.code, greeting.status], [code, undefined]);
    await client.closed;
    equal(ends.pop(), "refused 0");
  }
});

Deno.test("connection: the handlers' session is one object, and says who is there", async () => {
  const seen: unknown[] = [];
  const objects = new Set<unknown>();
  const look = definePlugin({
    name: "look",
    setup(on) {
      on("connect", (session) => void (objects.add(session), seen.push(session.helo, { ...session.remote })));
      on("helo", (session, name) => void (objects.add(session), seen.push(name, session.helo)));
      on("auth", (_session, { user }) => accept({ user, sendAs: ["*"] }));
      on("mail", (session) => void (objects.add(session), seen.push(session.tls?.version, session.user)));
      on("disconnect", ({ session }) => void objects.add(session));
    },
  });
  await using server = await testServer({ plugins: [look, box] });
  await server.send({
    to: alice,
    ip: "2001:db8:1:2:3::4",
    port: 99,
    helo: "C.Example",
    user: { name: alice, password: "x" },
  });
  deepEqual(seen, [
    undefined,
    { address: "2001:db8:1:2:3::4", network: "2001:db8:1:2::/64", port: 99 },
    "C.Example",
    "C.Example",
    "TLSv1.3",
    { name: alice, sendAs: ["*"] },
  ]);
  equal(objects.size, 1);
});

Deno.test("connection: S02 a refused EHLO or MAIL leaves nothing behind", async () => {
  const seen: (string | undefined)[] = [];
  const ids: string[] = [];
  const fussy = definePlugin({
    name: "fussy",
    setup(on) {
      on("helo", (_session, name) => name === "bad" ? reject("5.7.1", "Not you") : undefined);
      on("mail", async (session, { sender, id }) => {
        seen.push(session.helo);
        ids.push(id);
        return sender.user === "bad" ? await Promise.resolve(reject("5.7.1", "Not from you")) : undefined;
      });
    },
  });
  await using server = await testServer({ plugins: [fussy, box] });
  const client = server.connect();
  await client.command("EHLO good");
  equal((await client.command("EHLO bad")).code, 550);
  equal((await client.command("MAIL FROM:<bad@example.net>")).code, 550);
  equal((await client.command(`RCPT TO:<${alice}>`)).code, 503);
  equal((await client.command("MAIL FROM:<a@example.net>")).code, 250);
  deepEqual(seen, ["good", "good"]);
  equal(new Set(ids).size, 2);
});

Deno.test("connection: STARTTLS forgets the name and the user", async () => {
  const seen: unknown[] = [];
  const look = definePlugin({
    name: "look",
    setup(on) {
      on("auth", (_session, { user }) => accept({ user }));
      on("helo", (session) => void seen.push(session.user?.name, session.tls?.version));
    },
  });
  await using server = await testServer({ plugins: [look, box] });
  const client = server.connect({ ip: "127.0.0.1", role: "submission", allowPlain: true });
  await client.command("EHLO c");
  equal((await client.login("bob", "x")).code, 235);
  equal((await client.startTls()).code, 220);
  ok(client.encrypted);
  await client.command("EHLO c");
  deepEqual(seen, [undefined, undefined, undefined, "TLSv1.3"]);
  equal((await client.command("MAIL FROM:<a@example.net>")).status, "5.7.0");
});

Deno.test("connection: rejected is told who objected, to what, about whom", async () => {
  const told: string[] = [];
  const tell = on("rejected", ({ phase, plugin, verdict, recipient }: Rejected) => {
    told.push(`${phase} ${plugin} ${verdict.verdict} ${verdict.status} ${recipient ?? "-"}`);
  }, "tell");
  const fussy = on(
    "mail",
    (_session, { sender }) => sender.user === "bad" ? reject("5.7.1", "No") : undefined,
    "fussy",
  );
  await using server = await testServer({ plugins: [tell, fussy, mailboxes([alice])] });
  await server.send({ from: "bad@example.net", to: alice });
  await server.send({ to: ["nobody@example.org", "u@elsewhere.example"] });
  deepEqual(told, [
    "mail fussy reject 5.7.1 -",
    "resolve mailboxes reject 5.1.1 nobody@example.org",
    "rcpt core reject 5.7.1 u@elsewhere.example",
  ]);
});

// ── Time ───────────────────────────────────────────────────────────────────────────────────────────

Deno.test("connection: D09 each command gets its own time, the body another", async () => {
  await using server = await testServer({ plugins: [box], timeouts: { command: "1m", data: "3m" } });
  const client = server.connect();
  await client.command("EHLO c");
  for (let i = 0; i < 5; i++) {
    await server.clock.advance("59s");
    equal((await client.command("NOOP")).code, 250);
  }
  const body = await inData(server);
  await server.clock.advance("179s");
  await body.send("x".repeat(500_000));
  await server.clock.advance("179s");
  await body.send("\r\n.\r\n");
  equal((await body.reply()).code, 250);
});

Deno.test("connection: D09 a plugin's time isn't the client's", async () => {
  const slow = definePlugin({
    name: "slow",
    setup(on, _options, { clock }) {
      on("mail", (_session, _transaction, { signal }) => clock.sleep(600_000, signal));
    },
  });
  await using server = await testServer({
    plugins: [{ use: slow, timeout: "1h" }, box],
    timeouts: { command: "1m" },
  });
  const sending = server.send({ to: alice });
  await server.clock.advance("10m");
  equal((await sending).outcome, "accepted");
});

Deno.test("connection: a body slower than 1 KB/s is cut after a minute, dropped octets and chunks included", async () => {
  const starts: [string, string, Partial<TestServerOptions>][] = [
    ["DATA", "DATA\r\n", {}],
    ["BDAT", "BDAT 1000000 LAST\r\n", {}],
    ["DATA over the limit", `DATA\r\n`, { limits: { message: "1B" } }],
    ["a chunk that isn't wanted", "RSET\r\nBDAT 1000000\r\n", {}],
  ];
  for (const [name, start, options] of starts) {
    const { server, ends } = await watched(options);
    await using _ = server;
    const client = server.connect();
    for (const line of ["EHLO c", "MAIL FROM:<a@example.net>", `RCPT TO:<${alice}>`]) {
      await client.command(line);
    }
    await client.send(start);
    if (!start.startsWith("BDAT")) await client.reply();
    for (let second = 0; second <= 80; second += 20) {
      await client.send("slow\r\n");
      await server.clock.advance("20s");
    }
    equal((await client.reply()).status, "4.4.2", name);
    await client.closed;
    equal(ends.pop(), "timeout 0");
    equal(server.delivered.length, 0);
    deepEqual(await server.inUse(), nothing);
  }
});

Deno.test("connection: what was slow before doesn't count against the next message", async () => {
  await using server = await testServer({ plugins: [box] });
  const client = server.connect();
  await client.command("EHLO c");
  await client.send("BDAT 10\r\nhalf");
  await server.clock.advance("50s");
  await client.send("second");
  equal((await client.reply()).code, 503);
  for (let i = 0; i < 2; i++) {
    await server.clock.advance("4m");
    for (const line of ["MAIL FROM:<a@example.net>", `RCPT TO:<${alice}>`, "DATA"]) {
      await client.command(line);
    }
    equal((await client.content("short")).code, 250);
  }
});

Deno.test("connection: a message takes an hour at most", async () => {
  await using server = await testServer({ plugins: [box] });
  const client = await inData(server);
  const piece = "x".repeat(64 * 1024 - 2) + "\r\n";
  for (let minute = 0; minute <= 60; minute++) {
    await client.send(piece);
    await server.clock.advance("1m");
  }
  await client.send(piece);
  equal((await client.reply()).status, "4.4.2");
  await client.closed;
  deepEqual(await server.inUse(), nothing);
});

Deno.test("connection: P03 unread replies stop the reading, and the deadline cuts it off", async () => {
  // Much is said for little, and nobody reads it.
  const long = on("command", () => accept({ reply: "y".repeat(470), code: 250 }));
  const { server, ends } = await watched({ plugins: [long, box], timeouts: { command: "1m" } });
  await using _ = server;
  const client = server.connect();
  await client.reply();
  let sent = 0;
  let over = false;
  client.closed.then(() => over = true);
  const flood = (async () => {
    for (; !over; sent += 1000) await client.send("XLONG\r\n".repeat(1000));
  })().catch(() => {});
  await server.clock.advance("59s");
  const stopped = sent;
  ok(stopped <= 20_000, `${stopped} commands were taken`);
  await server.clock.advance(0);
  equal(sent, stopped, "nothing more is taken");
  equal((await server.inUse()).connections, 1);
  await server.clock.advance("1s");
  await client.closed;
  await flood;
  equal(ends.pop(), "timeout 0");
  deepEqual(await server.inUse(), nothing);
});

Deno.test("connection: draining: idle ones are told, a running transaction ends first, new ones are told", async () => {
  const { server, ends } = await watched();
  await using _ = server;
  const idle = server.connect();
  await idle.command("EHLO c");
  const busy = await inData(server);
  server.drain();
  equal((await idle.reply()).status, "4.3.2");
  await idle.closed;
  equal((await busy.content("x")).code, 250);
  equal((await busy.reply()).status, "4.3.2");
  await busy.closed;
  const late = server.connect();
  equal((await late.reply()).code, 220);
  equal((await late.reply()).status, "4.3.2");
  await late.closed;
  deepEqual(ends, ["refused 0", "refused 1", "refused 0"]);
});
