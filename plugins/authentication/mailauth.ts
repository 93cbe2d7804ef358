/**
 * The door to the package that knows SPF, DKIM, ARC and DMARC: typed, as far as it is used here, always in its strict
 * mode (the RFCs as they are written), and imported only when a plugin that needs it is set up, since it brings fifty others.
 */
import type { Buffer } from "node:buffer";
import type { Ask } from "./lookups.ts";

/** What came of one check, in the words of RFC 8601. */
export interface Status {
  readonly result: string;
  readonly comment?: string;
  readonly policy?: Readonly<Record<string, string>>;
  /** Octets of the body that a signature with `l=` leaves out. */
  readonly underSized?: number;
  /** The key says `t=y`. */
  readonly testing?: boolean;
  readonly header?: Readonly<Record<string, string | false | undefined>>;
  readonly smtp?: Readonly<Record<string, string | undefined>>;
}

/** One signature that was looked at. */
export interface SignatureResult {
  readonly status: Status;
  readonly signingDomain?: string;
  readonly selector?: string;
}

/** A field of a header: `key` is its name in lower case, `line` all of it without the last CRLF. */
export interface Row {
  readonly key: string;
  readonly casedKey: string;
  readonly line: Buffer;
}

/** A header as the package reads it. */
export interface Rows {
  readonly parsed: readonly Row[];
}

/** A signature field while it is prepared. */
export interface Prepared {
  readonly type: "DKIM" | "ARC";
  readonly parsed?: Read["parsed"];
  /** Why it isn't looked at. */
  skip?: string;
}

/** One ARC set: the fields, read. */
export interface ArcSet {
  readonly i: number;
  readonly "arc-seal": Read;
  readonly "arc-message-signature": Read;
  readonly "arc-authentication-results": Read;
}

interface Read {
  readonly original: Buffer;
  readonly parsed: Readonly<Record<string, { readonly value?: unknown } | undefined>>;
}

/** What is known of a message's chain before its seals are looked at. */
export interface ArcData {
  readonly chain: readonly ArcSet[] | false;
}

/** Reads a message in pieces: its header, then `nextChunk` for its body, then `finalChunk`. */
export interface Verifier {
  readonly results: readonly SignatureResult[];
  readonly arc: ArcData;
  headers: Rows;
  readonly bodyHashes: Map<string, unknown>;
  prepareSignature(signature: Prepared): void;
  addBodyHash(form: string, algorithm: string, limit: number | ""): string;
  messageHeaders(rows: Rows): Promise<void>;
  nextChunk(chunk: Buffer): Promise<void>;
  finalChunk(): Promise<void>;
}

/** Makes one. */
export interface VerifierClass {
  new (options: { resolver: Ask; strict: true; curTime: Date; sender: string }): Verifier;
}

/** SPF's part. */
export interface SpfCheck {
  (what: {
    sender: string;
    ip: string;
    helo: string;
    mta: string;
    resolver: Ask;
    strict: true;
    maxElapsedTime: number;
  }): Promise<{ readonly status: Status; readonly domain: string; readonly explanation?: string }>;
}

/** DMARC's part: one author domain. */
export interface DmarcCheck {
  (what: {
    headerFrom: readonly string[];
    fromFields: 1;
    spfDomains: readonly { domain: string }[];
    dkimDomains: readonly { domain: string }[];
    resolver: Ask;
    strict: true;
  }): Promise<
    false | {
      readonly status: Status;
      readonly policy?: "none" | "quarantine" | "reject";
      readonly p?: string;
    }
  >;
}

/** ARC's part: the seals. */
export interface ArcCheck {
  (data: ArcData, how: { resolver: Ask; strict: true }): Promise<
    { readonly status: Status & { readonly shouldSeal?: boolean } }
  >;
}

/** What signing is made of. */
export interface Canon {
  /** The fields that an `h=` list means, from the bottom up. */
  getSigningHeaderLines(
    rows: readonly Row[],
    names: string,
    verify: true,
  ): { readonly headers: readonly Row[] };
  /** Relaxed canonicalization of one field (RFC 6376 §3.4.2). */
  formatRelaxedLine(line: Buffer, suffix?: string): Buffer;
}

interface Module<T> {
  readonly default: T;
}

/** What `spf` uses. */
export async function loadSpf(): Promise<SpfCheck> {
  const module = await import("mailauth/lib/spf/index.js") as unknown as Module<{ spf: SpfCheck }>;
  return module.default.spf;
}

/** What `dkim` and `arc` use. */
export async function loadVerifier(): Promise<VerifierClass> {
  const module = await import("mailauth/lib/dkim/dkim-verifier.js") as unknown as Module<
    { DkimVerifier: VerifierClass }
  >;
  return module.default.DkimVerifier;
}

/** What `arc` uses besides. */
export async function loadArc(): Promise<ArcCheck> {
  const module = await import("mailauth/lib/arc/index.js") as unknown as Module<{ arc: ArcCheck }>;
  return module.default.arc;
}

/** What `dmarc` uses: the check, and the domains that an address in a `From` field may mean. */
export async function loadDmarc(): Promise<
  { check: DmarcCheck; domainsOf(address: string): readonly { readonly authorDomain: string }[] }
> {
  const [dmarc, author] = await Promise.all([
    import("mailauth/lib/dmarc/index.js") as unknown as Promise<Module<{ dmarc: DmarcCheck }>>,
    import("mailauth/lib/dmarc/author-domain.js") as unknown as Promise<
      Module<{ getAddressDomains(address: string): readonly { authorDomain: string }[] }>
    >,
  ]);
  return { check: dmarc.default.dmarc, domainsOf: author.default.getAddressDomains };
}

/** What signing uses. */
export async function loadSigning(): Promise<Canon> {
  return (await import("mailauth/lib/tools.js") as unknown as Module<Canon>).default;
}
