import { strictEqual as equal } from "node:assert/strict";
import { logins, mailboxes, type TestMail, testServer, type UsedPlugin } from "postrider/testing";
import external from "./external.ts";

const [alice, bob] = ["alice@example.test", "bob@example.test"];

/** The subject under which a message arrives. */
async function subjectOf(
  mail: Partial<TestMail>,
  use: [UsedPlugin, unknown] = [external, {}],
): Promise<string | undefined> {
  await using server = await testServer({ plugins: [use, logins(), mailboxes(["example.test"])] });
  const sent = await server.send({ to: alice, ...mail });
  equal(sent.outcome, "accepted", sent.reply.text);
  return server.delivered[0]!.headers.get("Subject");
}

Deno.test("a stranger's mail is marked", async () => {
  equal(await subjectOf({ headers: { Subject: "Invoice" } }), "[external] Invoice");
});

Deno.test("a stranger who claims to be a colleague is marked", async () => {
  equal(await subjectOf({ from: bob, headers: { Subject: "Urgent" } }), "[external] Urgent");
});

Deno.test("a colleague who logged in is not", async () => {
  equal(await subjectOf({ from: bob, user: bob, headers: { Subject: "Lunch" } }), "Lunch");
});

Deno.test("an answer is not marked twice, and mail without a subject gets one", async () => {
  equal(await subjectOf({ headers: { Subject: "Re: [external] Invoice" } }), "Re: [external] Invoice");
  equal(await subjectOf({ content: "To: alice@example.test\r\n\r\nHello.\r\n" }), "[external]");
});

Deno.test("the mark is an option", async () => {
  equal(await subjectOf({ headers: { Subject: "Hi" } }, [external, { tag: "EXT:" }]), "EXT: Hi");
});
