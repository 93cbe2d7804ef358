/** `transaction.addCopy`: durable before 250, and never a part of what becomes of the message. */
import { deepStrictEqual as deepEqual, rejects, strictEqual as equal } from "node:assert/strict";
import { accept, defer, definePlugin, delivered, type Json, type Outcome, reject } from "../server/plugin.ts";
import { mailboxes, type TestPlugin, testServer } from "../server/testing/mod.ts";

/** Copies everything, and notes what its transport was given. */
function copier(outcome: () => Outcome = () => delivered()) {
  const seen: { note: Json | undefined; size: number }[] = [];
  const plugin = definePlugin({
    name: "copier",
    setup(on, _options, host) {
      const via = host.transport("copies", (message, [copy]) => {
        seen.push({ note: copy!.note, size: message.size });
        return Promise.resolve(outcome());
      });
      on("data", async (_session, _message, transaction) => {
        await transaction.addCopy("copier@localhost", {
          via,
          note: { to: transaction.recipients.map(String) },
        });
      });
    },
  });
  return { plugin, seen };
}

const inline = (outcome: () => Outcome) =>
  definePlugin({
    name: "inline",
    setup(on, _options, host) {
      const via = host.transport("inline", () => Promise.resolve(outcome()), { inline: true });
      on("resolve", ({ domain }) => domain === "example.org" ? accept({ via }) : undefined);
    },
  });

async function sent(plugins: readonly TestPlugin[], how: { to?: string[]; content?: string } = {}) {
  const server = await testServer({ plugins });
  const { to = ["alice@example.org"], ...more } = how;
  const result = await server.send({ to, ...more });
  await server.settled();
  return { server, result };
}

Deno.test("a copy goes with the message into the queue, and other plugins don't see it", async () => {
  const { plugin, seen } = copier();
  const recipients: number[] = [];
  const counts = definePlugin({
    name: "counts",
    setup(on) {
      on("dataFor", (_session, _recipient, _message, transaction) => {
        recipients.push(transaction.recipients.length);
      });
    },
  });
  const { server } = await sent([plugin, counts, mailboxes(["example.org"])], {
    to: ["alice@example.org", "bob@example.org"],
  });
  await using _ = server;
  deepEqual(seen.map(({ note }) => note), [{ to: ["alice@example.org", "bob@example.org"] }]);
  deepEqual(recipients, [2, 2]);
  equal(server.delivered.length, 2);
  equal((await server.queue()).length, 0);
});

Deno.test("a copy leaves an inline transport its word: what it refuses has no copy, what it takes has one", async () => {
  for (const size of [10, 300_000]) { // in memory, and in a file that both need
    const { plugin, seen } = copier();
    let outcome: Outcome = reject("5.2.2", "Full");
    const { server, result } = await sent([plugin, inline(() => outcome)]);
    await using _ = server;
    equal(result.reply.text, "Full");
    equal(seen.length, 0);
    equal((await server.queue()).length, 0);
    outcome = defer("4.2.2", "Full");
    equal((await server.send({ to: "alice@example.org" })).reply.code, 451);
    equal((await server.queue()).length, 0);
    outcome = delivered();
    const content = `Subject: x\r\n\r\n${"x".repeat(70)}\r\n`.padEnd(size, "y\r\n") + "\r\n";
    equal((await server.send({ to: "alice@example.org", content })).reply.code, 250);
    await server.settled();
    equal(seen.length, 1);
    equal(seen[0]!.size > size, true);
    equal((await server.queue()).length, 0);
  }
});

Deno.test("a copy leaves a `queue` plugin its word", async () => {
  const { plugin, seen } = copier();
  let says: "mine" | "no" | "nothing" = "mine";
  const keeper = definePlugin({
    name: "keeper",
    setup(on) {
      on(
        "queue",
        () => says === "mine" ? accept({ id: "K1" }) : says === "no" ? reject("5.7.0", "No") : undefined,
      );
    },
  });
  const { server, result } = await sent([plugin, keeper, mailboxes(["example.org"])]);
  await using _ = server;
  equal(result.outcome, "accepted");
  equal(seen.length, 1);
  says = "no";
  equal((await server.send({ to: "alice@example.org" })).outcome, "refused");
  await server.settled();
  equal(seen.length, 1);
  says = "nothing";
  await server.send({ to: "alice@example.org" });
  await server.settled();
  equal(seen.length, 2);
  equal(server.delivered.length, 1);
  equal((await server.queue()).length, 0);
});

