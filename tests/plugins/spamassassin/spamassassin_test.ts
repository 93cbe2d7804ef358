import { deepStrictEqual as deepEqual, strictEqual as equal } from "node:assert/strict";
import spamassassin from "../../../plugins/spamassassin/mod.ts";
import { logins, mailboxes, testServer } from "../../../server/testing/mod.ts";

/** Nobody listens on it: whoever asks, defers. */
const address = "/nonexistent/spamd";
const to = "alice@example.org";

Deno.test("spamassassin: a spamd that isn't there defers, or is what onError says", async () => {
  await using server = await testServer({
    plugins: [["spamassassin", { address }], mailboxes(["example.org"])],
  });
  equal((await server.send({ to })).reply.code, 451);
  equal(server.log.of("plugin failed").length, 1, "one line");
  const entry = { use: "spamassassin", with: { address }, onError: "skip" } as const;
  await using lenient = await testServer({ plugins: [entry, mailboxes(["example.org"])] });
  equal((await lenient.send({ to })).outcome, "accepted");
});

Deno.test("spamassassin: users, trusted networks, our own mail and what is too large aren't asked about", async () => {
  await using server = await testServer({
    plugins: [["spamassassin", { address, max: "64KiB" }], logins(["bob"]), mailboxes(["example.org"])],
    trustedNetworks: ["192.0.2.9"],
  });
  equal((await server.send({ to, user: "bob" })).outcome, "accepted");
  equal((await server.send({ to, ip: "192.0.2.9" })).outcome, "accepted");
  await server.submit({ sender: "a@example.org", recipients: [to], content: "Subject: x\r\n\r\nHello\r\n" });
  const large = {
    to,
    headers: { "X-Spam-Status": "No, forged" },
    text: `${"x".repeat(70)}\r\n`.repeat(1000),
  };
  equal((await server.send(large)).outcome, "accepted");
  equal(server.delivered.at(-1)!.content.includes("forged"), false);
});

Deno.test("spamassassin: thresholds in the wrong order and addresses that are none are refused", () => {
  const issues = (options: unknown) =>
    spamassassin.options!.safeParse(options).error?.issues.map(({ path }) => path.join(".")) ?? [];
  deepEqual(issues({ defer: 10, reject: 5 }), ["defer"]);
  deepEqual(issues({ defer: 5, reject: 10 }), []);
  deepEqual(issues({ address: "spamd" }), ["address"]);
  deepEqual(issues({ user: "../root" }), ["user"]);
});
