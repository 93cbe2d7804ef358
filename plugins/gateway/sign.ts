/**
 * Signatures of what is posted, as Standard Webhooks has them (https://www.standardwebhooks.com): HMAC-SHA-256 over the id, the
 * time and the body, so that a receiver can use a library of its language. Several secrets give several signatures: to change
 * one, both hold for a while.
 */
import { createHmac } from "node:crypto";

/** Keys of HMAC-SHA-256. */
export type Secrets = readonly Uint8Array<ArrayBuffer>[];

/** A signature over less is no better than a password. */
const shortest = 16;

/**
 * Reads secrets, one a line: `whsec_` and base64, or any text.
 *
 * @throws {Error} that says what is wrong; never with the secret in it.
 */
export function readSecrets(text: string): Secrets {
  const lines = text.split(/\r?\n/).map((line) => line.trim()).filter((line) => line !== "");
  if (lines.length === 0) throw new Error("there is no secret in it");
  return lines.map((line, index) => {
    const key = keyOf(line);
    const which = lines.length === 1 ? "the secret" : `the secret in line ${index + 1}`;
    if (!key) throw new Error(`${which} begins with whsec_ and is not base64 behind it`);
    if (key.length < shortest) throw new Error(`${which} has ${key.length} octets, and needs ${shortest}`);
    return key;
  });
}

function keyOf(line: string): Uint8Array<ArrayBuffer> | undefined {
  if (!line.startsWith("whsec_")) return new TextEncoder().encode(line);
  try {
    return Uint8Array.fromBase64(line.slice("whsec_".length));
  } catch {
    return undefined;
  }
}

/** What stands in front of the body in what is signed. */
const before = (id: string, seconds: number) => new TextEncoder().encode(`${id}.${seconds}.`);

function headersOf(id: string, seconds: number, signatures: readonly string[]): Record<string, string> {
  return {
    "webhook-id": id,
    "webhook-timestamp": String(seconds),
    ...(signatures.length > 0 && { "webhook-signature": signatures.map((one) => `v1,${one}`).join(" ") }),
  };
}

/** The headers of a body that is in memory. Hashed on the runtime's own threads: a large one would hold up everybody. */
export async function signWhole(
  id: string,
  seconds: number,
  body: Uint8Array<ArrayBuffer>,
  secrets: Secrets,
): Promise<Record<string, string>> {
  const top = before(id, seconds);
  const signed = new Uint8Array(top.length + body.length);
  signed.set(top);
  signed.set(body, top.length);
  const signatures = await Promise.all(secrets.map(async (secret) => {
    const key = await crypto.subtle.importKey("raw", secret, { name: "HMAC", hash: "SHA-256" }, false, [
      "sign",
    ]);
    return new Uint8Array(await crypto.subtle.sign("HMAC", key, signed)).toBase64();
  }));
  return headersOf(id, seconds, signatures);
}

/** The headers of a body that streams; it is read to its end for that. @throws what reading throws. */
export async function signStream(
  id: string,
  seconds: number,
  body: AsyncIterable<Uint8Array>,
  secrets: Secrets,
): Promise<Record<string, string>> {
  if (secrets.length === 0) return headersOf(id, seconds, []);
  const hashes = secrets.map((secret) => createHmac("sha256", secret).update(before(id, seconds)));
  for await (const piece of body) for (const hash of hashes) hash.update(piece);
  return headersOf(id, seconds, hashes.map((hash) => hash.digest("base64")));
}
