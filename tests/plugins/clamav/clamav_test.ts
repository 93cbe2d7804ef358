import { match, strictEqual as equal } from "node:assert/strict";
import { mailboxes, testServer } from "../../../server/testing/mod.ts";

/** Nobody listens on it: whoever asks, defers. */
const address = "/nonexistent/clamd";
const to = "alice@example.org";
const large = { to, text: `${"x".repeat(70)}\r\n`.repeat(1000) };

Deno.test("clamav: a clamd that isn't there defers; nothing is taken as clean", async () => {
  await using server = await testServer({ plugins: [["clamav", { address }], mailboxes(["example.org"])] });
  equal((await server.send({ to })).reply.code, 451);
  equal(server.delivered.length, 0);
  equal(server.log.of("plugin failed").length, 1, "one line");
});

for (const [tooLarge, code] of [["pass", 250], ["defer", 451], ["reject", 552]] as const) {
  Deno.test(`clamav: what is larger than \`max\`, with tooLarge: ${tooLarge}`, async () => {
    await using server = await testServer({
      plugins: [["clamav", { address, max: "64KiB", tooLarge }], mailboxes(["example.org"])],
    });
    equal((await server.send(large)).reply.code, code);
    if (code !== 250) return equal(server.delivered.length, 0);
    match(server.delivered[0]!.content, /^X-Virus-Status: Not scanned \(too large\)\r$/m);
    equal(server.log.of("too large to be scanned").length, 1);
  });
}

Deno.test("clamav: mail of our own isn't scanned again", async () => {
  await using server = await testServer({ plugins: [["clamav", { address }], mailboxes(["example.org"])] });
  await server.submit({ sender: "a@example.org", recipients: [to], content: "Subject: x\r\n\r\nHello\r\n" });
  equal(server.delivered.length, 1);
});
