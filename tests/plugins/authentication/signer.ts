/**
 * A signer of DKIM and ARC that shares nothing with the server's: written from RFC 6376 §3.4 and RFC 8617 §5.1, it signs
 * whatever a test wants to see refused.
 */
import { createHash, createPublicKey, type KeyObject, sign } from "node:crypto";
import { Buffer } from "node:buffer";

/** How to sign. `tags` are added to the usual ones, or replace them; `undefined` leaves one out. */
export interface How {
  readonly key: KeyObject;
  readonly domain?: string;
  readonly selector?: string;
  /** What `h=` names. */
  readonly fields?: readonly string[];
  readonly canonicalization?: string;
  readonly tags?: Readonly<Record<string, string | undefined>>;
  /** What is hashed as the body, where it isn't all of it. */
  readonly body?: string;
  readonly hash?: "sha1" | "sha256";
}

/** The record of a key. */
export function record(key: KeyObject, tags = "v=DKIM1"): string {
  const spki = createPublicKey(key).export({ type: "spki", format: "der" });
  return key.asymmetricKeyType === "ed25519"
    ? `${tags}; k=ed25519; p=${spki.subarray(-32).toString("base64")}`
    : `${tags}; k=rsa; p=${spki.toString("base64")}`;
}

/** A message with a DKIM-Signature on top. */
export function dkim(message: string, how: How): string {
  return signature("DKIM-Signature", { v: "1" }, message, how) + message;
}

/** An ARC set on top of a message. */
export function arc(
  message: string,
  set: {
    readonly i: number;
    readonly cv: string;
    readonly results: string;
    readonly seal?: Record<string, string>;
  },
  how: How,
): string {
  const results = `ARC-Authentication-Results: i=${set.i}; ${set.results}\r\n`;
  const ams = signature("ARC-Message-Signature", { i: `${set.i}` }, message, how);
  const [header] = apart(message);
  const before: string[] = [];
  for (let i = 1; i < set.i; i++) {
    for (const name of ["ARC-Authentication-Results", "ARC-Message-Signature", "ARC-Seal"]) {
      const found = fieldsOf(header).find((field) =>
        nameOf(field) === name.toLowerCase() && new RegExp(`\\bi=${i};`).test(field)
      );
      before.push(relaxed(found ?? "gone:\r\n"));
    }
  }
  const { key, domain = "example.net", selector = "s1", hash = "sha256" } = how;
  const values = { i: `${set.i}`, a: algorithm(key, hash), cv: set.cv, d: domain, s: selector, ...set.seal };
  const own = `ARC-Seal: ${written(values)}; b=`;
  const octets = [...set.cv === "fail" ? [] : before, relaxed(results), relaxed(ams), relaxed(own)].join("")
    .slice(0, -2);
  return `${own}${signed(octets, key, hash)}\r\n${ams}${results}${message}`;
}

function signature(name: string, first: Record<string, string>, message: string, how: How): string {
  const {
    key,
    domain = "example.net",
    selector = "s1",
    canonicalization = "relaxed/relaxed",
    hash = "sha256",
  } = how;
  const [header, body] = apart(message);
  const [forHeader, forBody] = canonicalization.split("/");
  const fields = how.fields ?? ["from", "to", "subject", "date", "message-id"];
  const hashed = forBody === "relaxed" ? relaxedBody(how.body ?? body) : simpleBody(how.body ?? body);
  const values = {
    ...first,
    a: algorithm(key, hash),
    c: canonicalization,
    d: domain,
    s: selector,
    h: fields.join(":"),
    bh: createHash(hash).update(hashed, "latin1").digest("base64"),
    ...how.tags,
  };
  const left = fieldsOf(header).reverse();
  const chosen = fields.flatMap((wanted) => {
    const at = left.findIndex((field) => nameOf(field) === wanted.toLowerCase());
    return at === -1 ? [] : left.splice(at, 1);
  });
  const own = `${name}: ${written(values)}; b=`;
  const canon = forHeader === "relaxed" ? relaxed : (field: string) => field;
  const octets = [...chosen, `${own}\r\n`].map(canon).join("").slice(0, -2);
  return `${own}${signed(octets, key, hash)}\r\n`;
}

const written = (values: Readonly<Record<string, string | undefined>>) =>
  Object.entries(values).filter(([, value]) => value !== undefined).map(([tag, value]) => `${tag}=${value}`)
    .join("; ");

const algorithm = (key: KeyObject, hash: string) => `${key.asymmetricKeyType}-${hash}`;

function signed(octets: string, key: KeyObject, hash: string): string {
  const bytes = Buffer.from(octets, "latin1");
  if (key.asymmetricKeyType !== "ed25519") return sign(`rsa-${hash}`, bytes, key).toString("base64");
  return sign(null, createHash("sha256").update(bytes).digest(), key).toString("base64");
}

function apart(message: string): [header: string, body: string] {
  const end = message.indexOf("\r\n\r\n");
  return end === -1 ? [message, ""] : [message.slice(0, end + 2), message.slice(end + 4)];
}

const fieldsOf = (header: string) => header.match(/[^\r\n]+\r\n(?:[ \t][^\r\n]*\r\n)*/g) ?? [];
const nameOf = (field: string) => field.slice(0, field.indexOf(":")).trim().toLowerCase();

/** RFC 6376 §3.4.2. */
function relaxed(field: string): string {
  const value = field.slice(field.indexOf(":") + 1).replaceAll("\r\n", "").replaceAll(/[ \t]+/g, " ");
  return `${nameOf(field)}:${value.replace(/^ | $/g, "")}\r\n`;
}

/** RFC 6376 §3.4.3. */
const simpleBody = (body: string) => `${body.replace(/(?:\r\n)*$/, "")}\r\n`;

/** RFC 6376 §3.4.4. */
function relaxedBody(body: string): string {
  const lines = body.replaceAll(/[ \t]+\r\n/g, "\r\n").replaceAll(/[ \t]+/g, " ").replace(/(?:\r\n)*$/, "");
  return lines === "" ? "" : `${lines}\r\n`;
}
