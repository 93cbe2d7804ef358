/**
 * Keys for SCRAM-SHA-256 beside a password's hash, as PostgreSQL and RFC 5803 write them:
 * `SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY`. Who has them can't log in, but can guess passwords, faster than by scrypt, and
 * pass for this server.
 */
import { Buffer } from "node:buffer";
import { createHash, createHmac, pbkdf2, randomBytes } from "node:crypto";
import { saslprep } from "@mongodb-js/saslprep";
import type { ScramKeys } from "../../server/plugin.ts";

/** Of new keys: about 0.1 s of the client's time, at each login. RFC 7677 §4 wants 4,096 at least. */
export const standardIterations = 100_000;
const fewest = 4096, most = 10_000_000;

/** Makes keys; `undefined` where the password has characters that SCRAM can't have (RFC 4013): it is for PLAIN and LOGIN then. */
export async function makeKeys(
  password: string,
  salt: Uint8Array = randomBytes(16),
  iterations: number = standardIterations,
): Promise<ScramKeys | undefined> {
  const prepared = prepare(password);
  if (prepared === undefined) return undefined;
  const salted = await new Promise<Uint8Array>((resolve, reject) => {
    pbkdf2(prepared, salt, iterations, 32, "sha256", (error, key) => error ? reject(error) : resolve(key));
  });
  const hmac = (text: string) => createHmac("sha256", salted).update(text).digest();
  return {
    salt,
    iterations,
    storedKey: Uint8Array.from(createHash("sha256").update(hmac("Client Key")).digest()),
    serverKey: Uint8Array.from(hmac("Server Key")),
  };
}

function prepare(password: string): string | undefined {
  try {
    return saslprep(password) || undefined;
  } catch {
    return undefined;
  }
}

/** What came of reading keys; the problem is a sentence that doesn't repeat them. */
export type ReadKeys = { readonly keys: ScramKeys } | { readonly problem: string };

/** Reads keys from a users file. */
export function readKeys(text: string): ReadKeys {
  const parts = /^SCRAM-SHA-256\$([1-9][0-9]{0,8}):([^$:]+)\$([^$:]+):([^$:]+)$/.exec(text);
  if (!parts) return { problem: "keys for SCRAM read SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY" };
  const iterations = Number(parts[1]);
  if (iterations < fewest || iterations > most) {
    return { problem: `the iterations of SCRAM are ${fewest} to ${most}` };
  }
  const [salt, storedKey, serverKey] = parts.slice(2).map(octets);
  if (!salt || salt.length < 8 || salt.length > 64) {
    return { problem: "the salt of SCRAM is 8 to 64 octets in base64" };
  }
  if (storedKey?.length !== 32 || serverKey?.length !== 32) {
    return { problem: "the keys of SCRAM are 32 octets each, in base64" };
  }
  return { keys: { iterations, salt, storedKey, serverKey } };
}

function octets(text: string): Uint8Array | undefined {
  const read = new Uint8Array(Buffer.from(text, "base64"));
  return read.toBase64() === text ? read : undefined;
}

/** The keys as they stand in a users file. */
export function formatKeys({ iterations, salt, storedKey, serverKey }: ScramKeys): string {
  return `SCRAM-SHA-256$${iterations}:${salt.toBase64()}$${storedKey.toBase64()}:${serverKey.toBase64()}`;
}
