/**
 * Certificates as TLS peers send them, read strictly.
 *
 * Strictness is what security hangs on here. The runtime's TLS takes certificates that its own verifier can't read (X.509
 * version 1, or broken DER) for good when their issuer is only *called* like an authority it trusts, and doesn't check the
 * handshake's signature with them either (Deno 2.9.6, `node:tls`). So nothing counts as verified unless it was read here:
 * each certificate that is, the runtime's verifier has been able to read, too.
 */
import { X509Certificate } from "node:crypto";
import { DerReader, NotDer, tags } from "./der.ts";

/** One certificate. */
export interface Certificate {
  readonly der: Uint8Array;
  /** Its SubjectPublicKeyInfo, as TLSA's selector 1 has it. */
  readonly publicKey: Uint8Array;
  /** By OID, in hexadecimal. */
  readonly extensions: ReadonlyMap<string, Extension>;
  /** The OID of the signature's algorithm, in hexadecimal. */
  readonly algorithm: string;
  /** The same, as the runtime reads it: for names, times and signatures. */
  readonly x509: X509Certificate;
}

/** One extension (RFC 5280 §4.2). */
export interface Extension {
  readonly critical: boolean;
  readonly value: Uint8Array;
}

/** OIDs of extensions, in hexadecimal. */
export const extensionIds = {
  keyUsage: "551d0f",
  subjectAltName: "551d11",
  basicConstraints: "551d13",
  nameConstraints: "551d1e",
  distributionPoints: "551d1f",
  policies: "551d20",
  extendedKeyUsage: "551d25",
} as const;

/** These hold a SEQUENCE; the runtime's verifier finds them broken when they don't. */
const sequences: ReadonlySet<string> = new Set([
  extensionIds.subjectAltName,
  extensionIds.basicConstraints,
  extensionIds.nameConstraints,
  extensionIds.distributionPoints,
  extensionIds.extendedKeyUsage,
]);
/** signedCertificateTimestampList (RFC 6962 §3.3), of which it expects an OCTET STRING. */
const timestamps = "2b06010401d679020402";

/** Reads one; `undefined`: it is not of version 3, or broken, and so nothing can be said of who holds its key. */
export function readCertificate(der: Uint8Array): Certificate | undefined {
  try {
    const outer = new DerReader(der);
    const certificate = new DerReader(outer.read(tags.sequence));
    outer.end();
    const signed = new DerReader(certificate.read(tags.sequence));
    const algorithm = certificate.read(tags.sequence);
    certificate.readBits();
    certificate.end();

    const version = new DerReader(signed.read(tags.version));
    if (hex(version.read(tags.integer)) !== "02") throw new NotDer("not of version 3");
    version.end();
    if (signed.read(tags.integer).length === 0) throw new NotDer("no serial number");
    if (hex(signed.read(tags.sequence)) !== hex(algorithm)) throw new NotDer("two algorithms");
    for (let n = 0; n < 3; n++) signed.read(tags.sequence); // issuer, validity, subject
    const publicKey = signed.readWhole(tags.sequence);
    checkPublicKey(publicKey);
    const extensions = signed.atEnd ? new Map() : readExtensions(signed);
    signed.end();
    return {
      der,
      publicKey,
      extensions,
      algorithm: hex(new DerReader(algorithm).read(tags.oid)),
      x509: new X509Certificate(der),
    };
  } catch {
    return undefined; // NotDer, or what the runtime says of it
  }
}

function checkPublicKey(element: Uint8Array): void {
  const content = new DerReader(new DerReader(element).read(tags.sequence));
  content.read(tags.sequence);
  content.readBits();
  content.end();
}

function readExtensions(signed: DerReader): Map<string, Extension> {
  const wrapped = new DerReader(signed.read(tags.extensions));
  const list = new DerReader(wrapped.read(tags.sequence));
  wrapped.end();
  const found = new Map<string, Extension>();
  while (!list.atEnd) {
    const one = new DerReader(list.read(tags.sequence));
    const id = hex(one.read(tags.oid));
    const critical = one.isNext(tags.boolean);
    // FALSE is the default, which DER doesn't write.
    if (critical && hex(one.read(tags.boolean)) !== "ff") throw new NotDer("a BOOLEAN that is neither");
    const value = one.read(tags.octetString);
    one.end();
    if (found.has(id)) throw new NotDer("an extension twice");
    const held = sequences.has(id) ? tags.sequence : id === timestamps ? tags.octetString : undefined;
    if (held !== undefined) {
      const inner = new DerReader(value);
      inner.read(held);
      inner.end();
    }
    found.set(id, { critical, value });
  }
  return found;
}

/** Octets as hexadecimal digits. */
export function hex(octets: Uint8Array): string {
  return octets.toHex();
}
