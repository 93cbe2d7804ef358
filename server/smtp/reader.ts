/** Reads a message's octets: those of DATA up to the final dot (RFC 5321 §4.1.1.4), those of BDAT by their number (RFC 3030). */
import { ChunkDecoder, DataDecoder } from "./data.ts";
import type { Inbox } from "./line.ts";

/** What came of reading on. */
export type Portion =
  /** More bytes are wanted. */
  | { readonly kind: "more" }
  /** Decoded octets; valid until the next call. */
  | { readonly kind: "content"; readonly bytes: Uint8Array }
  /** A chunk that was not the last is over. */
  | { readonly kind: "chunk"; readonly size: number; readonly problem: ContentProblem | undefined }
  /** The message is over. */
  | { readonly kind: "end"; readonly problem: ContentProblem | undefined };

/** Why a message that was read is not taken. */
export type ContentProblem = "too-big" | "bare-newline";

/** What a message may be. */
export interface ContentRules {
  /** Octets. */
  readonly limit: number;
  readonly bareNewlines: "normalize" | "reject";
}

type Reading =
  | { readonly by: "dot"; readonly decoder: DataDecoder; ended: boolean }
  | { readonly by: "number"; left: number; readonly size: number; readonly last: boolean };

const more: Portion = { kind: "more" };

/** The octets of one transaction's message. */
export class MessageReader {
  readonly #rules: ContentRules;
  readonly #chunks = new ChunkDecoder();
  #octets = 0;
  #reading: Reading;

  private constructor(rules: ContentRules, reading: Reading) {
    this.#rules = rules;
    this.#reading = reading;
  }

  /** For DATA: reads to the final dot. */
  static data(rules: ContentRules): MessageReader {
    return new MessageReader(rules, { by: "dot", decoder: new DataDecoder(), ended: false });
  }

  /** For BDAT: reads the octets of the chunks that `chunk` announces. */
  static chunks(rules: ContentRules): MessageReader {
    return new MessageReader(rules, { by: "number", left: 0, size: 0, last: false });
  }

  /** A chunk of this many octets begins. Nothing is allocated by what is announced (CASES B03). */
  chunk(size: number, last: boolean): void {
    this.#reading = { by: "number", left: size, size, last };
  }

  /**
   * Reads on; content that will be refused, for its size or its line ends, is read and dropped (CASES D02, D06). Dropped octets count,
   * too: what is said must not depend on where the stream was cut.
   */
  next(inbox: Inbox): Portion {
    for (;;) {
      const content = this.#reading.by === "dot"
        ? this.#toDot(inbox, this.#reading)
        : this.#byNumber(inbox, this.#reading);
      if (!(content instanceof Uint8Array)) return content;
      this.#octets += content.length;
      if (content.length > 0 && !this.#problem()) return { kind: "content", bytes: content };
    }
  }

  #toDot(inbox: Inbox, reading: Reading & { by: "dot" }): Uint8Array | Portion {
    if (reading.ended) return { kind: "end", problem: this.#problem() };
    if (inbox.size === 0) return more;
    const { content, consumed, end } = reading.decoder.decode(inbox.peek());
    inbox.drop(consumed);
    reading.ended = end;
    return content;
  }

  #byNumber(inbox: Inbox, reading: Reading & { by: "number" }): Uint8Array | Portion {
    if (reading.left > 0) {
      if (inbox.size === 0) return more;
      const bytes = inbox.peek().subarray(0, reading.left);
      inbox.drop(bytes.length);
      reading.left -= bytes.length;
      return this.#chunks.decode(bytes);
    }
    if (reading.last) {
      const rest = this.#chunks.flush();
      if (rest.length > 0) return rest;
      return { kind: "end", problem: this.#problem() };
    }
    // Its line ends are judged when all is there: a CR may be half of what the next chunk begins with.
    return { kind: "chunk", size: reading.size, problem: this.#isTooBig ? "too-big" : undefined };
  }

  get #isTooBig(): boolean {
    return this.#octets > this.#rules.limit;
  }

  #problem(): ContentProblem | undefined {
    if (this.#isTooBig) return "too-big";
    const { sawBareNewline } = this.#reading.by === "dot" ? this.#reading.decoder : this.#chunks;
    return sawBareNewline && this.#rules.bareNewlines === "reject" ? "bare-newline" : undefined;
  }
}
