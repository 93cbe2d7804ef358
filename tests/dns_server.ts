/** A DNS server for tests, that answers as it is told: on UDP and TCP, on one port of 127.0.0.1. */
import { Buffer } from "node:buffer";
import dgram from "node:dgram";
import packet from "dns-packet";
import { askableName } from "../server/dns.ts";
import { fakeDns, type FakeName } from "../server/testing/dns.ts";

export interface Asked {
  readonly id: number;
  readonly name: string;
  readonly type: string;
  readonly edns: boolean;
  readonly over: "udp" | "tcp";
  /** The port it came from. */
  readonly port: number;
}

/** `undefined`: no answer; several: sent one after the other, on UDP from this or from another socket. */
export type Says = Uint8Array | { readonly bytes: Uint8Array; readonly from: "elsewhere" };
export type Handler = (asked: Asked) => readonly Says[] | Promise<readonly Says[]>;

export interface TestServer extends AsyncDisposable {
  /** `127.0.0.1:port`. */
  readonly address: string;
  readonly asked: readonly Asked[];
  /** Resolves once so many questions have come. */
  untilAsked(count: number): Promise<void>;
}

export async function dnsServer(handler: Handler): Promise<TestServer> {
  const { udp, tcp, port } = await bindBoth();
  const elsewhere = await boundSocket();
  const asked: Asked[] = [];
  const watchers = new Set<() => void>();
  const conns = new Set<Deno.Conn>();

  const take = (bytes: Uint8Array, over: "udp" | "tcp", from: number) => {
    const query = packet.decode(Buffer.from(bytes));
    const { name, type } = query.questions![0]!;
    const edns = (query.additionals ?? []).some((one: { type: string }) => one.type === "OPT");
    const question: Asked = { id: query.id!, name, type, edns, over, port: from };
    asked.push(question);
    for (const watcher of watchers) watcher();
    return handler(question);
  };
  udp.on("message", async (bytes, from) => {
    for (const said of await take(bytes, "udp", from.port)) {
      const [socket, reply] = said instanceof Uint8Array ? [udp, said] : [elsewhere, said.bytes];
      await new Promise((resolve) => socket.send(reply, from.port, from.address, resolve));
    }
  });
  const serving = (async () => {
    for (let conn = await accept(tcp); conn !== undefined; conn = await accept(tcp)) {
      conns.add(conn);
      await serveTcp(conn, (bytes) => take(bytes, "tcp", 0)).catch(() => tryClose(conn));
    }
  })();
  return {
    address: `127.0.0.1:${port}`,
    asked,
    untilAsked: (count) =>
      new Promise((resolve) => {
        const check = () => asked.length >= count && (watchers.delete(check), resolve());
        watchers.add(check);
        check();
      }),
    async [Symbol.asyncDispose]() {
      tcp.close();
      for (const conn of conns) tryClose(conn);
      await Promise.all(
        [udp, elsewhere].map((socket) => new Promise<void>((resolve) => socket.close(() => resolve()))),
      );
      await serving;
    },
  };
}

/** Answers from the same table that `fakeDns` takes, chains of CNAMEs included. */
export function answering(names: Record<string, FakeName>): Handler {
  return async ({ id, name, type }) => {
    const fake = fakeDns(names);
    const answers: object[] = [];
    let current = name;
    for (let links = 0; links < 20; links++) {
      const result = await fake.query(current, type as "A");
      const alias = type === "CNAME" ? undefined : await fake.query(current, "CNAME");
      if (alias?.kind === "found") {
        answers.push({ type: "CNAME", name: current, ttl: alias.ttl, data: alias.records[0] });
        current = askableName(alias.records[0]!)!;
        continue;
      }
      if (result.kind === "failed") {
        return [reply({ id, name, type, rcode: result.reason === "refused" ? 5 : 2 })];
      }
      if (result.kind === "none") {
        const rcode = result.reason === "nxdomain" ? 3 : 0;
        return [reply({ id, name, type, rcode, answers, authorities: [soa(result.ttl)] })];
      }
      for (const record of result.records) {
        answers.push({ type, name: current, ttl: result.ttl, data: wireData(type, record) });
      }
      return [reply({ id, name, type, answers, flags: result.ad && current === name ? 0x20 : 0 })];
    }
    return [reply({ id, name, type, answers })]; // a circle
  };
}

export function soa(minimum: number, ttl = 3600): object {
  const times = { serial: 1, refresh: 1, retry: 1, expire: 1, minimum };
  return {
    type: "SOA",
    name: "example.org",
    ttl,
    data: { mname: "ns.example.org", rname: "root.example.org", ...times },
  };
}

export interface ReplyParts {
  readonly id: number;
  readonly name: string;
  readonly type: string;
  readonly rcode?: number;
  readonly flags?: number;
  readonly answers?: readonly object[];
  readonly authorities?: readonly object[];
}

export function reply(
  { id, name, type, rcode = 0, flags = 0, answers = [], authorities = [] }: ReplyParts,
): Uint8Array {
  const questions = [{ name, type }];
  return packet.encode(
    { type: "response", id, flags: flags | rcode | 0x180, questions, answers, authorities } as never,
  );
}

/** As dns-packet wants to write it. Long texts are several strings in one record (RFC 1035 §3.3.14). */
function wireData(type: string, record: unknown): unknown {
  if (type === "TXT") return (record as string).match(/[^]{1,255}/g) ?? [""];
  if (type === "MX") {
    const { preference, host } = record as { preference: number; host: string };
    return { preference, exchange: host };
  }
  if (type !== "TLSA") return record;
  const tlsa = record as { certificate: Uint8Array };
  return { ...tlsa, certificate: Buffer.from(tlsa.certificate) };
}

function boundSocket(port = 0): Promise<dgram.Socket> {
  const socket = dgram.createSocket("udp4");
  return new Promise((resolve, reject) => {
    socket.once("error", reject);
    socket.bind(port, "127.0.0.1", () => resolve(socket));
  });
}

/** The same port for both, which the system may first have to be asked for more than once. */
async function bindBoth(): Promise<{ udp: dgram.Socket; tcp: Deno.TcpListener; port: number }> {
  for (let attempt = 0;; attempt++) {
    const udp = await boundSocket();
    const { port } = udp.address();
    try {
      return { udp, tcp: Deno.listen({ hostname: "127.0.0.1", port }), port };
    } catch (error) {
      await new Promise<void>((resolve) => udp.close(() => resolve()));
      if (attempt === 20) throw error;
    }
  }
}

async function accept(tcp: Deno.TcpListener): Promise<Deno.Conn | undefined> {
  try {
    return await tcp.accept();
  } catch {
    return undefined; // closed
  }
}

/** One question, then what is said to it as it is, framing included; then the connection ends. */
async function serveTcp(conn: Deno.Conn, take: (bytes: Uint8Array) => ReturnType<Handler>): Promise<void> {
  const bytes = new Uint8Array(1024);
  let length = 0;
  while (length < 2 || length < 2 + ((bytes[0]! << 8) | bytes[1]!)) {
    const count = await conn.read(bytes.subarray(length));
    if (count === null) return tryClose(conn);
    length += count;
  }
  for (const said of await take(bytes.slice(2, length))) await conn.write(said as Uint8Array);
  tryClose(conn);
}

/** With the length in front, as TCP wants it. */
export function framed(bytes: Uint8Array): Uint8Array {
  return new Uint8Array([bytes.length >> 8, bytes.length & 0xff, ...bytes]);
}

function tryClose(conn: Deno.Conn): void {
  try {
    conn.close();
  } catch {
    // closed already
  }
}
