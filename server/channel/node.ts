/**
 * A channel over `node:net`, for listeners with TLS: the only server side of TLS in the runtime that has SNI, reload,
 * and says which version and cipher were agreed on. One `tls.Server`, which never listens itself, encrypts the sockets
 * that a `net.Server` accepted.
 */
import type { Socket } from "node:net";
import { createServer, type Server, type TLSSocket } from "node:tls";
import type { Clock } from "../clock.ts";
import { X509Certificate } from "node:crypto";
import type { Certificates } from "./certificates.ts";
import { type Channel, ChannelLost, type Endpoint, type TlsState } from "./channel.ts";
import { type ClientAuthorities, type ClientCertificate, clientOf } from "./clients.ts";
import { endpoint } from "./endpoint.ts";

/** So much may wait unread before the socket is paused; the kernel's window then slows the client. */
const waitingLimit = 64 * 1024;
/** What a closing channel reads and forgets, so that the kernel does not answer unread bytes with RST. */
const discardLimit = 256 * 1024;

interface Handshake {
  done(socket: TLSSocket): void;
  failed(error: Error): void;
}

/** Encrypts accepted sockets with the newest certificates; handshakes that have begun keep theirs. */
export class TlsAcceptor {
  readonly #certificates: Certificates;
  readonly #clock: Clock;
  readonly #handshakeMs: number;
  readonly #handshakes = new Map<Socket, Handshake>();
  readonly #clients: ClientAuthorities | undefined;
  readonly #authorities: readonly X509Certificate[];
  #server: Server | undefined;
  #builtFrom: unknown;

  /**
   * @param handshakeMs How long a client may take for its handshake, in milliseconds.
   * @param clients Whose certificates clients may show; absent: they aren't asked.
   */
  constructor(certificates: Certificates, clock: Clock, handshakeMs: number, clients?: ClientAuthorities) {
    this.#clients = clients;
    this.#authorities = clients?.pem.map((pem) => new X509Certificate(pem)) ?? [];
    this.#certificates = certificates;
    this.#clock = clock;
    this.#handshakeMs = handshakeMs;
  }

