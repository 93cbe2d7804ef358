/**
 * SRS, the Sender Rewriting Scheme: forwarded mail says a sender of our domain, so that SPF is right at the next host, and bounces
 * come back here, where the original sender is read out of the address again. Pure: time comes in.
 *
 * ```text
 * alice@far.example                    SRS0=HASH=TT=far.example=alice@us.example          TT: the day, modulo 1024
 * SRS0=…=alice@other.example           SRS1=HASH=other.example==…=alice@us.example        another forwarder's: it undoes the rest
 * SRS1=…=first.example==…@other.example SRS1=HASH=first.example==…@us.example             the first forwarder stays, others drop out
 * ```
 *
 * The hash is what keeps this from being an open relay: without a key nobody can make an address that is undone. Letters of local
 * parts may change their case on the way (many servers write them small), so the hash is of the small ones, and in base 32.
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import { isDomain, join, split } from "../addresses.ts";

/** What an address that came back is. */
export type Undone =
  | { readonly kind: "sender"; readonly address: string }
  /** No address of this scheme, or not in its domain. */
  | { readonly kind: "other" }
  /** Its hash is none of ours. */
  | { readonly kind: "forged" }
  | { readonly kind: "expired" };

/** What becomes of a sender; `own`: it is ours, or null, and stays as it is. */
export type Rewritten =
  | { readonly kind: "rewritten"; readonly address: string }
  | { readonly kind: "own" }
  /** No server could take what would be made of it. */
  | { readonly kind: "too long" };

/** How addresses are made. */
export interface SrsHow {
  /** The domain of rewritten senders, lower case, in A-labels. */
  readonly domain: string;
  /** At least one; the first signs, all are good for undoing. */
  readonly keys: readonly string[];
  /** Milliseconds for which a rewritten address can be answered. */
  readonly maxAge: number;
}

const base32 = "abcdefghijklmnopqrstuvwxyz234567";
const day = 86_400_000;
/** The time stamp has two digits of base 32. */
const days = 1024;
/** Octets of an address in SMTP, without its brackets (RFC 5321 §4.5.3.1.3). */
const longest = 254;
/** Forty bits: whoever guesses needs years, at any rate that a server answers at. */
const hashLength = 8;

const scheme = /^SRS([01])[=+-]/i;

/** Whether a local part, unquoted, has the form of this scheme. */
export const isRewritten = (local: string): boolean => scheme.test(local);

/**
 * The sender for a forwarded copy.
 *
 * @param sender The envelope sender's address, `""` for bounces.
 * @param now Milliseconds since 1970.
 */
export function rewrite(sender: string, { domain, keys }: SrsHow, now: number): Rewritten {
  const { local, domain: from } = split(sender);
  if (!from || from === domain) return { kind: "own" };
  const address = join(srs1(local, from, keys) ?? srs0(local, from, keys, now), domain);
  if (new TextEncoder().encode(address).length > longest) return { kind: "too long" };
  return { kind: "rewritten", address };
}

function srs0(local: string, from: string, [key]: readonly string[], now: number): string {
  const stamp = stampOf(now);
  return `SRS0=${hash(key!, "0", stamp, from, local)}=${stamp}=${from}=${local}`;
}

/** For what is another forwarder's address: that one can undo it, so we only lead there. */
function srs1(local: string, from: string, [key]: readonly string[]): string | undefined {
  const found = scheme.exec(local);
  if (!found) return undefined;
  if (found[1] === "0") {
    const rest = local.slice("SRS0".length);
    return `SRS1=${hash(key!, "1", from, rest)}=${from}=${rest}`;
  }
  const [, first, rest] = readSrs1(local) ?? [];
  // What only looks like one is an address like others.
  return first === undefined || rest === undefined
    ? undefined
    : `SRS1=${hash(key!, "1", first, rest)}=${first}=${rest}`;
}

/** Hash, first forwarder, and the rest with the separator that it begins with. */
function readSrs1(local: string): [string, string, string] | undefined {
  const [, hash, first, rest] = /^SRS1[=+-]([^=]+)=([^=]+)=([=+-].+)$/is.exec(local) ?? [];
  if (hash === undefined || first === undefined || rest === undefined) return undefined;
  return isDomain(first.toLowerCase()) ? [hash, first.toLowerCase(), rest] : undefined;
}

/**
 * Reads a sender out of an address that we have made.
 *
 * @param local Unquoted. @param domain Lower case, in A-labels.
 */
export function undo(
  { local, domain }: { readonly local: string; readonly domain: string },
  how: SrsHow,
  now: number,
): Undone {
  const found = domain === how.domain ? scheme.exec(local) : null;
  if (!found) return { kind: "other" };
  if (found[1] === "1") {
    const [given, first, rest] = readSrs1(local) ?? [];
    if (given === undefined || first === undefined || rest === undefined) return { kind: "forged" };
    if (!isOurs(given, how.keys, "1", first, rest)) return { kind: "forged" };
    return { kind: "sender", address: join(`SRS0${rest}`, first) };
  }
  const [, given, stamp, from, original] = /^SRS0[=+-]([^=]+)=([^=]+)=([^=]+)=(.+)$/is.exec(local) ?? [];
  if (given === undefined || stamp === undefined || from === undefined || original === undefined) {
    return { kind: "forged" };
  }
  if (!isOurs(given, how.keys, "0", stamp, from, original)) return { kind: "forged" };
  if (isOld(stamp, how.maxAge, now)) return { kind: "expired" };
  return { kind: "sender", address: join(original, from.toLowerCase()) };
}

function stampOf(now: number): string {
  const today = Math.floor(now / day) % days;
  return `${base32[today >> 5]}${base32[today & 31]}`;
}

/** The day is all that an address says: what is older than 1024 days looks new again, unless its key is gone by then. */
function isOld(stamp: string, maxAge: number, now: number): boolean {
  const [high, low] = [...stamp.toLowerCase()].map((digit) => base32.indexOf(digit));
  if (stamp.length !== 2 || high! < 0 || low! < 0) return true;
  const age = (Math.floor(now / day) - (high! * 32 + low!) + days) % days;
  return age > Math.ceil(maxAge / day) && age !== days - 1; // made a moment ago by a server whose clock is ahead
}

function hash(key: string, ...parts: readonly string[]): string {
  const text = parts.map((part) => part.toLowerCase().normalize("NFC")).join("\0");
  const octets = createHmac("sha256", key).update(text).digest();
  const number = octets.readUIntBE(0, 5); // as many bits as the digits have
  return Array.from({ length: hashLength }, (_, at) => base32[Math.floor(number / 32 ** at) % 32]).join("");
}

/** Compares with all keys, in the same time whichever of them it is. */
function isOurs(given: string, keys: readonly string[], ...parts: readonly string[]): boolean {
  const octets = new TextEncoder().encode(given.toLowerCase());
  let isOne = false;
  for (const key of keys) {
    const right = new TextEncoder().encode(hash(key, ...parts));
    if (octets.length === right.length && timingSafeEqual(octets, right)) isOne = true;
  }
  return isOne;
}
