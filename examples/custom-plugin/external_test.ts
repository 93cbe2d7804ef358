import { strictEqual as equal } from "node:assert/strict";
import { accept, definePlugin } from "postrider";
import { mailboxes, type TestMail, testServer, type UsedPlugin } from "postrider/testing";
import external from "./external.ts";

/** Everybody may log in. */
const logins = definePlugin({
  name: "logins",
  setup(on) {
    on("auth", (_session, { user }) => accept({ user }));
  },
});

const [alice, bob] = ["alice@example.test", "bob@example.test"];

/** The subject under which a message arrives. */
async function subjectOf(
  mail: Partial<TestMail>,
  use: [UsedPlugin, unknown] = [external, {}],
): Promise<string> {
  await using server = await testServer({ plugins: [use, logins, mailboxes(["example.test"])] });
  const sent = await server.send({ to: alice, ...mail });
  equal(sent.outcome, "accepted", sent.reply.text);
  return /^Subject: (.*)\r$/m.exec(server.delivered[0]!.content)![1]!;
}

const about = (subject: string) => `Subject: ${subject}\r\n\r\nHello.\r\n`;

Deno.test("a stranger's mail is marked", async () => {
  equal(await subjectOf({ content: about("Invoice") }), "[external] Invoice");
});

Deno.test("a stranger who claims to be a colleague is marked", async () => {
  equal(await subjectOf({ from: bob, content: about("Urgent") }), "[external] Urgent");
});

Deno.test("a colleague who logged in is not", async () => {
  const user = { name: bob, password: "any" };
  equal(await subjectOf({ from: bob, user, content: about("Lunch") }), "Lunch");
});

Deno.test("an answer is not marked twice, and mail without a subject gets one", async () => {
  equal(await subjectOf({ content: about("Re: [external] Invoice") }), "Re: [external] Invoice");
  equal(await subjectOf({ content: "To: alice@example.test\r\n\r\nHello.\r\n" }), "[external]");
});

Deno.test("the mark is an option", async () => {
  equal(await subjectOf({ content: about("Hi") }, [external, { tag: "EXT:" }]), "EXT: Hi");
});
