import { ok, strictEqual as equal } from "node:assert/strict";
import { DenoChannel } from "../../server/channel/deno.ts";
import { contract, type Pair } from "./contract.ts";
import { connect as connectPeer, type Target } from "./peer.ts";

const encode = (text: string) => new TextEncoder().encode(text);

async function connect(
  listener: Deno.Listener,
  target: Target,
  use: (pair: Pair) => Promise<void>,
): Promise<void> {
  const [conn, client] = await Promise.all([listener.accept(), connectPeer(target)]);
  const { promise: closed, resolve } = Promise.withResolvers<void>();
  const server = new DenoChannel(conn, resolve);
  try {
    await use({ server, client, closed });
  } finally {
    server.abort();
    client.destroy();
    await Promise.all([closed, client.closed]);
    listener.close();
  }
}

contract({
  name: "Deno.Conn over TCP",
  tls: false,
  resets: true,
  connect(use) {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    return connect(listener, { port: (listener.addr as Deno.NetAddr).port }, use);
  },
});

contract({
  name: "Deno.Conn over a Unix socket",
  tls: false,
  resets: false,
  async connect(use) {
    const folder = await Deno.makeTempDir();
    const path = `${folder}/socket`;
    try {
      await connect(Deno.listen({ transport: "unix", path }), { path }, use);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});

Deno.test("C12 Deno.Conn: a client that is done is not waited for, and reads our last words", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await connect(
    listener,
    { port: (listener.addr as Deno.NetAddr).port },
    async ({ server, client, closed }) => {
      await client.write(encode("QUIT\r\n"));
      await server.read();
      await server.write(encode("221 2.0.0 Bye\r\n"));
      server.close("done");
      await closed; // though the client has not closed its side
      equal(new TextDecoder().decode(await client.read()), "221 2.0.0 Bye\r\n");
      equal(await client.read(), undefined);
    },
  );
});

Deno.test("Deno.Conn: content is read in larger pieces than commands, and commands come whole behind it", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await connect(listener, { port: (listener.addr as Deno.NetAddr).port }, async ({ server, client }) => {
    await client.write(encode("x".repeat(5000)));
    const pieces: number[] = [];
    for (let read = 0; read < 5000; read += pieces.at(-1)!) {
      pieces.push((await server.read("content"))!.length);
    }
    ok(pieces.length <= 2, `${pieces}`); // the network may have cut it once
    await client.write(encode("NOOP\r\n"));
    equal(new TextDecoder().decode(await server.read()), "NOOP\r\n");
  });
});
