/**
 * A channel in memory, for tests: two ends that behave like a TCP connection (back-pressure, half-close, reset), with
 * no sockets and no time. TLS is simulated: both ends agree, the bytes stay as they are.
 */
import { type Channel, ChannelLost, type Endpoint, type TlsState } from "./channel.ts";

/** So much may be on its way in one direction before `write` waits, as the kernel's buffers would hold. */
const capacity = 64 * 1024;

/** How the two ends should look. */
export interface MemoryChannelOptions {
  /** The client's address; `192.0.2.1`, port 40000 unless given. */
  readonly remote?: Partial<Endpoint>;
  /** The server's; `192.0.2.25`, port 25 unless given. */
  readonly local?: Partial<Endpoint>;
  /** `starttls` (default): TLS is offered; `implicit`: there from the first byte; `none`. */
  readonly tls?: "starttls" | "implicit" | "none";
}

/** The client's end. Text is UTF-8. */
export interface MemoryClient {
  readonly tls: TlsState | undefined;
  /** Resolves when the server's side has room for it. @throws {ChannelLost} when the server has closed. */
  write(bytes: Uint8Array | string): Promise<void>;
  /** The next bytes; `undefined` once the server has closed. @throws {ChannelLost} after a reset. */
  read(): Promise<Uint8Array<ArrayBuffer> | undefined>;
  /** The next line without its CRLF; `undefined` at the end. What comes behind it waits for the next call. */
  readLine(): Promise<string | undefined>;
  /** The next reply, all lines of it joined by `\n`; `undefined` at the end. */
  readReply(): Promise<string | undefined>;
  /** Everything up to the end. */
  readAll(): Promise<string>;
  /** The client's half of the handshake; call it when the 220 has come. @throws {ChannelLost} when the server refuses. */
  startTls(serverName?: string): Promise<void>;
  /** Sends no more (FIN); what the server still says can be read. */
  end(): void;
  /** Ends, and reads no more. */
  close(): void;
  /** Resets the connection. */
  abort(): void;
  /** Resolves when the server has closed and the client has ended or closed. */
  readonly closed: Promise<void>;
}

/**
 * Makes a connection.
 *
 * @example
 * ```ts
 * import { memoryChannel } from "./memory.ts";
 * import { strictEqual as equal } from "node:assert/strict";
 * const { client, server } = memoryChannel();
 * await server.write(new TextEncoder().encode("220 mx.example.org ESMTP\r\n"));
 * equal(await client.readReply(), "220 mx.example.org ESMTP");
 * ```
 */
export function memoryChannel(options: MemoryChannelOptions = {}): { client: MemoryClient; server: Channel } {
  const link = new Link(options.tls ?? "starttls");
  return { client: new ClientEnd(link), server: new ServerEnd(link, options) };
}

/** One direction: bytes, then perhaps an end or a loss. */
class Pipe {
  #chunks: Uint8Array<ArrayBuffer>[] = [];
  #state: "open" | "ended" | ChannelLost = "open";
  #reader:
    | { resolve(bytes: Uint8Array<ArrayBuffer> | undefined): void; reject(error: ChannelLost): void }
    | undefined;
  #room: { resolve(): void; reject(error: ChannelLost): void }[] = [];
  /** The receiving end reads no more: what is written vanishes. */
  #deaf = false;
  waiting = 0;

