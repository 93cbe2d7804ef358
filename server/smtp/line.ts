/** Received bytes that are not used up yet, and command lines taken from them. */

/** What stands at the front of the received bytes. */
export type Line =
  | { readonly kind: "line"; readonly bytes: Uint8Array }
  /** Not a whole line yet. */
  | { readonly kind: "incomplete" }
  /** Longer than allowed; what is left of it is passed over when it comes. */
  | { readonly kind: "too-long" }
  /** Holds a CR, LF or NUL that is no line's end (CASES C05). Passed over to its CRLF. */
  | { readonly kind: "bad" };

/** Where the received bytes stand: at a line's start, within a line that was answered, or in one that has no end (CASES C04). */
export type Place = "line" | "passing" | "endless";

const CR = 13, LF = 10;
/** What is passed over of one line before we give up. */
const patience = 65_536;

const incomplete: Line = { kind: "incomplete" };
const tooLong: Line = { kind: "too-long" };
const bad: Line = { kind: "bad" };
const nothing = new Uint8Array(0);

/** A buffer that keeps no copy of what it is given unless a line is cut in two. */
export class Inbox {
  #bytes: Uint8Array = nothing;
  #start = 0;
  /** Octets passed over of a line that was already answered; undefined where none is. */
  #skipped: number | undefined;

  /** Octets that have arrived and are not used up. */
  get size(): number {
    return this.#bytes.length - this.#start;
  }

  /** Adds what arrived. The bytes are read in place: call `settle` before their memory is used again. */
  push(bytes: Uint8Array): void {
    if (this.size === 0) {
      this.#bytes = bytes;
    } else {
      const joined = new Uint8Array(this.size + bytes.length);
      joined.set(this.#bytes.subarray(this.#start));
      joined.set(bytes, this.size);
      this.#bytes = joined;
    }
    this.#start = 0;
  }

  /** Copies what is left, so that the memory of the last `push` may be used again. */
  settle(): void {
    this.#bytes = this.size === 0 ? nothing : this.#bytes.slice(this.#start);
    this.#start = 0;
  }

  /** Everything that is left, without using it up. */
  peek(): Uint8Array {
    return this.#start === 0 ? this.#bytes : this.#bytes.subarray(this.#start);
  }

  /** Uses up octets of what `peek` showed. */
  drop(octets: number): void {
    this.#start += octets;
  }

  /** Drops everything, a half-read line too: after STARTTLS nothing from before counts. */
  clear(): void {
    [this.#bytes, this.#start, this.#skipped] = [nothing, 0, undefined];
  }

  /**
   * Takes the next line, without its CRLF. Only CRLF ends a line: whatever the split points, the same bytes give the
   * same lines.
   *
   * @param limit Octets allowed, CRLF included.
   */
  line(limit: number): Line {
    const feed = this.#bytes.indexOf(LF, this.#start);
    if (feed < 0) {
      if (this.size <= limit) return incomplete;
      this.#skipped = 0;
      return tooLong;
    }
    const length = feed + 1 - this.#start;
    if (length > limit) {
      this.#skipped = 0;
      return tooLong;
    }
    if (feed === this.#start || this.#bytes[feed - 1] !== CR) { // a lone LF: what follows it is no command either
      this.#start = feed + 1;
      this.#skipped = length;
      return bad;
    }
    const bytes = this.#bytes.subarray(this.#start, feed - 1);
    this.#start = feed + 1;
    return bytes.includes(CR) || bytes.includes(0) ? bad : { kind: "line", bytes };
  }

  /** Passes over the rest of a line that was answered already. To be called before `line`. */
  skip(): Place {
    while (this.#skipped !== undefined) {
      const feed = this.#bytes.indexOf(LF, this.#start);
      if (feed < 0) break;
      const ends = feed > this.#start && this.#bytes[feed - 1] === CR;
      this.#skipped += feed + 1 - this.#start;
      this.#start = feed + 1;
      if (this.#skipped > patience) return "endless";
      if (ends) this.#skipped = undefined;
    }
    if (this.#skipped === undefined) return "line";
    // A CR that came last may be half of the CRLF.
    const keep = this.size > 0 && this.#bytes[this.#bytes.length - 1] === CR ? 1 : 0;
    this.#skipped += this.size - keep;
    this.#start = this.#bytes.length - keep;
    return this.#skipped > patience ? "endless" : "passing";
  }
}
