/** A segment being written: batches are appended, and at last the index. */
import type { Disk, NewFile } from "./disk.ts";
import { Encoder } from "./encoder.ts";
import type { Entry } from "./queue.ts";
import {
  encodeFooter,
  encodeSegmentHeader,
  firstOfBatch,
  RecordEncoder,
  recordHeaderSize,
  RecordType,
  segmentHeaderSize,
  type SegmentKind,
} from "./record.ts";
import { Segment } from "./segment.ts";
import type { Batch } from "./writer.ts";

/** What a new segment is made of. */
export interface NewSegment {
  readonly disk: Disk;
  readonly folder: string;
  readonly number: number;
  readonly kind: SegmentKind;
  /** Milliseconds since 1970. */
  readonly made: number;
  /** Octets after which it is closed. */
  readonly limit: number;
  /** What batches are put together in; its memory is used again and again. */
  readonly encoder: Encoder;
}

/** A record that may have to be in the index. */
interface Indexed {
  readonly entry: Entry;
  /** In the bytes of the index. */
  readonly start: number;
  end: number;
  /** It matters whatever becomes of the message here: there is a copy of it in another segment. */
  readonly isForeign: boolean;
}

/** Memory a batch may leave behind for the next one. */
const mostKept = 8 * 1024 * 1024;

/** See {@linkcode Batch}. */
export class SegmentFile implements Batch {
  readonly segment: Segment;
  readonly record: RecordEncoder;
  readonly limit: number;
  /** Where the current batch begins; all before it is durable. */
  batchStart = segmentHeaderSize;
  readonly #made: NewSegment;
  readonly #file: NewFile;
  /** The file was there before, longer than what is in it. */
  readonly #isPreset: boolean;
  readonly #index = new Encoder(4096);
  #items: Indexed[] = [];
  #flags = 0;
  #start = 0;
  /** The end of the file was written without a sync. */
  #isUnsynced = false;
  /** That the file is there is durable. */
  #isInFolder = false;

  private constructor(made: NewSegment, segment: Segment, file: NewFile, isPreset: boolean) {
    this.#made = made;
    this.segment = segment;
    this.#file = file;
    this.#isPreset = isPreset;
    this.limit = made.limit;
    this.record = new RecordEncoder(made.encoder, segment.key);
  }

  /** Makes its file. @throws what the disk throws. */
  static async create(made: NewSegment): Promise<SegmentFile> {
    const segment = newSegment(made);
    return new SegmentFile(made, segment, await made.disk.openNew(segment.path), false);
  }

  /** Makes it of a file that is there, full of zeros. @throws what the disk throws. */
  static async of(path: string, made: NewSegment): Promise<SegmentFile> {
    const segment = newSegment(made);
    await made.disk.rename(path, segment.path);
    return new SegmentFile(made, segment, await made.disk.reopen(segment.path, 0), true);
  }

  beginBatch(): void {
    const { encoder } = this.#made;
    encoder.clear(mostKept);
    if (this.segment.size === 0) {
      encodeSegmentHeader(encoder, this.segment, this.segment.key, this.#made.made);
    }
    if (this.#isUnsynced) return; // a batch begins where all before it was synced
    this.batchStart = this.segment.size + encoder.length;
    this.#flags = firstOfBatch;
  }

  get offset(): number {
    return this.segment.size + this.#made.encoder.length;
  }

  begin(type: number, entry: Entry): number {
    if (type !== RecordType.message) this.segment.concerns(entry);
    const place = this.beginOwn(type);
    const isForeign = type !== RecordType.message && entry.segment !== this.segment;
    this.#items.push({ entry, start: this.#index.length, end: 0, isForeign });
    this.#index.u32(place);
    return place;
  }

  /** Begins a record about no message: it is not in the index. */
  beginOwn(type: number): number {
    this.#start = this.#made.encoder.length;
    const place = this.segment.size + this.#start;
    this.record.begin(type, this.#flags, place);
    this.#flags = 0;
    return place;
  }

  end(bodyCheck?: number): void {
    this.record.end(bodyCheck);
    const item = this.#items.at(-1);
    if (!item || item.end > 0) return; // of no message
    const summary = this.record.summaryEnd;
    this.#index.raw(this.#made.encoder.bytes.subarray(this.#start, summary));
    item.end = this.#index.length;
  }

  /**
   * Makes the batch durable; `write`: it need only outlive the process. @throws what the disk throws; then nobody knows what the
   * file holds.
   */
  async commit(how: "write" | "sync"): Promise<void> {
    const { encoder, disk, folder } = this.#made;
    await this.#file.write(encoder.written);
    this.#isUnsynced = true;
    // A segment's first batch always is: nobody could tell what a file is whose header was lost.
    if (how === "sync" || !this.#isInFolder) {
      await this.#file.sync();
      if (!this.#isInFolder) await disk.syncFolder(folder);
      this.#isInFolder = true;
      this.#isUnsynced = false;
    }
    this.segment.size += encoder.length;
  }

  /** Writes the index, so that a start needs to read nothing else, and closes the file. */
  async seal(): Promise<void> {
    this.segment.state = "sealing";
    try {
      if (this.segment.size === 0) return;
      if (this.#isPreset) await this.#file.truncate(this.segment.size);
      const into = new Encoder(this.#index.length + 256);
      this.#encodeIndex(into);
      await this.#file.write(into.written);
      await this.#file.sync();
      this.segment.size += into.length;
    } finally {
      this.#items = [];
      this.#file.close();
      this.segment.state = "closed";
    }
  }

  /**
   * What happened here to messages that came and went here doesn't matter any more. All that was rewritten does: a copy of it may
   * be in an older segment, and what happens to it later is recorded in others.
   */
  #encodeIndex(into: Encoder): void {
    const record = new RecordEncoder(into, this.segment.key);
    record.begin(RecordType.index, firstOfBatch, this.segment.size);
    record.detail();
    for (const { entry, start, end, isForeign } of this.#items) {
      const matters = isForeign || this.segment.kind === "cold" || !entry.isGone;
      if (matters) into.raw(this.#index.bytes.subarray(start, end));
    }
    record.body();
    record.end();
    encodeFooter(into, this.segment.key, this.segment.size);
  }

  /** Leaves the file as it is, whatever that is. */
  abandon(now: number): void {
    this.segment.state = "closed";
    this.segment.closed = now;
    this.segment.size = Math.max(this.segment.size, recordHeaderSize);
    try {
      this.#file.close();
    } catch { /* nothing more is asked of it */ }
  }
}

function newSegment({ folder, number, kind }: NewSegment): Segment {
  const random = crypto.getRandomValues(new Uint8Array(8));
  const nonce = Array.from(random, (octet) => octet.toString(16).padStart(2, "0")).join("");
  return new Segment(folder, { number, nonce, kind }, "open");
}
