import { deepStrictEqual as deepEqual, rejects, strictEqual as equal } from "node:assert/strict";
import { once } from "node:events";
import { connect as connectSocket, type Socket } from "node:net";
import { Duplex } from "node:stream";
import { connect as connectTls, type TLSSocket } from "node:tls";
import fc from "fast-check";
import { loadCertificates } from "../../server/channel/certificates.ts";
import type { Channel } from "../../server/channel/channel.ts";
import { memoryChannel } from "../../server/channel/memory.ts";
import { type Listener, type Listeners, openListeners } from "../../server/listen.ts";
import { introduce } from "../../server/listen/introduction.ts";
import {
  type Line,
  type ManualClock,
  manualClock,
  recordingLog,
  testCertificate,
} from "../channel/fixtures.ts";
import { connect, type SocketPeer } from "../channel/peer.ts";
import { addresses4, v1, v2, withChecksum } from "./proxy_headers.ts";

const encode = (text: string) => new TextEncoder().encode(text);
const client = v1("TCP4 192.0.2.7 198.51.100.25 4711 25");
const none: Listener = { address: "127.0.0.1", port: 0, role: "mx", protocol: "smtp", tls: "none" };
const doors = { "Deno.listen": none, "node:net": { ...none, tls: "starttls" } } as const;

interface Running {
  readonly clock: ManualClock;
  readonly lines: Line[];
  readonly port: number;
  to(): Promise<SocketPeer>;
}

/** Says whose connection it is, then what the client sends, to its end. */
async function tell(channel: Channel): Promise<void> {
  const { remote, local, tls } = channel;
  const name = remote.address === "127.0.0.1"
    ? "the proxy"
    : `${remote.address} ${remote.port} > ${local.address} ${local.port}`;
  await channel.write(encode(`220 ${name} ${tls ? "encrypted" : "clear"} ${channel.buffered}\r\n`));
  for (let bytes = await channel.read(); bytes; bytes = await channel.read()) await channel.write(bytes);
}

async function running(
  listener: Listener,
  use: (running: Running) => Promise<void>,
  perIp = 50,
): Promise<void> {
  const clock = manualClock();
  const lines: Line[] = [];
  const log = recordingLog(lines);
  const certificates = listener.tls === "none"
    ? undefined
    : await loadCertificates([testCertificate("mx.example.test")], { clock, log });
  const listeners: Listeners = await openListeners({
    listeners: [listener],
    limits: { connections: 100, connectionsPerIp: perIp },
    certificates,
    serve: tell,
    refuse: (why) => encode(`421 4.7.0 ${why}\r\n`),
    proxyKind: () => "header",
    clock,
    log,
    openFiles: 10_000,
  });
  const peers: SocketPeer[] = [];
  try {
    await use({
      clock,
      port: listeners.open[0]!.port,
      lines,
      async to() {
        const peer = await connect({ port: listeners.open[0]!.port });
        peers.push(peer);
        return peer;
      },
    });
  } finally {
    for (const peer of peers) peer.destroy();
    await Promise.all(peers.map((peer) => peer.closed));
    await listeners.drain(60_000);
  }
  equal(clock.waiting, 0, "no timer stays");
}

async function text(peer: SocketPeer, length: number): Promise<string> {
  let all = "";
  while (all.length < length) {
    const bytes = await peer.read();
    if (!bytes) return all;
    all += new TextDecoder().decode(bytes);
  }
  return all;
}

/** Begins TLS behind a PROXY header, which comes in one write with the first octets of the handshake. */
async function encrypted(port: number, together: number): Promise<TLSSocket> {
  const socket = connectSocket({ port, host: "127.0.0.1", noDelay: true });
  await once(socket, "connect");
  let isFirst = true;
  const duplex: Duplex = new Duplex({
    read() {},
    write(chunk: Uint8Array, _encoding, done) {
      if (!isFirst) return void socket.write(chunk, done);
      isFirst = false;
      socket.write(Uint8Array.from([...client, ...chunk.subarray(0, together)]), () => {
        if (together >= chunk.length) done();
        else socket.write(chunk.subarray(together), done);
      });
    },
    destroy(error, done) {
      socket.destroy();
      done(error);
    },
  });
  socket.on("data", (chunk) => duplex.push(chunk));
  socket.on("close", () => duplex.destroy());
  const tls = connectTls({
    socket: duplex as Socket,
    servername: "mx.example.test",
    rejectUnauthorized: false,
  });
  await once(tls, "secureConnect");
  return tls;
}

const greeting = "220 192.0.2.7 4711 > 198.51.100.25 25 clear 0\r\n";

