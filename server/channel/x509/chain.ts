/** Whether a chain of certificates leads from a peer's own to one that is trusted (RFC 5280 §6). */
import type { KeyObject, X509Certificate } from "node:crypto";
import { type Certificate, extensionIds, hex } from "./certificate.ts";
import { DerReader, tags } from "./der.ts";

/** Whom a chain may end at. */
export interface Anchors {
  /** Trusted authorities that could have issued it, by their name. */
  readonly issuersOf: (certificate: Certificate) => readonly X509Certificate[];
  /** Whether a certificate that the peer sent is itself trusted as an issuer. */
  readonly trusts?: (issuer: Certificate) => boolean;
  /** Keys that are trusted without a certificate. */
  readonly keys?: readonly KeyObject[];
  /** Someone else has held the chain against their name constraints. */
  readonly constraintsAreChecked?: true;
}

/** Where a chain led. */
export type Led = "trusted" | "expired" | "untrusted";

/** Chains out there have two or three links. */
const longest = 8;
/** Signatures that are checked for one peer: it may send certificates as it likes, and each costs a third of a millisecond. */
const mostSignatures = 30;

/**
 * Follows the signatures from a peer's certificate up.
 *
 * @param sent What came with it, in any order.
 * @param now Milliseconds since 1970.
 * @param purpose What the peer is.
 */
export function follow(
  leaf: Certificate,
  sent: readonly Certificate[],
  anchors: Anchors,
  now: number,
  purpose: keyof typeof purposes = "server",
): Led {
  let left = mostSignatures;
  let result: Led = "untrusted";
  const signs = (below: Certificate, key: KeyObject): boolean => {
    if (left-- <= 0 || !strongAlgorithms.has(below.algorithm)) return false;
    try {
      return below.x509.verify(key);
    } catch {
      return false; // a key of another kind
    }
  };
  const known = new Set<string>(mayBeCritical);
  if (anchors.constraintsAreChecked) known.add(extensionIds.nameConstraints);
  const isUnderstood = ({ extensions }: Certificate) =>
    [...extensions].every(([id, { critical }]) => !critical || known.has(id)) &&
    (anchors.constraintsAreChecked || !extensions.has(extensionIds.nameConstraints));

  const leads = (path: readonly Certificate[]): boolean => {
    const top = path.at(-1)!;
    if (anchors.issuersOf(top).some((one) => signs(top, one.publicKey))) return true;
    if (anchors.keys?.some((key) => signs(top, key))) return true;
    if (path.length >= longest) return false;
    for (const issuer of sent) {
      if (path.includes(issuer) || top.x509.issuer !== issuer.x509.subject) continue;
      if (!isUnderstood(issuer) || !maySign(issuer, path.length - 1) || !signs(top, issuer.x509.publicKey)) {
        continue;
      }
      if (!isValidAt(issuer.x509, now)) {
        result = "expired";
        continue;
      }
      if (anchors.trusts?.(issuer) || leads([...path, issuer])) return true;
    }
    return false;
  };
  if (!isUnderstood(leaf) || !isFor(purpose, leaf)) return "untrusted";
  if (!isValidAt(leaf.x509, now)) return "expired";
  return leads([leaf]) ? "trusted" : result;
}

function isValidAt({ validFrom, validTo }: X509Certificate, now: number): boolean {
  return Date.parse(validFrom) <= now && now <= Date.parse(validTo); // NaN: not valid
}

/** Whether this may issue certificates, with so many issuers between it and the peer's own (RFC 5280 §4.2.1.3, §4.2.1.9). */
function maySign({ extensions }: Certificate, between: number): boolean {
  const basic = extensions.get(extensionIds.basicConstraints);
  if (basic === undefined) return false;
  try {
    const constraints = new DerReader(new DerReader(basic.value).read(tags.sequence));
    if (!constraints.isNext(tags.boolean) || hex(constraints.read(tags.boolean)) !== "ff") return false;
    if (!constraints.atEnd && Number.parseInt(hex(constraints.read(tags.integer)), 16) < between) {
      return false;
    }
    const usage = extensions.get(extensionIds.keyUsage);
    if (usage === undefined) return true;
    const keyCertSign = 0x04; // the sixth bit (§4.2.1.3)
    return ((new DerReader(usage.value).read(tags.bitString)[1] ?? 0) & keyCertSign) !== 0;
  } catch {
    return false;
  }
}

/** Whether the certificate is for such peers of TLS, or for anything (RFC 5280 §4.2.1.12). */
function isFor(purpose: keyof typeof purposes, { extensions }: Certificate): boolean {
  const usage = extensions.get(extensionIds.extendedKeyUsage);
  if (usage === undefined) return true;
  const list = new DerReader(new DerReader(usage.value).read(tags.sequence));
  try {
    while (!list.atEnd) if (purposes[purpose].has(hex(list.read(tags.oid)))) return true;
  } catch {
    // broken: not for us
  }
  return false;
}

/** id-kp-serverAuth and id-kp-clientAuth, each with anyExtendedKeyUsage. */
const purposes = {
  server: new Set(["2b06010505070301", "551d2500"]),
  client: new Set(["2b06010505070302", "551d2500"]),
} as const;

/** Critical extensions that are looked at, or say nothing of what is asked here. */
const mayBeCritical: ReadonlySet<string> = new Set([
  extensionIds.keyUsage,
  extensionIds.subjectAltName,
  extensionIds.basicConstraints,
  extensionIds.extendedKeyUsage,
  extensionIds.distributionPoints,
  extensionIds.policies,
]);

/** Signatures that can't be forged: SHA-2 with RSA (PKCS #1 and PSS) or ECDSA, and Ed25519. */
const strongAlgorithms: ReadonlySet<string> = new Set([
  "2a864886f70d01010b",
  "2a864886f70d01010c",
  "2a864886f70d01010d",
  "2a864886f70d01010a",
  "2a8648ce3d040302",
  "2a8648ce3d040303",
  "2a8648ce3d040304",
  "2b6570",
]);
