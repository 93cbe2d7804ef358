/**
 * Private keys that sign mail: read from files, followed when they change, and used on threads of WebCrypto's own, so that
 * RSA's milliseconds delay no other session.
 */
import { Buffer } from "node:buffer";
import { createHash, createPrivateKey, createPublicKey, type KeyObject, sign } from "node:crypto";
import { domainToASCII } from "node:url";
import { type Host, path, z } from "../../server/plugin.ts";
import { type FollowedFile, followFile } from "../followed_file.ts";

/** A key, ready to sign. */
export interface SigningKey {
  readonly algorithm: "rsa-sha256" | "ed25519-sha256";
  /** Of an RSA key. */
  readonly bits: number | undefined;
  /** The value of the TXT record that others verify with (RFC 6376 §3.6.1, RFC 8463 §4). */
  readonly record: string;
  sign(octets: Uint8Array<ArrayBuffer>): Promise<Uint8Array>;
}

/** RFC 6376 §3.5, sub-domain. */
const label = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

function name(kind: string, labels: number, example: string) {
  // Not a selector alone: `2026` would be read as an IP address.
  const ascii = (text: string) => text.includes(".") && domainToASCII(text) || text.toLowerCase();
  return z.string().overwrite(ascii).refine(
    (text) =>
      text.split(".").length >= labels && text.length <= 253 &&
      text.split(".").every((one) => label.test(one)),
    { error: ({ input }) => `"${input}" is not a ${kind} such as ${example}` },
  ).meta({ title: kind });
}

/** A key as it stands in a configuration. */
export const keyOption = z.object({
  domain: name("domain", 2, "example.org").describe("Domain that vouches"),
  selector: name("selector", 1, "s2026").describe("Name of the key below _domainkey.DOMAIN"),
  key: path().describe("PEM file with the private key, RSA or Ed25519; read again when it changes"),
});

/** A key's option, read. */
export type KeyOption = z.output<typeof keyOption>;

/** RFC 8301 §3.2: below it nobody may verify; shorter than the second nobody should sign. */
const [leastBits, goodBits] = [1024, 2048];

/** Shared by all keys: more at a time than there are processors to spare would take them from everything else. */
const atATime = Math.max(1, navigator.hardwareConcurrency - 1);
let signing = 0;
const waiting: (() => void)[] = [];

async function inTurn<T>(work: () => Promise<T>): Promise<T> {
  if (signing >= atATime) await new Promise<void>((resolve) => waiting.push(resolve));
  else signing++;
  try {
    return await work();
  } finally {
    const next = waiting.shift();
    if (next) next();
    else signing--;
  }
}

/**
 * Reads a private key: PKCS#8 or PKCS#1, as PEM.
 *
 * @param file Its name, for problems.
 * @throws {Error} `FILE: what is wrong`.
 */
export async function readKey(file: string, pem: string): Promise<SigningKey> {
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch {
    throw new Error(`${file}: ${whyNoKey(pem)}`);
  }
  const der = new Uint8Array(key.export({ type: "pkcs8", format: "der" }));
  const spki = createPublicKey(key).export({ type: "spki", format: "der" });
  if (key.asymmetricKeyType === "ed25519") {
    return {
      algorithm: "ed25519-sha256",
      bits: undefined,
      record: `v=DKIM1; k=ed25519; p=${spki.subarray(-32).toString("base64")}`,
      // RFC 8463 §3: what is signed is the hash. 20 µs are done before another thread has heard of it.
      sign: (octets) => {
        const hash = createHash("sha256").update(octets).digest();
        return Promise.resolve(new Uint8Array(sign(null, hash, key)));
      },
    };
  }
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
  if (key.asymmetricKeyType !== "rsa") {
    throw new Error(
      `${file}: this is a key of type ${key.asymmetricKeyType}; mail is signed with RSA or Ed25519`,
    );
  }
  if (bits < leastBits) {
    throw new Error(
      `${file}: an RSA key of ${bits} bits is worth nothing (RFC 8301): make one of ${goodBits}`,
    );
  }
  const how = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" };
  const usable = await crypto.subtle.importKey("pkcs8", der, how, false, ["sign"]);
  return {
    algorithm: "rsa-sha256",
    bits,
    record: `v=DKIM1; k=rsa; p=${Buffer.from(spki).toString("base64")}`,
    sign: (octets) => inTurn(async () => new Uint8Array(await crypto.subtle.sign(how.name, usable, octets))),
  };
}

function whyNoKey(pem: string): string {
  if (/-----BEGIN (RSA |EC )?PUBLIC KEY-----/.test(pem)) {
    return "this is a public key; the private one is needed";
  }
  if (pem.includes("ENCRYPTED")) return "the key is encrypted: store it without a passphrase";
  if (!pem.includes("-----BEGIN")) return "this is no key: it has no line -----BEGIN PRIVATE KEY-----";
  return "the key can't be read: is the file whole?";
}

/** A key and where its public half is found. */
export interface Signer {
  readonly domain: string;
  readonly selector: string;
  /** The key as the file has it now. */
  current(): SigningKey | Promise<SigningKey>;
}

/**
 * Opens a key's file, and follows it.
 *
 * @throws {Error} with the file and the reason when there is no usable key in it.
 */
export async function openSigner(
  { domain, selector, key: file }: KeyOption,
  host: Pick<Host, "clock" | "log">,
): Promise<Signer> {
  const read = async (text: string) => {
    const key = await readKey(file, text);
    if (key.bits !== undefined && key.bits < goodBits) {
      host.log.warning("a short RSA key: make one of 2048 bits", { file, bits: key.bits });
    }
    return key;
  };
  let followed: FollowedFile<SigningKey>;
  try {
    followed = await followFile(file, read, host);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      throw new Error(
        `${file}: there is no such file: \`dkim keygen --config FILE\` makes the keys that are missing`,
      );
    }
    if (error instanceof Deno.errors.PermissionDenied) throw new Error(`${file}: this user may not read it`);
    throw error;
  }
  return { domain, selector, current: () => followed.current() };
}
