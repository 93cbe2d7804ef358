/** From the queue on: relayed, tried again, returned to its sender; the server whole, without network and without waiting. */
import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import {
  accept,
  defer,
  definePlugin,
  delivered,
  type Delivery,
  type Hooks,
  type On,
  type Outcome,
  reject,
} from "../server/plugin.ts";
import {
  mailboxes,
  type OutgoingMail,
  type TestPlugin,
  type TestServer,
  testServer,
} from "../server/testing/mod.ts";

const alice = "alice@example.org";
const stranger = "u@elsewhere.example";

/** A plugin with one handler. */
function on<K extends keyof Hooks>(hook: K, handler: Hooks[K], name = "plugin") {
  return definePlugin({ name, setup: (on: On) => on(hook, handler) });
}

const relay = on("rcpt", () => accept(), "relay");
const plugins: TestPlugin[] = [relay, mailboxes([alice])];

/** What deliveries were reported to plugins. */
function watcher(told: string[]) {
  const tell = (event: string) => ({ id, recipient, attempts, reply }: Delivery) =>
    void told.push(`${event} ${id} ${recipient} ${attempts} ${reply}`);
  return definePlugin({
    name: "watcher",
    setup(on) {
      on("delivered", tell("delivered"));
      on("deferred", tell("deferred"));
      on("bounced", tell("bounced"));
    },
  });
}

/** The report that its sender got last, in its parts. */
function report(server: TestServer) {
  const { from, content } = server.delivered.at(-1)!;
  const field = (name: string) => new RegExp(`^${name}: (.*)\r$`, "mi").exec(content)?.[1];
  return { from, content, field };
}

// ── Relaying ───────────────────────────────────────────────────────────────────────────────────────

Deno.test("onward: what is relayed leaves byte for byte under our Received, one attempt a domain", async () => {
  await using server = await testServer({ plugins });
  const content = "Subject: x\r\n\r\n.\r\n..two\r\n\x00\r\n";
  const to = ["a@one.example", "b@two.example", "c@one.example"];
  const { reply } = await server.send({ to, content });
  equal(reply.text, "Queued as M0001");
  deepEqual(server.sent.map(({ to, attempt, from }) => [...to, attempt, from]), [
    ["a@one.example", "c@one.example", 1, "sender@example.net"],
    ["b@two.example", 1, "sender@example.net"],
  ]);
  for (const mail of server.sent) {
    equal(mail.content.replace(/^Received: [^\n]*\n(\t[^\n]*\n)*/, ""), content);
  }
  deepEqual(await server.queue(), []);
  equal(server.delivered.length, 0, "nobody asked for a report");
});

Deno.test("onward: who deferred is tried again, by the schedule, and only they", async () => {
  const told: string[] = [];
  const tries: string[] = [];
  await using server = await testServer({
    plugins: [watcher(told), ...plugins],
    outbound: { retry: ["1m", "10m"] },
    smtp({ to, attempt }: OutgoingMail): Outcome[] {
      tries.push(`${attempt} ${to}`);
      return to.map((one) =>
        one.startsWith("now@") || attempt === 3 ? delivered("250 OK") : defer("4.7.1", "Greylisted")
      );
    },
  });
  await server.send({ to: ["now@one.example", "later@one.example"] });
  deepEqual(tries.splice(0), ["1 now@one.example,later@one.example"]);
  const { recipients: [, waiting] } = (await server.queue())[0]!;
  deepEqual([waiting!.due, waiting!.attempts, waiting!.reply], [
    server.clock.now() + 60_000,
    1,
    "451 4.7.1 Greylisted",
  ]);
  await server.clock.advance("59s");
  deepEqual(tries.splice(0), []);
  await server.clock.advance("1s");
  deepEqual(tries.splice(0), ["2 later@one.example"]);
  await server.clock.advance("10m");
  deepEqual(tries.splice(0), ["3 later@one.example"]);
  deepEqual(told, [
    "delivered M0001 now@one.example 1 250 OK",
    "deferred M0001 later@one.example 1 451 4.7.1 Greylisted",
    "deferred M0001 later@one.example 2 451 4.7.1 Greylisted",
    "delivered M0001 later@one.example 3 250 OK",
  ]);
  deepEqual(await server.queue(), []);
  equal((await server.inUse()).timers, 0);
});

Deno.test("onward: a domain that can't be reached sleeps, and delays nobody else", async () => {
  let tries = 0;
  await using server = await testServer({
    plugins,
    smtp: ({ to: [to] }) => to!.endsWith("@down.example") ? (tries++, "unreachable") : undefined,
  });
  for (let i = 0; i < 6; i++) await server.send({ to: `u${i}@down.example` });
  equal(tries, 3, "three in a row are enough");
  await server.send({ to: stranger });
  deepEqual(server.sent.map(({ to }) => to), [[stranger]]);
  server.smtp = () => {};
  await server.clock.advance("2h");
  deepEqual([server.sent.length, await server.queue()], [7, []]);
});

