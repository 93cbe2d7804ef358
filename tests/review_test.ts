/** What a hostile reading of the core found, each as a test. */
import { deepStrictEqual as deepEqual, ok, rejects, strictEqual as equal } from "node:assert/strict";
import { accept, defer, definePlugin, disconnect, reject } from "../server/plugin.ts";
import { Server } from "../server/server.ts";
import { mailboxes, testServer } from "../server/testing/mod.ts";

const alice = "alice@example.org";

Deno.test("review: two plugins may each replace a body that is too large for memory", async () => {
  const replacing = (name: string) =>
    definePlugin({
      name,
      setup(on) {
        on("data", async (_session, message) => {
          await message.replaceBody(new Blob([name.repeat(100_000) + "\r\n"]).stream());
        });
      },
    });
  await using server = await testServer({
    plugins: [replacing("first"), replacing("second"), mailboxes(["example.org"])],
  });
  const sent = await server.send({ to: alice });
  equal(sent.reply.code, 250);
  ok(server.delivered[0]!.content.endsWith("secondsecond\r\n"));
  deepEqual(await server.inUse(), { connections: 0, octets: 0, files: 0, timers: 0 });
});

Deno.test("review: promise 6: recipients asked about in one transaction are bounded, whatever is said of them", async () => {
  let asked = 0;
  const greylist = definePlugin({
    name: "greylist",
    setup(on) {
      on("rcpt", (_session, recipient) => {
        asked++;
        if (recipient.user !== "alice") return defer("4.7.1", "Later");
      });
    },
  });
  await using server = await testServer({
    plugins: [greylist, mailboxes(["example.org"])],
    limits: { recipients: 20, refusedRecipients: 5 },
  });
  const client = server.connect();
  await client.command("EHLO client.example");
  await client.command("MAIL FROM:<>");
  const replies: string[] = [];
  for (let i = 0; i < 40; i++) {
    const { code, status } = await client.command(`RCPT TO:<${i === 3 ? "alice" : `u${i}`}@example.org>`);
    replies.push(`${code} ${status}`);
  }
  equal(asked, 25, "20 recipients and 5 that may be refused");
  deepEqual([...new Set(replies.slice(25))], ["452 4.5.3"]);
  equal((await client.command("DATA")).code, 354, "the one that was accepted gets its mail");
  equal((await client.content("Subject: x\r\n\r\n")).code, 250);
  await client.command("MAIL FROM:<>");
  equal((await client.command(`RCPT TO:<${alice}>`)).code, 250, "the next transaction begins anew");
  client.abort();
  await client.closed;
});

Deno.test("review: C03 a refused EHLO and a refused connection carry no enhanced code", async () => {
  for (const verdict of [reject("5.7.1", "no"), defer("4.7.1", "later"), disconnect("5.7.1", "bye")]) {
    for (const hook of ["connect", "helo"] as const) {
      const refuses = definePlugin({ name: "refuses", setup: (on) => on(hook, () => verdict) });
      await using server = await testServer({ plugins: [refuses, mailboxes(["example.org"])] });
      const client = server.connect();
      const said = hook === "connect" ? await client.reply() : await client.command("EHLO client.example");
      deepEqual([said.status, said.text], [undefined, verdict.text], `${hook} ${verdict.verdict}`);
      client.abort();
      await client.closed;
    }
  }
});

Deno.test("review: L01 a recipient that was refused after the dot is not handed to `queue`", async () => {
  const kept: string[] = [];
  const policy = definePlugin({
    name: "policy",
    setup(on) {
      on("dataFor", (_session, { user }) => {
        if (user === "bob") return reject("5.7.1", "Bob wants none of this");
      });
    },
  });
  const queue = definePlugin({
    name: "keeper",
    setup(on) {
      on("queue", (_session, _message, { recipients }) => {
        kept.push(...recipients.map(String));
        return accept({ id: "q1" });
      });
    },
  });
  await using server = await testServer({ plugins: [policy, queue, mailboxes(["example.org"])] });
  const sent = await server.send({ protocol: "lmtp", to: [alice, "bob@example.org"] });
  deepEqual(sent.replies.map(({ code }) => code), [250, 550]);
  deepEqual(kept, [alice]);
});

