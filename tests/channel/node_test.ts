import { createServer, type Socket } from "node:net";
import type { AddressInfo } from "node:net";
import { rejects, strictEqual as equal } from "node:assert/strict";
import { loadCertificates } from "../../server/channel/certificates.ts";
import { ChannelLost } from "../../server/channel/channel.ts";
import { NodeChannel, TlsAcceptor } from "../../server/channel/node.ts";
import type { Clock } from "../../server/clock.ts";
import { contract, type Pair } from "./contract.ts";
import { connect as connectPeer, type SocketPeer } from "./peer.ts";
import { manualClock, silentLog, testCertificate } from "./fixtures.ts";

async function connect(
  use: (pair: Pair & { readonly server: NodeChannel; readonly client: SocketPeer }) => Promise<void>,
  clock: Clock = manualClock(),
): Promise<void> {
  const certificates = await loadCertificates([testCertificate("mx.example.test")], {
    clock,
    log: silentLog,
  });
  const tls = new TlsAcceptor(certificates, clock, 30_000);
  const listener = createServer({ allowHalfOpen: true, pauseOnConnect: true });
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
  const accepted = new Promise<Socket>((resolve) => listener.once("connection", resolve));
  const client = await connectPeer({ port: (listener.address() as AddressInfo).port });
  const { promise: closed, resolve: onClosed } = Promise.withResolvers<void>();
  const server = new NodeChannel(await accepted, { tls, onClosed });
  try {
    await use({ server, client, closed });
  } finally {
    server.abort();
    client.destroy();
    await Promise.all([closed, client.closed, new Promise((resolve) => listener.close(resolve))]);
  }
}

contract({ name: "node:net", tls: true, resets: true, connect });

Deno.test("channel node:net: T02 no ClientHello: lost at the time-out", async () => {
  const clock = manualClock();
  await connect(async ({ server, closed, client }) => {
    const lost = rejects(server.startTls(new Uint8Array([0x32])), (error) => {
      equal(error instanceof ChannelLost && error.message, "TLS handshake failed: not complete after 30 s");
      return true;
    });
    await client.read();
    clock.advance(30_000);
    await lost;
    await closed;
  }, clock);
});

Deno.test("channel node:net: T02 half a ClientHello: lost at the time-out, and no timer stays", async () => {
  const clock = manualClock();
  await connect(async ({ server, closed, client }) => {
    const lost = rejects(server.startTls(new Uint8Array([0x32])), ChannelLost);
    await client.read();
    await client.write(Uint8Array.of(0x16, 3, 1, 2, 0, 1, 0, 1)); // a handshake record of 512 bytes begins
    clock.advance(30_000);
    await lost;
    await closed;
    equal(clock.waiting, 0);
  }, clock);
});

Deno.test("channel node:net: implicit TLS, and a client of TLS 1.2", async () => {
  const clock = manualClock();
  await connect(async ({ server, client }) => {
    const [, agreed] = await Promise.all([server.encrypt(), client.startTls("localhost", 0, "TLSv1.2")]);
    equal(server.tls?.version, "TLSv1.2");
    equal(server.tls?.cipher, agreed.cipher);
    equal(server.tls?.serverName, "localhost");
    equal(clock.waiting, 0);
  }, clock);
});