  write(bytes: Uint8Array): Promise<void> {
    if (this.#state instanceof ChannelLost) return Promise.reject(this.#state);
    if (this.#state === "ended") return Promise.reject(new ChannelLost("closed by this side"));
    if (bytes.length === 0 || this.#deaf) return Promise.resolve();
    const copy = new Uint8Array(bytes);
    const reader = this.#reader;
    if (reader) {
      this.#reader = undefined;
      reader.resolve(copy);
      return Promise.resolve();
    }
    this.#chunks.push(copy);
    this.waiting += copy.length;
    if (this.waiting <= capacity) return Promise.resolve();
    return new Promise((resolve, reject) => this.#room.push({ resolve, reject }));
  }

  read(): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const next = this.#chunks.shift();
    if (next) {
      this.waiting -= next.length;
      if (this.waiting <= capacity) { for (const { resolve } of this.#room.splice(0)) resolve(); }
      return Promise.resolve(next);
    }
    if (this.#state instanceof ChannelLost) return Promise.reject(this.#state);
    if (this.#state === "ended") return Promise.resolve(undefined);
    return new Promise((resolve, reject) => this.#reader = { resolve, reject });
  }

  putBack(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#chunks.unshift(new Uint8Array(bytes));
    this.waiting += bytes.length;
  }

  end(): void {
    if (this.#state !== "open") return;
    this.#state = "ended";
    this.#reader?.resolve(undefined);
    this.#reader = undefined;
  }

  lose(error: ChannelLost): void {
    if (this.#state instanceof ChannelLost) return;
    this.#state = error;
    this.#chunks = [];
    this.waiting = 0;
    this.#reader?.reject(error);
    this.#reader = undefined;
    for (const { reject } of this.#room.splice(0)) reject(error);
  }

  /** The receiving end is closed: nothing waits for it any more, and its read is over. */
  stopReading(error: ChannelLost): void {
    this.#deaf = true;
    this.#chunks = [];
    this.waiting = 0;
    this.#reader?.reject(error);
    this.#reader = undefined;
    for (const { resolve } of this.#room.splice(0)) resolve();
  }
}

/** Resolved from outside, once both sides have come to TLS. */
interface Meeting {
  readonly promise: Promise<void>;
  resolve(): void;
  reject(error: ChannelLost): void;
}

function meeting(): Meeting {
  const made = Promise.withResolvers<void>();
  made.promise.catch(() => {}); // whoever waits for it hears of it
  return made;
}

/** What both ends share. */
class Link {
  readonly toServer = new Pipe();
  readonly toClient = new Pipe();
  readonly offers: "starttls" | "implicit" | "none";
  tls: TlsState | undefined;
  #handshake: "none" | "server" | "client" | "done" = "none";
  #meeting = meeting();
  #serverName: string | undefined;
  #open = new Set(["client", "server"]);
  readonly #closed = Promise.withResolvers<void>();

  constructor(offers: "starttls" | "implicit" | "none") {
    this.offers = offers;
    if (offers === "implicit") this.tls = agreed(undefined);
  }

  get closed(): Promise<void> {
    return this.#closed.promise;
  }

  get handshaking(): boolean {
    return this.#handshake === "server";
  }

  /** Resolves when both have called it. */
  meet(side: "client" | "server", serverName?: string): Promise<void> {
    if (side === "client") this.#serverName = serverName;
    if (this.#handshake === "none") this.#handshake = side;
    else if (this.#handshake !== side) {
      this.#handshake = "done";
      this.tls = agreed(this.#serverName);
      this.#meeting.resolve();
    }
    return this.#meeting.promise;
  }

  lose(error: ChannelLost): void {
    this.#meeting.reject(error);
    this.toServer.lose(error);
    this.toClient.lose(error);
    this.#open.clear();
    this.#closed.resolve();
  }

  close(side: "client" | "server"): void {
    this.#meeting.reject(new ChannelLost(`TLS handshake failed: closed by the ${side}`));
    this.#open.delete(side);
    if (this.#open.size === 0) this.#closed.resolve();
  }
}

function agreed(serverName: string | undefined): TlsState {
  return { version: "TLSv1.3", cipher: "TLS_AES_256_GCM_SHA384", serverName };
}

class ServerEnd implements Channel {
  remote: Endpoint;
  local: Endpoint;
  readonly #link: Link;
  #closed = false;

  constructor(link: Link, { remote, local }: MemoryChannelOptions) {
    this.#link = link;
    this.remote = { address: "192.0.2.1", port: 40_000, ...remote };
    this.local = { address: "192.0.2.25", port: 25, ...local };
  }

  get tls(): TlsState | undefined {
    return this.#link.tls;
  }

  get buffered(): number {
    return this.#link.toServer.waiting;
  }

  get canStartTls(): boolean {
    return this.#link.offers === "starttls" && this.#link.tls === undefined && !this.#closed;
  }

  putBack(bytes: Uint8Array): void {
    this.#link.toServer.putBack(bytes);
  }

  speakFor({ remote, local }: { readonly remote: Endpoint; readonly local?: Endpoint }): void {
    this.remote = remote;
    this.local = local ?? this.local;
  }

  read(): Promise<Uint8Array | undefined> {
    return this.#closed ? Promise.reject(closedHere()) : this.#link.toServer.read();
  }

  write(bytes: Uint8Array): Promise<void> {
    return this.#closed ? Promise.reject(closedHere()) : this.#link.toClient.write(bytes);
  }

  async startTls(ready: Uint8Array): Promise<"encrypted" | "early-bytes"> {
    if (!this.canStartTls) throw new TypeError("TLS is not possible here: ask canStartTls first");
    if (this.buffered > 0) return "early-bytes";
    const met = this.#link.meet("server");
    await this.#link.toClient.write(ready);
    await met;
    return "encrypted";
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#link.toClient.end();
    this.#link.toServer.stopReading(closedHere());
    this.#link.close("server");
  }

  abort(): void {
    this.#closed = true;
    this.#link.lose(new ChannelLost("connection reset"));
  }
}

class ClientEnd implements MemoryClient {
  readonly #link: Link;
  #rest = new Uint8Array(0);

  constructor(link: Link) {
    this.#link = link;
  }

  get tls(): TlsState | undefined {
    return this.#link.tls;
  }

  get closed(): Promise<void> {
    return this.#link.closed;
  }

  write(bytes: Uint8Array | string): Promise<void> {
    if (this.#link.handshaking) {
      // Clear text where a ClientHello must stand.
      this.#link.lose(new ChannelLost("TLS handshake failed: not a TLS record"));
    }
    return this.#link.toServer.write(typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes);
  }

  async read(): Promise<Uint8Array<ArrayBuffer> | undefined> {
    if (this.#rest.length === 0) return await this.#link.toClient.read();
    const rest = this.#rest;
    this.#rest = new Uint8Array(0);
    return rest;
  }

  async readLine(): Promise<string | undefined> {
    for (;;) {
      const end = this.#rest.indexOf(0x0a);
      if (end >= 0) {
        const line = new TextDecoder().decode(this.#rest.subarray(0, end));
        this.#rest = this.#rest.slice(end + 1);
        return line.endsWith("\r") ? line.slice(0, -1) : line;
      }
      const more = await this.#link.toClient.read();
      if (more === undefined) return undefined;
      const joined = new Uint8Array(this.#rest.length + more.length);
      joined.set(this.#rest);
      joined.set(more, this.#rest.length);
      this.#rest = joined;
    }
  }

  async readReply(): Promise<string | undefined> {
    const lines: string[] = [];
    for (;;) {
      const line = await this.readLine();
      if (line === undefined) return lines.length > 0 ? lines.join("\n") : undefined;
      lines.push(line);
      if (!/^[0-9]{3}-/.test(line)) return lines.join("\n");
    }
  }

  async readAll(): Promise<string> {
    const decoder = new TextDecoder();
    let text = "";
    for (;;) {
      const bytes = await this.read();
      if (bytes === undefined) return text + decoder.decode();
      text += decoder.decode(bytes, { stream: true });
    }
  }

  async startTls(serverName?: string): Promise<void> {
    if (this.#rest.length > 0) throw new ChannelLost("the server wrote behind its reply to STARTTLS");
    await this.#link.meet("client", serverName);
  }

  end(): void {
    this.#link.toServer.end();
    this.#link.close("client");
  }

  close(): void {
    this.end();
    this.#link.toClient.stopReading(closedHere());
  }

  abort(): void {
    this.#link.lose(new ChannelLost("connection reset by the client"));
  }
}

function closedHere(): ChannelLost {
  return new ChannelLost("closed by this side");
}
