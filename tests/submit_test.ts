import { deepStrictEqual as deepEqual, match, rejects, strictEqual as equal } from "node:assert/strict";
import { defer, definePlugin, type Hooks, type On, reject } from "../server/plugin.ts";
import { mailboxes, type TestPlugin, testServer } from "../server/testing/mod.ts";

const box = mailboxes(["example.org"]);
const alice = "alice@example.org";

/** A plugin with one handler. */
function on<K extends keyof Hooks>(hook: K, handler: Hooks[K]) {
  return definePlugin({ name: "plugin", setup: (on: On) => on(hook, handler) });
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
    mailboxes(["example.org"], {
      answer: (_message, { user }) => user === "full" ? defer("4.2.2", "Full") : undefined,
    }),
  );
  const mail = { sender: alice, recipients: [alice], content: "\r\n" };
  await rejects(server.submit({ ...mail, content: "X-Bad: 1\r\n\r\n" }), /550 5\.7\.1 Bad/);
  await rejects(server.submit({ ...mail, recipients: ["full@example.org"] }), /451 4\.2\.2 Full/);
  await rejects(server.submit({ ...mail, recipients: ["u@elsewhere.example"] }), /451 4\.3\.0/);
  await rejects(server.submit({ ...mail, recipients: [] }), TypeError);
  await rejects(server.submit({ ...mail, recipients: [""] }), TypeError);
  await rejects(server.submit({ ...mail, recipients: ["not an address"] }), TypeError);
  await rejects(server.submit({ ...mail, sender: "not an address" }), TypeError);
  const broken = new ReadableStream({ pull: (controller) => controller.error(new Error("EIO")) });
  await rejects(server.submit({ ...mail, content: broken }), /EIO/);
  server.room = "none";
  await rejects(server.submit(mail), /452 4\.3\.1/);
  equal(server.delivered.length, 0);
  deepEqual(await server.inUse(), { connections: 0, octets: 0, files: 0, timers: 0 });
});
