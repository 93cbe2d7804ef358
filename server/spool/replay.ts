/**
 * What a start makes of the files: first all headers are looked at, so that a version this program doesn't know stops it before
 * anything is touched; then cold segments are read, which hold messages as they were when they were rewritten, then hot ones
 * in their order, which hold everything that happened. A message counts in its highest generation, and with all records of
 * that generation or a higher one.
 */
import type { Log } from "../log.ts";
import type { Disk } from "./disk.ts";
import { Entry, Queue, share } from "./queue.ts";
import {
  firstOfBatch,
  headLength,
  parseSegmentName,
  readRecordHeader,
  readSegmentHeader,
  recordHeaderSize,
  RecordType,
  segmentHeaderSize,
  version,
} from "./record.ts";
import { type Damage, type FoundRecord, readIndex, scan } from "./scan.ts";
import { Segment } from "./segment.ts";
import { decodeAbout, decodeMessage, decodeOutcomes, decodeRedirect, decodeVoid } from "./summary.ts";

/** The spool was written by a newer program. Nothing was touched. */
export class UnknownVersion extends Error {
  override readonly name = "UnknownVersion";
}

/** The queue as it stands on the disk. */
export interface Replayed {
  readonly segments: Set<Segment>;
  readonly queue: Queue;
  /** Messages whose content is damaged or missing, with what to say of it: to be held. */
  readonly damaged: readonly (readonly [Entry, reason: string])[];
  /** The number of the next segment. */
  readonly next: number;
}

/** What is read from, and who is told. */
export interface ReplayOptions {
  readonly disk: Disk;
  /** Of the segments; `body` and `corrupt` are in it. */
  readonly folder: string;
  readonly log: Log;
}

/** More than any number of `void` records takes that a segment can begin with. */
const firstOctets = 64 * 1024;

/** Reads the log. @throws {UnknownVersion} and what the disk throws. */
export async function replay(options: ReplayOptions): Promise<Replayed> {
  const { disk, folder } = options;
  const found = await findSegments(options);
  for (const { segment, end } of found) segment.end = end;
  const replayer = new Replayer(options);
  for (const kind of ["cold", "hot"] as const) {
    for (const { segment, end } of found) {
      if (segment.kind === kind) await replayer.read(segment, end);
    }
  }
  // What is relied on from now on may still be in memory only, if a process was killed: it could be gone after a power cut.
  for (const batch of replayer.lastBatches) await writeAgain(disk, batch);
  await disk.syncFolder(folder);
  const { queue, damaged } = replayer;
  await findMissing(options, queue, damaged);
  if (replayer.isMixed) queue.sort();
  const segments = new Set(found.map(({ segment }) => segment));
  const next = found.reduce((most, { segment }) => Math.max(most, segment.number), 0) + 1;
  return { segments, queue, damaged, next };
}

/** A segment on the disk. */
export interface Found {
  readonly segment: Segment;
  /** What lies behind is void. */
  readonly end: number;
}

/** All segments by number, with their ends. @throws {UnknownVersion} and what the disk throws. */
export async function findSegments({ disk, folder, log }: ReplayOptions): Promise<Found[]> {
  const found: { segment: Segment; end: number; start: Uint8Array }[] = [];
  for (const name of await disk.list(folder)) {
    const parsed = parseSegmentName(name);
    if (!parsed) continue;
    const segment = new Segment(folder, parsed, "closed");
    const start = new Uint8Array(firstOctets);
    const octets = await disk.readRange(segment.path, 0, start);
    segment.size = await disk.size(segment.path);
    found.push({ segment, end: Infinity, start: start.slice(0, octets) });
  }
  for (const { segment, start } of found) {
    const its = readSegmentHeader(start);
    if (its === version) continue;
    if (its !== "damaged") {
      throw new UnknownVersion(
        `${segment.path} is of version ${its}; this program knows version ${version}. ` +
          `Nothing was changed: start the newer program that wrote it.`,
      );
    }
    if (start.length > segmentHeaderSize) {
      log.error("spool: segment's header is damaged", { file: segment.path });
    }
  }
  found.sort((a, b) => a.segment.number - b.segment.number);
  // From the newest: a void record may itself be void.
  for (const { segment, start, end } of found.toReversed()) {
    for (const { number, from } of readVoids(segment, start, end)) {
      const target = found.find((other) => other.segment.number === number);
      if (!target) continue;
      target.end = Math.min(target.end, from);
      segment.needs.add(target.segment);
    }
  }
  return found.map(({ segment, end }) => ({ segment, end: Math.min(end, segment.size) }));
}

function* readVoids({ key }: Segment, start: Uint8Array, end: number) {
  for (let at = segmentHeaderSize; at < end;) {
    const header = readRecordHeader(start, at, key, at);
    if (header?.type !== RecordType.void) return;
    yield decodeVoid(start.subarray(at + recordHeaderSize));
    at += headLength(header);
  }
}

/**
 * Makes the last batch of a segment durable, all others were. To sync it is not enough: where the last process saw that fail, the
 * octets may be in memory only, and count as written (Linux); so they are written again.
 */
async function writeAgain(disk: Disk, { segment, from, end }: LastBatch): Promise<void> {
  const bytes = new Uint8Array(Math.max(end - from, 0));
  const octets = await disk.readRange(segment.path, from, bytes);
  const file = await disk.reopen(segment.path, from);
  try {
    await file.write(bytes.subarray(0, octets));
    await file.sync();
  } finally {
    file.close();
  }
}

