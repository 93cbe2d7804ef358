import { deepStrictEqual as deepEqual, match, rejects, strictEqual as equal } from "node:assert/strict";
import { defer, definePlugin, type Hooks, type On, reject } from "../server/plugin.ts";
import { mailboxes, type TestPlugin, testServer } from "../server/testing/mod.ts";

const box = mailboxes(["example.org"]);
const alice = "alice@example.org";

/** A plugin with one handler. */
function on<K extends keyof Hooks>(hook: K, handler: Hooks[K], name = "plugin") {
  return definePlugin({ name, setup: (on: On) => on(hook, handler) });
}

const serverOf = (...plugins: TestPlugin[]) => testServer({ plugins });

Deno.test("submit: it is resolved, made complete and kept like any other", async () => {
  await using server = await serverOf(on("rcpt", () => reject("5.7.1", "not asked")), box);
  const { id } = await server.submit({
    sender: "",
    recipients: [alice],
    content: "Subject: own\n\nline\rline\n",
  });
  const [mail] = server.delivered;
  deepEqual([mail!.id, mail!.from, mail!.to], [id, "", alice]);
  match(mail!.content, /^Received: by mx\.example\.org\r\n\tid M0001/);
  match(mail!.content, /\r\nMessage-ID: <[^>]+>\r\n\r\nline\r\nline\r\n$/);
});

Deno.test("submit: from a plugin, as a stream", async () => {
  let send: ((content: ReadableStream<Uint8Array<ArrayBuffer>>) => Promise<unknown>) | undefined;
  const sender = definePlugin({
    name: "sender",
    setup(_on, _options, host) {
      send = (content) => host.submit({ sender: alice, recipients: [alice], content });
    },
  });
  await using server = await serverOf(sender, box);
  await send!(new Blob(["Subject: a\r", "\n\r\nb\r\n"]).stream());
  match(server.delivered[0]!.content, /Subject: a\r\n/);
});

Deno.test("submit: what is refused rejects, and leaves nothing", async () => {
  await using server = await serverOf(
    on("data", (_session, message) => message.headers.get("X-Bad") ? reject("5.7.1", "Bad") : undefined),
    on("resolve", ({ user }) => user === "moving" ? defer("4.2.1", "Moving") : undefined, "moving"),
    mailboxes([alice]),
  );
  const mail = { sender: alice, recipients: [alice], content: "\r\n" };
  await rejects(server.submit({ ...mail, content: "X-Bad: 1\r\n\r\n" }), /550 5\.7\.1 Bad/);
  await rejects(server.submit({ ...mail, recipients: ["moving@example.org"] }), /451 4\.2\.1 Moving/);
  await rejects(server.submit({ ...mail, recipients: [alice, "nobody@example.org"] }), /550 5\.1\.1/);
  await rejects(server.submit({ ...mail, recipients: [] }), TypeError);
  await rejects(server.submit({ ...mail, recipients: [""] }), TypeError);
  await rejects(server.submit({ ...mail, recipients: ["not an address"] }), TypeError);
  await rejects(server.submit({ ...mail, sender: "not an address" }), TypeError);
  const broken = new ReadableStream({ pull: (controller) => controller.error(new Error("EIO")) });
  await rejects(server.submit({ ...mail, content: broken }), /EIO/);
  server.room = "none";
  await rejects(server.submit(mail), /452 4\.3\.1/);
  server.room = "runs-out";
  await rejects(server.submit(mail), /452 4\.3\.1/);
  server.room = "enough";
  server.disk = "fails";
  await rejects(server.submit(mail), /451 4\.3\.0/);
  deepEqual(await server.queue(), []);
  equal(server.delivered.length, 0);
  deepEqual(await server.inUse(), { connections: 0, octets: 0, files: 0, timers: 0 });
});

Deno.test("submit: it is in the queue when that resolves, and goes where nobody else claims it", async () => {
  let takes = false;
  await using server = await testServer({
    plugins: [mailboxes([alice], { answer: () => takes ? undefined : defer("4.2.2", "Full") })],
  });
  const { id } = await server.submit({
    sender: alice,
    recipients: [alice, "u@elsewhere.example"],
    content: "Subject: own\r\n\r\nx\r\n",
  });
  deepEqual(server.sent.map(({ id, from, to }) => [id, from, to]), [[id, alice, ["u@elsewhere.example"]]]);
  equal(server.delivered.length, 0, "a mailbox that is full for now is no refusal of mail of our own");
  const [queued] = await server.queue();
  deepEqual(queued!.recipients.map(({ to, state, reply }) => [to, state, reply]), [
    [alice, "due", "4.2.2 Full"],
    ["u@elsewhere.example", "delivered", "250 2.0.0 Taken"],
  ]);
  takes = true;
  await server.clock.advance("1m");
  deepEqual(server.delivered.map(({ id: of, to }) => [of, to]), [[id, alice]]);
});

Deno.test("submit: whom nobody takes is told of, and the others have it", async () => {
  let send: ((recipients: string[]) => Promise<unknown>) | undefined;
  const told: string[] = [];
  const sender = definePlugin({
    name: "sender",
    setup(_on, _options, host) {
      send = (recipients) =>
        host.submit({
          sender: alice,
          recipients,
          content: "Subject: own\r\n\r\nx\r\n",
          refused: (recipient, why) => told.push(`${recipient} ${why.verdict} ${why.status}`),
        });
    },
  });
  await using server = await serverOf(
    sender,
    on("resolve", ({ user }) => user === "moving" ? defer("4.2.1", "Moving") : undefined, "moving"),
    mailboxes([alice]),
  );
  await send!(["moving@example.org", alice, "nobody@example.org", "u@elsewhere.example"]);
  await server.clock.advance("1s");
  deepEqual(told, ["moving@example.org defer 4.2.1", "nobody@example.org reject 5.1.1"]);
  deepEqual(server.delivered.map(({ to }) => to), [alice]);
  deepEqual(server.sent.map(({ to }) => to), [["u@elsewhere.example"]]);
  await rejects(
    send!(["moving@example.org", "nobody@example.org"]),
    /nobody is left to send it to: nobody@.*5\.1\.1/,
  );
  equal(server.delivered.length, 1);
});
