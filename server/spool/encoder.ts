/** Bytes being put together, and taken apart. Numbers are little-endian. */

const text = new TextEncoder();
const lenient = new TextDecoder();
const fatal = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** A buffer that grows, and is used again for the next batch. */
export class Encoder {
  bytes: Uint8Array<ArrayBuffer>;
  length = 0;
  #view: DataView;

  constructor(capacity = 64 * 1024) {
    this.bytes = new Uint8Array(capacity);
    this.#view = new DataView(this.bytes.buffer);
  }

  /** What was put in so far; valid until more is. */
  get written(): Uint8Array<ArrayBuffer> {
    return this.bytes.subarray(0, this.length);
  }

  /** Begins anew, in the same memory; in less of it, where one batch was unusually large. */
  clear(most = Infinity): void {
    this.length = 0;
    if (this.bytes.length <= most) return;
    this.bytes = new Uint8Array(most);
    this.#view = new DataView(this.bytes.buffer);
  }

  /** Makes room for so many octets more. */
  #ensure(octets: number): void {
    const needed = this.length + octets;
    if (needed <= this.bytes.length) return;
    const larger = new Uint8Array(Math.max(this.bytes.length * 2, needed));
    larger.set(this.written);
    this.bytes = larger;
    this.#view = new DataView(larger.buffer);
  }

  u8(value: number): void {
    this.#ensure(1);
    this.bytes[this.length++] = value;
  }

  u16(value: number): void {
    this.#ensure(2);
    this.#view.setUint16(this.length, value, true);
    this.length += 2;
  }

  u32(value: number): void {
    this.#ensure(4);
    this.#view.setUint32(this.length, value, true);
    this.length += 4;
  }

  f64(value: number): void {
    this.#ensure(8);
    this.#view.setFloat64(this.length, value, true);
    this.length += 8;
  }

  /** Overwrites four octets that are there. */
  patch32(at: number, value: number): void {
    this.#view.setUint32(at, value, true);
  }

  raw(bytes: Uint8Array): void {
    this.#ensure(bytes.length);
    this.bytes.set(bytes, this.length);
    this.length += bytes.length;
  }

  /** Leaves so many octets out; whoever does fills them later. */
  skip(octets: number): void {
    this.#ensure(octets);
    this.length += octets;
  }

  /** Up to 255 ASCII characters, after their number. */
  name(value: string): void {
    this.u8(value.length);
    this.#ensure(value.length);
    for (let i = 0; i < value.length; i++) this.bytes[this.length++] = value.charCodeAt(i);
  }

  /** Text up to 64 KiB of UTF-8, after its length; what is longer is cut. */
  short(value: string): void {
    this.#ensure(Math.min(value.length * 3, 0xffff) + 2);
    const start = this.length + 2;
    const { written } = text.encodeInto(value, this.bytes.subarray(start, start + 0xffff));
    this.u16(written);
    this.length += written;
  }

  /** Text without its length. */
  text(value: string): void {
    this.#ensure(value.length * 3);
    this.length += text.encodeInto(value, this.bytes.subarray(this.length)).written;
  }
}

/** Reads what an {@linkcode Encoder} wrote. Each method throws a RangeError where it would read beyond the end. */
export class Decoder {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  at: number;

  constructor(bytes: Uint8Array, at = 0) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = at;
  }

  u8(): number {
    return this.#view.getUint8(this.at++);
  }

  u16(): number {
    return this.#view.getUint16((this.at += 2) - 2, true);
  }

  u32(): number {
    return this.#view.getUint32((this.at += 4) - 4, true);
  }

  f64(): number {
    return this.#view.getFloat64((this.at += 8) - 8, true);
  }

  raw(octets: number): Uint8Array {
    const end = this.at + octets;
    if (end > this.#bytes.length) throw new RangeError(`${octets} octets are wanted where fewer are left.`);
    return this.#bytes.subarray(this.at, this.at = end);
  }

  name(): string {
    return String.fromCharCode(...this.raw(this.u8()));
  }

  short(): string {
    return lenient.decode(this.raw(this.u16()));
  }
}

/** UTF-8 that must be whole. @throws {TypeError} where it isn't. */
export function decodeText(bytes: Uint8Array): string {
  return fatal.decode(bytes);
}
