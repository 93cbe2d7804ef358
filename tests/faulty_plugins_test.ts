/** A plugin that fails harms its own transaction only: that of others goes on at the same moment, and this client's next one, too. */
import { match, ok, strictEqual as equal } from "node:assert/strict";
import { definePlugin } from "../server/plugin.ts";
import { mailboxes, type TestClient, testServer } from "../server/testing/mod.ts";

/** What a plugin can do wrong, and what it does it with: nothing is decided for anybody else. */
const faults: Readonly<Record<string, () => unknown>> = {
  "throws": () => {
    throw new Error("this plugin is broken");
  },
  "rejects": () => Promise.reject(new Error("this plugin is broken")),
  "rejects later": async () => {
    await Promise.resolve();
    throw new Error("this plugin is broken");
  },
  "never answers": () => new Promise(() => {}),
  "says what is no verdict": () => ({ verdict: "perhaps" }),
  "throws nothing at all": () => {
    throw undefined;
  },
};

const hooks = ["mail", "rcpt", "data", "dataFor"] as const;

for (const hook of hooks) {
  for (const [does, fault] of Object.entries(faults)) {
    Deno.test(`X03 a plugin that ${does} in ${hook} harms its own transaction only`, async () => {
      const faulty = definePlugin({
        name: "faulty",
        setup(on) {
          const of = (transaction: { readonly sender: { readonly local: string } }) =>
            transaction.sender.local === "bad" ? fault() as undefined : undefined;
          on("mail", (_session, transaction) => hook === "mail" ? of(transaction) : undefined);
          on("rcpt", (_session, _recipient, transaction) => hook === "rcpt" ? of(transaction) : undefined);
          on("data", (_session, _message, transaction) => hook === "data" ? of(transaction) : undefined);
          on(
            "dataFor",
            (_session, _recipient, _message, transaction) => hook === "dataFor" ? of(transaction) : undefined,
          );
        },
      });
      await using server = await testServer({ plugins: [faulty, mailboxes(["alice@example.org"])] });
      const [one, other] = [server.connect({ ip: "192.0.2.1" }), server.connect({ ip: "198.51.100.1" })];
      const troubled = mail(one, "bad");
      const codes = await mail(other, "good");
      equal(codes.at(-1), "250 2.0.0", "the other client's mail, while the plugin fails");
      if (does === "never answers") await server.clock.advance(31_000);
      match((await troubled).find((code) => !code.startsWith("2") && code !== "354 ")!, /^451 4\.3\.0$/);
      equal((await mail(one, "again")).at(-1), "250 2.0.0", "the same client's next message");
      equal(server.delivered.length, 2);
      ok(server.log.entries.some(({ level }) => level === "error"), "and it is logged");
    });
  }
}

/** Sends one message, as far as it goes; gives the codes of the replies, EHLO's left out. */
async function mail(client: TestClient, sender: string): Promise<string[]> {
  const codes: string[] = [];
  const note = ({ code, status = "" }: { code: number; status: string | undefined }) => {
    codes.push(`${code} ${status}`);
    return code < 400;
  };
  await client.command("EHLO client.example");
  if (!note(await client.command(`MAIL FROM:<${sender}@example.net>`))) return codes;
  if (!note(await client.command("RCPT TO:<alice@example.org>"))) return codes;
  if (note(await client.command("DATA"))) note(await client.content("Subject: x\r\n\r\nhello\r\n"));
  return codes;
}
