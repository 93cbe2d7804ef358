/** A client on a real socket, for the tests of channels and listeners. */
import { connect as connectSocket, type Socket } from "node:net";
import { Duplex } from "node:stream";
import { connect as connectTls, type TLSSocket } from "node:tls";
import type { TlsState } from "../../server/channel/channel.ts";
import type { Peer } from "./contract.ts";

/** Where to: a TCP port of 127.0.0.1, or the path of a Unix socket. */
export type Target = { readonly port: number } | { readonly path: string };

/** Connects; TLS from the first byte where `tls` names the server. @throws when nobody listens there. */
export async function connect(target: Target, tls?: { serverName: string }): Promise<SocketPeer> {
  const socket = connectSocket({
    ...target,
    ...("port" in target ? { host: "127.0.0.1" } : {}),
    allowHalfOpen: true,
  });
  await new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject));
  const peer = new SocketPeer(socket);
  if (tls) await peer.startTls(tls.serverName);
  return peer;
}

export class SocketPeer implements Peer {
  readonly closed: Promise<void>;
  readonly #raw: Socket;
  #stream: Socket | TLSSocket;
  #chunks: Uint8Array[] = [];
  #end: "open" | "ended" | Error = "open";
  #wake: (() => void) | undefined;

  constructor(socket: Socket) {
    this.#raw = this.#stream = socket;
    this.closed = new Promise((resolve) => socket.once("close", () => resolve()));
    this.#listen(socket);
  }

  get localPort(): number {
    return this.#raw.localPort!;
  }

  write(bytes: Uint8Array | string): Promise<void> {
    return new Promise((resolve, reject) =>
      this.#stream.write(bytes, (error) => error ? reject(error) : resolve())
    );
  }

  async read(): Promise<Uint8Array | undefined> {
    for (;;) {
      const next = this.#chunks.shift();
      if (next) return next;
      if (this.#end === "ended") return undefined;
      if (this.#end !== "open") throw this.#end;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        this.#stream.resume();
      });
    }
  }

  async readAll(): Promise<string> {
    let text = "";
    for (;;) {
      const bytes = await this.read();
      if (bytes === undefined) return text;
      text += new TextDecoder().decode(bytes);
    }
  }

  end(): void {
    this.#stream.end();
  }

  reset(): void {
    this.#raw.resetAndDestroy();
  }

  destroy(): void {
    this.#stream.destroy();
    this.#raw.destroy();
  }

  async startTls(
    serverName: string,
    unread = 0,
    maxVersion: "TLSv1.2" | "TLSv1.3" = "TLSv1.3",
  ): Promise<TlsState> {
    const raw = this.#raw;
    raw.removeAllListeners("data").removeAllListeners("end");
    const encrypted = connectTls({
      socket: withoutFirst(raw, unread) as Socket,
      servername: serverName,
      rejectUnauthorized: false,
      maxVersion,
    });
    encrypted.allowHalfOpen = true;
    this.#stream = encrypted;
    await new Promise((resolve, reject) => encrypted.once("secureConnect", resolve).once("error", reject));
    this.#listen(encrypted);
    const cipher = encrypted.getCipher();
    const name = encrypted.getPeerCertificate().subject?.CN;
    return {
      version: encrypted.getProtocol() ?? "",
      cipher: cipher.standardName ?? cipher.name,
      serverName: typeof name === "string" ? name : undefined,
    };
  }

  #listen(stream: Socket): void {
    stream.on("data", (chunk: Uint8Array) => {
      this.#chunks.push(chunk);
      stream.pause();
      this.#wake?.();
    });
    stream.on("end", () => {
      if (this.#end === "open") this.#end = "ended";
      this.#wake?.();
    });
    stream.on("error", (error) => {
      this.#end = error;
      this.#wake?.();
    });
    stream.on("close", () => {
      if (this.#end === "open") this.#end = new Error("closed");
      this.#wake?.();
    });
    stream.pause();
  }
}

/** The socket without the first `count` bytes that come in, so that TLS can start before they have come. */
function withoutFirst(socket: Socket, count: number): Socket | Duplex {
  if (count === 0) return socket;
  let skip = count;
  const duplex = new Duplex({
    read: () => socket.resume(),
    write: (chunk, _encoding, done) => socket.write(chunk, done),
    final(done) {
      socket.end();
      done();
    },
    destroy(error, done) {
      socket.destroy();
      done(error);
    },
  });
  socket.on("data", (chunk: Uint8Array) => {
    const rest = chunk.subarray(Math.min(skip, chunk.length));
    skip -= chunk.length - rest.length;
    if (rest.length > 0 && !duplex.push(rest)) socket.pause();
  });
  socket.on("end", () => duplex.push(null));
  socket.on("close", () => duplex.destroy());
  return duplex;
}
