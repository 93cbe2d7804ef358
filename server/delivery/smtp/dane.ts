/**
 * DANE for SMTP (RFC 7672): a host's certificate held against the TLSA records of its own name, where every answer on the
 * way to them was validated by DNSSEC.
 */
import { Buffer } from "node:buffer";
import { createHash, createPublicKey } from "node:crypto";
import type { DnsFailure, Query, RecordData } from "../../dns.ts";
import { type Certificate, hex, readCertificate } from "../../channel/x509/certificate.ts";
import { follow } from "../../channel/x509/chain.ts";

/** A TLSA record (RFC 6698 §2.1). */
export type Tlsa = RecordData["TLSA"];

/** What DNS says of a host. */
export type DaneFinding =
  /** It has no TLSA records that count. */
  | { readonly kind: "none" }
  /** It may have some: nothing is sent there until that is known (RFC 7672 §2.1.2). */
  | { readonly kind: "failed"; readonly text: string; readonly reason: DnsFailure }
  /** It has some, none of which can be used: TLS, with any certificate (RFC 7672 §2.2). */
  | { readonly kind: "unusable"; readonly base: string; readonly records: readonly Tlsa[] }
  | { readonly kind: "usable"; readonly base: string; readonly records: readonly Tlsa[] };

/** A host, and what was found out on the way to its addresses. */
export interface DaneHost {
  /** As the MX record, or the operator, has it. */
  readonly host: string;
  readonly port: number;
  /** The name its addresses stand at. */
  readonly canonical: string;
  /** Whether its addresses were validated. */
  readonly secure: boolean;
}

const digests: ReadonlyMap<number, { readonly name: string; readonly octets: number }> = new Map([
  [1, { name: "sha256", octets: 32 }],
  [2, { name: "sha512", octets: 64 }],
]);
const trustAnchor = 2;
const endEntity = 3;

/** Looks up a host's TLSA records. Rejects only with the signal's reason. */
export async function lookUpDane(target: DaneHost, query: Query, signal: AbortSignal): Promise<DaneFinding> {
  const bases = await basesOf(target, query, signal);
  if (!Array.isArray(bases)) return bases;
  for (const base of bases) {
    const name = `_${target.port}._tcp.${base}`;
    const found = await query(name, "TLSA", signal);
    if (found.kind === "failed") return failed("TLSA", name, found.reason);
    if (found.kind === "none" || !found.ad) continue;
    const records = found.records.filter(isUsable);
    return records.length > 0
      ? { kind: "usable", base, records }
      : { kind: "unusable", base, records: found.records };
  }
  return { kind: "none" };
}

/** The names under which TLSA records count: the host's own, or the one it stands for (RFC 7672 §2.2.2). */
async function basesOf(
  { host, canonical, secure }: DaneHost,
  query: Query,
  signal: AbortSignal,
): Promise<string[] | DaneFinding> {
  if (canonical === host) return secure ? [host] : [];
  if (secure) return [canonical, host];
  // The alias may be validated though what it stands for is not: then its own records count.
  const alias = await query(host, "CNAME", signal);
  if (alias.kind === "failed") return failed("CNAME", host, alias.reason);
  return alias.kind === "found" && alias.ad ? [host] : [];
}

function failed(type: string, name: string, reason: DnsFailure): DaneFinding {
  return { kind: "failed", reason, text: `DNS: the ${type} of ${name} could not be asked for (${reason})` };
}

/** Whether a record can be used at all: RFC 7672 §3.1 knows two usages, and what is malformed counts for nothing. */
export function isUsable({ usage, selector, matchingType, certificate }: Tlsa): boolean {
  if ((usage !== trustAnchor && usage !== endEntity) || selector > 1) return false;
  if (matchingType !== 0) return digests.get(matchingType)?.octets === certificate.length;
  return selector === 0 ? readCertificate(certificate) !== undefined : keyOf(certificate) !== undefined;
}

/** What a peer has shown of itself. */
export interface Shown {
  readonly leaf: Certificate;
  /** What came with it, in any order. */
  readonly sent: readonly Certificate[];
  /** Whether the certificate is for this host name. */
  readonly isFor: (name: string) => boolean;
}

/** What comes of holding a peer against its records. */
export type DaneResult = "match" | "no-match" | "expired" | "wrong-name";

/**
 * Holds a peer against usable records (RFC 7672 §3).
 *
 * @param names Those of which the certificate must have one where the record is an authority's.
 * @param now Milliseconds since 1970.
 */
export function matchDane(
  records: readonly Tlsa[],
  { leaf, sent, isFor }: Shown,
  names: readonly string[],
  now: number,
): DaneResult {
  const strongest = agile(records);
  // The record itself is the binding of name and key: neither the certificate's names nor its times count (§3.1.1).
  if (strongest.some((record) => record.usage === endEntity && fits(record, leaf))) return "match";
  const authorities = strongest.filter(({ usage }) => usage === trustAnchor);
  if (authorities.length === 0) return "no-match";
  const whole = authorities.filter(({ matchingType }) => matchingType === 0);
  const given = whole.flatMap(({ selector, certificate }) =>
    selector === 0 ? readCertificate(certificate) ?? [] : []
  );
  const keys = whole.flatMap(({ selector, certificate }) => selector === 1 ? keyOf(certificate) ?? [] : []);
  const led = follow(leaf, [...sent, ...given], {
    issuersOf: () => [],
    trusts: (issuer) => authorities.some((record) => fits(record, issuer)),
    keys,
  }, now);
  if (led !== "trusted") return led === "expired" ? "expired" : "no-match";
  return names.some(isFor) ? "match" : "wrong-name";
}

function fits({ selector, matchingType, certificate }: Tlsa, one: Certificate): boolean {
  const whole = selector === 0 ? one.der : one.publicKey;
  const digest = digests.get(matchingType);
  const data = digest === undefined ? whole : createHash(digest.name).update(whole).digest();
  return hex(data) === hex(certificate);
}

/** Of two digests of the same thing only the stronger counts (RFC 7671 §9). */
function agile(records: readonly Tlsa[]): readonly Tlsa[] {
  return records.filter(({ usage, selector, matchingType }) =>
    matchingType === 0 ||
    !records.some((other) =>
      other.usage === usage && other.selector === selector && other.matchingType > matchingType
    )
  );
}

function keyOf(der: Uint8Array) {
  try {
    return createPublicKey({ key: Buffer.from(der), format: "der", type: "spki" });
  } catch {
    return undefined;
  }
}

/** A record as zone files have it, for reports. */
export function tlsaText({ usage, selector, matchingType, certificate }: Tlsa): string {
  return `${usage} ${selector} ${matchingType} ${hex(certificate)}`;
}
