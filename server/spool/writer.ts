/**
 * Group commit: one writer gathers what arrives while the last batch is being synced, and writes it with one write and one
 * fdatasync. After a fault the segment is never written again, because nobody knows what it holds; the next one begins
 * with `void` for the batch that is answered with an error, and with its outcomes again, before anything else is taken.
 */
import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";
import type { Disk } from "./disk.ts";
import { Encoder } from "./encoder.ts";
import type { Entry } from "./queue.ts";
import { type RecordEncoder, RecordType, type SegmentKind } from "./record.ts";
import type { Reserve } from "./reserve.ts";
import type { Segment } from "./segment.ts";
import { SegmentFile } from "./segment_file.ts";
import type { Spare } from "./spare.ts";
import { encodeVoid, type VoidSummary } from "./summary.ts";

/** Something to be recorded. */
export interface Job {
  /** About how many octets it takes. */
  readonly octets: number;
  /**
   * After a fault: `repeat` it until it is durable, because it has happened; or `refuse` it. `drop`: nothing depends on it: it
   * waits for no sync either.
   */
  readonly afterFault: "repeat" | "refuse" | "drop";
  /** Encodes its records as things stand now; again, after a fault. */
  encode(into: Batch): void;
  /** It is durable. */
  done(): void;
  /** It isn't, and never will be. */
  fail(error: Error): void;
}

/** Where a job's records go. */
export interface Batch {
  readonly segment: Segment;
  readonly record: RecordEncoder;
  /** Where the next record will stand in the segment. */
  readonly offset: number;
  /**
   * Begins a record; the summary follows, then `record.detail()` and so on.
   *
   * @param entry The message it is about.
   * @returns Where it stands in the segment.
   */
  begin(type: number, entry: Entry): number;
  /** Begins a record about no message of the queue: no start wants to know of it. */
  beginOwn(type: number): number;
  /** Ends it. */
  end(bodyCheck?: number): void;
}

/** What a writer needs. */
export interface WriterOptions {
  readonly disk: Disk;
  readonly folder: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly reserve: Reserve;
  readonly spare: Spare;
  /** All segments there are; new ones are added. */
  readonly segments: Set<Segment>;
  /** The number of the next segment. */
  readonly next: number;
  /** Octets after which a segment is closed. */
  readonly segmentSize: number;
  /** A segment was closed. */
  readonly onClosed: () => void;
}

/** The disk failed, and nothing can be kept until it works again; `cause` is what it said. Temporary: 451 or 452. */
export class SpoolFailed extends Error {
  override readonly name = "SpoolFailed";
}

const batchSize = { hot: 4 * 1024 * 1024, cold: 512 * 1024 } as const;
const [firstWait, longestWait] = [1_000, 30_000];
/** What nobody waits for goes with what somebody waits for; else a write of its own costs more than what it writes. */
const lazyBatch = { octets: 128 * 1024, ms: 100 } as const;

/** Writes jobs in batches, in order, one batch at a time. */
export class Writer {
  readonly #options: WriterOptions;
  readonly #jobs: Record<SegmentKind, Job[]> = { hot: [], cold: [] };
  readonly #files: { [K in SegmentKind]?: SegmentFile | undefined } = {};
  readonly #encoders = { hot: new Encoder(), cold: new Encoder() } as const;
  readonly #sealing = new Set<Promise<void>>();
  #next: number;
  /** Batches that were answered with an error, and for which no `void` is durable yet. */
  #voids: Voided[] = [];
  #fault: SpoolFailed | undefined;
  #wait = firstWait;
  #cancelRetry: (() => void) | undefined;
  #running: Promise<void> | undefined;
  #isClosed = false;
  /** Octets of jobs that nobody waits for; and the end of their patience. */
  #lazy = 0;
  #cancelLazy: (() => void) | undefined;

  constructor(options: WriterOptions) {
    this.#options = options;
    this.#next = options.next;
  }

  /** Why nothing can be kept; `undefined` where all is well. */
  get fault(): SpoolFailed | undefined {
    return this.#fault;
  }

