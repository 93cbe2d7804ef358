import { match, rejects, strictEqual as equal } from "node:assert/strict";
import { turn } from "../../server/testing/clock.ts";
import type { TestServer } from "../../server/testing/mod.ts";
import { server } from "./authentication/rig.ts";

/** Connects, and resolves when the plugin listens. */
async function connected(receiving: TestServer, ip = "192.0.2.1") {
  const client = receiving.connect({ ip });
  await turn();
  return client;
}

Deno.test("C01 earlytalker: who speaks before the greeting is told so at once, and gone", async () => {
  await using receiving = await server(["earlytalker"]);
  const client = await connected(receiving);
  await client.send("EHLO client.example\r\n");
  const { code, text } = await client.reply();
  equal(
    `${code} ${text}`,
    "554 You spoke before you were greeted",
    "a greeting has no enhanced code (RFC 2034 §3)",
  );
  match(String(receiving.log.of("refused")[0]?.fields["verdict"]), /5\.5\.0/);
  await client.closed;
  equal(receiving.clock.pending.length, 0, "nothing waits for it any more");
});

Deno.test("earlytalker: who is silent is greeted after the wait, then at once for a week", async () => {
  await using receiving = await server(["earlytalker"]);
  const client = await connected(receiving);
  let greeted = false;
  const greeting = client.reply().then(({ code }) => (greeted = true, code));
  await receiving.clock.advance("2999ms");
  equal(greeted, false);
  await receiving.clock.advance("1ms");
  equal(await greeting, 220);
  equal((await client.command("EHLO client.example")).code, 250, "what comes after the wait is read as ever");
  client.close();
  equal((await (await connected(receiving)).reply()).code, 220, "no clock was moved");
  await receiving.clock.advance("8d");
  const later = await connected(receiving);
  await later.send("EHLO client.example\r\n");
  equal((await later.reply()).code, 554);
});

Deno.test("earlytalker: a whole pipelined session sent blindly is never run", async () => {
  await using receiving = await server(["earlytalker"]);
  const client = await connected(receiving);
  await client.send(
    "EHLO x\r\nMAIL FROM:<a@example.net>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n",
  );
  equal((await client.reply()).code, 554);
  await client.closed;
  equal(receiving.delivered.length, 0);
});

Deno.test("earlytalker: who goes while it waits is not remembered as patient", async () => {
  await using receiving = await server(["earlytalker"]);
  const gone = await connected(receiving);
  gone.abort();
  await gone.closed;
  const client = await connected(receiving);
  await client.send("EHLO client.example\r\n");
  equal((await client.reply()).code, 554);
});

Deno.test("earlytalker: trusted networks are greeted at once, and may speak first", async () => {
  await using receiving = await server(["earlytalker"], {}, { trustedNetworks: ["192.0.2.0/24"] });
  const client = receiving.connect();
  await client.send("EHLO client.example\r\n");
  equal((await client.reply()).code, 220);
  equal((await client.reply()).code, 250);
});

Deno.test("C01 earlytalker: observed, the greeting is sent, then the reply to what came before it", async () => {
  await using receiving = await server([{ use: "earlytalker", observe: true }]);
  const client = await connected(receiving);
  await client.send("EHLO client.example\r\n");
  equal((await client.reply()).code, 220);
  equal((await client.reply()).code, 250);
});

Deno.test("earlytalker: a store that fails costs a wait, and no mail", async () => {
  await using receiving = await server(["earlytalker"]);
  receiving.stores = "fail";
  const client = await connected(receiving);
  const greeting = client.reply();
  await receiving.clock.advance("3s");
  equal((await greeting).code, 220);
});

Deno.test("earlytalker: a wait beyond a plugin's own time is refused", async () => {
  await rejects(server([["earlytalker", { wait: "1m" }]]), /is more than 20s/);
});
