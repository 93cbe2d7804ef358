/**
 * The server's side of SCRAM-SHA-256 (RFC 5802, 7677): the client proves that it knows a password, and the server that it has keys made
 * of it; the password itself never crosses the wire. With channel binding (-PLUS) the proof is of this TLS connection, so that nobody can
 * stand in between. No I/O; whose keys they are is the caller's to find.
 */
import { createHash, createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import type { ScramKeys } from "./verdict.ts";

/** What a login is bound to. */
export interface Binding {
  /** What the mechanism asks for: with -PLUS the client has to bind. */
  readonly mechanism: "SCRAM-SHA-256" | "SCRAM-SHA-256-PLUS";
  /** The connection's `tls-server-end-point` (RFC 5929 §4). */
  readonly endPoint: Uint8Array | undefined;
  /** Whether -PLUS was offered: who says that it was not has been lied to (RFC 5802 §6). */
  readonly plus: "offered" | "not-offered";
}

/** What came of the client's first message. */
export type Begun =
  | { readonly kind: "begun"; readonly scram: Scram; readonly user: string; readonly authorizationId: string }
  | { readonly kind: "malformed" }
  /** It binds to something else than this connection, doesn't bind though it should, or heard another offer than ours. */
  | { readonly kind: "not-bound" };

/** What came of its proof. `signature`: the last word, by which the server proves itself. */
export type Proved =
  | { readonly kind: "right"; readonly signature: string }
  | { readonly kind: "wrong" }
  | { readonly kind: "malformed" };

const nonceOctets = 18;
const hmac = (key: Uint8Array, text: string): Uint8Array => createHmac("sha256", key).update(text).digest();
const base64 = (octets: Uint8Array): string => octets.toBase64();

/** Longer names are nobody's; it is kept until the exchange is over. */
const longestName = 1024, longestNonce = 1024;

/**
 * Reads the client's first message (RFC 5802 §7, client-first-message).
 *
 * @param nonce Our part of the nonce: of printable ASCII without commas; a test may say which.
 */
export function beginScram(
  message: string,
  binding: Binding,
  nonce: string = base64(randomBytes(nonceOctets)),
): Begun {
  const found =
    /^(n|y|p=([A-Za-z0-9.-]+)),(?:a=([^,\0]+))?,(n=([^,\0]+),r=([!-+\--~]+)(?:,[A-Za-z]=[^,\0]+)*)$/.exec(
      message,
    );
  const [, flag, type, authorization = "", bare, name, clientNonce] = found ?? [];
  if (flag === undefined || bare === undefined || name === undefined || clientNonce === undefined) {
    return { kind: "malformed" };
  }
  const user = readName(name);
  const authorizationId = readName(authorization);
  if (user === undefined || user === "" || authorizationId === undefined) return { kind: "malformed" };
  if (user.length > longestName || clientNonce.length > longestNonce) return { kind: "malformed" };
  if (!isBound(flag, type, binding)) return { kind: "not-bound" };
  const header = `${flag},${authorization === "" ? "" : `a=${authorization}`},`;
  const bound = [...new TextEncoder().encode(header), ...(type === undefined ? [] : binding.endPoint!)];
  const expected = { binding: base64(Uint8Array.from(bound)), nonce: `${clientNonce}${nonce}` };
  return { kind: "begun", scram: new Scram(bare, expected), user, authorizationId };
}

function isBound(flag: string, type: string | undefined, { mechanism, endPoint, plus }: Binding): boolean {
  if (mechanism === "SCRAM-SHA-256-PLUS") return type === "tls-server-end-point" && endPoint !== undefined;
  if (type !== undefined) return false;
  return flag === "n" || plus === "not-offered";
}

/** A saslname (RFC 5802 §7): `=2C` is a comma, `=3D` an equals sign, no other may stand there; and no control characters. */
function readName(text: string): string | undefined {
  if (/=(?!2C|3D)/.test(text)) return undefined;
  const name = text.replaceAll("=2C", ",").replaceAll("=3D", "=");
  return /\p{Cc}/u.test(name) ? undefined : name;
}

/** One exchange, once it is known who it is. */
export class Scram {
  readonly #clientFirst: string;
  readonly #expected: { readonly binding: string; readonly nonce: string };
  #asked: { readonly keys: ScramKeys; readonly serverFirst: string } | undefined;

  constructor(clientFirst: string, expected: { readonly binding: string; readonly nonce: string }) {
    this.#clientFirst = clientFirst;
    this.#expected = expected;
  }

  /** The server's first message: how to make the proof. */
  challenge(keys: ScramKeys): string {
    const serverFirst = `r=${this.#expected.nonce},s=${base64(keys.salt)},i=${keys.iterations}`;
    this.#asked = { keys, serverFirst };
    return serverFirst;
  }

  /** Checks the client's last message (client-final-message) against the keys. */
  prove(message: string): Proved {
    const [, without, binding, nonce, proof] =
      /^(c=([A-Za-z0-9+/]+={0,2}),r=([!-+\--~]+)(?:,[A-Za-z]=[^,\0]+)*),p=([A-Za-z0-9+/]{43}=)$/.exec(
        message,
      ) ?? [];
    if (!this.#asked || without === undefined || proof === undefined) return { kind: "malformed" };
    const { keys: { storedKey, serverKey }, serverFirst } = this.#asked;
    const text = `${this.#clientFirst},${serverFirst},${without}`;
    const mask = hmac(storedKey, text);
    const clientKey = Uint8Array.fromBase64(proof).map((octet, i) => octet ^ mask[i]!);
    const isKnown = timingSafeEqual(createHash("sha256").update(clientKey).digest(), storedKey);
    const isOurs = binding === this.#expected.binding && nonce === this.#expected.nonce;
    return isKnown && isOurs
      ? { kind: "right", signature: `v=${base64(hmac(serverKey, text))}` }
      : { kind: "wrong" };
  }
}

const ownSecret = randomBytes(32);

/** Keys of somebody whom nobody knows: always the same for a name, as far as a client sees them, and no proof is right for them. */
export function nobodysKeys(user: string): ScramKeys {
  const salt = Uint8Array.from(createHmac("sha256", ownSecret).update(user).digest().subarray(0, 16));
  return { salt, iterations: 100_000, storedKey: randomBytes(32), serverKey: randomBytes(32) };
}
