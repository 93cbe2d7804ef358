/**
 * A channel over `Deno.Conn`: for listeners without TLS, where it costs two thirds of the CPU of `node:net`,
 * and less than half with large messages.
 *
 * Memory of an idle connection decides how many fit, so a read waits on 512 bytes; where it comes back full the next one
 * gets 8 and then 64 KiB, lent by pools, until reads are short again.
 */
import { type Channel, ChannelLost, type Endpoint, type TlsState } from "./channel.ts";
import { endpoint, unixEndpoint } from "./endpoint.ts";

const idleSize = 512;
const middleSize = 8 * 1024;
const largeSize = 64 * 1024;
/** Free buffers of a size kept at most. */
const pooled = 32;
/** What a closing channel reads and forgets, so that the kernel does not answer unread bytes with RST. */
const discardLimit = 256 * 1024;

/** Free buffers by size. A buffer comes back only when its owner reads again: until then its bytes may be in use. */
const pool = new Map<number, Uint8Array[]>([[middleSize, []], [largeSize, []]]);

function lend(size: number): Uint8Array {
  return pool.get(size)?.pop() ?? new Uint8Array(size);
}

function giveBack(buffer: Uint8Array): void {
  const free = pool.get(buffer.length);
  if (free && free.length < pooled) free.push(buffer);
}

/**
 * A connection that `Deno.listen` accepted. Its writes may be gathered by the kernel (RFC 1122 §4.2.3.4): SMTP's server writes only when
 * the client has answered all that was written before, so nothing waits for that, and setting it otherwise is a call for nothing.
 */
export class DenoChannel implements Channel {
  readonly tls: TlsState | undefined = undefined;
  readonly canStartTls = false;
  readonly #conn: Deno.Conn;
  readonly #onClosed: (() => void) | undefined;
  /** Kept as long as the connection: making one costs as much as reading into it. */
  #small: Uint8Array | undefined;
  /** Lent by a pool. */
  #large: Uint8Array | undefined;
  #nextSize = idleSize;
  #state: "open" | "closing" | "closed" = "open";
  #reading = false;
  #ended = false;
  #lost: ChannelLost | undefined;
  #unsent = 0;
  #lastWrite: Promise<void> | undefined;
  #remote: Endpoint;
  /** As a proxy told it. */
  #local: Endpoint | undefined;
  #returned: Uint8Array | undefined;

  /** @param onClosed Called once, when the descriptor is free again. */
  constructor(conn: Deno.Conn, onClosed?: () => void) {
    this.#conn = conn;
    this.#onClosed = onClosed;
    this.#remote = ofDeno(conn.remoteAddr);
  }

  get remote(): Endpoint {
    return this.#remote;
  }

  get local(): Endpoint {
    return this.#local ?? ofDeno(this.#conn.localAddr);
  }

  get buffered(): number {
    return this.#returned?.length ?? 0;
  }

  putBack(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#returned = this.#returned ? Uint8Array.from([...bytes, ...this.#returned]) : bytes.slice();
  }

  speakFor({ remote, local }: { readonly remote: Endpoint; readonly local?: Endpoint }): void {
    this.#remote = remote;
    this.#local = local ?? this.#local;
  }

  async read(expecting?: "content"): Promise<Uint8Array | undefined> {
    if (this.#state !== "open") throw this.#lost ?? closedHere();
    if (this.#returned) {
      const returned = this.#returned;
      this.#returned = undefined;
      return returned;
    }
    if (this.#ended) return undefined;
    const wanted = expecting === "content" ? Math.max(this.#nextSize, middleSize) : this.#nextSize;
    const buffer = this.#bufferOf(wanted);
    this.#reading = true;
    let length: number | null;
    try {
      length = await this.#conn.read(buffer);
    } catch (error) {
      throw this.#lose(error);
    } finally {
      this.#reading = false;
    }
    if (this.#state !== "open") throw this.#lost ?? closedHere();
    if (length === null) {
      this.#ended = true;
      return undefined;
    }
    if (length === buffer.length) this.#nextSize = length === idleSize ? middleSize : largeSize;
    else if (length <= idleSize) this.#nextSize = idleSize;
    return buffer.subarray(0, length);
  }

  /** A buffer of this size; the last one's bytes are done with. */
  #bufferOf(size: number): Uint8Array {
    if (this.#large && this.#large.length !== size) {
      giveBack(this.#large);
      this.#large = undefined;
    }
    if (size === idleSize) return this.#small ??= new Uint8Array(idleSize);
    return this.#large ??= lend(size);
  }

  write(bytes: Uint8Array): Promise<void> {
    if (this.#state !== "open") return Promise.reject(this.#lost ?? closedHere());
    // One write may take several calls of the kernel's: a second write must not slip in between.
    const before = this.#unsent++ > 0 ? this.#lastWrite : undefined;
    return this.#lastWrite = this.#send(bytes, before);
  }

  async #send(bytes: Uint8Array, before: Promise<void> | undefined): Promise<void> {
    try {
      if (before) await before;
      let sent = await this.#conn.write(bytes);
      while (sent < bytes.length) sent += await this.#conn.write(bytes.subarray(sent));
    } catch (error) {
      throw this.#lose(error);
    } finally {
      if (--this.#unsent === 0 && this.#state === "closing") void this.#linger();
    }
  }

  startTls(): Promise<never> {
    return Promise.reject(new TypeError("this listener has no certificate: ask canStartTls first"));
  }

  close(client?: "done"): void {
    if (this.#state !== "open") return;
    this.#state = "closing";
    if (client === "done") this.#ended = true;
    if (this.#unsent === 0) void this.#linger();
  }

  abort(): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#conn.close(); // interrupts reads and writes that wait
    this.#onClosed?.();
  }

  /**
   * Closing a socket with unread bytes sends RST, and that can overtake the last reply. So: FIN, then read to the
   * client's own FIN. A client that never sends it is the caller's to abort. Where a read waits there is nothing unread.
   */
  async #linger(): Promise<void> {
    if (!this.#reading && !this.#ended && this.#lost === undefined) {
      try {
        await this.#conn.closeWrite();
        const scratch = new Uint8Array(idleSize); // the last read's bytes may still be in use
        for (let discarded = 0; discarded < discardLimit && this.#state === "closing";) {
          const length = await this.#conn.read(scratch);
          if (length === null) break;
          discarded += length;
        }
      } catch {
        // Gone already, which is what closing is for.
      }
    }
    this.abort();
  }

  #lose(error: unknown): ChannelLost {
    if (this.#state !== "open" && this.#lost === undefined) return closedHere();
    return this.#lost ??= new ChannelLost(error instanceof Error ? error.message : String(error), {
      cause: error,
    });
  }
}

function closedHere(): ChannelLost {
  return new ChannelLost("closed by this side");
}

function ofDeno(address: Deno.Addr): Endpoint {
  return address.transport === "tcp" || address.transport === "udp"
    ? endpoint(address.hostname, address.port)
    : unixEndpoint;
}
