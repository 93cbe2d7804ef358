/** Reads the records of a segment from a place on, without their bodies. It blocks: for a Worker. */
import { Buffer } from "node:buffer";
import { checksum } from "../spool/checksum.ts";
import type { Extent } from "../spool/follower.ts";
import {
  headLength,
  Nonce,
  readRecordHeader,
  recordHeaderSize,
  RecordType,
  segmentHeaderSize,
} from "../spool/record.ts";
import type { RecordHead } from "./digest.ts";

/** Octets that are read at once. */
export const step = 256 * 1024;

/** A segment, read forwards. */
export class SegmentCursor {
  /** Where the next record begins. */
  at: number;
  readonly #file: Deno.FsFile;
  readonly #key: Nonce;
  readonly #end: number;
  #buffer: Uint8Array<ArrayBuffer>;
  #window = new Uint8Array(0);
  #start = 0;

  /**
   * @param buffer Memory to read into, {@linkcode step} octets: who reads often lends the same, since what is given up is gone only
   *   when all memory is looked through.
   * @throws what the disk throws.
   */
  constructor({ path, nonce, end }: Extent, from: number, buffer = new Uint8Array(step)) {
    this.#buffer = buffer;
    this.#file = Deno.openSync(path);
    this.#key = new Nonce(nonce);
    this.#end = end;
    this.at = Math.max(from, segmentHeaderSize);
  }

  close(): void {
    this.#file.close();
  }

  /** The next record; valid until the next call. What is damaged is passed over. @throws what the disk throws. */
  next(): RecordHead | undefined {
    while (this.at < this.#end) {
      const record = this.#read();
      if (record === "damaged") this.at = this.#find(this.at + 1);
      else if (record) return record;
    }
    return undefined;
  }

  /** `undefined`: the records end here, or it was one that tells nothing. */
  #read(): RecordHead | undefined | "damaged" {
    const { at } = this;
    let bytes = this.#bytes(at, recordHeaderSize);
    const header = readRecordHeader(bytes, 0, this.#key, at);
    if (!header) return "damaged";
    const length = headLength(header);
    if (header.type === RecordType.index) { // it and the footer are the end
      this.at = this.#end;
      return undefined;
    }
    if (at + length + header.body > this.#end) return "damaged";
    bytes = this.#bytes(at, length);
    const summary = bytes.subarray(recordHeaderSize, recordHeaderSize + header.summary);
    const detail = bytes.subarray(recordHeaderSize + header.summary, length);
    const isWhole = bytes.length === length && checksum(summary, this.#key.seed) === header.summaryCheck &&
      checksum(detail) === header.detailCheck;
    this.at = at + length + header.body;
    return isWhole ? { type: header.type, summary, detail } : undefined;
  }

  /** The next place where a record may begin. */
  #find(from: number): number {
    const { bytes } = this.#key;
    for (let at = from; at < this.#end;) {
      const window = this.#bytes(at, Math.min(step, this.#end - at));
      const found = Buffer.from(window.buffer, window.byteOffset, window.length).indexOf(bytes);
      if (found >= 0) return at + found;
      at += Math.max(window.length - bytes.length + 1, 1);
    }
    return this.#end;
  }

  /** Fewer at the end of the file. */
  #bytes(offset: number, octets: number): Uint8Array {
    if (offset < this.#start || offset + octets > this.#start + this.#window.length) {
      const wanted = Math.min(Math.max(octets, step), Math.max(this.#end - offset, 0));
      if (this.#buffer.length < wanted) this.#buffer = new Uint8Array(wanted);
      const window = this.#buffer.subarray(0, wanted);
      this.#file.seekSync(offset, Deno.SeekMode.Start);
      let fill = 0;
      while (fill < wanted) {
        const count = this.#file.readSync(window.subarray(fill));
        if (count === null) break;
        fill += count;
      }
      this.#window = window.subarray(0, fill);
      this.#start = offset;
    }
    return this.#window.subarray(offset - this.#start, offset - this.#start + octets);
  }
}
