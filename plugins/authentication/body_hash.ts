/**
 * The hash of a body in canonical form (RFC 6376 §3.4.3, §3.4.4), in one pass: whatever a line's length, since a peer chooses
 * it. What `mailauth` has for this takes quadratic time on long lines; this stands in its place, with what it is asked for.
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";

const [tab, lf, cr, space] = [0x09, 0x0a, 0x0d, 0x20];

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

  /** @param limit The value of `l=`. */
  constructor(form: "simple" | "relaxed", algorithm: "sha1" | "sha256", limit = Infinity) {
    this.#relaxed = form === "relaxed";
    this.#hash = createHash(algorithm);
    this.#limit = limit;
  }

  update(piece: Uint8Array): void {
    this.byteLength += piece.length;
    const [out, relaxed] = [this.#out, this.#relaxed];
    // Locals: this is done for each octet of all mail.
    let [length, blank, afterCr] = [this.#length, this.#blank, this.#afterCr];
    for (let at = 0; at < piece.length; at++) {
      const octet = piece[at]!;
      if (afterCr) {
        afterCr = false;
        if (octet === lf) {
          blank = false;
          this.#breaks++;
          continue;
        }
        length = this.#settle(length, blank);
        blank = false;
        out[length++] = cr; // alone it counts like any octet
      }
      if (octet === cr) afterCr = true;
      else if (relaxed && (octet === space || octet === tab)) blank = true;
      else {
        if (blank || this.#breaks > 0 || length === out.length) {
          length = this.#settle(length, blank);
          blank = false;
        }
        out[length++] = octet;
      }
    }
    [this.#length, this.#blank, this.#afterCr] = [length, blank, afterCr];
  }

  digest(encoding: "base64"): string {
    if (this.#afterCr) {
      this.#length = this.#settle(this.#length, this.#blank);
      this.#out[this.#length++] = cr;
    }
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

  /** What stood aside counts, since something follows it; behind it there is room for an octet. Answers the new length. */
  #settle(length: number, blank: boolean): number {
    this.#length = length;
    for (; this.#breaks > 0; this.#breaks--) this.#end();
    if (this.#length + 2 > this.#out.length) this.#flush();
    if (blank) this.#out[this.#length++] = space;
    return this.#length;
  }

  #end(): void {
    if (this.#length + 2 > this.#out.length) this.#flush();
    this.#out[this.#length++] = cr;
    this.#out[this.#length++] = lf;
  }

  #flush(): void {
    const wanted = Math.min(this.#length, this.#limit - this.bodyHashedBytes);
    this.#hash.update(this.#out.subarray(0, wanted));
    this.canonicalizedLength += this.#length;
    this.bodyHashedBytes += wanted;
    this.#length = 0;
  }
}