  /**
   * Hands a socket to TLS. It must be paused, with nothing read from it waiting: what the runtime reads before TLS has
   * taken over arrives as if it had been decrypted, and replies to it leave in the clear.
   *
   * @throws {ChannelLost} when the handshake fails, takes too long, or the client goes.
   */
  encrypt(socket: Socket): Promise<TLSSocket> {
    const server = this.#current();
    return new Promise((resolve, reject) => {
      const settle = () => {
        cancelTimer();
        this.#handshakes.delete(socket);
        socket.off("close", gone);
      };
      const failed = (error: Error) => {
        settle();
        socket.destroy();
        reject(new ChannelLost(`TLS handshake failed: ${error.message}`, { cause: error }));
      };
      const gone = () => failed(new Error("the connection was closed"));
      const cancelTimer = this.#clock.after(
        this.#handshakeMs,
        () => failed(new Error(`not complete after ${this.#handshakeMs / 1000} s`)),
      );
      this.#handshakes.set(socket, {
        done(encrypted) {
          settle();
          encrypted.allowHalfOpen = true;
          resolve(encrypted);
        },
        failed,
      });
      socket.on("close", gone);
      // During a handshake the client's end must end it: with half-open sockets the runtime tells nobody of it. The
      // TLS socket takes the flag over when it is made.
      socket.allowHalfOpen = false;
      server.emit("connection", socket);
    });
  }

  /** Whose certificate the client has shown. @throws {ChannelLost} where it has to be trusted and isn't. */
  clientOf(encrypted: TLSSocket): ClientCertificate | undefined {
    if (!this.#clients) return undefined;
    const client = clientOf(encrypted, this.#authorities, this.#clock.now());
    if (this.#clients.certificate === "optional" || client?.trust === "trusted") return client;
    throw new ChannelLost("the client's certificate is not of an authority of this listener");
  }

  get endPoints(): Certificates["endPoints"] {
    return this.#certificates.endPoints;
  }

  #current(): Server {
    const options = this.#certificates.options;
    if (this.#server && this.#builtFrom === options) return this.#server;
    this.#builtFrom = options;
    const server = createServer({
      ...(this.#clients
        ? {
          ...this.#certificates.withAuthorities(this.#clients.pem),
          requestCert: true,
          rejectUnauthorized: this.#clients.certificate === "required",
        }
        : options),
      // None: the runtime's timer of two minutes isn't cancelled when the client goes, and keeps 8 KiB for it all that time.
      // `encrypt` has a deadline of its own.
      handshakeTimeout: -1,
    });
    server.on("secureConnection", (encrypted) => this.#handshakes.get(rawSocket(encrypted))?.done(encrypted));
    server.on("tlsClientError", (error, encrypted) => {
      this.#handshakes.get(rawSocket(encrypted))?.failed(error);
      encrypted.destroy();
    });
    return this.#server = server;
  }
}

/** Which accepted socket lies under a TLS one. Not documented, the same in Node; the contract tests hold it. */
function rawSocket(encrypted: TLSSocket): Socket {
  return (encrypted as TLSSocket & { _parent?: Socket })._parent ?? encrypted;
}

/** Puts TLS over a socket: {@linkcode TlsAcceptor} as the server, a delivery as the client. */
export interface Encryptor {
  /** The socket is paused, or is to be paused first; nothing read from it waits. @throws {ChannelLost} when it fails. */
  encrypt(socket: Socket): Promise<TLSSocket>;
  /** Whose certificate the peer has shown. @throws {ChannelLost} where it has to show another. */
  clientOf?(encrypted: TLSSocket): ClientCertificate | undefined;
  /** What logins on a connection that is being encrypted now can be bound to, by server name. */
  readonly endPoints?: (serverName: string | undefined) => Uint8Array | undefined;
}

/** What a {@linkcode NodeChannel} needs besides its socket. */
export interface NodeChannelOptions {
  /** Absent: STARTTLS can't be offered. */
  readonly tls?: Encryptor;
  /** Called once, when the descriptor is free again. */
  readonly onClosed?: () => void;
}

/** A connection that a `net.Server` with `allowHalfOpen` and `pauseOnConnect` accepted. */
export class NodeChannel implements Channel {
  readonly #socket: Socket;
  readonly #acceptor: Encryptor | undefined;
  #stream: Socket;
  #tls: TlsState | undefined;
  #state: "open" | "closing" | "closed" = "open";
  /** Chunks that no `read` has returned. */
  readonly #chunks: Uint8Array[] = [];
  #waiting = 0;
  #reader: { resolve(bytes: Uint8Array | undefined): void; reject(error: ChannelLost): void } | undefined;
  /** Writes under way: who to tell when the connection is lost. */
  #writers: Set<(error: ChannelLost) => void> | undefined;
  #ended = false;
  #lost: ChannelLost | undefined;
  #remote: Endpoint;
  /** As a proxy told it. */
  #local: Endpoint | undefined;

  constructor(socket: Socket, options: NodeChannelOptions = {}) {
    this.#remote = endpoint(socket.remoteAddress ?? "", socket.remotePort ?? 0);
    this.#acceptor = options.tls;
    this.#stream = this.#socket = socket;
    socket.setNoDelay(true);
    // The descriptor is the accepted socket's, whatever lies over it.
    socket.on("close", () => {
      this.#closed();
      options.onClosed?.();
    });
    socket.on("error", this.#onError);
    this.#listen(socket);
  }

  get remote(): Endpoint {
    return this.#remote;
  }

  get local(): Endpoint {
    return this.#local ?? endpoint(this.#socket.localAddress ?? "", this.#socket.localPort ?? 0);
  }

  get tls(): TlsState | undefined {
    return this.#tls;
  }

  get buffered(): number {
    return this.#waiting + this.#stream.readableLength;
  }

  get canStartTls(): boolean {
    return this.#acceptor !== undefined && this.#tls === undefined && this.#state === "open";
  }

  putBack(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#chunks.unshift(bytes.slice());
    this.#waiting += bytes.length;
  }

  speakFor({ remote, local }: { readonly remote: Endpoint; readonly local?: Endpoint }): void {
    this.#remote = remote;
    this.#local = local ?? this.#local;
  }

  read(): Promise<Uint8Array | undefined> {
    if (this.#state !== "open") return Promise.reject(this.#lost ?? closedHere());
    const next = this.#chunks.shift();
    if (next !== undefined) {
      this.#waiting -= next.length;
      return Promise.resolve(next);
    }
    if (this.#lost) return Promise.reject(this.#lost);
    if (this.#ended) return Promise.resolve(undefined);
    return new Promise((resolve, reject) => {
      this.#reader = { resolve, reject };
      if (this.#stream.isPaused()) this.#stream.resume();
    });
  }

  write(bytes: Uint8Array): Promise<void> {
    if (this.#state !== "open" || this.#lost) return Promise.reject(this.#lost ?? closedHere());
    if (bytes.length === 0) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const writers = this.#writers ??= new Set();
      writers.add(reject);
      this.#stream.write(bytes, (error) => {
        writers.delete(reject);
        if (error) reject(this.#lose(error));
        else resolve();
      });
    });
  }

  async startTls(ready: Uint8Array): Promise<"encrypted" | "early-bytes"> {
    if (!this.canStartTls) throw new TypeError("TLS is not possible here: ask canStartTls first");
    // The order is the point (CASES T01): stop reading, look, write, hand over, with no turn of the event loop between.
    this.#stream.pause();
    if (this.buffered > 0) return "early-bytes";
    if (this.#ended || this.#lost) throw this.#lost ?? new ChannelLost("closed by the client");
    const written = this.write(ready);
    const encrypted = this.encrypt();
    await Promise.all([written, encrypted]);
    return "encrypted";
  }

  /**
   * Encrypts at once: the beginning of a connection with implicit TLS (RFC 8314).
   *
   * @throws {ChannelLost} when the handshake fails, takes too long, or the client goes.
   */
  async encrypt(): Promise<void> {
    if (!this.#acceptor) throw new TypeError("this listener has no certificate");
    const raw = this.#stream;
    if (this.#waiting > 0) this.#returnTo(raw);
    raw.off("data", this.#onData);
    raw.off("end", this.#onEnd);
    try {
      const { endPoints } = this.#acceptor;
      const encrypted = await this.#acceptor.encrypt(raw);
      encrypted.on("error", this.#onError);
      this.#stream = encrypted;
      const client = this.#acceptor.clientOf?.(encrypted);
      const cipher = encrypted.getCipher();
      const serverName = (encrypted as TLSSocket & { servername?: string | false }).servername || undefined;
      this.#tls = {
        version: encrypted.getProtocol() ?? cipher.version,
        cipher: cipher.standardName ?? cipher.name,
        serverName,
        endPoint: endPoints?.(serverName),
        client,
      };
      this.#listen(encrypted);
    } catch (error) {
      throw this.#lose(error);
    }
  }

  /** What was read of a handshake that a proxy's header came with is the handshake's: TLS takes what waits in a paused socket. */
  #returnTo(raw: Socket): void {
    if (this.#ended || this.#lost) throw this.#lost ?? new ChannelLost("closed by the client");
    raw.pause();
    for (const chunk of this.#chunks.splice(0).reverse()) raw.unshift(chunk);
    this.#waiting = 0;
  }

  close(): void {
    if (this.#state !== "open") return;
    this.#state = "closing";
    this.#reader?.reject(closedHere());
    this.#reader = undefined;
    this.#chunks.length = 0;
    this.#waiting = 0;
    if (this.#lost) this.#stream.destroy();
    else {
      this.#stream.end();
      this.#stream.resume(); // up to the client's own end, see #onData
    }
  }

  abort(): void {
    if (this.#state === "closed") return;
    this.#state = "closing";
    this.#lose(closedHere());
    if (this.#tls) this.#stream.destroy();
    else this.#stream.resetAndDestroy();
  }

  #listen(stream: Socket): void {
    stream.on("data", this.#onData);
    stream.on("end", this.#onEnd);
  }

  readonly #onData = (chunk: Uint8Array): void => {
    if (this.#state !== "open") {
      this.#waiting += chunk.length;
      if (this.#waiting > discardLimit) this.abort();
      return;
    }
    const reader = this.#reader;
    if (reader) {
      this.#reader = undefined;
      reader.resolve(chunk);
      return;
    }
    this.#chunks.push(chunk);
    this.#waiting += chunk.length;
    if (this.#waiting >= waitingLimit) this.#stream.pause();
  };

  readonly #onEnd = (): void => {
    this.#ended = true;
    this.#reader?.resolve(undefined);
    this.#reader = undefined;
  };

  readonly #onError = (error: unknown): void => {
    this.#lose(error);
  };

  #closed(): void {
    this.#lose(this.#state === "open" ? new ChannelLost("closed by the client") : closedHere());
    this.#state = "closed";
  }

  /** Tells everyone who waits, once. */
  #lose(error: unknown): ChannelLost {
    this.#lost ??= error instanceof ChannelLost
      ? error
      : new ChannelLost(error instanceof Error ? error.message : String(error), { cause: error });
    this.#reader?.reject(this.#lost);
    this.#reader = undefined;
    for (const reject of this.#writers ?? []) reject(this.#lost);
    this.#writers = undefined;
    return this.#lost;
  }
}

function closedHere(): ChannelLost {
  return new ChannelLost("closed by this side");
}
