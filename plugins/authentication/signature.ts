/**
 * Signatures of messages: DKIM-Signature (RFC 6376), and an ARC set's two (RFC 8617). Always relaxed, so that folding a
 * value at its white space, as the server does, changes nothing.
 */
import { Buffer } from "node:buffer";
import type { Message } from "../../server/plugin.ts";
import { BodyHash } from "./body_hash.ts";
import { partsOf } from "./content.ts";
import type { Signer } from "./keys.ts";
import type { Canon, Row } from "./mailauth.ts";

/** What is signed where it is there (RFC 6376 §5.4.1). */
const fields = [
  "from sender reply-to to cc subject date message-id in-reply-to references mime-version content-type",
  "content-transfer-encoding content-id content-description resent-date resent-from resent-sender resent-to resent-cc",
  "resent-message-id list-id list-help list-unsubscribe list-unsubscribe-post list-subscribe list-post list-owner",
  "list-archive feedback-id autocrypt",
].join(" ").split(" ");

/** Named once more than they are there, so that a second one breaks the signature (RFC 6376 §8.15). */
const sealed = new Set(
  "from to cc subject date message-id reply-to mime-version content-type content-transfer-encoding".split(
    " ",
  ),
);

/** A message, ready to be signed: what several signatures share. */
export interface Signable {
  readonly rows: readonly Row[];
  readonly bodyHash: string;
}

/** Reads a message once. */
export async function signable(message: Message): Promise<Signable> {
  const { rows, body } = await partsOf(message);
  const hash = new BodyHash("relaxed", "sha256");
  for await (const piece of body) hash.update(piece);
  return { rows, bodyHash: hash.digest("base64") };
}

/** A field to put on top: its name, and its value in one line. */
export interface Field {
  readonly name: string;
  readonly value: string;
}

/** A DKIM-Signature, or with `instance` an ARC-Message-Signature. */
export async function signMessage(
  { rows, bodyHash }: Signable,
  signer: Signer,
  { now, instance }: { readonly now: number; readonly instance?: number },
  tools: Canon,
): Promise<Field> {
  const names = fieldNames(rows);
  const key = await signer.current();
  const name = instance === undefined ? "DKIM-Signature" : "ARC-Message-Signature";
  const { headers } = tools.getSigningHeaderLines(rows, names.join(":"), true);
  return await sign(
    name,
    [
      instance === undefined ? ["v", "1"] : ["i", String(instance)],
      ["a", key.algorithm],
      ["c", "relaxed/relaxed"],
      ["d", signer.domain],
      ["s", signer.selector],
      ["t", String(Math.floor(now / 1000))],
      ["h", names.join(": ")],
      ["bh", bodyHash],
    ],
    headers.map(({ line }) => tools.formatRelaxedLine(line, "\r\n")),
    key,
    tools,
  );
}

/**
 * Signs what stands above and the field itself, its `b=` empty (RFC 6376 §3.7; RFC 8617 §5.1.1).
 *
 * @param above Canonical lines, each with its CRLF.
 */
export async function sign(
  name: string,
  tags: readonly (readonly [tag: string, value: string])[],
  above: readonly Buffer[],
  key: Awaited<ReturnType<Signer["current"]>>,
  tools: Canon,
): Promise<Field> {
  const value = `${tags.map(([tag, text]) => `${tag}=${text}`).join("; ")}; b=`;
  const own = tools.formatRelaxedLine(Buffer.from(`${name}: ${value}`));
  const signature = await key.sign(new Uint8Array(Buffer.concat([...above, own])));
  return { name, value: value + inPieces(Buffer.from(signature).toString("base64")) };
}

/** With places to fold at. */
const inPieces = (base64: string) => base64.replaceAll(/.{64}(?=.)/g, "$& ");

function fieldNames(rows: readonly Row[]): string[] {
  const counts = new Map<string, number>();
  for (const { key } of rows) counts.set(key, (counts.get(key) ?? 0) + 1);
  const names: string[] = [];
  for (const name of fields) {
    const count = (counts.get(name) ?? 0) + (sealed.has(name) ? 1 : 0);
    for (let n = 0; n < count; n++) names.push(name);
  }
  return names;
}

/** Whether there is exactly one `From` to vouch for (RFC 6376 §5.4). */
export const hasAuthor = ({ rows }: Signable) => rows.filter(({ key }) => key === "from").length === 1;