Deno.test("a copy leaves a proxy's next hop its word", async () => {
  const { plugin, seen } = copier();
  const gateway = definePlugin({
    name: "gateway",
    setup(on, _options, host) {
      const via = host.proxy("gateway", () => accept({ hops: [{ host: "inside.example.org" }] }));
      on("resolve", ({ domain }) => domain === "example.org" ? accept({ via }) : undefined);
    },
  });
  const { server, result } = await sent([plugin, gateway]);
  await using _ = server;
  equal(result.outcome, "accepted");
  equal(server.sent.length, 1);
  equal(seen.length, 1);
  server.smtp = () => reject("5.7.1", "Not this");
  equal((await server.send({ to: "alice@example.org" })).outcome, "refused");
  await server.settled();
  equal(seen.length, 1);
  equal((await server.queue()).length, 0);
});

Deno.test("where all recipients are refused after the dot there is no copy; where all are removed there is", async () => {
  const { plugin, seen } = copier();
  let what: "refuse" | "remove" = "refuse";
  const below = definePlugin({
    name: "below",
    setup(on) {
      on("data", (_session, _message, transaction) => {
        if (what === "remove") {
          for (const { id } of transaction.recipients) transaction.removeRecipient(id);
        }
      });
      on("dataFor", () => reject("5.7.1", "Not this"));
    },
  });
  const { server, result } = await sent([plugin, below, mailboxes(["example.org"])]);
  await using _ = server;
  equal(result.outcome, "refused");
  equal(seen.length, 0);
  what = "remove";
  equal((await server.send({ to: "alice@example.org" })).outcome, "accepted");
  await server.settled();
  equal(seen.length, 1);
});

Deno.test("a copy that fails for good tells nobody", async () => {
  const { plugin, seen } = copier(() => reject("5.0.0", "Never"));
  const { server } = await sent([plugin, mailboxes(["example.org", "example.net"])]);
  await using _ = server;
  equal(seen.length, 1);
  deepEqual(server.delivered.map(({ to }) => to), ["alice@example.org"]);
});

Deno.test("a copy that can't be kept is no 250", async () => {
  const { plugin } = copier();
  await using server = await testServer({ plugins: [plugin, inline(() => delivered())] });
  server.disk = "fails";
  equal((await server.send({ to: "alice@example.org" })).reply.code, 451);
});

Deno.test("a copy to an address is resolved, and else goes onward", async () => {
  const archive = definePlugin({
    name: "archive",
    setup(on, _options, host) {
      const onward = host.relay("archive", () => accept({ sender: "" }));
      on("data", async (_session, _message, transaction) => {
        await transaction.addCopy("keeper@example.org", { onward });
        await transaction.addCopy("keeper@elsewhere.example", { onward });
        await rejects(transaction.addCopy("nobody"), TypeError);
      });
    },
  });
  const { server } = await sent([archive, mailboxes(["example.org"])]);
  await using _ = server;
  deepEqual(server.delivered.map(({ to }) => to).sort(), ["alice@example.org", "keeper@example.org"]);
  deepEqual(server.sent.map(({ from, to }) => [from, to]), [["", ["keeper@elsewhere.example"]]]);
});

Deno.test("a copy can't be added once the message is in the queue, and says so instead of being lost", async () => {
  const { plugin, seen } = copier();
  await using server = await testServer({
    plugins: [{ use: plugin, when: "queued" }, mailboxes(["example.org"])],
  });
  await server.send({ to: "alice@example.org" });
  await server.settled();
  equal(seen.length, 0);
  equal(server.delivered.length, 0);
  equal((await server.queue()).length, 1);
});

Deno.test("what is asked once a message is in the queue doesn't see its copies", async () => {
  const { plugin, seen } = copier();
  const recipients: string[][] = [];
  const late = definePlugin({
    name: "late",
    setup(on) {
      on(
        "data",
        (_session, _message, transaction) => void recipients.push(transaction.recipients.map(String)),
      );
    },
  });
  await using server = await testServer({
    plugins: [plugin, { use: late, when: "queued" }, mailboxes(["example.org"])],
  });
  await server.send({ to: "alice@example.org" });
  await server.settled();
  deepEqual(recipients, [["alice@example.org"]]);
  equal(seen.length, 1);
  equal(server.delivered.length, 1);
});
