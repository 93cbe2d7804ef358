/** A client of SCRAM-SHA-256 that says what it is told to: what real ones never would. */
import { createHash, createHmac, pbkdf2Sync } from "node:crypto";

const hmac = (key: Uint8Array | string, text: string) => createHmac("sha256", key).update(text).digest();

/** How it logs in. */
export interface ScramHow {
  readonly user: string;
  readonly password: string;
  /** The gs2 header; by default without channel binding. */
  readonly header?: string;
  /** What it binds to. */
  readonly endPoint?: Uint8Array;
  readonly nonce?: string;
  /** Changes the last message before the proof is made of it. */
  readonly change?: (text: string) => string;
}

/** One login: what it says first, and then, to what the server said. */
export function scramClient(
  { user, password, header = "n,,", endPoint, nonce = "fyko+d2lbbFgONRv9qkxdawL", change = (text) => text }:
    ScramHow,
) {
  const bare = `n=${user},r=${nonce}`;
  let expected = "";
  return {
    first: `${header}${bare}`,
    last(serverFirst: string): string {
      const [, all, salt, iterations] = /^r=([^,]+),s=([^,]+),i=([0-9]+)$/.exec(serverFirst)!;
      const bound = [...new TextEncoder().encode(header), ...endPoint ?? []];
      const without = change(`c=${Uint8Array.from(bound).toBase64()},r=${all}`);
      const salted = pbkdf2Sync(password, Uint8Array.fromBase64(salt!), Number(iterations), 32, "sha256");
      const clientKey = hmac(salted, "Client Key");
      const text = `${bare},${serverFirst},${without}`;
      const mask = hmac(createHash("sha256").update(clientKey).digest(), text);
      expected = `v=${hmac(hmac(salted, "Server Key"), text).toString("base64")}`;
      return `${without},p=${Uint8Array.from(clientKey, (octet, i) => octet ^ mask[i]!).toBase64()}`;
    },
    /** Whether the server has proved itself, too. */
    isServer: (serverLast: string): boolean => serverLast === expected,
  };
}
