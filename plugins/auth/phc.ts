/**
 * Password hashes as text, in the PHC string format: `$scrypt$ln=15,r=8,p=1$salt$hash` and
 * `$argon2id$v=19$m=19456,t=2,p=1$salt$hash`. Read strictly and within bounds: a hash in a file decides how much
 * memory and time each login costs.
 */
import { Buffer } from "node:buffer";

/** A scrypt hash (RFC 7914). */
export interface Scrypt {
  readonly kind: "scrypt";
  /** Logarithm to base 2 of N, the number of blocks. */
  readonly ln: number;
  /** Block size, in 128 octets. */
  readonly r: number;
  /** How many times the whole is done. */
  readonly p: number;
  readonly salt: Uint8Array;
  readonly hash: Uint8Array;
}

/** An Argon2id hash, version 1.3 (RFC 9106). */
export interface Argon2id {
  readonly kind: "argon2id";
  /** Memory in KiB. */
  readonly m: number;
  /** Passes over the memory. */
  readonly t: number;
  /** Lanes. */
  readonly p: number;
  readonly salt: Uint8Array;
  readonly hash: Uint8Array;
}

/** A stored password. */
export type PasswordHash = Scrypt | Argon2id;

/** What came of reading a hash: the hash, or what is wrong with it in a sentence that never repeats the hash. */
export type ReadHash = { readonly hash: PasswordHash } | { readonly problem: string };

/** Memory one hash may take: 256 MiB. */
const memoryLimit = 256 * 1024 * 1024;
/** Memory times passes: about the time of 1 GiB once over, a few seconds. */
const workLimit = 1024 * 1024 * 1024;

/** Reads one PHC string. */
export function readHash(text: string): ReadHash {
  const [before, kind, ...rest] = text.split("$");
  if (before !== "") return { problem: `not a password hash: ${expected}${hint(text)}` };
  if (kind === "scrypt") return readScrypt(rest);
  if (kind === "argon2id") return readArgon2id(rest);
  const others = /^(argon2[di]?|2[abxy]?|bcrypt|1|5|6|y|pbkdf2.*)$/.test(kind ?? "");
  return {
    problem: others
      ? `hashes of kind "${kind}" are not supported: ${expected}`
      : `not a password hash: ${expected}`,
  };
}

const expected = "it must start with $scrypt$ or $argon2id$; `user passwd` makes one";

function hint(text: string): string {
  return /^\{[A-Za-z0-9.-]{1,32}\}\$/.test(text) ? " (leave out the scheme in braces)" : "";
}

function readScrypt(parts: readonly string[]): ReadHash {
  const [parameters = "", ...ends] = parts;
  const found = /^ln=([1-9][0-9]{0,9}),r=([1-9][0-9]{0,9}),p=([1-9][0-9]{0,9})$/.exec(parameters);
  if (!found || ends.length !== 2) {
    return { problem: "a scrypt hash must read $scrypt$ln=15,r=8,p=1$SALT$HASH" };
  }
  const [ln, r, p] = [Number(found[1]), Number(found[2]), Number(found[3])];
  const memory = 128 * r * 2 ** ln;
  if (memory > memoryLimit) {
    return { problem: "the hash asks for more than 256 MiB of memory; lower ln or r" };
  }
  if (memory * p > workLimit) {
    return { problem: "the hash asks for too much work (ln, r and p together); lower p" };
  }
  // RFC 7914 §2: N is less than 2^(128 * r / 8).
  if (ln >= 16 * r) return { problem: "ln is too large for this r" };
  return withOctets(ends, (salt, hash) => ({ kind: "scrypt", ln, r, p, salt, hash }));
}

function readArgon2id(parts: readonly string[]): ReadHash {
  const [version = "", parameters = "", ...ends] = parts;
  const found = /^m=([1-9][0-9]{0,9}),t=([1-9][0-9]{0,9}),p=([1-9][0-9]{0,9})$/.exec(parameters);
  if (!found || !version.startsWith("v=") || ends.length !== 2) {
    return { problem: "an argon2id hash must read $argon2id$v=19$m=19456,t=2,p=1$SALT$HASH" };
  }
  if (version !== "v=19") return { problem: "only version 19 of argon2id is supported (v=19)" };
  const [m, t, p] = [Number(found[1]), Number(found[2]), Number(found[3])];
  if (p > 16) return { problem: "the hash asks for more than 16 lanes; lower p" };
  if (m < 8 * p) return { problem: "m must be at least 8 times p" }; // RFC 9106 §3.1
  if (m * 1024 > memoryLimit) return { problem: "the hash asks for more than 256 MiB of memory; lower m" };
  if (m * 1024 * t > workLimit) {
    return { problem: "the hash asks for too much work (m and t together); lower t" };
  }
  return withOctets(ends, (salt, hash) => ({ kind: "argon2id", m, t, p, salt, hash }));
}

function withOctets(
  ends: readonly string[],
  make: (salt: Uint8Array, hash: Uint8Array) => PasswordHash,
): ReadHash {
  const [salt, hash] = ends.map(readBase64);
  if (!salt || salt.length < 8 || salt.length > 64) {
    return { problem: "the salt of the hash must be 8 to 64 octets in base64 without padding" };
  }
  if (!hash || hash.length < 16 || hash.length > 64) {
    return { problem: "the hash must be 16 to 64 octets in base64 without padding" };
  }
  return { hash: make(salt, hash) };
}

/** Strict: no padding, no line ends, and no other spelling of the same octets. */
function readBase64(text: string): Uint8Array | undefined {
  const octets = new Uint8Array(Buffer.from(text, "base64"));
  return base64(octets) === text ? octets : undefined;
}

function base64(octets: Uint8Array): string {
  return Buffer.from(octets).toString("base64").replace(/=+$/, "");
}

/** The hash as it stands in a users file. */
export function formatHash(hash: PasswordHash): string {
  const ends = `${base64(hash.salt)}$${base64(hash.hash)}`;
  return hash.kind === "scrypt"
    ? `$scrypt$ln=${hash.ln},r=${hash.r},p=${hash.p}$${ends}`
    : `$argon2id$v=19$m=${hash.m},t=${hash.t},p=${hash.p}$${ends}`;
}