for (const [kind, listener] of Object.entries(doors)) {
  Deno.test(`R03 PROXY on ${kind}: the connection is the client's, and so is what came behind the header`, () =>
    running(listener, async ({ to }) => {
      const peer = await to();
      await peer.write(client);
      equal(await text(peer, greeting.length), greeting);
      const early = await to();
      await early.write(Uint8Array.from([...client, ...encode("EHLO x\r\n")]));
      early.end();
      equal(await early.readAll(), greeting.replace(" 0\r", " 8\r") + "EHLO x\r\n");
    }));

  Deno.test(`R03 PROXY on ${kind}: LOCAL and UNKNOWN are the proxy's own connection`, () =>
    running(listener, async ({ to }) => {
      for (const header of [v1("UNKNOWN"), v2(0x20, 0x00, [])]) {
        const peer = await to();
        await peer.write(header);
        equal(await text(peer, 10), "220 the proxy clear 0\r\n");
      }
    }));

  Deno.test(`R03 PROXY on ${kind}: a listed proxy that omits it hears nothing and is closed; the log says why`, () =>
    running(listener, async ({ to, lines }) => {
      const peer = await to();
      await peer.write("EHLO client.example\r\n");
      equal(await peer.readAll().catch(() => ""), "");
      const [line] = lines.filter(({ level }) => level === "warning");
      deepEqual(line?.fields, {
        latest: "127.0.0.1 is in proxies.haproxy: the connection does not begin with a PROXY header",
        count: 1,
      });
    }));

  Deno.test(`R03 PROXY on ${kind}: one that says nothing is closed after ten seconds; one that goes at once is no news`, () =>
    running(listener, async ({ to, clock, lines }) => {
      const armed = clock.nextTimer();
      const silent = await to();
      await silent.write("PROXY TC");
      await armed;
      clock.advance(10_000);
      equal(await silent.readAll().catch(() => ""), "");
      const check = await to();
      check.end();
      equal(await check.readAll().catch(() => ""), "");
      deepEqual(lines.filter(({ level }) => level === "warning"), []);
    }));

  Deno.test(`R03 X01 PROXY on ${kind}: connections are counted by client, not by proxy`, () =>
    running(listener, async ({ to }) => {
      const from = async (address: string) => {
        const peer = await to();
        await peer.write(v1(`TCP4 ${address} 198.51.100.25 4711 25`));
        return (await text(peer, 3)).slice(0, 3);
      };
      deepEqual(
        [await from("192.0.2.7"), await from("192.0.2.8"), await from("192.0.2.7")],
        ["220", "220", "421"],
      );
    }, 1));
}

Deno.test("R03 PROXY in front of implicit TLS: the handshake goes on wherever the header and it were cut", async () => {
  const listener: Listener = { ...none, tls: "implicit" };
  await running(listener, async ({ port }) => {
    for (const cut of [0, 1, 5, 100, 10_000]) {
      const tls = await encrypted(port, cut);
      const expected = "220 192.0.2.7 4711 > 198.51.100.25 25 encrypted 0\r\n";
      equal(String(await once(tls, "data")), expected);
      tls.write("NOOP\r\n");
      equal(String(await once(tls, "data")), "NOOP\r\n");
      const closed = once(tls, "close");
      tls.destroy();
      await closed;
    }
  });
});

Deno.test("R03 PROXY in front of implicit TLS: a listed proxy that omits it gets no handshake", () =>
  running({ ...none, tls: "implicit" }, async ({ to }) => {
    const peer = await to();
    await rejects(peer.startTls("mx.example.test"));
  }));

Deno.test("R03 PROXY a wrong checksum closes, a right one doesn't", async () => {
  const right = await withChecksum(0x21, 0x11, addresses4);
  const wrong = right.slice();
  wrong[wrong.length - 1]! ^= 1;
  for (const [header, kind] of [[right, "client"], [wrong, "bad"]] as const) {
    const { client, server } = memoryChannel();
    await client.write(header);
    equal((await introduce(server)).kind, kind);
  }
});

Deno.test("R03 PROXY split anywhere, what follows is the client's, octet for octet", async () => {
  const splits = fc.array(fc.nat(400), { maxLength: 8 });
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(client, v2(0x21, 0x11, addresses4)),
      fc.uint8Array({ maxLength: 300 }),
      splits,
      async (header, rest, cuts) => {
        const all = Uint8Array.from([...header, ...rest]);
        const { client, server } = memoryChannel();
        const places = [0, ...cuts.filter((cut) => cut < all.length).sort((a, b) => a - b), all.length];
        for (const [i, place] of places.entries()) {
          await client.write(all.subarray(places[i - 1] ?? 0, place));
        }
        client.end();
        equal((await introduce(server)).kind, "client");
        deepEqual(server.remote, { address: "192.0.2.7", port: 4711 });
        const got: number[] = [];
        for (let bytes = await server.read(); bytes; bytes = await server.read()) got.push(...bytes);
        deepEqual(got, [...rest]);
      },
    ),
  );
});
