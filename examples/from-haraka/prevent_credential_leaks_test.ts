import { strictEqual as equal } from "node:assert/strict";
import { logins, type TestMail, testServer } from "postrider/testing";
import preventLeaks from "./prevent_credential_leaks.ts";

const password = "c0rrect+horse";
const user = { name: "alice@example.org", password };

async function reply(mail: Partial<TestMail>): Promise<string> {
  await using server = await testServer({ plugins: [[preventLeaks, { largest: "4KiB" }], logins()] });
  const { code, text } = (await server.send({ user, to: "phisher@elsewhere.example", ...mail })).reply;
  return code === 250 ? "250" : `${code} ${text}`;
}

const leak = "550 Never send your password to anyone";

Deno.test("prevent-credential-leaks: name and password in the text, in HTML, in base64, in the subject", async () => {
  equal(await reply({ text: `Sure! alice / ${password}\n` }), leak);
  equal(
    await reply({ headers: { "Content-Type": "text/html" }, text: `<p>ALICE@example.org ${password}</p>` }),
    leak,
  );
  const headers = {
    "MIME-Version": "1.0",
    "Content-Type": "text/plain",
    "Content-Transfer-Encoding": "base64",
  };
  equal(await reply({ headers, text: btoa(`alice ${password}`) }), leak);
  equal(await reply({ headers: { Subject: `alice ${password}` }, text: "" }), leak);
});

Deno.test("prevent-credential-leaks: neither alone, nor somebody else's, nor a message too large to be read", async () => {
  equal(await reply({ text: "Regards, Alice\n" }), "250");
  equal(await reply({ text: `${password}\n` }), "250");
  equal(
    await reply({ user: { name: "bob@example.org", password: "other" }, text: `alice ${password}\n` }),
    "250",
  );
  equal(await reply({ text: `alice ${password}\n${"x".repeat(70).concat("\n").repeat(80)}` }), "250");
});
