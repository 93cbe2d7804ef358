/** clamd's command INSTREAM (clamd(8)): a message in, what was found in it out. */

/** What clamd makes of a message. `too large`: for its `StreamMaxLength`. */
export type Scanned =
  | { readonly kind: "clean" | "too large" }
  | { readonly kind: "infected"; readonly signature: string };

const utf8 = new TextEncoder();

/** What is said: the command, each piece behind its length, and a length of 0 at the end. */
export async function* instream(content: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield utf8.encode("zINSTREAM\0");
  for await (const piece of content) {
    if (piece.length === 0) continue; // would be the end
    yield length(piece.length);
    yield piece;
  }
  yield length(0);
}

function length(octets: number): Uint8Array {
  const field = new Uint8Array(4);
  new DataView(field.buffer).setUint32(0, octets);
  return field;
}

/** @throws {Error} with what clamd said, where that is no finding: it has trouble of its own. */
export function readFinding(answer: string): Scanned {
  if (!answer.endsWith("\0")) throw bad(answer); // cut off
  const text = answer.slice(0, -1);
  if (text === "stream: OK") return { kind: "clean" };
  const found = /^stream: (.+) FOUND$/.exec(text);
  // Names come from whoever wrote the signatures, and end in a reply and a header.
  if (found) return { kind: "infected", signature: found[1]!.slice(0, 100).replace(/[^!-~]/g, "_") };
  if (text.startsWith("INSTREAM size limit exceeded")) return { kind: "too large" };
  throw bad(text);
}

function bad(text: string): Error {
  return new Error(`clamd could not scan: ${JSON.stringify(text.slice(0, 200))}`);
}