  /** Writes the job with the next batch. `cold`: into a segment of rewritten messages. */
  push(job: Job, kind: SegmentKind = "hot"): void {
    if (this.#isClosed) return job.fail(new SpoolFailed("The spool is closed."));
    if (this.#fault && job.afterFault !== "repeat") return job.fail(this.#fault);
    this.#jobs[kind].push(job);
    if (this.#fault) return;
    if (job.afterFault !== "drop") return this.#start();
    this.#lazy += job.octets;
    if (this.#lazy >= lazyBatch.octets) return this.#start();
    this.#cancelLazy ??= this.#options.clock.after(lazyBatch.ms, () => this.#start());
  }

  /** Writes all that waits now: when this resolves it is in the log, or the disk has said no. */
  async flush(): Promise<void> {
    while (!this.#fault && this.#jobs.hot.length > 0) {
      this.#start();
      await this.#running;
    }
  }

  /** Closes the cold segment, so that it can be rewritten itself. */
  closeCold(): void {
    if (!this.#running) this.#seal("cold");
  }

  /** Writes what is waiting, seals what is open. What can't be written fails. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancelRetry?.();
    if (!this.#fault && this.#jobs.hot.length > 0) this.#start();
    while (this.#running) await this.#running;
    if (this.#fault && this.#jobs.hot.length > 0) await this.#tryAgain(); // a last time
    const closed = new SpoolFailed("The spool was closed before this could be recorded.", {
      cause: this.#fault,
    });
    for (const job of [...this.#jobs.hot.splice(0), ...this.#jobs.cold.splice(0)]) job.fail(closed);
    for (const kind of ["hot", "cold"] as const) this.#seal(kind);
    await Promise.all(this.#sealing);
  }

  #start(): void {
    this.#running ??= this.#run().finally(() => this.#ended());
  }

  #ended(): void {
    this.#running = undefined;
    if (!this.#fault && this.#isAwaited) this.#start();
  }

  async #run(): Promise<void> {
    await undefined; // so that all that comes in this turn is in one batch
    do await this.#write(); while (!this.#fault && this.#isAwaited);
  }

  /** Somebody waits for one of the jobs, or none of them can wait any longer. */
  get #isAwaited(): boolean {
    const { hot, cold } = this.#jobs;
    const isPatient = this.#cancelLazy && this.#lazy < lazyBatch.octets && !this.#isClosed;
    return cold.length > 0 ||
      (isPatient ? hot.some(({ afterFault }) => afterFault !== "drop") : hot.length > 0);
  }

  async #write(): Promise<void> {
    this.#cancelLazy?.();
    [this.#cancelLazy, this.#lazy] = [undefined, 0];
    const cold = await this.#prepare("cold", take(this.#jobs.cold, batchSize.cold));
    const hot = await this.#prepare("hot", take(this.#jobs.hot, batchSize.hot));
    // Snapshots first: an outcome that is encoded in the same turn belongs to their generation, and comes after them.
    cold?.encode([]);
    hot?.encode([]);
    await Promise.all([cold?.commit(), hot?.commit()]);
    this.#finishCold(cold);
    if (!hot) return;
    if (!hot.fault) this.#finish(hot);
    else if (hot.isLazy) this.#dropLazy(hot.fault, hot.jobs);
    else await this.#recover(hot.fault, hot.jobs);
  }

  #finishCold(cold: Commit | undefined): void {
    if (!cold) return;
    const { fault } = cold;
    if (!fault) return this.#finish(cold);
    this.#options.log.warning("spool: can't rewrite", { error: fault.message });
    this.#options.reserve.blame(fault.cause);
    this.#abandon("cold");
    for (const job of cold.jobs) job.fail(fault);
  }

  /** Nobody was promised anything: whoever writes next finds out whether the disk works. */
  #dropLazy(fault: SpoolFailed, jobs: readonly Job[]): void {
    this.#options.log.warning("spool: can't note deliveries for `track`", {
      messages: jobs.length,
      error: fault.message,
    });
    this.#abandon("hot");
    for (const job of jobs) job.fail(fault);
  }

