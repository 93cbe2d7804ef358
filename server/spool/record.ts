/**
 * The format of a segment (DESIGN §8, Records). A file is a header, records one behind the other, and, where it was sealed, an
 * index and a footer. All numbers are little-endian.
 *
 * ```text
 * segment   magic 8 · version 2 · kind 1 · 0 · number 4 · nonce 8 · made f64 · 0 (12) · checksum 4
 * record    nonce 8 · type 1 · flags 1 · 0 (2) · lengths of summary, detail, body 4 each · their checksums 4 each ·
 *           checksum of this header 4 · summary · detail · body
 * footer    nonce 8 · "end." · place of the index 4 · 0 (12) · checksum 4
 * ```
 *
 * The nonce is random for each segment and known to nobody outside: it is the marker of each record and the seed of its
 * header's checksum, together with its place, so that neither a message's content nor what a block held before nor a record
 * that strayed can pass for a record. It stands in the file's name, too, so that a damaged first block costs no more than itself. The summary is what a start has to know of a
 * record; an index is the summaries that matter, so that a start reads no contents. Detail is JSON.
 */
import { Buffer } from "node:buffer";
import { checksum } from "./checksum.ts";
import { Decoder, type Encoder } from "./encoder.ts";

/** The version this program writes, and the only one it reads. Magic, version and checksum stay where they are in all to come. */
export const version = 1;
export const segmentHeaderSize = 48;
export const recordHeaderSize = 40;
export const footerSize = 32;

const magic = Buffer.from("postride", "latin1");
const footerMagic = 0x2e646e65; // "end."

/** What a record is about. */
export const RecordType = {
  /** A message: its envelope, and its content where that is not in a file of its own. */
  message: 1,
  /** How recipients of a message stand. */
  outcome: 2,
  hold: 3,
  release: 4,
  /** An operator gave the message up. */
  remove: 5,
  /** What lies behind a place in an earlier segment was answered with an error. */
  void: 6,
  /** The summaries of a sealed segment. */
  index: 7,
  /** An operator sent recipients elsewhere. */
  redirect: 8,
  /** A message that was never in the queue, for who follows the log. Programs that don't know it pass over it. */
  note: 9,
} as const;

/** Flag of a record's header: a batch begins with it, so everything before it was synced when it was written. */
export const firstOfBatch = 1;

/** `hot`: what happens, as it happens. `cold`: messages rewritten from older segments, and nothing else. */
export type SegmentKind = "hot" | "cold";

/** The name of a segment's file, taken apart. */
export interface SegmentName {
  readonly number: number;
  readonly nonce: string;
  readonly kind: SegmentKind;
}

const namePattern = /^(\d{10})-([0-9a-f]{16})\.(hot|cold)$/;

export function segmentName({ number, nonce, kind }: SegmentName): string {
  return `${String(number).padStart(10, "0")}-${nonce}.${kind}`;
}

/** `undefined` for files that are none. */
export function parseSegmentName(name: string): SegmentName | undefined {
  const [, number, nonce, kind] = namePattern.exec(name) ?? [];
  if (!number || !nonce) return undefined;
  return { number: Number(number), nonce, kind: kind === "cold" ? "cold" : "hot" };
}

/** A nonce as its segment's records have it. */
export class Nonce {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The seed of checksums. */
  readonly seed: number;

  constructor(readonly text: string) {
    this.bytes = Uint8Array.from(Buffer.from(text, "hex"));
    this.seed = new DataView(this.bytes.buffer).getUint32(0, true);
  }
}

export function encodeSegmentHeader(into: Encoder, name: SegmentName, nonce: Nonce, made: number): void {
  const start = into.length;
  into.raw(magic);
  into.u16(version);
  into.u8(name.kind === "cold" ? 1 : 0);
  into.u8(0);
  into.u32(name.number);
  into.raw(nonce.bytes);
  into.f64(made);
  for (let i = 0; i < 3; i++) into.u32(0);
  into.u32(checksum(into.bytes.subarray(start, into.length)));
}

/** What the first octets of a segment say: its version; `damaged` where they can't be believed. */
export function readSegmentHeader(bytes: Uint8Array): number | "damaged" {
  if (bytes.length < segmentHeaderSize || !magic.equals(bytes.subarray(0, 8))) return "damaged";
  const from = new Decoder(bytes, segmentHeaderSize - 4);
  if (from.u32() !== checksum(bytes.subarray(0, segmentHeaderSize - 4))) return "damaged";
  from.at = 8;
  return from.u16();
}

