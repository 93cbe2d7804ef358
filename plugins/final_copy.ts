/** A message as final delivery writes it, to a file or to a command: an earlier Return-Path gone, line ends as Unix has them. */
import type { Message } from "../server/plugin.ts";

/** How lines end in the file. */
export type LineEndings = "lf" | "crlf";

const [tab, lf, cr, space, colon] = [0x09, 0x0a, 0x0d, 0x20, 0x3a];
const empty = new Uint8Array(0);

/** CRLF becomes LF, nothing else changes, in however many pieces it comes. Counts lines that a client sees longer. */
export class ToLf {
  /** LFs written without a CR before them: a reader that sends CRLF sends this many octets more (`W=`). */
  bareLines = 0;
  #heldCr = false;
  #lastWasCr = false;

  /** The piece converted; a CR at its end waits for what follows. */
  convert(piece: Uint8Array): Uint8Array {
    const out = new Uint8Array(piece.length + 1);
    let length = 0;
    let last = this.#lastWasCr ? cr : 0;
    let held = this.#heldCr;
    let bare = 0;
    for (let i = 0; i < piece.length; i++) {
      const byte = piece[i]!;
      if (held && byte !== lf) last = out[length++] = cr;
      held = byte === cr;
      if (held) continue;
      if (byte === lf && last !== cr) bare++;
      last = out[length++] = byte;
    }
    this.#heldCr = held;
    if (length > 0) this.#lastWasCr = last === cr;
    this.bareLines += bare;
    return out.subarray(0, length);
  }

  /** What was still held back, at the end. */
  finish(): Uint8Array {
    const rest = this.#heldCr ? Uint8Array.of(cr) : empty;
    this.#heldCr = false;
    return rest;
  }
}

/** The end of the field that begins at `from`, its continuation lines included (RFC 5322 §2.2.3). */
function endOfField(bytes: Uint8Array, from: number): number {
  let end = from;
  do {
    const at = bytes.indexOf(lf, end);
    if (at < 0) return bytes.length;
    end = at + 1;
  } while (bytes[end] === space || bytes[end] === tab);
  return end;
}

/** The name of the field at `from`, in lower case; `undefined` where no field begins: the header section is over. */
function fieldName(bytes: Uint8Array, from: number): string | undefined {
  let name = "";
  for (let at = from; at < bytes.length && at - from < 998; at++) {
    const byte = bytes[at]!;
    if (byte === colon) return name === "" ? undefined : name.trimEnd().toLowerCase();
    if (byte > 0x7e || (byte < 0x21 && byte !== space && byte !== tab)) return;
    name += String.fromCharCode(byte);
  }
}

/**
 * The bytes without any field of this name in their header section. Bytes that hold none come back as they are.
 *
 * @param name In lower case.
 */
export function withoutField(bytes: Uint8Array, name: string): Uint8Array {
  const kept: Uint8Array[] = [];
  let from = 0;
  for (let at = 0; at < bytes.length;) {
    const found = fieldName(bytes, at);
    if (found === undefined) break;
    const end = endOfField(bytes, at);
    if (found === name) {
      kept.push(bytes.subarray(from, at));
      from = end;
    }
    at = end;
  }
  return from === 0 ? bytes : joined([...kept, bytes.subarray(from)]);
}

/** Pieces as one. */
export function joined(pieces: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

/** A message that is not held in memory is written in pieces of about this many octets. */
const chunk = 128 * 1024;
/** As much of a message as is ever taken for its header section. */
const longestHead = 256 * 1024;

/** What is written below the lines on top; can be read several times, once for each recipient. */
export interface FileBody {
  /** The octets, a few large pieces of them; what it returns is how many LFs have no CR before them. */
  pieces(): AsyncGenerator<Uint8Array, number> | Generator<Uint8Array, number>;
}

/** A message that is in memory, converted once. */
export function wholeBody(bytes: Uint8Array, endings: LineEndings, dropReturnPath: boolean): FileBody {
  const content = dropReturnPath ? withoutField(bytes, "return-path") : bytes;
  const lines = new ToLf();
  let file = content;
  if (endings === "lf") {
    const converted = lines.convert(content);
    const rest = lines.finish();
    file = rest.length === 0 ? converted : joined([converted, rest]);
  }
  return {
    *pieces() {
      yield file;
      return lines.bareLines;
    },
  };
}

/** A message that streams, anew for each recipient. */
export function streamedBody(message: Message, endings: LineEndings, dropReturnPath: boolean): FileBody {
  return {
    async *pieces() {
      const lines = new ToLf();
      const convert = (piece: Uint8Array) => endings === "lf" ? lines.convert(piece) : piece;
      let gathered: Uint8Array[] = [];
      let size = 0;
      // The first piece is to hold the whole header section, so that a field can be taken out of it.
      let enough = dropReturnPath ? longestHead : chunk;
      let first = dropReturnPath;
      const take = () => {
        const piece = joined(gathered);
        [gathered, size, enough] = [[], 0, chunk];
        const content = first ? withoutField(piece, "return-path") : piece;
        first = false;
        return convert(content);
      };
      for await (const piece of message.stream()) {
        gathered.push(piece);
        size += piece.length;
        if (size >= enough) yield take();
      }
      if (size > 0) yield take();
      const rest = lines.finish();
      if (rest.length > 0) yield rest;
      return lines.bareLines;
    },
  };
}
