/**
 * Replies as a client reads them (RFC 5321 §4.2), from peers of every kind (CASES O01): several lines, a bare code, lines
 * that end with LF alone, codes that differ inside one reply.
 */

/** One reply of the peer. Nothing in it was checked but its shape: show it to people by {@linkcode replyText} only. */
export interface ClientReply {
  /**
   * 200 to 599. Where the lines' codes differ the last one counts, but any 4xx among them makes it that one: a temporary
   * failure is never read as a permanent one, nor as success.
   */
  readonly code: number;
  /** What stands behind the codes, line by line; at least one, maybe empty. */
  readonly lines: readonly string[];
}

/** Why no reply can be read from here on: the connection is of no further use. */
export type BadReply = "malformed" | "too-long";

/** Octets of one reply; EHLO's is the longest there is, and far below. */
const longestReply = 64 * 1024;
/** Octets of a reply that people are shown (CASES O08). */
const longestText = 1024;

const LF = 0x0a, CR = 0x0d, SPACE = 0x20, HYPHEN = 0x2d, ZERO = 0x30;
const nothing = new Uint8Array(0);
const decoder = new TextDecoder();

/** Takes replies from received bytes, however these were cut. */
export class ReplyReader {
  #bytes: Uint8Array = nothing;
  #start = 0;
  /** Of the reply that has begun. */
  #octets = 0;
  #lines: string[] = [];
  #temporary = 0;
  #bad: BadReply | undefined;

  /** Whether there are bytes that no reply was made of. */
  get isEmpty(): boolean {
    return this.#start === this.#bytes.length && this.#octets === 0;
  }

  /** Adds what arrived. The bytes are read in place: take all replies, then call `settle`, before their memory is used again. */
  push(bytes: Uint8Array): void {
    if (this.#start === this.#bytes.length) {
      this.#bytes = bytes;
    } else {
      const joined = new Uint8Array(this.#bytes.length - this.#start + bytes.length);
      joined.set(this.#bytes.subarray(this.#start));
      joined.set(bytes, this.#bytes.length - this.#start);
      this.#bytes = joined;
    }
    this.#start = 0;
  }

  /** Copies what is left of the last `push`. */
  settle(): void {
    this.#bytes = this.#start === this.#bytes.length ? nothing : this.#bytes.slice(this.#start);
    this.#start = 0;
  }

  /** Drops everything, a half-read reply too: what came in the clear behind STARTTLS' 220 never counts (RFC 3207 §4.2). */
  clear(): void {
    this.#bytes = nothing;
    this.#start = this.#octets = this.#temporary = 0;
    this.#lines = [];
  }

  /** The next reply; `undefined` while it isn't there whole. */
  next(): ClientReply | BadReply | undefined {
    while (this.#bad === undefined) {
      const feed = this.#bytes.indexOf(LF, this.#start);
      const end = feed < 0 ? this.#bytes.length : feed + 1;
      if (this.#octets + end - this.#start > longestReply) {
        this.#bad = "too-long";
        break;
      }
      if (feed < 0) return undefined;
      const start = this.#start;
      this.#octets += end - start;
      this.#start = end;
      const reply = this.#line(start, feed > start && this.#bytes[feed - 1] === CR ? feed - 1 : feed);
      if (reply !== undefined) return reply;
    }
    return this.#bad;
  }

  /** Reads one line; gives the reply that it ends. */
  #line(start: number, end: number): ClientReply | BadReply | undefined {
    const bytes = this.#bytes;
    const code = end - start < 3
      ? 0
      : (bytes[start]! - ZERO) * 100 + digit(bytes[start + 1]!) * 10 + digit(bytes[start + 2]!);
    const mark = end - start > 3 ? bytes[start + 3]! : SPACE;
    // A digit that is none is NaN, and fails every comparison.
    if (!(code >= 200 && code < 600) || (mark !== SPACE && mark !== HYPHEN)) return this.#bad = "malformed";
    if (code >= 400 && code < 500) this.#temporary = code;
    this.#lines.push(end - start > 4 ? decoder.decode(bytes.subarray(start + 4, end)) : "");
    if (mark === HYPHEN) return undefined;
    const reply = { code: this.#temporary === 0 ? code : this.#temporary, lines: this.#lines };
    this.#lines = [];
    this.#octets = this.#temporary = 0;
    return reply;
  }
}

function digit(octet: number): number {
  const value = octet - ZERO;
  return value >= 0 && value <= 9 ? value : NaN;
}

/** 2xx. */
export const isPositive = ({ code }: ClientReply): boolean => code < 300;
/** 4xx. */
export const isTemporary = ({ code }: ClientReply): boolean => code >= 400 && code < 500;

const enhanced = /^[245]\.[0-9]{1,3}\.[0-9]{1,3}(?= |$)/;

/** The reply's enhanced status code (RFC 2034), where it has one that says the same as its code; else `2.0.0`, `4.0.0` or `5.0.0`. */
export function statusOf({ code, lines }: ClientReply): string {
  const kind = String(code)[0]!;
  for (const line of lines) {
    const status = enhanced.exec(line)?.[0];
    if (status?.[0] === kind) return status;
  }
  return `${kind}.0.0`;
}

/**
 * The reply on one line, for logs, `track` and reports to senders: its code, then its lines, the enhanced status code only once;
 * made {@linkcode printable}.
 */
export function replyText({ code, lines }: ClientReply): string {
  const [first = "", ...more] = lines;
  let text = first === "" ? String(code) : `${code} ${first}`;
  if (more.length > 0) {
    const status = enhanced.exec(first)?.[0];
    for (const line of more) {
      text += " " + (status !== undefined && line.startsWith(status) ? line.slice(status.length + 1) : line);
    }
  }
  return printable(text);
}

/** Controls, line and paragraph separators, and the invisible ones that reorder or hide the text around them. */
const unprintable = /[\p{Cc}\p{Cs}\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/gu;

/** A peer's words made harmless: what isn't printable is escaped as `\x1b` or `\u202e`, and there is 1 KB of it at most. */
export function printable(text: string): string {
  // What is beyond this can only be cut off, so it isn't looked at: a reply may have 64 KiB.
  const safe = text.slice(0, longestText).replace(unprintable, (character) => {
    const code = character.charCodeAt(0);
    return code < 256
      ? `\\x${code.toString(16).padStart(2, "0")}`
      : `\\u${code.toString(16).padStart(4, "0")}`;
  }).trim();
  if (text.length <= longestText && safe.length * 3 <= longestText) return safe;
  const octets = new TextEncoder().encode(safe);
  if (text.length <= longestText && octets.length <= longestText) return safe;
  const cut = Math.min(octets.length, longestText - 3); // room for the ellipsis
  // A character that the cut went through is dropped: streaming holds it back.
  return new TextDecoder().decode(octets.subarray(0, cut), { stream: true }) + "…";
}
