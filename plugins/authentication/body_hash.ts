/**
 * The hash of a body in canonical form (RFC 6376 §3.4.3, §3.4.4), in one pass: whatever a line's length, since a peer chooses
 * it. What `mailauth` has for this takes quadratic time on long lines; this stands in its place, with what it is asked for.
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";

const [tab, lf, cr, space] = [0x09, 0x0a, 0x0d, 0x20];

/** Octets that are looked at together; fewer than `#out` holds. */
const block = 1024;
/** What the relaxed form changes. */
const changed = ["\t", "  ", " \r\n"];

/** Hashes a body in pieces; only CRLF ends a line. */
export class BodyHash {
  /** Octets of the canonical body. */
  canonicalizedLength = 0;
  /** Of them, those that were hashed: at most `limit`. */
  bodyHashedBytes = 0;
  /** Octets of the body as it is. */
  byteLength = 0;
  readonly #relaxed: boolean;
  readonly #hash: ReturnType<typeof createHash>;
  readonly #limit: number;
  readonly #out = Buffer.allocUnsafe(16_384);
  #length = 0;
  /** Line ends since the last octet that counts: those at the end of the body don't. */
  #breaks = 0;
  #blank = false;
  #afterCr = false;
  /** Whether there is anything that the next octet decides about. */
  #pending = false;

  /** @param limit The value of `l=`. */
  constructor(form: "simple" | "relaxed", algorithm: "sha1" | "sha256", limit = Infinity) {
    this.#relaxed = form === "relaxed";
    this.#hash = createHash(algorithm);
    this.#limit = limit;
  }

  update(piece: Uint8Array): void {
    this.byteLength += piece.length;
    const bytes = Buffer.from(piece.buffer, piece.byteOffset, piece.length);
    for (let at = 0; at < bytes.length; at += block) this.#take(bytes.subarray(at, at + block));
  }

  /** Most of most bodies is canonical as it is: that is found out, and hashed, by the block. */
  #take(bytes: Buffer): void {
    let at = 0;
    while (this.#pending && at < bytes.length) this.#slowly(bytes[at++]!);
    let end = bytes.length;
    while (end > at && bytes[end - 1]! <= space) end--;
    const plain = bytes.subarray(at, end);
    if (!this.#relaxed || !changed.some((text) => plain.includes(text))) {
      this.#add(plain);
      at = end;
    }
    while (at < bytes.length) this.#slowly(bytes[at++]!);
  }

  /** An octet that may not count, or that decides whether others do. */
  #slowly(octet: number): void {
    if (this.#afterCr) {
      this.#afterCr = false;
      if (octet === lf) {
        this.#blank = false;
        this.#breaks++;
        return;
      }
      this.#put(cr);
    }
    if (octet === cr) this.#afterCr = this.#pending = true;
    else if (this.#relaxed && (octet === space || octet === tab)) this.#blank = this.#pending = true;
    else this.#put(octet);
  }

  digest(encoding: "base64"): string {
    if (this.#afterCr) this.#put(cr);
    const isEmpty = this.canonicalizedLength + this.#length === 0;
    if (!isEmpty || !this.#relaxed) this.#end();
    this.#flush();
    return this.#hash.digest(encoding);
  }

  /** Of no interest here. */
  getMimeStructureStart(): false {
    return false;
  }

  /** Of no interest here. */
  setContentType(): void {}

  #put(octet: number): void {
    for (; this.#breaks > 0; this.#breaks--) this.#end();
    if (this.#length + 2 > this.#out.length) this.#flush();
    if (this.#blank) this.#out[this.#length++] = space;
    this.#blank = this.#pending = false;
    this.#out[this.#length++] = octet;
  }

  #end(): void {
    if (this.#length + 2 > this.#out.length) this.#flush();
    this.#out[this.#length++] = cr;
    this.#out[this.#length++] = lf;
  }

  #add(octets: Buffer): void {
    if (this.#length + octets.length > this.#out.length) this.#flush();
    octets.copy(this.#out, this.#length);
    this.#length += octets.length;
  }

  #flush(): void {
    const wanted = Math.min(this.#length, this.#limit - this.bodyHashedBytes);
    this.#hash.update(this.#out.subarray(0, wanted));
    this.canonicalizedLength += this.#length;
    this.bodyHashedBytes += wanted;
    this.#length = 0;
  }
}
