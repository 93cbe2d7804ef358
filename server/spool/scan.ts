/** Reads the records of a segment: by its index where it was sealed, else one by one, and then each is checked whole. */
import { Buffer } from "node:buffer";
import { checksum } from "./checksum.ts";
import type { Disk } from "./disk.ts";
import {
  footerSize,
  headLength,
  readFooter,
  readRecordHeader,
  type RecordHeader,
  recordHeaderSize,
  RecordType,
  segmentHeaderSize,
} from "./record.ts";
import type { Segment } from "./segment.ts";

/** A record that was found, with its summary. */
export interface FoundRecord {
  readonly found: "record";
  readonly offset: number;
  readonly header: RecordHeader;
  readonly summary: Uint8Array;
  /** `unread`: an index spoke of it. */
  readonly body: "whole" | "damaged" | "unread";
}

/** Octets that are no record. */
export interface Damage {
  readonly found: "damage";
  readonly from: number;
  readonly to: number;
  /** Nothing that could be read came after it: most likely a batch nobody was told of, torn by a power cut. */
  readonly isTail: boolean;
}

/** The records that matter, from a sealed segment's index; `undefined` where there is none, or it is damaged. */
export async function readIndex(disk: Disk, segment: Segment): Promise<FoundRecord[] | undefined> {
  const { path, size, key } = segment;
  if (size < segmentHeaderSize + recordHeaderSize + footerSize) return undefined;
  const footer = new Uint8Array(footerSize);
  await disk.readRange(path, size - footerSize, footer);
  const start = readFooter(footer, key);
  if (start === undefined || start > size - footerSize) return undefined;
  const bytes = new Uint8Array(size - footerSize - start);
  await disk.readRange(path, start, bytes);
  const header = readRecordHeader(bytes, 0, key, start);
  if (header?.type !== RecordType.index || headLength(header) !== bytes.length) return undefined;
  const detail = bytes.subarray(recordHeaderSize + header.summary);
  if (checksum(detail) !== header.detailCheck) return undefined;
  return readEntries(detail, segment);
}

function readEntries(detail: Uint8Array, { key }: Segment): FoundRecord[] | undefined {
  const found: FoundRecord[] = [];
  const view = new DataView(detail.buffer, detail.byteOffset, detail.byteLength);
  for (let at = 0; at + 4 < detail.length;) {
    const header = readRecordHeader(detail, at + 4, key, view.getUint32(at, true));
    if (!header) return undefined;
    const end = at + 4 + recordHeaderSize + header.summary;
    const summary = detail.subarray(at + 4 + recordHeaderSize, end);
    found.push({ found: "record", offset: view.getUint32(at, true), header, summary, body: "unread" });
    at = end;
  }
  return found;
}

/** Every record before `end`, and what lies between. */
export async function* scan(disk: Disk, segment: Segment, end: number): AsyncGenerator<FoundRecord | Damage> {
  const window = new Window(disk, segment.path, end);
  for (let offset = segmentHeaderSize; offset < end;) {
    const header = readRecordHeader(await window.read(offset, recordHeaderSize), 0, segment.key, offset);
    if (header && offset + headLength(header) + header.body <= end) {
      const found = await readRecord(window, segment, offset, header);
      yield found;
      offset += headLength(header) + header.body;
      continue;
    }
    const next = await findRecord(window, segment, offset + 1);
    const rest = await window.read(offset, footerSize);
    const isFooter = end - offset === footerSize && readFooter(rest, segment.key) !== undefined;
    if (!isFooter) yield { found: "damage", from: offset, to: next ?? end, isTail: next === undefined };
    offset = next ?? end;
  }
}

async function readRecord(
  window: Window,
  { key }: Segment,
  offset: number,
  header: RecordHeader,
): Promise<FoundRecord | Damage> {
  const head = await window.read(offset, headLength(header));
  const summary = head.slice(recordHeaderSize, recordHeaderSize + header.summary);
  const detail = head.subarray(recordHeaderSize + header.summary);
  if (
    checksum(summary, key.seed) !== header.summaryCheck || checksum(detail) !== header.detailCheck
  ) {
    return { found: "damage", from: offset, to: offset + headLength(header) + header.body, isTail: false };
  }
  const content = header.body > 0 ? await window.read(offset + headLength(header), header.body) : undefined;
  const body = !content || checksum(content) === header.bodyCheck ? "whole" : "damaged";
  return { found: "record", offset, header, summary, body };
}

/** The next place from `from` on where a record's header stands. */
async function findRecord(window: Window, { key }: Segment, from: number): Promise<number | undefined> {
  for (let at = from; at + recordHeaderSize <= window.end;) {
    const bytes = await window.read(at, Window.step);
    const found = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).indexOf(key.bytes);
    if (found < 0) {
      at += Math.max(bytes.length - key.bytes.length + 1, 1);
      continue;
    }
    at += found;
    if (readRecordHeader(await window.read(at, recordHeaderSize), 0, key, at)) return at;
    at++;
  }
  return undefined;
}

/** A file read in large pieces, of which small ones are asked. */
class Window {
  static readonly step = 1024 * 1024;
  #bytes = new Uint8Array(0);
  #start = 0;

  constructor(readonly disk: Disk, readonly path: string, readonly end: number) {}

  /** Octets from `offset` on, fewer at the end; valid until the next call. */
  async read(offset: number, octets: number): Promise<Uint8Array> {
    const stop = Math.min(offset + octets, this.end);
    if (offset < this.#start || stop > this.#start + this.#bytes.length) {
      const wanted = Math.min(Math.max(octets, Window.step), Math.max(this.end - offset, 0));
      const bytes = new Uint8Array(wanted);
      this.#bytes = bytes.subarray(0, await this.disk.readRange(this.path, offset, bytes));
      this.#start = offset;
    }
    return this.#bytes.subarray(offset - this.#start, Math.max(stop - this.#start, 0));
  }
}
