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
import { type DaneResult, matchDane, type Tlsa } from "./dane.ts";
import type { Certificate } from "../../channel/x509/certificate.ts";
import { follow } from "../../channel/x509/chain.ts";
import { shownBy } from "../../channel/x509/shown.ts";

/** Certificate authorities that are trusted. */
export class Trust {
  /** `undefined`: the runtime's. */
  readonly context: SecureContext | undefined;
  readonly #pem: readonly string[];
  #byName: ReadonlyMap<string, readonly X509Certificate[]> | undefined;

  /** @param more PEM of authorities besides the runtime's own. */
  constructor(more: readonly string[]) {
    this.#pem = more;
    this.context = more.length === 0
      ? undefined
      : createSecureContext({ ca: [...getCACertificates("default"), ...more] });
  }

  /**
   * Whether signatures lead from a certificate to one of these authorities. The runtime's verdict alone is not enough: see
   * `x509/certificate.ts`.
   */
  leadsFrom(leaf: Certificate, sent: readonly Certificate[]): boolean {
    const known = this.#byName ??= byName([...getCACertificates("default"), ...this.#pem]);
    const itself = known.get(leaf.x509.subject)?.some(({ fingerprint256 }) =>
      fingerprint256 === leaf.x509.fingerprint256
    );
    if (itself) return true;
    const issuersOf = ({ x509 }: Certificate) => known.get(x509.issuer) ?? [];
    return follow(leaf, sent, { issuersOf, constraintsAreChecked: true }, machineTime()) === "trusted";
  }
}

/** By which the runtime's own check goes, too. */
const machineTime = () => Date.now();

function byName(pem: readonly string[]): ReadonlyMap<string, readonly X509Certificate[]> {
  const found = new Map<string, X509Certificate[]>();
  for (const one of pem) {
    const certificate = new X509Certificate(one);
    const list = found.get(certificate.subject);
    if (list === undefined) found.set(certificate.subject, [certificate]);
    else list.push(certificate);
  }
  return found;
}

/** The runtime's own authorities. */
export const systemTrust: Trust = new Trust([]);

/**
 * Trusts these certificate authorities besides the runtime's own (to be given `ca` alone means those alone). Made once: it
 * costs milliseconds.
 *
 * @param pem One certificate or more.
 * @throws {Error} when there is none, or one that can't be read.
 */
export function trusting(pem: string): Trust {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0) throw new Error("there is no certificate in PEM form in it");
  for (const block of blocks) new X509Certificate(block); // the context would take a broken one silently
  return new Trust(blocks);
}

/** What a peer's certificate must be: anything; good for the host's name, by an authority; or what TLSA records say. */
export type PeerCheck =
  | { readonly by: "nobody" }
  | { readonly by: "authorities" }
  | { readonly by: "dane"; readonly records: readonly Tlsa[]; readonly names: readonly string[] };

/** What is wrong with a peer's TLS, in the words of RFC 8460 §4.3. */
export type TlsFault =
  | "certificate-host-mismatch"
  | "certificate-expired"
  | "certificate-not-trusted"
  | "validation-failure";

/** A fault, and how it reads to people. */
interface Wrong {
  readonly fault: TlsFault;
  readonly text: string;
}

/** Encrypts one connection. */
export class ClientTls implements Encryptor {
  /** Whether the certificate was found right: by TLSA records where there are, else by authorities. */
  verified = false;
  /** Why it was not, whether that ended the connection or not. */
  fault: TlsFault | undefined;
  /** Why the handshake failed. */
  problem: string | undefined;
  readonly #serverName: string;
  readonly #check: PeerCheck;
  readonly #trust: Trust;

  /**
   * @param serverName The host's name, or its IP address.
   * @param check What ends the connection where it is not met.
   * @param trust Absent: the runtime's authorities.
   */
  constructor(serverName: string, check: PeerCheck, trust: Trust = systemTrust) {
    this.#serverName = serverName;
    this.#check = check;
    this.#trust = trust;
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
        rejectUnauthorized: this.#check.by === "authorities",
        minVersion: "TLSv1.2",
        ...(this.#trust.context && { secureContext: this.#trust.context }),
      });
      const failed = (error: Error) => {
        if (this.problem !== undefined) return;
        this.problem = error.message;
        this.fault ??= faultOf(error);
        encrypted.destroy();
        socket.destroy();
        reject(new ChannelLost(`TLS handshake failed: ${error.message}`, { cause: error }));
      };
      const closed = () => failed(new Error("the connection was closed"));
      encrypted.on("error", failed);
      socket.once("close", closed);
      encrypted.once("close", closed);
      encrypted.once("secureConnect", () => {
        const wrong = this.#judge(encrypted);
        this.verified = wrong === undefined;
        this.fault = wrong?.fault;
        if (wrong !== undefined && this.#check.by !== "nobody") return failed(new Error(wrong.text));
        encrypted.off("error", failed);
        encrypted.off("close", closed);
        socket.off("close", closed);
        encrypted.allowHalfOpen = true;
        resolve(encrypted);
      });
    });
  }

  #judge(encrypted: TLSSocket): Wrong | undefined {
    const shown = shownBy(encrypted);
    if (shown === undefined) return unreadable;
    if (this.#check.by === "dane") {
      const { records, names } = this.#check;
      const result = matchDane(records, shown, names, machineTime());
      return result === "match" ? undefined : daneFaults[result];
    }
    if (!encrypted.authorized) {
      const { authorizationError: why } = encrypted;
      return { fault: faultOf(why), text: why instanceof Error ? why.message : String(why) };
    }
    return this.#trust.leadsFrom(shown.leaf, shown.sent) ? undefined : notTrusted;
  }
}

const unreadable: Wrong = {
  fault: "validation-failure",
  text: "the peer's certificate is not of X.509 version 3, or broken, so that it proves nothing",
};
const notTrusted: Wrong = {
  fault: "certificate-not-trusted",
  text: "the signatures on the peer's certificate lead to no trusted authority",
};
const daneFaults: Record<Exclude<DaneResult, "match">, Wrong> = {
  "no-match": {
    fault: "validation-failure",
    text: "the peer's certificate fits none of its TLSA records",
  },
  expired: {
    fault: "certificate-expired",
    text: "the certificate that a TLSA record vouches for has expired",
  },
  "wrong-name": {
    fault: "certificate-host-mismatch",
    text: "the certificate that a TLSA record vouches for is another host's",
  },
};

/** What TLS says is wrong, by its code. */
function faultOf(error: unknown): TlsFault {
  const code = error instanceof Error && "code" in error ? String(error.code) : String(error);
  if (code === "CERT_HAS_EXPIRED" || code === "CERT_NOT_YET_VALID") return "certificate-expired";
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID") return "certificate-host-mismatch";
  return /CERT|SIGNATURE|ISSUER|^INVALID_PURPOSE$/.test(code)
    ? "certificate-not-trusted"
    : "validation-failure";
}
