import { deepStrictEqual as deepEqual, strictEqual as equal } from "node:assert/strict";
import headers from "../../../plugins/headers/mod.ts";
import { dmarc } from "../../../server/facts.ts";
import { definePlugin } from "../../../server/plugin.ts";
import { logins, mailboxes, testServer } from "../../../server/testing/mod.ts";

const to = "alice@example.org";
const date = "Date: Thu, 1 Jan 1970 00:00:00 +0000";
const start = (options: Record<string, unknown> = {}, ...above: ReturnType<typeof definePlugin>[]) =>
  testServer({
    plugins: [...above, logins(["bob"]), ["headers", options], mailboxes(["example.org"])],
    trustedNetworks: ["192.0.2.9"],
  });

Deno.test("headers: what is refused, what is marked, and nobody else marks", async () => {
  await using server = await start({ date: "off", several: "off" });
  const refused = await server.send({ to, content: ["Subject: x", "", "Hello"] });
  equal(
    `${refused.reply.code} ${refused.reply.status} ${refused.reply.text}`,
    "550 5.6.0 There is no From field",
  );
  const content = ["X-Header-Problem: forged", "From: bob@example.net", date, "", "Hello"];
  equal((await server.send({ to, content })).outcome, "accepted");
  deepEqual(server.delivered[0]!.headers.all("X-Header-Problem"), ["There is no Message-ID field"]);
  deepEqual(server.log.of("flagged").map(({ fields }) => fields.rule), ["missing.message-id"]);
});

Deno.test("headers: users, trusted networks and our own mail write as they like, and postmaster is reached", async () => {
  await using server = await start();
  const content = ["Subject: x", "", "Hello"];
  equal((await server.send({ to, content, user: "bob" })).outcome, "accepted");
  equal((await server.send({ to, content, ip: "192.0.2.9" })).outcome, "accepted");
  await server.submit({ sender: "", recipients: [to], content: "Subject: x\r\n\r\nHello\r\n" });
  const asked = await server.send({ to: ["postmaster@example.org", to], content });
  deepEqual(asked.recipients.map(({ reply }) => reply.code), [250, 452]);
  equal(asked.outcome, "accepted");
});

Deno.test("headers: where nothing is refused, postmaster's mail needn't come by itself", async () => {
  const missing = { from: "flag", date: "flag" };
  await using server = await start({ missing, duplicated: "flag", received: "off" });
  const sent = await server.send({
    to: ["postmaster@example.org", to],
    content: ["Subject: x", "", "Hello"],
  });
  deepEqual(sent.recipients.map(({ reply }) => reply.code), [250, 250]);
  equal(server.delivered[0]!.headers.all("X-Header-Problem").length, 3);
});

Deno.test("headers: an address of ours needs a login, or DMARC's word", async () => {
  const content = [
    "From: alice@example.org",
    "Date: Mon, 24 Nov 2025 11:00:00 +0000",
    "Message-ID: <1@x>",
    "",
    "Hello",
  ];
  const options = { domains: ["example.org"], forged: "reject", date: "off" };
  await using server = await start(options);
  const { reply } = await server.send({ to, content });
  equal(reply.text, "The From field claims example.org, whose users log in to send");
  const proven = definePlugin({
    name: "proven",
    setup(on, _options, host) {
      const tell = host.provides(dmarc);
      on("data", (_session, _message, transaction) => {
        tell(transaction, { result: "pass", domain: "example.org", policy: "reject" });
      });
    },
  });
  await using knowing = await start(options, proven);
  equal((await knowing.send({ to, content })).outcome, "accepted");
});

Deno.test("headers: each rule is refused, marked or off; anything else is no option", () => {
  const issues = (options: unknown) =>
    headers.options!.safeParse(options).error?.issues.map(({ path }) => path.join(".")) ?? [];
  deepEqual(issues({ missing: { date: "off" }, duplicated: "flag" }), []);
  deepEqual(issues({ missing: { date: "defer" } }), ["missing.date"]);
  deepEqual(issues({ domains: ["@x"] }), ["domains.0"]);
});
