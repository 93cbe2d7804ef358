/** A message's octets, before anybody reads them: where they wait, and how they get there. */

/** The content of a message as it was received: CRLF line ends, no dot-stuffing, no terminating dot. Never changed. */
export interface Content {
  /** Octets. */
  readonly size: number;
  /** All of it, where it waits in memory; `undefined` where it is in a file. */
  readonly memory: Uint8Array<ArrayBuffer> | undefined;
  /**
   * The first octets: the header section with the empty line that ends it and maybe more, at most
   * {@linkcode longestHead}; what lies beyond is body (CASES D05). Where the header ends is `readHeader`'s to say.
   */
  readonly head: Uint8Array<ArrayBuffer>;
  /** The octets from `offset` on, in pieces. */
  read(offset?: number, pieces?: Pieces): AsyncIterable<Uint8Array<ArrayBuffer>>;
}

/**
 * Whose a content's pieces are: `given` to the caller to keep (default), or `lent` until it asks for the next one. Who sends a large
 * message on leaves no garbage of its size that way.
 */
export type Pieces = "given" | "lent";

/** Takes a message's content while it arrives. */
export interface Body {
  /** Octets written so far. */
  readonly size: number;
  /**
   * Copies the bytes before it returns or resolves; a Promise where the disk is to be waited for, and then the next
   * call comes after it. @throws on a full disk.
   */
  write(bytes: Uint8Array): void | Promise<void>;
  /** No more comes; the content can be read. Durable only as far as whoever keeps it makes it so. */
  finish(): Promise<Content>;
  /** Forgets the content and unlinks its file, at any time; harmless twice. */
  discard(): Promise<void>;
}

/** Octets a header section may have: 256 KiB (CASES D05). */
export const longestHead = 256 * 1024;

/** Content that is in memory. The bytes are not copied: they may not change any more. */
export function memoryContent(bytes: Uint8Array<ArrayBuffer>): Content {
  return new MemoryContent(bytes);
}

class MemoryContent implements Content {
  readonly memory: Uint8Array<ArrayBuffer>;

  constructor(bytes: Uint8Array<ArrayBuffer>) {
    this.memory = bytes;
  }

  get size(): number {
    return this.memory.length;
  }

  get head(): Uint8Array<ArrayBuffer> {
    return this.memory.length <= longestHead ? this.memory : this.memory.subarray(0, longestHead);
  }

  async *read(offset = 0): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    if (offset < this.memory.length) yield this.memory.slice(offset);
  }
}
