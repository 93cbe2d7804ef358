/**
 * The client's side of TLS, over a `node:net` socket: the only one in the runtime that can go on with a certificate that is
 * not verified, which opportunistic TLS to MX hosts needs (RFC 7435), and then says whether it was.
 */
import { X509Certificate } from "node:crypto";
import { isIP, type Socket } from "node:net";
import {
  connect,
  createSecureContext,
  getCACertificates,
  type SecureContext,
  type TLSSocket,
} from "node:tls";
import { ChannelLost } from "../../channel/channel.ts";
import type { Encryptor } from "../../channel/node.ts";

/**
 * Trusts these certificate authorities besides the runtime's own (to be given `ca` alone means those alone). Made once: it
 * costs milliseconds.
 *
 * @param pem One certificate or more.
 * @throws {Error} when there is none, or one that can't be read.
 */
export function trusting(pem: string): SecureContext {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0) throw new Error("there is no certificate in PEM form in it");
  for (const block of blocks) new X509Certificate(block); // the context would take a broken one silently
  return createSecureContext({ ca: [...getCACertificates("default"), ...blocks] });
}

/** Encrypts one connection. */
export class ClientTls implements Encryptor {
  /** Whether the certificate chain and the name in it were found right. */
  verified = false;
  /** Why the handshake failed. */
  problem: string | undefined;
  readonly #serverName: string;
  readonly #verify: boolean;
  readonly #context: SecureContext | undefined;

  /**
   * @param serverName The host's name, or its IP address.
   * @param verify Whether a certificate that can't be verified, or is another host's, ends the connection.
   * @param context Of {@linkcode trusting}; absent: the runtime's authorities.
   */
  constructor(serverName: string, verify: boolean, context?: SecureContext) {
    this.#serverName = serverName;
    this.#verify = verify;
    this.#context = context;
  }

  encrypt(socket: Socket): Promise<TLSSocket> {
    // What came in the clear behind the peer's 220 is dropped (CASES O05): it must not be read as decrypted.
    socket.pause();
    while (socket.read() !== null);
    return new Promise((resolve, reject) => {
      const encrypted = connect({
        socket,
        // SNI holds names only (RFC 6066 §3); the certificate is held against `host` then.
        host: this.#serverName,
        servername: isIP(this.#serverName) ? "" : this.#serverName,
        rejectUnauthorized: this.#verify,
        minVersion: "TLSv1.2",
        ...(this.#context && { secureContext: this.#context }),
      });
      const failed = (error: Error) => {
        if (this.problem !== undefined) return;
        this.problem = error.message;
        encrypted.destroy();
        socket.destroy();
        reject(new ChannelLost(`TLS handshake failed: ${error.message}`, { cause: error }));
      };
      const closed = () => failed(new Error("the connection was closed"));
      encrypted.on("error", failed);
      socket.once("close", closed);
      encrypted.once("close", closed);
      encrypted.once("secureConnect", () => {
        encrypted.off("error", failed);
        encrypted.off("close", closed);
        socket.off("close", closed);
        encrypted.allowHalfOpen = true;
        this.verified = encrypted.authorized;
        resolve(encrypted);
      });
    });
  }
}
