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
  readonly #chunks: ChunkDecoder;
  #octets = 0;
  #reading: Reading;

  private constructor(rules: ContentRules, reading: Reading) {
    this.#rules = rules;
    this.#chunks = new ChunkDecoder(rules);
    this.#reading = reading;
  }

  /** For DATA: reads to the final dot. */
  static data(rules: ContentRules): MessageReader {
    return new MessageReader(rules, { by: "dot", decoder: new DataDecoder(rules), ended: false });
  }

  /** For BDAT: reads the octets of the chunks that `chunk` announces. */
  static chunks(rules: ContentRules): MessageReader {
    return new MessageReader(rules, { by: "number", left: 0, size: 0, last: false });
  }

  /** A chunk of this many octets begins. Nothing is allocated by what is announced (CASES B03). */
  chunk(size: number, last: boolean): void {
    this.#reading = { by: "number", left: size, size, last };
  }

  /** Reads on; content over the limit is read and dropped (CASES D06). */
  next(inbox: Inbox): Portion {
    for (;;) {
      const content = this.#reading.by === "dot"
        ? this.#toDot(inbox, this.#reading)
        : this.#byNumber(inbox, this.#reading);
      if (!(content instanceof Uint8Array)) return content;
      this.#octets += content.length;
      if (content.length > 0 && this.#octets <= this.#rules.limit) return { kind: "content", bytes: content };
    }
  }

  #toDot(inbox: Inbox, reading: Reading & { by: "dot" }): Uint8Array | Portion {
    if (reading.ended) return { kind: "end", problem: this.#problem(reading.decoder.sawBareNewline) };
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
      return { kind: "end", problem: this.#problem(this.#chunks.sawBareNewline) };
    }
    return { kind: "chunk", size: reading.size, problem: this.#problem(false) };
  }

  #problem(sawBareNewline: boolean): ContentProblem | undefined {
    if (this.#octets > this.#rules.limit) return "too-big";
    return sawBareNewline && this.#rules.bareNewlines === "reject" ? "bare-newline" : undefined;
  }
}
