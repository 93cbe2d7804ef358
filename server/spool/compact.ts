/**
 * Gives disk space back. A segment goes only when none of its messages lives and no record in it concerns a message of which
 * another segment still holds a copy, for else what was delivered would rise again; what may go goes together, and
 * the folder is synced before what depends on that. Segments of which little lives are rewritten, at a bounded rate.
 */
import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";
import type { Disk } from "./disk.ts";
import { type MessageDetail, SnapshotJob } from "./jobs.ts";
import { extentOf, type Follower } from "./follower.ts";
import type { Entry, Queue } from "./queue.ts";
import type { Reader } from "./reader.ts";
import { RecordType } from "./record.ts";
import { readIndex, scan } from "./scan.ts";
import type { Segment } from "./segment.ts";
import { Damaged } from "./spool.ts";
import { decodeMessage } from "./summary.ts";
import type { Writer } from "./writer.ts";

/** What a compactor works on. */
export interface CompactorOptions {
  readonly disk: Disk;
  readonly folder: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly segments: Set<Segment>;
  readonly queue: Queue;
  readonly reader: Reader;
  readonly writer: Writer;
  /** Octets a second of rewriting. */
  readonly rate: number;
  /** Milliseconds a closed segment is left alone: most of its messages are about to go by themselves. */
  readonly patience: number;
  /** Whether space is so scarce that nothing waits. */
  readonly isFull: () => boolean;
  /** Whether somebody copies the files: then none goes. */
  readonly isFrozen: () => boolean;
  /** Where a message was redirected to can't be read any more: it is to be held, at once. */
  readonly onLost: (entry: Entry) => void;
  readonly follower: Follower | undefined;
  /** Whether space is so scarce that messages are refused. */
  readonly isShort: () => boolean;
  /** A message's record can't be read any more. */
  readonly onDamaged: (entry: Entry, error: Damaged) => void;
}

/** Less than this of a segment lives: it is worth rewriting. */
const sparse = 0.25;
/** So many times what has to be rewritten has to come free, where that frees only others. */
const worth = 2;
/** Octets rewritten at once. */
const portion = 256 * 1024;
/** Milliseconds after which something that failed is tried again. */
const again = 60_000;

export class Compactor {
  readonly #options: CompactorOptions;
  readonly #stopped = new AbortController();
  #running: Promise<void> | undefined;
  #isWanted = false;
  #cancel: (() => void) | undefined;

  constructor(options: CompactorOptions) {
    this.#options = options;
  }

  /** Something may have come free. */
  wake(): void {
    this.#isWanted = true;
    if (this.#stopped.signal.aborted) return;
    this.#running ??= this.#run().catch((error) => {
      if (this.#stopped.signal.aborted) return;
      this.#options.log.warning("spool: can't free disk space", { error: `${error}` });
      this.#later(again);
    }).finally(() => {
      this.#running = undefined;
      if (this.#isWanted) this.wake();
    });
  }

  /** Whether this segment is worth a look, now that something in it has gone. */
  isWorth(segment: Segment): boolean {
    return segment.state === "closed" && (segment.live === 0 || segment.liveOctets < segment.size * sparse);
  }

  async close(): Promise<void> {
    this.#stopped.abort();
    this.#cancel?.();
    await this.#running;
    this.#isWanted = false;
  }

  async #run(): Promise<void> {
    await undefined;
    while (this.#isWanted && !this.#stopped.signal.aborted) {
      this.#isWanted = false;
      await this.#sweep();
      const victim = this.#choose();
      if (!victim) continue;
      await this.#rewrite(victim);
      this.#isWanted = true;
    }
  }