Deno.test("review: D06 a message that is refused for what it is leaves a line in the log", async () => {
  await using server = await testServer({
    plugins: [mailboxes(["example.org"])],
    limits: { message: "1KiB", bareNewlines: "reject" },
  });
  equal((await server.send({ to: alice, content: "x".repeat(2000) })).reply.code, 552);
  const client = server.connect();
  for (const line of ["EHLO c", "MAIL FROM:<eve@example.net>", `RCPT TO:<${alice}>`, "DATA"]) {
    await client.command(line);
  }
  await client.send("a\nb\r\n.\r\n");
  equal((await client.reply()).code, 550);
  for (const line of ["MAIL FROM:<eve@example.net>", `RCPT TO:<${alice}>`]) await client.command(line);
  await client.send(`BDAT 1025\r\n${"x".repeat(1025)}`);
  equal((await client.reply()).code, 552);
  client.abort();
  await client.closed;
  const lines = server.log.of("refused");
  deepEqual(lines.map(({ fields }) => [fields.phase, fields.by, fields.from, fields.code]), [
    ["data", "core", "sender@example.net", 552],
    ["data", "core", "eve@example.net", 550],
    ["data", "core", "eve@example.net", 552],
  ]);
});

Deno.test("review: a start that fails is over at once, whoever has connected meanwhile", async () => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/s.sock`;
  await Deno.writeTextFile(
    `${folder}/fails.ts`,
    `export default ({ definePlugin }) => definePlugin({
      name: "fails",
      async setup() {
        await Deno.connect({ transport: "unix", path: ${JSON.stringify(path)} });
        await Deno.connect({ transport: "unix", path: ${JSON.stringify(path)} });
        throw new Error("no database");
      },
    });`,
  );
  await Deno.writeTextFile(
    `${folder}/postrider.yaml`,
    JSON.stringify({
      hostname: "mx.example.org",
      state: "./state",
      listen: [{ path }],
      log: { level: "error" },
      plugins: [{ use: "./fails.ts" }],
    }),
  );
  const before = performance.now();
  await rejects(Server.start(`${folder}/postrider.yaml`), /no database/);
  ok(performance.now() - before < 10_000, "it does not wait for clients that can never be served");
  await Deno.remove(folder, { recursive: true });
});

Deno.test("review: Q07 a transaction that its client leaves open hears 421 before the server is gone", async () => {
  await using server = await testServer({ plugins: [mailboxes(["example.org"])] });
  const waits = server.connect(), sends = server.connect(), late = server.connect();
  for (const client of [waits, sends, late]) {
    await client.command("EHLO client.example");
    await client.command("MAIL FROM:<>");
  }
  await sends.command(`RCPT TO:<${alice}>`);
  equal((await sends.command("DATA")).code, 354);
  server.drain();
  equal((await late.command(`RCPT TO:<${alice}>`)).code, 250, "it may finish");
  await server.clock.advance("20s");
  for (const client of [waits, sends, late]) {
    const { code, status } = await client.reply();
    deepEqual([code, status], [421, "4.3.2"]);
    await client.closed;
  }
  equal(server.delivered.length, 0);
});

Deno.test("review: an observed plugin promises nothing: no AUTH, no keeping", async () => {
  const observed = definePlugin({
    name: "observed",
    setup(on) {
      on("auth", (_session, { user }) => accept({ user }));
      on("queue", () => accept({ id: "q1" }));
    },
  });
  await using server = await testServer({
    plugins: [{ use: observed, observe: true }, mailboxes(["example.org"])],
  });
  const client = server.connect({ role: "submission", tls: "implicit" });
  ok(!(await client.command("EHLO client.example")).text.includes("AUTH"));
  client.abort();
  equal((await server.send({ to: [alice, "bob@example.org"] })).reply.text, "Queued as M0001");
  equal(server.delivered.length, 2, "what it claimed to have kept is delivered");
});

Deno.test("review: edits of a message are in its log line", async () => {
  const edits = definePlugin({
    name: "edits",
    setup(on) {
      on("data", (_session, message) => {
        message.prependHeader("X-Seen", "a secret");
        message.removeHeader("Subject");
      });
    },
  });
  await using server = await testServer({ plugins: [edits, mailboxes(["example.org"])] });
  await server.send({ to: alice });
  const said = String(server.log.of("message accepted")[0]?.fields.said);
  ok(
    said.includes("data edits prependHeader X-Seen") && said.includes("data edits removeHeader Subject"),
    said,
  );
  ok(!said.includes("secret"));
});