  #finish({ jobs, kind, file }: Commit): void {
    for (const job of jobs) job.done();
    if (file && file.segment.size >= file.limit) this.#seal(kind);
  }

  /** Opens the segment these jobs go to. */
  async #prepare(kind: SegmentKind, jobs: readonly Job[]): Promise<Commit | undefined> {
    if (jobs.length === 0) return undefined;
    return await this.#commitTo(kind, jobs);
  }

  /** Of no jobs, too: that a segment can be written is all that is asked then. */
  async #commitTo(kind: SegmentKind, jobs: readonly Job[]): Promise<Commit> {
    const commit = new Commit(kind, jobs, this.#options.folder);
    await commit.attempt(async () => commit.file = this.#files[kind] ?? await this.#open(kind));
    return commit;
  }

  async #open(kind: SegmentKind): Promise<SegmentFile> {
    const { segmentSize, reserve, spare, segments, clock } = this.#options;
    const number = this.#next++;
    const encoder = this.#encoders[kind];
    const made = { ...this.#options, number, kind, encoder, made: clock.now(), limit: segmentSize };
    const ready = kind === "hot" ? await spare.take(made) : undefined;
    const file = ready ?? await reserve.spend(made) ?? await SegmentFile.create(made);
    if (kind === "hot") spare.prepare();
    segments.add(file.segment);
    return this.#files[kind] = file;
  }

  /** Lets the next batch go to a new segment, while this one's index is written. */
  #seal(kind: SegmentKind): void {
    const file = this.#files[kind];
    this.#files[kind] = undefined;
    if (!file) return;
    const { log, clock, onClosed } = this.#options;
    const sealing = file.seal().catch((error) => {
      log.warning("spool: can't write a segment's index", { file: file.segment.path, error: `${error}` });
    }).then(() => {
      this.#sealing.delete(sealing);
      file.segment.closed = clock.monotonic();
      onClosed();
    });
    this.#sealing.add(sealing);
  }

  /** Nothing is ever written to this file again. */
  #abandon(kind: SegmentKind): SegmentFile | undefined {
    const file = this.#files[kind];
    this.#files[kind] = undefined;
    file?.abandon(this.#options.clock.monotonic());
    return file;
  }

  async #recover(fault: SpoolFailed, jobs: readonly Job[]): Promise<void> {
    this.#options.log.error("spool: can't write", { error: fault.message });
    this.#giveUpBatch(fault, jobs);
    const refused = jobs.filter((job) => job.afterFault !== "repeat");
    // Answered after the attempt to make that durable, so that a kill right after the answer can't keep what was refused.
    const still = await this.#tryAgain();
    if (still) this.#pause(still);
    for (const job of refused) job.fail(fault);
    if (!still) this.#options.log.info("spool: goes on in a new segment");
  }

  /** What is left of a batch that failed: `void` for all of it, and its outcomes to be written again. */
  #giveUpBatch(fault: SpoolFailed, jobs: readonly Job[]): void {
    this.#options.reserve.blame(fault.cause);
    const file = this.#abandon("hot");
    if (file) {
      const { segment, batchStart } = file;
      this.#voids.push({ segment, number: segment.number, from: batchStart });
    }
    this.#jobs.hot.unshift(...jobs.filter((job) => job.afterFault === "repeat"));
  }

  /** A new segment with `void` and the outcomes alone. Says why not, where that fails, too. */
  async #tryAgain(): Promise<SpoolFailed | undefined> {
    const outcomes = this.#jobs.hot.filter((job) => job.afterFault === "repeat");
    const others = this.#jobs.hot.filter((job) => job.afterFault !== "repeat");
    this.#jobs.hot = [];
    const commit = await this.#commitTo("hot", outcomes);
    commit.encode(this.#voids);
    await commit.commit();
    this.#jobs.hot = [...others, ...this.#jobs.hot];
    if (commit.fault) {
      this.#giveUpBatch(commit.fault, outcomes);
      return commit.fault;
    }
    this.#voids = [];
    this.#finish(commit);
    return undefined;
  }

  /** Refuses what can be refused, and tries again after a while. */
  #pause(fault: SpoolFailed): void {
    this.#fault = fault;
    const refused = this.#jobs.hot.filter((job) => job.afterFault !== "repeat");
    this.#jobs.hot = this.#jobs.hot.filter((job) => job.afterFault === "repeat");
    for (const job of [...refused, ...this.#jobs.cold.splice(0)]) job.fail(fault);
    if (this.#isClosed) return;
    this.#cancelRetry = this.#options.clock.after(this.#wait, () => {
      this.#running = this.#retry().finally(() => this.#ended());
    });
    this.#wait = Math.min(this.#wait * 2, longestWait);
  }

  async #retry(): Promise<void> {
    const still = await this.#tryAgain();
    if (still) return this.#pause(still);
    this.#fault = undefined;
    this.#wait = firstWait;
    this.#options.log.info("spool: can write again");
  }
}

/** A batch on its way to one segment; what fails on the way is remembered, and then nobody knows what the segment holds. */
class Commit {
  file: SegmentFile | undefined;
  fault: SpoolFailed | undefined;

  constructor(readonly kind: SegmentKind, readonly jobs: readonly Job[], readonly folder: string) {}

  async attempt(step: () => Promise<unknown>): Promise<void> {
    if (this.fault) return;
    try {
      await step();
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      this.fault = new SpoolFailed(`The spool can't write to ${this.folder}: ${why}`, { cause });
    }
  }

  /** Nothing in it has to be durable before something else happens. */
  get isLazy(): boolean {
    return this.jobs.length > 0 && this.jobs.every((job) => job.afterFault === "drop");
  }

  encode(voids: readonly Voided[]): void {
    const { file, jobs } = this;
    if (!file) return;
    file.beginBatch();
    for (const one of voids) encodeVoidRecord(file, one);
    for (const job of jobs) job.encode(file);
  }

  commit(): Promise<void> {
    return this.attempt(async () => await this.file?.commit(this.isLazy ? "write" : "sync"));
  }
}

/** What was answered with an error. */
interface Voided extends VoidSummary {
  readonly segment: Segment;
}

/** The first jobs, up to so many octets, but one at least. */
function take(jobs: Job[], octets: number): Job[] {
  let count = 0;
  for (let sum = 0; count < jobs.length; count++) {
    sum += jobs[count]!.octets;
    if (count > 0 && sum > octets) break;
  }
  return jobs.splice(0, count);
}

function encodeVoidRecord(file: SegmentFile, target: Voided): void {
  file.segment.needs.add(target.segment);
  file.beginOwn(RecordType.void);
  encodeVoid(file.record.into, target);
  file.record.detail();
  file.record.body();
  file.end();
}
