/** One question to one server: UDP from a socket of its own, TCP where the answer does not fit (RFC 1035 §4.2, RFC 7766). */
import dgram from "node:dgram";
import type { Clock } from "../clock.ts";
import { encodeQuery, type Question, readReply, type Reply } from "./packet.ts";

/** A DNS server's address. */
export interface Server {
  readonly address: string;
  readonly port: number;
}

/** What came of asking; `foreign` messages are waited past. */
export type Exchanged = Exclude<Reply, { kind: "foreign" | "truncated" }> | {
  readonly kind: "timeout" | "network";
};

/**
 * Asks once, and once more by TCP where the answer is truncated. Never rejects.
 *
 * @param timeout Milliseconds that UDP and TCP may take, each.
 * @param signal Gives up: the result is then `network`.
 */
export async function exchange(
  server: Server,
  question: Question,
  edns: boolean,
  timeout: number,
  clock: Clock,
  signal: AbortSignal,
): Promise<Exchanged> {
  if (signal.aborted) return { kind: "network" };
  try {
    const reply = await askUdp(server, question, edns, timeout, clock, signal);
    return reply.kind === "truncated" ? await askTcp(server, question, timeout, clock, signal) : reply;
  } catch {
    return { kind: "network" }; // no socket to be had: the limit of open files is reached
  }
}

/**
 * A fresh socket for each query, whose port the kernel draws at random, and a random id: who forges an answer has to guess
 * both (RFC 5452 §4). What comes from elsewhere, or answers something else, is ignored and the wait goes on: to end it would
 * let a forger turn a lookup into a failure.
 */
function askUdp(
  server: Server,
  question: Question,
  edns: boolean,
  timeout: number,
  clock: Clock,
  signal: AbortSignal,
): Promise<Exchanged | { readonly kind: "truncated" }> {
  return new Promise((resolve) => {
    const id = randomId();
    const socket = dgram.createSocket(server.address.includes(":") ? "udp6" : "udp4");
    const finish = (reply: Exchanged | { readonly kind: "truncated" }) => {
      cancel();
      signal.removeEventListener("abort", abort);
      socket.removeAllListeners("message");
      try {
        socket.close();
      } catch {
        // an error has closed it already
      }
      resolve(reply);
    };
    const abort = () => finish({ kind: "network" });
    const cancel = clock.after(timeout, () => finish({ kind: "timeout" }));
    signal.addEventListener("abort", abort, { once: true });
    socket.on("error", abort);
    socket.on("message", (bytes, from) => {
      if (from.port !== server.port || from.address !== server.address) return;
      const reply = readReply(bytes, id, question);
      if (reply.kind !== "foreign") finish(reply);
    });
    socket.send(encodeQuery(id, question, edns), server.port, server.address, (error) => error && abort());
  });
}

/** One query on one connection; each message has its length in front (RFC 1035 §4.2.2). */
async function askTcp(
  server: Server,
  question: Question,
  timeout: number,
  clock: Clock,
  signal: AbortSignal,
): Promise<Exchanged> {
  let conn: Deno.Conn | undefined;
  let why: "timeout" | "network" | undefined;
  const connecting = new AbortController(); // or a server that drops SYNs would hold us for minutes
  const stop = (reason: "timeout" | "network") => {
    why ??= reason;
    connecting.abort();
    close(conn);
  };
  const abort = () => stop("network");
  const cancel = clock.after(timeout, () => stop("timeout"));
  signal.addEventListener("abort", abort, { once: true });
  try {
    conn = await Deno.connect({ hostname: server.address, port: server.port, signal: connecting.signal });
    const id = randomId();
    await sendFramed(conn, encodeQuery(id, question, false));
    const bytes = await readFramed(conn);
    if (bytes === undefined) return { kind: why ?? "network" };
    const reply = readReply(bytes, id, question);
    // This connection is to the server alone: what does not fit the question is no forgery to wait past.
    return reply.kind === "foreign" || reply.kind === "truncated" ? { kind: "malformed" } : reply;
  } catch {
    return { kind: why ?? "network" };
  } finally {
    cancel();
    signal.removeEventListener("abort", abort);
    close(conn);
  }
}

async function sendFramed(conn: Deno.Conn, query: Uint8Array): Promise<void> {
  const framed = new Uint8Array(2 + query.length);
  framed.set([query.length >> 8, query.length & 0xff]);
  framed.set(query, 2);
  for (let at = 0; at < framed.length;) at += await conn.write(framed.subarray(at));
}

/** The message, or `undefined` where the server closed before its end. */
async function readFramed(conn: Deno.Conn): Promise<Uint8Array | undefined> {
  const length = await readExactly(conn, 2);
  return length && await readExactly(conn, (length[0]! << 8) | length[1]!);
}

async function readExactly(conn: Deno.Conn, length: number): Promise<Uint8Array | undefined> {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length;) {
    const count = await conn.read(bytes.subarray(at));
    if (count === null) return undefined;
    at += count;
  }
  return bytes;
}

function close(conn: Deno.Conn | undefined): void {
  try {
    conn?.close();
  } catch {
    // closed already
  }
}

function randomId(): number {
  return crypto.getRandomValues(new Uint16Array(1))[0]!;
}