  #later(ms: number): void {
    this.#cancel?.();
    this.#cancel = this.#options.clock.after(ms, () => this.wake());
  }

  /** Deletes what may be deleted, again as long as that frees others. */
  async #sweep(): Promise<void> {
    const { disk, folder, segments } = this.#options;
    for (;;) {
      if (this.#stopped.signal.aborted || this.#options.isFrozen()) return;
      const free = this.#unwanted(
        [...segments].filter((segment) => segment.isFree).sort((a, b) => a.number - b.number),
      );
      if (free.length === 0) return;
      for (const segment of free) segment.isGoing = true;
      for (const { path } of free) {
        // One that is not there any more was unlinked before a sync that failed.
        await disk.unlink(path).catch((error) => {
          if (!(error instanceof Deno.errors.NotFound)) throw error;
        });
      }
      await disk.syncFolder(folder);
      for (const segment of free) {
        segment.state = "gone";
        segments.delete(segment);
      }
    }
  }

  /** Without those that the follower still has to read, as long as those aren't too many, and there is space. */
  #unwanted(free: readonly Segment[]): readonly Segment[] {
    const { follower, isShort, segments } = this.#options;
    if (!follower) return free;
    const isWanted = (segment: Segment) => follower.wants(extentOf(segment));
    // Also those that can't go before the ones that wait have gone.
    let octets = 0;
    for (const segment of segments) {
      if (segment.live === 0 && segment.state === "closed" && isWanted(segment)) octets += segment.size;
    }
    return free.filter((segment) => {
      if (!isWanted(segment)) return true;
      if (octets <= follower.patience && !isShort()) return false;
      follower.missed(extentOf(segment));
      octets -= segment.size;
      return true;
    });
  }

  /** The segment to rewrite next: the oldest that is worth it. */
  #choose(): Segment | undefined {
    const { segments, clock, patience, isFull, writer } = this.#options;
    const now = clock.monotonic();
    let soonest = Infinity;
    for (const segment of [...segments].sort((a, b) => a.number - b.number)) {
      if (
        segment.kind === "cold" && segment.state === "open" && this.#pinnedBy(segment) >= worth * segment.size
      ) {
        writer.closeCold(); // and that wakes us
      }
      if (segment.live === 0 || segment.state !== "closed") continue;
      if (
        segment.liveOctets >= segment.size * sparse && this.#pinnedBy(segment) < worth * segment.liveOctets
      ) continue;
      const wait = isFull() ? 0 : segment.closed + patience - now;
      if (wait <= 0) return segment;
      soonest = Math.min(soonest, wait);
    }
    if (soonest < Infinity) this.#later(soonest);
    return undefined;
  }

  /** Octets of segments that would be free but for what lives in this one. */
  #pinnedBy(segment: Segment): number {
    let octets = 0;
    for (const other of this.#options.segments) {
      if (other.state === "closed" && other.live === 0 && other.needs.has(segment)) octets += other.size;
    }
    return octets;
  }

  /** Copies what lives into the cold segment, in portions. */
  async #rewrite(segment: Segment): Promise<void> {
    const { clock, rate } = this.#options;
    const living = await this.#living(segment);
    while (living.length > 0 && !this.#stopped.signal.aborted) {
      let octets = 0;
      const jobs: Promise<void>[] = [];
      while (octets < portion) {
        const entry = living.pop();
        if (!entry) break;
        if (entry.isGone || entry.segment !== segment) continue;
        octets += entry.octets;
        jobs.push(this.#copy(entry));
        if (jobs.length % 8 === 0) await Promise.all(jobs); // each reads: not all of a portion of tiny ones at once
      }
      await Promise.all(jobs);
      if (octets > 0 && rate < Infinity) await clock.sleep(octets / rate * 1000, this.#stopped.signal);
    }
  }

  /** Its messages that live, by its own records: going through the whole queue would take longer. */
  async #living(segment: Segment): Promise<Entry[]> {
    const { disk, queue } = this.#options;
    const living = new Set<Entry>();
    const add = (type: number, summary: Uint8Array) => {
      if (type !== RecordType.message) return;
      const entry = queue.get(decodeMessage(summary).id);
      if (entry?.segment === segment) living.add(entry);
    };
    const indexed = await readIndex(disk, segment);
    for (const { header, summary } of indexed ?? []) add(header.type, summary);
    if (!indexed) {
      for await (const found of scan(disk, segment, segment.size)) {
        if (found.found === "record") add(found.header.type, found.summary);
      }
    }
    // A record that can't be found any more, though memory knows it.
    if (living.size < segment.live) {
      for (const entry of queue.entries()) if (entry.segment === segment) living.add(entry);
    }
    return [...living].sort((a, b) => b.offset - a.offset); // taken from the end
  }

  async #copy(entry: Entry): Promise<void> {
    const { reader, writer, onLost, onDamaged } = this.#options;
    for (;;) {
      const { marks, segment } = entry;
      try {
        const message = await reader.message(entry);
        const states = marks && await reader.states(entry, message);
        const detail: MessageDetail = { envelope: message.envelope, ...(states && { states }) };
        const body = await reader.body(entry);
        if (entry.isGone || entry.segment !== segment) return;
        if (entry.marks !== marks) continue;
        if (message.lost) onLost(entry); // the copy has the recipients of before, and is held
        const parts = { detail: JSON.stringify(detail), body, check: message.header.bodyCheck };
        await new Promise<void>((resolve, reject) => {
          writer.push(new SnapshotJob(entry, parts, { resolve, reject }), "cold");
        });
        if (entry.isGone || entry.segment !== segment) return;
      } catch (error) {
        if (!(error instanceof Damaged)) throw error;
        return onDamaged(entry, error);
      }
    }
  }
}