/** The header of a record. */
export interface RecordHeader {
  readonly type: number;
  readonly flags: number;
  readonly summary: number;
  readonly detail: number;
  readonly body: number;
  readonly summaryCheck: number;
  readonly detailCheck: number;
  readonly bodyCheck: number;
}

/** Octets of a record before its body. */
export function headLength({ summary, detail }: RecordHeader): number {
  return recordHeaderSize + summary + detail;
}

/** Encodes records: `begin`, the summary, `detail`, the detail, `body`, the body, `end`. */
export class RecordEncoder {
  #start = 0;
  #place = 0;
  #detail = 0;
  #body = 0;

  constructor(readonly into: Encoder, readonly nonce: Nonce) {}

  /** @param place Where it will stand in the segment. */
  begin(type: number, flags: number, place: number): void {
    this.#start = this.into.length;
    this.#place = place;
    this.into.raw(this.nonce.bytes);
    this.into.u8(type);
    this.into.u8(flags);
    this.into.skip(recordHeaderSize - 10);
    this.into.bytes.fill(0, this.#start + 10, this.#start + 12);
  }

  /** Where the summary of the last record ends. */
  get summaryEnd(): number {
    return this.#detail;
  }

  /** The summary is complete. */
  detail(): void {
    this.#detail = this.into.length;
  }

  /** The detail is complete. */
  body(): void {
    this.#body = this.into.length;
  }

  /** @param bodyCheck Of a content that is in a file of its own. */
  end(bodyCheck?: number): void {
    const { into } = this;
    const summary = this.#start + recordHeaderSize;
    into.patch32(this.#start + 12, this.#detail - summary);
    into.patch32(this.#start + 16, this.#body - this.#detail);
    into.patch32(this.#start + 20, into.length - this.#body);
    into.patch32(this.#start + 24, checksum(into.bytes.subarray(summary, this.#detail), this.nonce.seed));
    into.patch32(this.#start + 28, checksum(into.bytes.subarray(this.#detail, this.#body)));
    into.patch32(this.#start + 32, bodyCheck ?? checksum(into.bytes.subarray(this.#body, into.length)));
    const header = into.bytes.subarray(this.#start + 8, this.#start + 36);
    into.patch32(this.#start + 36, checksum(header, (this.nonce.seed ^ this.#place) >>> 0));
  }
}

/**
 * The record's header that stands at `at`; `undefined` where there is none that can be believed.
 *
 * @param place Where that is in the segment.
 */
export function readRecordHeader(
  bytes: Uint8Array,
  at: number,
  nonce: Nonce,
  place: number,
): RecordHeader | undefined {
  if (at + recordHeaderSize > bytes.length) return undefined;
  for (let i = 0; i < 8; i++) if (bytes[at + i] !== nonce.bytes[i]) return undefined;
  const from = new Decoder(bytes, at + 36);
  if (from.u32() !== checksum(bytes.subarray(at + 8, at + 36), (nonce.seed ^ place) >>> 0)) return undefined;
  from.at = at + 8;
  const [type, flags] = [from.u8(), from.u8()];
  from.at += 2;
  const [summary, detail, body] = [from.u32(), from.u32(), from.u32()];
  const [summaryCheck, detailCheck, bodyCheck] = [from.u32(), from.u32(), from.u32()];
  return { type, flags, summary, detail, body, summaryCheck, detailCheck, bodyCheck };
}

export function encodeFooter(into: Encoder, nonce: Nonce, index: number): void {
  const start = into.length;
  into.raw(nonce.bytes);
  into.u32(footerMagic);
  into.u32(index);
  for (let i = 0; i < 3; i++) into.u32(0);
  into.u32(checksum(into.bytes.subarray(start, into.length), nonce.seed));
}

/** Where the index of a sealed segment begins; `undefined` where these octets are no footer. */
export function readFooter(bytes: Uint8Array, nonce: Nonce): number | undefined {
  if (bytes.length !== footerSize) return undefined;
  for (let i = 0; i < 8; i++) if (bytes[i] !== nonce.bytes[i]) return undefined;
  const from = new Decoder(bytes, footerSize - 4);
  if (from.u32() !== checksum(bytes.subarray(0, footerSize - 4), nonce.seed)) return undefined;
  from.at = 8;
  return from.u32() === footerMagic ? from.u32() : undefined;
}
