import type { ClientCertificate } from "./clients.ts";

/**
 * A transmission channel (RFC 5321 §2.3.8, §3.1): the two-way byte stream between an SMTP client and this server.
 * Not a transport: that is what carries a message onward.
 */
export interface Channel {
  readonly remote: Endpoint;
  readonly local: Endpoint;
  /** Set from the first byte on listeners of implicit TLS, after `startTls` on others. */
  readonly tls: TlsState | undefined;
  /**
   * The next bytes, at least one; `undefined` once the client has closed its side. They are valid until the next
   * call of `read`, which may reuse their memory. One call at a time.
   *
   * @param expecting `"content"`: many bytes are about to come, so that a small buffer would be filled several times.
   * @throws {ChannelLost} when the connection was reset, or `close` was called.
   */
  read(expecting?: "content"): Promise<Uint8Array | undefined>;
  /** Puts bytes back in front of what comes next: the next `read` brings them, or a handshake that begins now. They are copied. */
  putBack(bytes: Uint8Array): void;
  /** From now on the ends of the connection are these: a proxy that is believed has said whose it is. */
  speakFor(ends: { readonly remote: Endpoint; readonly local?: Endpoint }): void;
  /**
   * Resolves when the bytes are with the kernel (or, under TLS, so nearly that memory stays bounded): who awaits
   * it before the next read has back-pressure. `bytes` may be reused once it has resolved.
   *
   * @throws {ChannelLost} when the connection is gone.
   */
  write(bytes: Uint8Array): Promise<void>;
  /** Bytes that have arrived and that no `read` has returned yet, as far as this side can know. */
  readonly buffered: number;
  /** Whether `startTls` can work: the listener has a certificate and the channel is not encrypted yet. */
  readonly canStartTls: boolean;
  /**
   * Stops reading, checks that nothing is buffered, writes `ready` (the 220) in the clear, and hands the connection
   * to TLS without another read (CASES T01).
   *
   * @returns `"encrypted"`, or `"early-bytes"` when the client had sent bytes behind STARTTLS: nothing was written,
   *   and the caller refuses and closes.
   * @throws {ChannelLost} when the handshake fails, stalls or the client goes.
   */
  startTls(ready: Uint8Array): Promise<"encrypted" | "early-bytes">;
  /**
   * Lets written bytes drain, then closes both sides; calling it twice is fine. Never throws.
   *
   * @param client `"done"`: it has said QUIT, so whatever it may still send need not be read first.
   */
  close(client?: "done"): void;
  /** Closes at once (RST where the platform can), dropping unsent output. Never throws. */
  abort(): void;
}

/** One end of a connection. */
export interface Endpoint {
  /** An IP address in canonical text; of a Unix socket `"unix"`. */
  readonly address: string;
  /** TCP port; of a Unix socket 0. */
  readonly port: number;
}

/** What TLS was agreed on, in the terms `Received` and the log use. */
export interface TlsState {
  /** `TLSv1.3`, `TLSv1.2`. */
  readonly version: string;
  /** IANA or OpenSSL name of the cipher suite. */
  readonly cipher: string;
  /** The server name the client asked for (SNI). */
  readonly serverName: string | undefined;
  /** Who the client is, where the listener asks for certificates and it has shown one. */
  readonly client?: ClientCertificate | undefined;
  /** What a login can be bound to: `tls-server-end-point` (RFC 5929 §4); absent where the certificate has none. */
  readonly endPoint?: Uint8Array | undefined;
}

/** The connection is gone: reset, closed under us, or its handshake failed. `message` says how, for the log. */
export class ChannelLost extends Error {
  override readonly name = "ChannelLost";
}
