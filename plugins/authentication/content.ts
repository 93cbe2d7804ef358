/** A message as signatures see it: its fields, and the octets of its body. One reading, the server's own, and linear. */
import { Buffer } from "node:buffer";
import type { Message } from "../../server/plugin.ts";
import type { Row } from "./mailauth.ts";

/** The two parts of a message. */
export interface Parts {
  /** From the top. */
  readonly rows: readonly Row[];
  /** What follows the empty line. To be read once. */
  readonly body: Iterable<Buffer> | AsyncIterable<Buffer>;
}

/** Smaller ones are read whole. */
const small = 1024 * 1024;
/** What the server reads of a header; a field that isn't whole in it is body. */
const longestHeader = 256 * 1024;

/** Takes a message apart. */
export async function partsOf(message: Message): Promise<Parts> {
  if (message.size <= small) {
    const bytes = view(await message.bytes(small));
    const { rows, bodyStart } = readRows(bytes, true);
    return { rows, body: [bytes.subarray(bodyStart)] };
  }
  const pieces = message.stream()[Symbol.asyncIterator]();
  const begun: Uint8Array<ArrayBuffer>[] = [];
  for (let length = 0; length < longestHeader + 2;) {
    const next = await pieces.next();
    if (next.done) break;
    begun.push(next.value);
    length += next.value.length;
  }
  const head = Buffer.concat(begun);
  const { rows, bodyStart } = readRows(head, false);
  return { rows, body: rest(head.subarray(bodyStart), pieces) };
}

async function* rest(first: Buffer, others: AsyncIterator<Uint8Array<ArrayBuffer>>): AsyncGenerator<Buffer> {
  yield first;
  for (let next = await others.next(); !next.done; next = await others.next()) yield view(next.value);
}

const view = (bytes: Uint8Array<ArrayBuffer>) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);

/** The name at the begin of a field (RFC 5322 §2.2, with the white space of §4.5.8). */
const named = /^([!-9;-~]+)[ \t]*:/;

/** Behind the next CRLF; -1 where there is none. Not `Buffer.indexOf` of a text, which isn't native here. */
function lineEnd(bytes: Buffer, from: number): number {
  let at = indexOf.call(bytes, 10, from);
  while (at !== -1 && bytes[at - 1] !== 13) at = indexOf.call(bytes, 10, at + 1);
  return at === -1 ? -1 : at + 1;
}

const { indexOf } = Uint8Array.prototype;

/** Fields end with the empty line, or before the first line that is none of a field. */
function readRows(
  bytes: Buffer,
  whole: boolean,
): { readonly rows: readonly Row[]; readonly bodyStart: number } {
  const rows: Row[] = [];
  let [at, start, key] = [0, 0, ""];
  const finish = (end: number) => {
    if (key === "") return;
    const hasEnd = bytes[end - 1] === 10 && bytes[end - 2] === 13;
    rows.push({ key: key.toLowerCase(), casedKey: key, line: bytes.subarray(start, hasEnd ? end - 2 : end) });
  };
  while (at < bytes.length) {
    const octet = bytes[at];
    if (octet === 13 && bytes[at + 1] === 10) {
      finish(at);
      return { rows, bodyStart: at + 2 };
    }
    const found = lineEnd(bytes, at);
    const end = found === -1 ? bytes.length : found;
    const continues = octet === 32 || octet === 9;
    const name = continues
      ? undefined
      : named.exec(bytes.toString("latin1", at, Math.min(end, at + 1024)))?.[1];
    if (continues ? key === "" : name === undefined) break;
    if (!continues) {
      finish(at);
      [start, key] = [at, name!];
    }
    if (end > longestHeader || (found === -1 && !whole)) return { rows, bodyStart: start };
    at = end;
  }
  finish(at);
  return { rows, bodyStart: at };
}
