import { strictEqual as equal } from "node:assert/strict";
import { definePlugin } from "postrider";
import { mailboxes, testServer } from "postrider/testing";
import tarpit, { suspicion } from "./tarpit.ts";

const suspicious = definePlugin({
  name: "suspicious",
  setup(on, _options, { provides }) {
    const tell = provides(suspicion);
    on("connect", (session) => {
      if (session.remote.address === "198.51.100.7") tell(session, 60_000);
    });
  },
});

Deno.test("tarpit: suspects wait at each step, as long as is allowed; others don't", async () => {
  await using server = await testServer({
    plugins: [suspicious, [tarpit, { most: "10s" }], mailboxes(["example.org"])],
  });
  equal((await server.send({ to: "alice@example.org" })).outcome, "accepted");
  let isOver = false;
  const sending = server.send({ to: "alice@example.org", ip: "198.51.100.7" }).then(() => isOver = true);
  await server.clock.advance(39_999); // helo, mail, rcpt, data
  equal(isOver, false);
  await server.clock.advance(1);
  await sending;
  equal(server.delivered.length, 2);
});

Deno.test("tarpit: works where nobody suspects anybody", async () => {
  await using server = await testServer({ plugins: [tarpit, mailboxes(["example.org"])] });
  equal((await server.send({ to: "alice@example.org" })).outcome, "accepted");
});
