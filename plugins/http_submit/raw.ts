/** A message that is sent in as it is: only its header is looked at, for who it says it is from. */
import addressparser from "nodemailer/lib/addressparser/index.js";
import { Refusal } from "./answers.ts";

/** Octets of a header that are looked at. */
const longestHeader = 256 * 1024;

/** A message whose header has come. */
export interface Opened {
  /** Addresses in `From` and `Sender`. */
  readonly authors: readonly string[];
  /** All of it. */
  readonly content: ReadableStream<Uint8Array<ArrayBuffer>>;
}

/** Reads the header. @throws {Refusal} where it is none, or has not one `From`. */
export async function openRaw(pieces: AsyncGenerator<Uint8Array<ArrayBuffer>>): Promise<Opened> {
  let head = new Uint8Array();
  let next = await pieces.next();
  while (!next.done && !endsIn(head)) {
    const longer = new Uint8Array(head.length + next.value.length);
    longer.set(head);
    longer.set(next.value, head.length);
    head = longer;
    if (head.length > longestHeader) throw new Refusal(400, "The message's header is longer than 256 KiB");
    if (!endsIn(head)) next = await pieces.next();
  }
  const authors = authorsIn(new TextDecoder().decode(head));
  return { authors, content: ReadableStream.from(together(head, pieces)) };
}

async function* together(
  head: Uint8Array<ArrayBuffer>,
  pieces: AsyncGenerator<Uint8Array<ArrayBuffer>>,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  if (head.length > 0) yield head;
  yield* pieces;
}

/** Whether the empty line is there: lines may end in LF, they become CRLF. */
function endsIn(head: Uint8Array): boolean {
  for (let at = head.indexOf(10); at >= 0; at = head.indexOf(10, at + 1)) {
    if (head[at + 1] === 10 || (head[at + 1] === 13 && head[at + 2] === 10)) return true;
  }
  return false;
}

function authorsIn(text: string): string[] {
  const [header = ""] = text.split(/\r?\n\r?\n/, 1);
  // A lone CR becomes a line's end, too, so it may not hide a field here.
  const fields = header.replaceAll(/\r(?!\n)/g, "\n").replaceAll(/\r?\n[ \t]+/g, " ").split(/\r?\n/);
  const all = (name: string) =>
    fields.flatMap((field) => {
      const [, found, value] = /^([!-9;-~]+)[ \t]*:(.*)$/.exec(field) ?? [];
      return found?.toLowerCase() === name ? [value!] : [];
    });
  const from = all("from");
  if (from.length !== 1) {
    throw new Refusal(
      400,
      `The message has ${from.length === 0 ? "no" : "several"} From fields, and needs one`,
    );
  }
  const authors = [...from, ...all("sender")].flatMap((value) => addressparser(value, { flatten: true }))
    .map(({ address }) => address);
  // What is read as no address here may look like somebody's to a reader: `From: =?utf-8?q?eve=40example.org?=`.
  if (authors.length === 0 || authors.includes("")) {
    throw new Refusal(400, "The message's From and Sender fields need an address for each name");
  }
  return authors;
}