/** Large contents are in files of their own, which can be gone. */
async function findMissing(
  { disk, folder }: ReplayOptions,
  queue: Queue,
  damaged: (readonly [Entry, string])[],
): Promise<void> {
  const files = new Set(await disk.list(`${folder}/body`));
  for (const entry of queue.entries()) {
    if (entry.file !== undefined && !files.has(entry.file)) {
      damaged.push([entry, `damaged: its content, body/${entry.file}, is missing`]);
    }
  }
}

/** A batch that nobody may have been told of. */
interface LastBatch {
  readonly segment: Segment;
  readonly from: number;
  readonly end: number;
}

class Replayer {
  readonly queue = new Queue();
  readonly damaged: (readonly [Entry, string])[] = [];
  /** Of segments that were not sealed. */
  readonly lastBatches: LastBatch[] = [];
  /** Some message was rewritten, so they are out of their order. */
  isMixed = false;

  constructor(readonly options: ReplayOptions) {}

  async read(segment: Segment, end: number): Promise<void> {
    const indexed = end < segment.size ? undefined : await readIndex(this.options.disk, segment);
    if (indexed) {
      for (const record of indexed) this.#apply(segment, record);
      return;
    }
    const last = { segment, from: 0, end };
    this.lastBatches.push(last);
    // Damaged contents since the last batch began: of a batch that was synced once another one came after it.
    let doubtful: FoundRecord[] = [];
    const torn: Damage[] = [];
    const hold = () => {
      for (const record of doubtful) {
        const entry = this.#message(segment, record);
        if (entry) this.damaged.push([entry, "damaged: its content is not what was written"]);
      }
      doubtful = [];
    };
    for await (const found of scan(this.options.disk, segment, end)) {
      if (found.found === "damage") {
        torn.push(found);
        continue;
      }
      if (found.header.flags & firstOfBatch) {
        hold();
        for (const damage of torn.splice(0)) await this.#setAside(segment, damage);
        last.from = found.offset === segmentHeaderSize ? 0 : found.offset;
      }
      if (found.body === "damaged") doubtful.push(found);
      else this.#apply(segment, found);
    }
    // What the last batch may have lost, a power cut took: parts of a write come in any order.
    for (const damage of torn) await this.#setAside(segment, { ...damage, isTail: true });
    for (const { offset, header } of doubtful) {
      const to = offset + headLength(header) + header.body;
      await this.#setAside(segment, { found: "damage", from: offset, to, isTail: true });
    }
  }

  #apply(segment: Segment, record: FoundRecord): void {
    try {
      this.#applyRecord(segment, record);
    } catch (error) { // a summary that passes its checksum and still can't be read: a bug, which may not stop the others
      const { offset } = record;
      this.options.log.error("spool: record can't be read", {
        file: segment.path,
        offset,
        error: `${error}`,
      });
    }
  }

  #applyRecord(segment: Segment, record: FoundRecord): void {
    const { type } = record.header;
    if (type === RecordType.message) return void this.#message(segment, record);
    if (type === RecordType.void || type === RecordType.index || type === RecordType.note) return;
    const { id, generation, rest } = decodeAbout(record.summary);
    const entry = this.queue.get(id);
    if (!entry) return;
    segment.concerns(entry);
    if (generation < entry.generation) return;
    entry.generation = generation;
    const place = { segment: segment.number, offset: record.offset };
    if (type === RecordType.outcome) entry.mark(decodeOutcomes(rest), place);
    else if (type === RecordType.hold) entry.held = rest.short();
    else if (type === RecordType.release) release(entry, rest.f64());
    else if (type === RecordType.redirect) entry.redirect(decodeRedirect(rest), place);
    if (type === RecordType.remove || entry.isFinished) this.queue.remove(entry);
  }

  #message(segment: Segment, { offset, header, summary }: FoundRecord): Entry | undefined {
    const message = decodeMessage(summary);
    const known = this.queue.get(message.id);
    if (known && known.generation >= message.generation) {
      if (known.segment !== segment) (known.copies ??= []).push(segment);
      return undefined;
    }
    const destinations = share(message.destinations);
    const entry = new Entry({ ...message, destinations }, segment, offset, headLength(header));
    if (known) {
      this.queue.remove(known);
      entry.copies = [...known.copies ?? [], known.segment];
    }
    if (message.generation > 0) this.isMixed = true;
    this.queue.add(entry);
    return entry;
  }

  /** Keeps a copy of what can't be read, once, for whoever may want to look at it. */
  async #setAside(segment: Segment, { from, to, isTail }: Damage): Promise<void> {
    const { disk, folder, log } = this.options;
    const bytes = new Uint8Array(to - from);
    await disk.readRange(segment.path, from, bytes);
    if (bytes.every((octet) => octet === 0)) return; // never written: a file made of the reserve, or a hole
    const copy = `${folder}/corrupt/${segment.path.slice(folder.length + 1)}-${from}`;
    const fields = { file: segment.path, offset: from, octets: to - from, copy };
    if (isTail) log.warning("spool: the end of a segment was never finished: set aside", fields);
    else log.error("spool: damage set aside", fields);
    await setAside(disk, folder, copy, bytes).catch((error) => {
      log.error("spool: can't set damage aside", { ...fields, error: `${error}` });
    });
  }
}

/** An operator lets a message go on: it is due at once. */
export function release(entry: Entry, at: number): void {
  entry.held = undefined;
  entry.hurry(at);
}

/** Writes a file in `corrupt`; one that is there is left as it is. */
export async function setAside(disk: Disk, folder: string, path: string, bytes: Uint8Array): Promise<void> {
  await disk.makeFolder(`${folder}/corrupt`);
  if ((await disk.list(`${folder}/corrupt`)).includes(path.slice(path.lastIndexOf("/") + 1))) return;
  const file = await disk.openNew(path);
  try {
    await file.write(bytes);
    await file.sync();
  } finally {
    file.close();
  }
}
