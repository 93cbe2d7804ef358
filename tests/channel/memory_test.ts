import { rejects, strictEqual as equal } from "node:assert/strict";
import { ChannelLost } from "../../server/channel/channel.ts";
import { memoryChannel, type MemoryClient } from "../../server/channel/memory.ts";
import { contract, type Peer } from "./contract.ts";

function peer(client: MemoryClient): Peer {
  return {
    write: (bytes) => client.write(bytes),
    read: () => client.read(),
    end: () => client.end(),
    reset: () => client.abort(),
    async startTls(serverName, unread = 0) {
      while (unread > 0) unread -= (await client.read())!.length;
      await client.startTls(serverName);
      return client.tls;
    },
  };
}

contract({
  name: "memory",
  tls: true,
  resets: true,
  async connect(use) {
    const { client, server } = memoryChannel();
    await use({ server, client: peer(client), closed: client.closed });
  },
});

Deno.test("channel memory: the client reads lines and replies, whatever the chunks are", async () => {
  const { client, server } = memoryChannel();
  for (const byte of new TextEncoder().encode("250-mx\r\n250 ok\r\n221 bye\r\nrest")) {
    await server.write(Uint8Array.of(byte));
  }
  server.close();
  equal(await client.readReply(), "250-mx\n250 ok");
  equal(await client.readLine(), "221 bye");
  equal(await client.readAll(), "rest");
  equal(await client.readReply(), undefined);
});

Deno.test("channel memory: implicit TLS, none, and addresses", async () => {
  const implicit = memoryChannel({ tls: "implicit", remote: { address: "2001:db8::1" } }).server;
  equal(implicit.tls?.version, "TLSv1.3");
  equal(implicit.canStartTls, false);
  equal(implicit.remote.address, "2001:db8::1");
  const none = memoryChannel({ tls: "none" }).server;
  equal(none.canStartTls, false);
  await rejects(none.startTls(new Uint8Array(1)), TypeError);
});

Deno.test("channel memory: startTls of a client whose server closes instead is ChannelLost", async () => {
  const { client, server } = memoryChannel();
  const lost = rejects(client.startTls(), ChannelLost);
  server.close();
  await lost;
});
