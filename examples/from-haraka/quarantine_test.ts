import { deepStrictEqual as deepEqual, match, strictEqual as equal } from "node:assert/strict";
import { definePlugin } from "postrider";
import { mailboxes, testServer } from "postrider/testing";
import quarantine, { suspect } from "./quarantine.ts";

const scanner = definePlugin({
  name: "scanner",
  setup(on, _options, { provides }) {
    const tell = provides(suspect);
    on(
      "data",
      (_session, message, transaction) => tell(transaction, message.headers.get("Subject") === "bad"),
    );
  },
});

Deno.test("quarantine: what is suspect lies in the folder of its day, once, and in no mailbox", async () => {
  const path = await Deno.makeTempDir();
  try {
    await using server = await testServer({
      plugins: [scanner, [quarantine, { path }], mailboxes(["example.org"])],
    });
    const to = ["alice@example.org", "bob@example.org"];
    for (const Subject of ["good", "bad"]) await server.send({ to, headers: { Subject } });
    await server.settled();
    deepEqual(server.delivered.map(({ headers }) => headers.get("Subject")), ["good", "good"]);
    const files = await Array.fromAsync(Deno.readDir(`${path}/2026-11-21`), ({ name }) => name);
    deepEqual(files, ["M0002.eml"]);
    match(await Deno.readTextFile(`${path}/2026-11-21/M0002.eml`), /^Subject: bad\r\n\r\nHello\.\r\n/m);
    deepEqual(await server.queue(), []);
  } finally {
    await Deno.remove(path, { recursive: true });
  }
});

Deno.test("quarantine: a folder that can't be written loses nothing: the message waits", async () => {
  await using server = await testServer({
    plugins: [scanner, [quarantine, { path: "/dev/null/quarantine" }], mailboxes(["example.org"])],
  });
  equal((await server.send({ to: "alice@example.org", headers: { Subject: "bad" } })).outcome, "accepted");
  await server.settled();
  equal((await server.queue())[0]?.recipients[0]?.attempts, 1);
});
