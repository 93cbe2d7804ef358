/** From a content, the edits beside it and what stands on top of it to the octets that go out. */
import { Buffer } from "node:buffer";
import { type Content, longestHead, memoryContent, type Pieces } from "./content.ts";
import { type Edits, noEdits } from "./edits.ts";

/** The final octets: at once where the content is in memory (maybe the content itself: not to be changed), else in pieces. */
export type Rendered = Uint8Array<ArrayBuffer> | AsyncIterable<Uint8Array<ArrayBuffer>>;

/** What stands above the rest of a content, text not encoded yet. */
type Piece = string | Uint8Array;

const encoder = new TextEncoder();

/**
 * The message as it goes out.
 *
 * @param content What was received.
 * @param edits What became of its header.
 * @param top Raw lines, each with its CRLF, that stand above everything: `Return-Path`, `Delivered-To`, `Received`.
 * @param pieces Whose they are, where it comes in pieces.
 */
export function render(
  content: Content,
  edits: Edits = noEdits,
  top: readonly string[] = [],
  pieces?: Pieces,
): Rendered {
  const above = piecesAbove(content, edits, top);
  const { memory } = content;
  if (!memory) return stream(above, content, edits.rest, pieces);
  if (above.length === 0 && edits.rest === 0) return memory;
  above.push(memory.subarray(edits.rest));
  return concat(above);
}

/** Octets of what `render` gives. */
export function renderedSize(content: Content, edits: Edits = noEdits, top: readonly string[] = []): number {
  return octetsOf(piecesAbove(content, edits, top)) + content.size - edits.rest;
}

/** The first octets of what `render` gives: its header section, if it is one that `readHeader` can read. */
export function renderHead(
  content: Content,
  edits: Edits = noEdits,
  top: readonly string[] = [],
): Uint8Array<ArrayBuffer> {
  const above = piecesAbove(content, edits, top);
  if (above.length === 0 && edits.rest === 0) return content.head;
  above.push(content.head.subarray(edits.rest));
  return concat(above);
}

/** Lines, each with its CRLF, of whatever length; the last one as it is. The pieces given are cut up, not copied. */
export async function* linesOf(
  pieces: AsyncIterable<Uint8Array<ArrayBuffer>> | Iterable<Uint8Array<ArrayBuffer>>,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  let begun: Uint8Array<ArrayBuffer>[] = []; // parts of a line that goes on in the next piece
  let endsInCr = false;
  for await (const piece of pieces) {
    let start = 0;
    for (let lf = piece.indexOf(LF); lf !== -1; lf = piece.indexOf(LF, lf + 1)) {
      if (lf === 0 ? !endsInCr : piece[lf - 1] !== CR) continue;
      const line = piece.subarray(start, lf + 1);
      start = lf + 1;
      if (begun.length === 0) {
        yield line;
      } else {
        const whole = concat([...begun, line]);
        begun = [];
        yield whole;
      }
    }
    if (start < piece.length) begun.push(piece.subarray(start));
    if (piece.length > 0) endsInCr = piece[piece.length - 1] === CR;
  }
  if (begun.length > 0) yield concat(begun);
}

const CR = 13, LF = 10;

/** Joins pieces into one; text becomes UTF-8. */
export function concat(pieces: readonly Piece[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(octetsOf(pieces));
  let at = 0;
  for (const piece of pieces) {
    if (typeof piece === "string") {
      at += encoder.encodeInto(piece, at === 0 ? whole : whole.subarray(at)).written;
    } else {
      whole.set(piece, at);
      at += piece.length;
    }
  }
  return whole;
}

function octetsOf(pieces: readonly Piece[]): number {
  let octets = 0;
  for (const piece of pieces) octets += typeof piece === "string" ? Buffer.byteLength(piece) : piece.length;
  return octets;
}

/** Ranges are views of the content's head. */
function piecesAbove(content: Content, edits: Edits, top: readonly string[]): Piece[] {
  const above: Piece[] = [];
  let text = top.length === 1 ? top[0]! : top.join("");
  for (const piece of edits.pieces) {
    if (typeof piece === "string") {
      text += piece;
    } else {
      if (text !== "") above.push(text);
      text = "";
      above.push(content.head.subarray(piece[0], piece[1]));
    }
  }
  if (text === "") return above;
  // A body without header that starts with white space would continue our last field (CASES D05).
  const first = edits.rest === 0 && above.length === 0 ? content.head[0] : undefined;
  above.push(first === 0x20 || first === 0x09 ? `${text}\r\n` : text);
  return above;
}

async function* stream(
  above: readonly Piece[],
  content: Content,
  rest: number,
  pieces: Pieces | undefined,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  if (above.length > 0) yield concat(above);
  yield* content.read(rest, pieces);
}

/** A content as its edits have made it, as a content of its own: nothing is copied that isn't in memory. */
export function overlaid(content: Content, edits: Edits): Content {
  if (edits.pieces.length === 0 && edits.rest === 0) return content;
  const rendered = render(content, edits);
  if (rendered instanceof Uint8Array) return memoryContent(rendered);
  return {
    size: renderedSize(content, edits),
    memory: undefined,
    head: renderHead(content, edits).subarray(0, longestHead),
    async *read(offset = 0, pieces) {
      const above = concat(piecesAbove(content, edits, []));
      if (offset < above.length) yield above.subarray(offset);
      yield* content.read(edits.rest + Math.max(0, offset - above.length), pieces);
    },
  };
}