Deno.test("onward: `route` says where to, defers and refuses", async () => {
  const route = on("route", ({ user }) => {
    if (user === "hop") return accept({ hops: [{ host: "gateway.example", port: 26 }] });
    if (user === "wait") return defer("4.3.2", "Not today");
    if (user === "no") return reject("5.7.1", "Not there");
  }, "route");
  await using server = await testServer({ plugins: [route, ...plugins] });
  const to = ["hop@x.example", "wait@x.example", "no@x.example", "u@x.example"];
  await server.send({ from: alice, to });
  deepEqual(server.sent.map(({ to, hops }) => [to[0], hops?.[0]?.host]), [
    ["hop@x.example", "gateway.example"],
    ["u@x.example", undefined],
  ]);
  const { field } = report(server);
  deepEqual([field("Final-Recipient"), field("Status")], ["rfc822; no@x.example", "5.7.1"]);
  deepEqual((await server.queue())[0]!.recipients.map(({ state }) => state), [
    "delivered",
    "due",
    "failed",
    "delivered",
  ]);
});

// ── Reports ────────────────────────────────────────────────────────────────────────────────────────

Deno.test("onward: five days to a bounce, in the sender's mailbox", async () => {
  const told: string[] = [];
  await using server = await testServer({
    plugins: [watcher(told), ...plugins],
    smtp: () => defer("4.2.2", "Mailbox full", 452),
  });
  await server.send({ from: alice, to: stranger, content: "Subject: hello\r\n\r\nbody\r\n" });
  await server.clock.advance("5h");
  equal(server.delivered.length, 1, "a word about the delay");
  deepEqual([report(server).field("Action"), report(server).from], ["delayed", ""]);
  await server.clock.advance("4d");
  equal(server.delivered.length, 1, "one is enough");
  await server.clock.advance("1d");
  equal(server.delivered.length, 2);
  const { from, field, content } = report(server);
  deepEqual(
    [from, field("Action"), field("Final-Recipient"), field("Status"), field("Diagnostic-Code"), field("To")],
    ["", "failed", `rfc822; ${stranger}`, "4.2.2", "smtp; 452 4.2.2 Mailbox full", `<${alice}>`],
  );
  match(content, /^Received: by mx\.example\.org\r\n/, "it went through the plugins as mail of our own");
  match(content, /^Auto-Submitted: auto-replied\r$/m);
  match(content, /^Subject: hello\r$/m);
  ok(!content.includes("body"), "headers are enough where nobody asked for more");
  deepEqual([await server.queue(), (await server.inUse()).timers], [[], 0]);
  equal(told.filter((line) => line.startsWith("bounced")).length, 1);
  equal(
    told.findIndex((line) => line.startsWith("bounced")),
    told.length - 2,
    "then its report is delivered",
  );
});

Deno.test("onward: a refusal is told at once, one report for all it concerns, the whole message by RET=FULL", async () => {
  await using server = await testServer({ plugins, smtp: () => reject("5.1.1", "No such user") });
  const client = server.connect();
  await client.command("EHLO c");
  await client.command(`MAIL FROM:<${alice}> RET=FULL ENVID=order-1`);
  for (const [to, how] of [["a@x.example", ""], ["b@x.example", ""], ["c@x.example", " NOTIFY=NEVER"]]) {
    equal((await client.command(`RCPT TO:<${to}>${how}`)).code, 250);
  }
  await client.command("DATA");
  equal((await client.content("Subject: hello\r\n\r\nbody\r\n")).code, 250);
  await client.command("QUIT");
  await client.closed;
  await server.settled();
  equal(server.delivered.length, 1);
  const { content, field } = report(server);
  equal(field("Original-Envelope-Id"), "order-1");
  deepEqual([...content.matchAll(/^Final-Recipient: (.*)\r$/gm)].map(([, who]) => who), [
    "rfc822; a@x.example",
    "rfc822; b@x.example",
  ]);
  match(content, /\r\nbody\r\n/);
  deepEqual(await server.queue(), []);
});

Deno.test("onward: NOTIFY=SUCCESS is told, also where a mailbox could have been tried at once", async () => {
  await using server = await testServer({ plugins: [relay, mailboxes(["example.org"])] });
  const client = server.connect();
  await client.command("EHLO c");
  for (const to of ["bob@example.org", stranger]) {
    await client.command(`MAIL FROM:<${alice}>`);
    await client.command(`RCPT TO:<${to}> NOTIFY=SUCCESS`);
    await client.command("DATA");
    match((await client.content("\r\n")).text, /^Queued as/);
    await server.settled();
    deepEqual([server.delivered.at(-1)!.to, report(server).field("Action")], [
      alice,
      to === stranger ? "relayed" : "delivered",
    ]);
  }
  client.abort();
});

Deno.test("onward: Q05 a bounce is never bounced", async () => {
  await using server = await testServer({ plugins, smtp: () => reject("5.1.1", "No such user") });
  await server.send({ from: "nobody@also.example", to: stranger });
  await server.settled();
  equal(server.log.of("undeliverable report dropped").length, 1);
  await server.send({ from: "", to: stranger });
  await server.settled();
  equal(server.log.of("undeliverable report dropped").length, 2);
  deepEqual([await server.queue(), server.delivered.length], [[], 0]);
});

