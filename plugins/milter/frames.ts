/**
 * How the milter protocol frames what is said: four octets of length, one of what it is, and its data (libmilter's mfdef.h; there is no
 * RFC). Pure: octets in, packets out.
 */

/** One packet. */
export interface Packet {
  /** A letter: a command or a reply. */
  readonly code: string;
  readonly data: Uint8Array;
}

/** A filter said what makes no sense: nothing it says can be relied on. */
export class MilterProtocolError extends Error {
  override readonly name = "MilterProtocolError";
}

/** Octets of the largest packet a filter may send: eight times what libmilter's largest body chunk has in version 6. */
export const largestPacket = 512 * 1024;

const lengthSize = 4;

/** Makes a packet of data that was put together before. */
export function packet(code: string, ...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const size = parts.reduce((sum, { length }) => sum + length, 0);
  const bytes = new Uint8Array(lengthSize + 1 + size);
  new DataView(bytes.buffer).setUint32(0, size + 1);
  bytes[lengthSize] = code.charCodeAt(0);
  let at = lengthSize + 1;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** Takes packets out of octets as they come. */
export class PacketReader {
  #held: Uint8Array = new Uint8Array(0);

  /**
   * The packets that are whole now.
   *
   * @throws {MilterProtocolError} when the next one would be empty or larger than {@linkcode largestPacket}.
   */
  *read(octets: Uint8Array): Generator<Packet> {
    const all = this.#held.length === 0 ? octets : joined(this.#held, octets);
    let at = 0;
    try {
      while (all.length - at >= lengthSize) {
        const length = new DataView(all.buffer, all.byteOffset + at).getUint32(0);
        if (length === 0 || length > largestPacket) {
          throw new MilterProtocolError(
            `a packet of ${length} octets: it does not speak the milter protocol`,
          );
        }
        if (all.length - at < lengthSize + length) break;
        const from = at + lengthSize;
        at = from + length;
        yield { code: String.fromCharCode(all[from]!), data: all.slice(from + 1, at) };
      }
    } finally {
      this.#held = all.slice(at);
    }
  }
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}
