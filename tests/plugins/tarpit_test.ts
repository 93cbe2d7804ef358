import { rejects, strictEqual as equal } from "node:assert/strict";
import { mailboxes, testServer } from "../../server/testing/mod.ts";
import type { TestPlugin, TestServer } from "../../server/testing/mod.ts";
import type { TestServerOptions } from "../../server/testing/mod.ts";

/** A server that has no mailbox but Bob's and the postmaster's. */
function server(plugin: TestPlugin, options: Partial<TestServerOptions> = {}): Promise<TestServer> {
  const known = ["bob@example.org", "postmaster@example.org"];
  return testServer({ ...options, plugins: [plugin, mailboxes(known)] });
}

async function transaction(receiving: TestServer, ip = "192.0.2.1") {
  const client = receiving.connect({ ip });
  await client.command("EHLO client.example");
  await client.command("MAIL FROM:<alice@example.net>");
  return client;
}

type Client = Awaited<ReturnType<typeof transaction>>;

/** How many milliseconds a reply takes, to a tenth of a second. */
async function took(receiving: TestServer, client: Client, to: string): Promise<number> {
  let done = false;
  const reply = client.command(`RCPT TO:<${to}>`).finally(() => done = true);
  let waited = 0;
  for (await receiving.clock.advance(0); !done; waited += 100) await receiving.clock.advance(100);
  await reply;
  return waited;
}

Deno.test("tarpit: each unknown recipient beyond the free ones makes the answers later, up to the longest", async () => {
  await using receiving = await server(["tarpit", { free: 2, delay: "1s", longest: "2s" }]);
  const client = await transaction(receiving);
  const times: number[] = [];
  for (const name of ["a", "b", "c", "d", "e", "bob"]) {
    times.push(await took(receiving, client, `${name}@example.org`));
  }
  equal(times.join(), "0,0,0,1000,2000,2000");
  equal(await took(receiving, client, "postmaster@example.org"), 0);
});

Deno.test("tarpit: the network is slowed on further connections, for ten minutes, and nobody else", async () => {
  await using receiving = await server(["tarpit", { free: 0 }]);
  await took(receiving, await transaction(receiving), "a@example.org");
  equal(await took(receiving, await transaction(receiving, "192.0.2.200"), "bob@example.org"), 1000);
  equal(await took(receiving, await transaction(receiving, "198.51.100.1"), "bob@example.org"), 0);
  await receiving.clock.advance("10m");
  equal(await took(receiving, await transaction(receiving), "bob@example.org"), 0);
});

Deno.test("tarpit: no more clients wait than may", async () => {
  await using receiving = await server(["tarpit", { free: 0, clients: 1 }]);
  const [first, second] = [await transaction(receiving), await transaction(receiving)];
  await took(receiving, first, "a@example.org");
  const held = first.command("RCPT TO:<bob@example.org>");
  await receiving.clock.advance(0);
  equal(await took(receiving, second, "bob@example.org"), 0);
  await receiving.clock.advance("1s");
  equal((await held).code, 250);
  equal(await took(receiving, second, "bob@example.org"), 1000, "the place is free again");
});

Deno.test("tarpit: a client that goes while it waits leaves nothing behind", async () => {
  await using receiving = await server(["tarpit", { free: 0, clients: 1 }]);
  const client = await transaction(receiving);
  await took(receiving, client, "a@example.org");
  await client.send("RCPT TO:<bob@example.org>\r\n");
  await receiving.clock.advance(0);
  client.abort();
  await receiving.clock.advance("15s");
  await client.closed;
  equal(await took(receiving, await transaction(receiving), "bob@example.org"), 1000);
});

Deno.test("tarpit: observed, it says whom it would slow, and slows nobody; nor does it trusted networks", async () => {
  await using observing = await server({ use: "tarpit", with: { free: 0 }, observe: true });
  const client = await transaction(observing);
  await took(observing, client, "a@example.org");
  equal(await took(observing, client, "bob@example.org"), 0);
  equal(observing.log.of("client would be slowed down").length, 1);
  await using receiving = await server(["tarpit", { free: 0 }], { trustedNetworks: ["192.0.2.0/24"] });
  const own = await transaction(receiving);
  await took(receiving, own, "a@example.org");
  equal(await took(receiving, own, "bob@example.org"), 0);
});

Deno.test("tarpit: a delay beyond a plugin's own time is refused", async () => {
  await rejects(server(["tarpit", { longest: "30s" }]), /is more than 20s/);
});
