/** DER (X.690 §10), as strictly as it is defined: what is taken here every other reader takes, and reads alike. */

/** Bytes that aren't DER, or not what was expected of them. */
export class NotDer extends Error {
  override readonly name = "NotDer";
}

/** The tags that certificates have. */
export const tags = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  sequence: 0x30,
  /** `[0]`, constructed. */
  version: 0xa0,
  /** `[3]`, constructed. */
  extensions: 0xa3,
} as const;

/** Reads elements one after the other. */
export class DerReader {
  #at = 0;

  constructor(private readonly bytes: Uint8Array) {}

  get atEnd(): boolean {
    return this.#at === this.bytes.length;
  }

  /** The next element's tag. @throws {NotDer} at the end. */
  get tag(): number {
    const tag = this.bytes[this.#at];
    if (tag === undefined) throw new NotDer("cut off");
    return tag;
  }

  /** Whether the next element has this tag. */
  isNext(tag: number): boolean {
    return this.bytes[this.#at] === tag;
  }

  /** The next element's content. @throws {NotDer} when it has another tag, or isn't whole. */
  read(tag: number): Uint8Array {
    const { content, whole } = this.#next(tag);
    this.#at += whole.length;
    return content;
  }

  /** The next element with its tag and length. @throws {NotDer} as `read` does. */
  readWhole(tag: number): Uint8Array {
    const { whole } = this.#next(tag);
    this.#at += whole.length;
    return whole;
  }

  /** The content of a BIT STRING that is a number of octets. @throws {NotDer} when it is none. */
  readBits(): Uint8Array {
    const content = this.read(tags.bitString);
    if (content[0] !== 0) throw new NotDer("a BIT STRING of a broken number of octets");
    return content.subarray(1);
  }

  /** @throws {NotDer} when something is left. */
  end(): void {
    if (!this.atEnd) throw new NotDer("something stands behind the end");
  }

  #next(tag: number): { content: Uint8Array; whole: Uint8Array } {
    const { bytes } = this;
    const start = this.#at;
    if (bytes[start] !== tag) throw new NotDer(`another tag than ${tag}`);
    const first = bytes[start + 1];
    if (first === undefined) throw new NotDer("cut off");
    let [length, from] = [first, start + 2];
    if (first >= 0x80) {
      // Certificates have two octets of length at most; indefinite and longer forms are not DER, or too long.
      const octets = first - 0x80;
      if (octets !== 1 && octets !== 2) throw new NotDer("a length that no certificate has");
      length = 0;
      for (; from < start + 2 + octets; from++) length = length * 256 + (bytes[from] ?? NaN);
      if (!(length >= (octets === 1 ? 0x80 : 0x100) && length < 0xffff)) {
        throw new NotDer("a length in more octets than it takes");
      }
    }
    if (from + length > bytes.length) throw new NotDer("cut off");
    return { content: bytes.subarray(from, from + length), whole: bytes.subarray(start, from + length) };
  }
}