Deno.test("onward: a report that a plugin refuses goes out as it is", async () => {
  const spam = on("data", ({ protocol }) => protocol === "internal" ? reject("5.7.1", "Spam") : undefined);
  await using server = await testServer({
    plugins: [spam, ...plugins],
    smtp: () => reject("5.1.1", "No such user"),
  });
  await server.send({ from: alice, to: stranger });
  deepEqual(server.delivered.map(({ from, to }) => [from, to]), [["", alice]]);
  equal(server.log.of("report refused, queued as it is").length, 1);
});

Deno.test("onward: a failure isn't recorded before its report is kept", async () => {
  let disk: "works" | "fails" = "fails";
  await using server = await testServer({ plugins, outbound: { retry: ["1m"] } });
  server.smtp = () => {
    server.disk = disk;
    return reject("5.1.1", "No such user");
  };
  await server.send({ from: alice, to: stranger });
  equal((await server.queue())[0]!.recipients[0]!.state, "due", "nobody was told: it stays");
  server.disk = disk = "works";
  await server.clock.advance("1m");
  deepEqual([server.delivered.map(({ to }) => to), await server.queue()], [[alice], []]);
});

// ── Generations ────────────────────────────────────────────────────────────────────────────────────

/** A transport whose deliveries end when the test says so. */
function generation(name: string, log: string[], end?: Promise<void>) {
  return definePlugin({
    name: "hall",
    setup(on, _options, host) {
      const via = host.transport("hall", async (_message, [to]) => {
        log.push(`${name} takes ${to}`);
        await end;
        return delivered(name);
      });
      on("resolve", ({ domain }) => domain === "hall.example" ? accept({ via }) : undefined);
      return () => void log.push(`${name} is gone`);
    },
  });
}

Deno.test("onward: a reload while a delivery runs: it ends with its plugins, the next goes by the new ones", async () => {
  const log: string[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  const server = await testServer({ plugins: [relay, generation("first", log, promise)] });
  await server.send({ to: "a@hall.example" });
  await server.reload([relay, generation("second", log)]);
  await server.send({ to: "b@hall.example" });
  deepEqual(log.splice(0), ["first takes a@hall.example", "second takes b@hall.example"]);
  resolve();
  await server.settled();
  deepEqual(log.splice(0), ["first is gone"]);
  deepEqual(await server.queue(), []);
  await server[Symbol.asyncDispose]();
  deepEqual(log, ["second is gone"]);
});

Deno.test("onward: a transport that is gone keeps its mail waiting, however long, until it is back", async () => {
  const log: string[] = [];
  let open = false;
  const hall = definePlugin({
    name: "hall",
    setup(on, _options, host) {
      const via = host.transport(
        "hall",
        () => Promise.resolve(open ? delivered() : defer("4.3.2", "Closed")),
      );
      on("resolve", ({ domain }) => domain === "hall.example" ? accept({ via }) : undefined);
    },
  });
  await using server = await testServer({ plugins: [watcher(log), relay, hall, mailboxes([alice])] });
  await server.send({ from: alice, to: "a@hall.example" });
  await server.reload([watcher(log), relay, mailboxes([alice])]);
  await server.clock.advance("10d");
  const [mail] = await server.queue();
  match(mail!.recipients[0]!.reply, /^4\.3\.5 No plugin has the transport "hall"/);
  ok(
    !server.delivered.some((mail) => /^Action: failed/m.test(mail.content)),
    "that is nobody's fault but ours",
  );
  open = true;
  await server.reload([watcher(log), relay, hall, mailboxes([alice])]);
  await server.clock.advance("4h");
  deepEqual(await server.queue(), []);
  match(log.at(-1)!, /^delivered M0001 a@hall\.example/);
});

Deno.test("onward: the server's end aborts a delivery that never ends", async () => {
  let signal: AbortSignal | undefined;
  const stuck = definePlugin({
    name: "stuck",
    setup(on, _options, host) {
      const via = host.transport("stuck", (_message, _to, call) => {
        signal = call.signal;
        return new Promise(() => {});
      });
      on("resolve", () => accept({ via }));
    },
  });
  const server = await testServer({ plugins: [relay, stuck] });
  await server.send({ to: alice });
  equal(signal?.aborted, false);
  await server[Symbol.asyncDispose]();
  equal(signal?.aborted, true);
});

Deno.test("onward: a transport's own time limit counts, not that of its plugin's answers", async () => {
  const slow = definePlugin({
    name: "slow",
    setup(on, _options, host) {
      const hang: Parameters<typeof host.transport>[1] = (_message, _recipients, { signal }) =>
        new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
      const via = host.transport("slow", hang, { timeout: 600_000 });
      on("resolve", () => accept({ via }));
    },
  });
  await using server = await testServer({ plugins: [{ use: slow, timeout: "10s" }] });
  await server.send({ to: alice });
  await server.clock.advance("599s");
  equal((await server.queue())[0]?.recipients[0]?.attempts, 0);
  await server.clock.advance("1s");
  await server.settled();
  equal((await server.queue())[0]?.recipients[0]?.attempts, 1);
});
