/** What connections and large messages cost this server in memory. */
import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { run } from "./load.ts";
import type { Peer } from "./peers.ts";
import { forgetPeak, peakMemory, residentMemory } from "./process.ts";

/** Handshakes under way at a time. */
const opening = 50;
/** For what is asked of one connection, in milliseconds. */
const patience = 20_000;

/** Reads up to the reply that a prefix announces, then says the next command; resolves with the connection held open. */
function greet(port: number, tls: boolean): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = tls
      ? connectTls({ host: "127.0.0.1", port, rejectUnauthorized: false })
      : connectTcp(port, "127.0.0.1");
    let text = "";
    socket.setTimeout(patience, () => socket.destroy(new Error("no answer within 20 s")));
    socket.once("error", reject);
    socket.on("data", (bytes: Uint8Array) => {
      text += new TextDecoder().decode(bytes);
      if (!/(?:^|\n)[0-9]{3} .*\r\n$/.test(text)) return;
      if (text.startsWith("220")) socket.write("EHLO idle.example\r\n");
      else resolve(socket);
      text = "";
    });
  });
}

async function open(port: number, tls: boolean, connections: number): Promise<Socket[]> {
  const sockets: Socket[] = [];
  for (let left = connections; left > 0; left -= opening) {
    const some = Array.from({ length: Math.min(left, opening) }, () => greet(port, tls));
    sockets.push(...await Promise.all(some));
  }
  return sockets;
}

function close(sockets: readonly Socket[]): Promise<unknown> {
  return Promise.all(sockets.map((socket) =>
    new Promise((resolve) => {
      socket.once("close", resolve);
      socket.destroy();
    })
  ));
}

/** Octets of resident memory for one connection that has said EHLO and then nothing. */
export async function idleConnection(peer: Peer, tls: boolean, connections: number): Promise<number> {
  await close(await open(peer.port, tls, 200)); // what is loaded and compiled once is no connection's cost
  const before = await residentMemory(peer.pid);
  const sockets = await open(peer.port, tls, connections);
  const grown = await residentMemory(peer.pid) - before;
  await close(sockets);
  return grown / connections;
}

/** Octets that the peak of resident memory is above that of one idle session, while these messages arrive. */
export async function largeMessages(peer: Peer, octets: number, sessions: number): Promise<number> {
  const idle = await open(peer.port, false, 1);
  await forgetPeak(peer.pid);
  const before = await residentMemory(peer.pid);
  await run(peer, { sessions, octets, messages: sessions, connections: "one each" });
  const grown = await peakMemory(peer.pid) - before;
  await close(idle);
  return grown;
}
