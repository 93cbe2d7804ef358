import { deepStrictEqual as deepEqual, match, ok, strictEqual as equal } from "node:assert/strict";
import rspamd from "../../../plugins/rspamd/mod.ts";
import { logins, mailboxes, testServer } from "../../../server/testing/mod.ts";

const to = "alice@example.org";
/** Nobody listens on it: whoever asks, defers. */
const socket = "/nonexistent/rspamd";

Deno.test("rspamd: an rspamd that isn't there defers, or is what onError says", async () => {
  await using server = await testServer({ plugins: [["rspamd", { socket }], mailboxes(["example.org"])] });
  equal((await server.send({ to })).reply.code, 451);
  const [line, other] = server.log.of("plugin failed");
  equal(other, undefined, "one line");
  match(String(line!.fields.error), /rspamd at \/nonexistent\/rspamd does not answer: /);
  const entry = { use: "rspamd", with: { socket }, onError: "skip" } as const;
  await using lenient = await testServer({ plugins: [entry, mailboxes(["example.org"])] });
  equal((await lenient.send({ to })).outcome, "accepted");
});

for (
  const [it, body, status, error] of [
    ["speaks nonsense", "<html>", 200, /could not judge: "<html>"/],
    ["wants a password", "", 403, /wants a password/],
    ["is broken", "oh", 500, /answers 500: "oh"/],
    ["never stops", "x".repeat(2 * 1024 * 1024), 200, /more than 1048576 octets/],
    ["sends us elsewhere", "", 302, /does not answer/],
  ] as const
) {
  Deno.test(`rspamd: one that ${it} defers, with one line that says it`, async () => {
    const headers: HeadersInit = status === 302 ? { location: "http://192.0.2.1/" } : {};
    await using http = Deno.serve(
      { port: 0, hostname: "127.0.0.1", onListen() {} },
      async (request) => (await request.arrayBuffer(), new Response(body, { status, headers })),
    );
    const url = `http://127.0.0.1:${http.addr.port}`;
    await using server = await testServer({ plugins: [["rspamd", { url }], mailboxes(["example.org"])] });
    equal((await server.send({ to })).reply.code, 451);
    match(String(server.log.of("plugin failed")[0]!.fields.error), error);
  });
}

Deno.test("rspamd: users, trusted networks, our own mail and what is too large aren't asked about", async () => {
  await using server = await testServer({
    plugins: [["rspamd", { socket, max: "64KiB" }], logins(["bob"]), mailboxes(["example.org"])],
    trustedNetworks: ["192.0.2.9"],
  });
  equal((await server.send({ to, user: "bob" })).outcome, "accepted");
  equal((await server.send({ to, ip: "192.0.2.9" })).outcome, "accepted");
  await server.submit({ sender: "a@example.org", recipients: [to], content: "Subject: x\r\n\r\nHello\r\n" });
  const text = `${"x".repeat(70)}\r\n`.repeat(1000);
  equal((await server.send({ to, headers: { "X-Spam": "No, forged" }, text })).outcome, "accepted");
  ok(!server.delivered.at(-1)!.content.includes("forged"));
  await using outgoing = await testServer({
    plugins: [["rspamd", { socket, outgoing: true }], logins(["bob"]), mailboxes(["example.org"])],
  });
  equal((await outgoing.send({ to, user: "bob" })).reply.code, 451);
});

Deno.test("rspamd: options that are none are refused", () => {
  const issues = (options: unknown) =>
    rspamd.options!.safeParse(options).error?.issues.map(({ path }) => path.join(".")) ?? [];
  deepEqual(issues({ url: "rspamd:11333" }), ["url"]);
  deepEqual(issues({ subject: "[SPAM]" }), ["subject"]);
  deepEqual(issues({ settings: "a b" }), ["settings"]);
  deepEqual(issues({ settingsFor: { "example.org": "x", "Älice@exämple.org": "y" } }), []);
  deepEqual(issues({ settingsFor: { "@example.org": "x" } }).length, 1);
});
