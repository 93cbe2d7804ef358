/**
 * The spool on disk (DESIGN §8): an append-only log of segments with group commit. This file is what callers see; how records
 * look is in `record.ts`, how they get there in `writer.ts`, what a start makes of them in `replay.ts`, and how space
 * comes free in `compact.ts`.
 */
import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";
import type { Content } from "../message/content.ts";
import { Attempts } from "./attempts.ts";
import { cut, type Freeze, Freezer } from "./freeze.ts";
import { BodyStore, FileContent, type StoredBody } from "./body.ts";
import { Compactor } from "./compact.ts";
import type { Disk, DiskLock } from "./disk.ts";
import {
  type Change,
  ChangeJob,
  KeepJob,
  type MessageDetail,
  type MessageOutcomes,
  newMessage,
  type NoteDetail,
  NoteJob,
  OutcomesJob,
  outcomesOf,
  RedirectJob,
  SnapshotJob,
} from "./jobs.ts";
import { type Extent, extentOf, type Follower } from "./follower.ts";
import { destinationsOf, type Entry, type Queue } from "./queue.ts";
import { type CompleteOptions, type LogSpoolOptions, withDefaults } from "./options.ts";
import { Reader, stateOf } from "./reader.ts";
import { Recent } from "./recent.ts";
import { InTurn, redirectedOf } from "./redirect.ts";
import { replay, type Replayed, setAside, UnknownVersion } from "./replay.ts";
import { Reserve } from "./reserve.ts";
import { Schedule } from "./schedule.ts";
import type { Segment } from "./segment.ts";
import { Spare } from "./spare.ts";
import {
  type Census,
  Damaged,
  type Due,
  type PassedBy,
  type Queued,
  type QueuedEnvelope,
  type RecordedOutcome,
  type Redirect,
  type Spool,
} from "./spool.ts";
import { SpoolFailed, Writer } from "./writer.ts";

export type { LogSpoolOptions };
export { UnknownVersion };

/** Another server uses this spool. */
export class SpoolLocked extends Error {
  override readonly name = "SpoolLocked";
}

/** Why a message is held of which nobody knows any more where an operator sent it. */
const lostRedirect = "damaged: where it was redirected to can't be read, redirect it again";

/** When a new message is due, and whether it is held. */
interface HowKept {
  readonly due: readonly (number | undefined)[] | undefined;
  readonly held: string | undefined;
}

/** Messages that are read together for a list: one by one the disk would wait most of the time. */
const listedAtOnce = 32;
/** Notes that may wait for a disk that hangs: more are forgotten. */
const mostNotes = 10_000;

const idPattern = /^[A-Za-z0-9][A-Za-z0-9.-]{0,99}$/;

/** The queue on disk. */
export class LogSpool implements Spool {
  /** Contents while they arrive. Small ones stay in memory until they are kept. */
  readonly bodies: BodyStore;
  readonly #folder: string;
  readonly #disk: Disk;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #inLog: number;
  readonly #lock: DiskLock;
  readonly #queue: Queue;
  readonly #segments: Set<Segment>;
  readonly #reader: Reader;
  readonly #reserve: Reserve;
  readonly #spare: Spare;
  readonly #writer: Writer;
  readonly #compactor: Compactor;
  readonly #freezer: Freezer;
  readonly #schedule: Schedule;
  readonly #recent: Recent;
  readonly #follower: Follower | undefined;
  #notes = 0;
  /** Ids on their way into the queue. */
  readonly #arriving = new Set<string>();
  /** Each redirect and each amendment of a message begins with what the last one left. */
  readonly #changing = new InTurn();
  readonly #background = new Set<Promise<unknown>>();
  /** Contents of amendments that failed, by message, until a later record of it is durable. */
  readonly #left = new Map<string, string[]>();

  private constructor(
    folder: string,
    options: CompleteOptions,
    parts: {
      lock: DiskLock;
      replayed: Replayed;
      bodies: BodyStore;
      reserve: Reserve;
      spare: Spare;
      attempts: Attempts;
    },
  ) {
    const { clock, log, disk } = options;
    this.#folder = folder;
    [this.#clock, this.#log, this.#disk] = [clock, log, disk];
    this.#inLog = options.inLog;
    this.#recent = new Recent(options.recent);
    this.#follower = options.follower;
    const { queue, segments, next } = parts.replayed;
    [this.#queue, this.#segments, this.#lock] = [queue, segments, parts.lock];
    [this.bodies, this.#reserve, this.#spare] = [parts.bodies, parts.reserve, parts.spare];
    this.#schedule = new Schedule(queue, parts.attempts, clock);
    this.#reader = new Reader(disk, folder, (number) => this.#segment(number));
    const common = { disk, folder, clock, log, segments };
    this.#writer = new Writer({
      ...common,
      reserve: parts.reserve,
      spare: parts.spare,
      next,
      segmentSize: options.segment,
      onClosed: () => this.#compactor.wake(),
    });
    this.#freezer = new Freezer(() => parts.reserve.isFull, () => this.#compactor.wake());
    this.#compactor = new Compactor({
      ...common,
      queue,
      reader: this.#reader,
      writer: this.#writer,
      rate: options.rate,
      patience: options.patience,
      isFull: () => parts.reserve.isFull,
      isFrozen: () => this.#freezer.isFrozen,
      onLost: (entry) => this.#holdNow(entry, lostRedirect),
      follower: options.follower,
      isShort: () => parts.reserve.room(0) === "full",
      onDamaged: (entry, error) => this.#inBackground(this.#damaged(entry, error)),
    });
  }

  /**
   * Opens the spool in this folder, makes it where it is missing, and reads what is in it.
   *
   * @throws {SpoolLocked} when another server uses it.
   * @throws {UnknownVersion} when a newer program wrote it; nothing was touched then.
   * @throws what the disk throws.
   */
  static async open(folder: string, given: LogSpoolOptions): Promise<LogSpool> {
    const options = withDefaults(given);
    const { disk, clock, log, reserve: reserved, room } = options;
    await disk.makeFolder(folder);
    const lock = await disk.lock(`${folder}/lock`);
    if (lock === "taken") {
      throw new SpoolLocked(
        `Another server is using ${folder}. Stop it first, or give this one a state directory of its own.`,
      );
    }
    try {
      const replayed = await readAll(folder, disk, log);
      const kept = new Set<string>();
      for (const { file } of replayed.queue.entries()) if (file !== undefined) kept.add(file);
      const bodies = await BodyStore.open(`${folder}/body`, { ...options.bodies, disk, kept });
      const reserve = new Reserve({ disk, folder, clock, log, reserve: reserved, room });
      await reserve.open();
      const spare = new Spare({ ...options, folder, reserve, segmentSize: options.segment });
      await spare.open();
      const attempts = await Attempts.open(`${folder}/attempts`, disk, replayed.queue, log);
      const spool = new LogSpool(folder, options, { lock, replayed, bodies, reserve, spare, attempts });
      spool.#begin(replayed, options.crashes);
      return spool;
    } catch (error) {
      lock.release();
      throw error;
    }
  }

  #segment(number: number): Segment | undefined {
    for (const segment of this.#segments) if (segment.number === number) return segment;
    return undefined;
  }

  // ── Start and end ────────────────────────────────────────────────────────────────────────────────

  #begin({ damaged }: Replayed, crashes: number): void {
    for (const [entry, reason] of damaged) this.#holdNow(entry, reason);
    for (const [entry, count] of this.#schedule.begin(crashes)) {
      this.#holdNow(entry, `the server ended ${count} times while this message was being delivered`);
    }
    this.#compactor.wake();
  }

  /** In memory at once, so that nobody tries it; on the disk as soon as that works. */
  #holdNow(entry: Entry, reason: string): void {
    if (entry.held !== undefined) return;
    this.#log.error("spool: message held", { id: entry.id, reason });
    entry.held = reason;
    this.#queue.schedule(entry, Infinity);
    this.#inBackground(this.#change(entry, { to: "held", reason, at: this.#clock.now() }));
  }

  async close(): Promise<void> {
    this.#freezer.close();
    await this.#compactor.close();
    await this.#writer.close();
    await this.#spare.close();
    await Promise.all(this.#background);
    await this.#reserve.close();
    this.#schedule.close();
    this.#lock.release();
  }

  /** What nobody waits for, `close` does. Its failure is no more than a line in the log. */
  #inBackground(work: Promise<unknown>): void {
    const running = work.catch((error) => {
      this.#log.warning("spool: something is left for the next start", { error: `${error}` });
    }).finally(() => this.#background.delete(running));
    this.#background.add(running);
  }

  // ── Keeping ──────────────────────────────────────────────────────────────────────────────────────

  keep(
    envelope: QueuedEnvelope,
    content: Content,
    due?: readonly (number | undefined)[],
    held?: string,
  ): Promise<void> {
    const { id } = envelope;
    if (!idPattern.test(id)) {
      return Promise.reject(new TypeError(`${JSON.stringify(id)} can't be a queue id.`));
    }
    if (this.#queue.get(id) || this.#arriving.has(id)) {
      return Promise.reject(new TypeError(`The message ${id} is in the queue already.`));
    }
    const refusal = this.#refusal();
    if (refusal) return Promise.reject(refusal);
    this.#arriving.add(id);
    if (content.memory && content.size <= this.#inLog) return this.#commit(envelope, content, { due, held });
    return this.#keepLarge(envelope, content, { due, held }).finally(() => this.#arriving.delete(id));
  }

  #refusal(): SpoolFailed | undefined {
    if (!this.#reserve.isFull) return this.#writer.fault;
    return new SpoolFailed(`The disk with ${this.#folder} is full.`, { cause: this.#writer.fault });
  }

  #commit(
    envelope: QueuedEnvelope,
    content: Content,
    how: HowKept,
  ): Promise<void> {
    const { id } = envelope;
    const summary = newMessage(envelope, content, how.due, how.held);
    const check = content instanceof FileContent ? content.crc : undefined;
    const detail = JSON.stringify({ envelope } satisfies MessageDetail);
    const parts = { detail, body: content.memory, check };
    return new Promise((resolve, reject) => {
      const kept = (entry: Entry) => {
        this.#arriving.delete(id);
        if (content instanceof FileContent) content.keep();
        this.#queue.add(entry);
        this.#recent.add(envelope, content);
        this.#schedule.reset(entry);
        resolve();
      };
      const refused = (error: Error, isWritten: boolean) => {
        this.#arriving.delete(id);
        // Not even the refusal could be recorded: should the message be there after a crash, it has to be whole.
        if (isWritten && this.#writer.fault && content instanceof FileContent) content.keep();
        reject(error);
      };
      this.#writer.push(new KeepJob(summary, parts, kept, refused));
    });
  }

  /** Contents in files: those of our store as they are, others by way of it. */
  async #keepLarge(
    envelope: QueuedEnvelope,
    content: Content,
    how: HowKept,
  ): Promise<void> {
    if (content instanceof FileContent && content.isIn(this.bodies)) {
      await content.sync();
      return await this.#commit(envelope, content, how);
    }
    const body: StoredBody = this.bodies.create(envelope.id);
    try {
      for await (const piece of content.read()) await body.write(piece);
      const copy = await body.finish();
      if (copy instanceof FileContent) await copy.sync();
      await this.#commit(envelope, copy, how);
    } finally {
      await body.discard();
    }
  }

  // ── What becomes of messages ─────────────────────────────────────────────────────────────────────

  async record(outcomes: readonly RecordedOutcome[]): Promise<void> {
    const messages = this.#byMessage(outcomes);
    if (messages.length === 0) return;
    await new Promise<void>((resolve, reject) => {
      const recorded = (entry: Entry) => {
        this.#schedule.cleared(entry.id);
        if (entry.isFinished) this.#drop(entry);
        else this.#schedule.reset(entry);
      };
      this.#writer.push(new OutcomesJob(messages, recorded, { resolve, reject }));
    });
  }

  #byMessage(outcomes: readonly RecordedOutcome[]): MessageOutcomes[] {
    const byEntry = new Map<Entry, RecordedOutcome[]>();
    for (const outcome of outcomes) {
      const entry = this.#queue.get(outcome.id);
      if (!entry || outcome.recipient >= entry.recipients) continue;
      const its = byEntry.get(entry);
      if (its) its.push(outcome);
      else byEntry.set(entry, [outcome]);
    }
    return Array.from(byEntry, ([entry, its]) => outcomesOf(entry, its));
  }

  async hold(id: string, reason: string): Promise<void> {
    const entry = this.#queue.get(id);
    if (!entry) return;
    const { held } = entry;
    entry.held = reason; // at once: what hastens it meanwhile leaves it alone
    try {
      await this.#change(entry, { to: "held", reason, at: this.#clock.now() });
    } catch (error) {
      entry.held = held;
      this.#schedule.reset(entry);
      throw error;
    }
  }

  async hasten(id: string): Promise<void> {
    await this.#changeById(id, { to: "hastened", at: this.#clock.now() });
  }

  async release(id: string): Promise<void> {
    await this.#changeById(id, { to: "released", at: this.#clock.now() });
  }

  async remove(id: string): Promise<void> {
    await this.#changeById(id, { to: "removed", at: this.#clock.now() });
  }

  redirect(id: string, redirects: readonly Redirect[]): Promise<void> {
    return this.#changing.run(id, () => this.#redirect(id, redirects));
  }

  async #redirect(id: string, redirects: readonly Redirect[]): Promise<void> {
    const queued = await this.get(id);
    const entry = this.#queue.get(id);
    if (!queued || !entry) return;
    const { recipients, states } = redirectedOf(queued, redirects, this.#clock.now());
    if (states.length === 0) return;
    await new Promise<void>((resolve, reject) => {
      const redirected = () => {
        this.#schedule.cleared(id);
        this.#schedule.reset(entry);
      };
      this.#writer.push(new RedirectJob(entry, recipients, states, redirected, { resolve, reject }));
    });
  }

  amend(
    id: string,
    change: (envelope: QueuedEnvelope) => QueuedEnvelope,
    content?: Content,
  ): Promise<void> {
    return this.#changing.run(id, () => this.#amendWith(id, change, content));
  }

  async #amendWith(
    id: string,
    change: (envelope: QueuedEnvelope) => QueuedEnvelope,
    content: Content | undefined,
  ): Promise<void> {
    if (!content) return await this.#amend(id, change, undefined);
    if (content.memory && content.size <= this.#inLog) return await this.#amend(id, change, content);
    if (content instanceof FileContent && content.isIn(this.bodies)) {
      await content.sync();
      return await this.#amend(id, change, content);
    }
    const body: StoredBody = this.bodies.create(`${id}-${crypto.randomUUID().slice(0, 13)}`);
    try {
      for await (const piece of content.read()) await body.write(piece);
      const copy = await body.finish();
      if (copy instanceof FileContent) await copy.sync();
      await this.#amend(id, change, copy);
    } finally {
      await body.discard();
    }
  }

  async #amend(
    id: string,
    change: (envelope: QueuedEnvelope) => QueuedEnvelope,
    content: Content | undefined,
  ): Promise<void> {
    for (;;) {
      const entry = this.#queue.get(id);
      if (!entry) return;
      const { marks, segment, offset, file: before } = entry;
      const read = await this.#whereItIs(id, async (entry) => {
        const message = await this.#reader.message(entry);
        return {
          message,
          states: await this.#reader.states(entry, message),
          body: content ? content.memory : await this.#reader.body(entry),
        };
      });
      if (!read || entry.isGone) return;
      if (entry.marks !== marks || entry.segment !== segment || entry.offset !== offset) continue;
      const { message, states, body } = read;
      if (message.lost) this.#holdNow(entry, lostRedirect);
      const envelope = change(message.envelope);
      const file = content ? (content instanceof FileContent ? content.id : undefined) : before;
      const check = content
        ? content instanceof FileContent ? content.crc : undefined
        : message.header.bodyCheck;
      const detail = JSON.stringify({ envelope, states } satisfies MessageDetail);
      const amended = {
        destinations: destinationsOf(envelope.recipients),
        file,
        size: content ? content.size : entry.size,
      };
      const isWritten = await new Promise<boolean>((resolve, reject) => {
        const done = () => {
          // At once: whoever closes the arriving body next would unlink the file.
          if (job.isWritten && content instanceof FileContent) content.keep();
          resolve(job.isWritten);
        };
        const failed = (error: Error) => {
          if (job.isWritten && content instanceof FileContent) this.#leaveFor(id, content);
          reject(error);
        };
        const waiter = { resolve: done, reject: failed };
        const job = new SnapshotJob(entry, { detail, body, check }, waiter, amended);
        this.#writer.push(job, "cold");
      });
      if (!isWritten) continue;
      this.#recent.remove(id);
      this.#unlinkLeft(id);
      if (before !== undefined && before !== file) this.#unlinkBody(before);
      return;
    }
  }

  /** It failed, and may be on the disk all the same: should the next start find it there, it has to be whole. */
  #leaveFor(id: string, content: FileContent): void {
    content.keep();
    this.#left.set(id, [...this.#left.get(id) ?? [], content.id]);
  }

  #unlinkLeft(id: string): void {
    for (const file of this.#left.get(id) ?? []) this.#unlinkBody(file);
    this.#left.delete(id);
  }

  #unlinkBody(file: string): void {
    this.#freezer.unlink(() => this.#inBackground(this.#disk.unlink(`${this.#folder}/body/${file}`)));
  }

  async #changeById(id: string, change: Change): Promise<void> {
    const entry = this.#queue.get(id);
    if (entry) await this.#change(entry, change);
  }

  #change(entry: Entry, change: Change): Promise<void> {
    return new Promise((resolve, reject) => {
      const changed = () => {
        this.#schedule.cleared(entry.id);
        if (change.to === "removed") this.#drop(entry);
        else this.#schedule.reset(entry);
      };
      this.#writer.push(new ChangeJob(entry, change, changed, { resolve, reject }));
    });
  }

  #drop(entry: Entry): void {
    const { segment, file, id } = entry;
    this.#queue.remove(entry);
    this.#recent.remove(id);
    this.#unlinkLeft(id);
    if (file !== undefined) this.#unlinkBody(file);
    if (this.#compactor.isWorth(segment)) this.#compactor.wake();
  }

  note(passed: PassedBy): void {
    if (!this.#follower || this.#notes >= mostNotes) return;
    this.#notes++;
    const detail = JSON.stringify({ at: this.#clock.now(), ...passed } satisfies NoteDetail);
    this.#writer.push(new NoteJob(passed.envelope.id, detail, () => this.#notes--));
  }

  // ── Following ────────────────────────────────────────────────────────────────────────────────────

  /** What there is to read of the log at this moment, for its follower; oldest first. */
  extents(): readonly Extent[] {
    return [...this.#segments].map(extentOf).sort((a, b) => a.number - b.number);
  }

  /** Lets the follower read what was noted until now. */
  flush(): Promise<void> {
    return this.#writer.flush();
  }

  /** The follower wants less than before: segments may be free. */
  followed(): void {
    this.#compactor.wake();
  }

  // ── Reading ──────────────────────────────────────────────────────────────────────────────────────

  async get(id: string): Promise<Queued | undefined> {
    const recent = this.#recent.get(id);
    const entry = this.#queue.get(id);
    if (entry && recent && !entry.marks) {
      const states = recent.envelope.recipients.map((_, i) => stateOf(entry, i, undefined));
      return { envelope: recent.envelope, states, held: entry.held, size: entry.size };
    }
    return await this.#whereItIs(id, async (entry) => {
      const { size } = entry;
      const message = await this.#reader.message(entry);
      if (message.lost) this.#holdNow(entry, lostRedirect);
      const { held } = entry;
      return { envelope: message.envelope, states: await this.#reader.states(entry, message), held, size };
    });
  }

  async content(id: string): Promise<Content | undefined> {
    const recent = this.#recent.get(id);
    if (recent?.content && this.#queue.get(id)) return recent.content;
    return await this.#whereItIs(id, (entry) => this.#reader.content(entry));
  }

  /** Reads something of a message; again, where it was rewritten or went meanwhile. */
  async #whereItIs<T>(id: string, read: (entry: Entry) => Promise<T>): Promise<T | undefined> {
    for (;;) {
      const entry = this.#queue.get(id);
      if (!entry) return undefined;
      const { segment, offset, marks } = entry;
      const isAsItWas = () => entry.segment === segment && entry.offset === offset && entry.marks === marks;
      try {
        const result = await read(entry);
        if (isAsItWas()) return result;
      } catch (error) {
        if (entry.isGone || !isAsItWas()) continue;
        if (error instanceof Damaged) await this.#damaged(entry, error);
        throw error;
      }
    }
  }

  /** Holds a message that can't be delivered as it was kept; one without a readable envelope is set aside. */
  async #damaged(entry: Entry, error: Damaged): Promise<void> {
    this.#holdNow(entry, `damaged: ${error.message}`);
    const { segment, offset } = entry;
    const isReadable = await this.#reader.message(entry).then(() => true, (why) => !(why instanceof Damaged));
    if (isReadable || entry.isGone || entry.segment !== segment) return;
    const bytes = new Uint8Array(entry.octets);
    const octets = await this.#disk.readRange(segment.path, offset, bytes);
    const copy = `${this.#folder}/corrupt/${entry.id}`;
    await setAside(this.#disk, this.#folder, copy, bytes.subarray(0, octets));
    this.#log.error("spool: damage set aside", { id: entry.id, file: segment.path, offset, copy });
    await this.#change(entry, { to: "removed", at: this.#clock.now() });
  }

  async *list(): AsyncGenerator<Queued> {
    const entries = [...this.#queue.entries()];
    for (let at = 0; at < entries.length; at += listedAtOnce) {
      const some = entries.slice(at, at + listedAtOnce).map(async ({ id }) => {
        return await this.get(id).catch((error) => {
          this.#log.error("spool: message can't be listed", { id, error: `${error}` });
        });
      });
      for (const queued of await Promise.all(some)) if (queued) yield queued;
    }
  }

  get size(): number {
    return this.#queue.size;
  }

  census(now: number): Census {
    return this.#queue.census(now);
  }

  room(): "room" | "full" | "failing" {
    const room = this.#reserve.room(this.bodies.memoryUsed);
    // What is only kept to be followed may be what is missing.
    if (room === "full" && this.#follower) this.#compactor.wake();
    return room === "room" && this.#writer.fault ? "failing" : room;
  }

  // ── Copying ──────────────────────────────────────────────────────────────────────────────────────

  /** Keeps all files from now on until it is released, for who copies them while mail goes on. */
  freeze(): Freeze {
    const [disk, folder, segments, queue] = [this.#disk, this.#folder, this.#segments, this.#queue];
    return this.#freezer.freeze(() => cut({ disk, folder, segments, queue }));
  }

  // ── When ─────────────────────────────────────────────────────────────────────────────────────────

  due(now: number, limit: number): readonly Due[] {
    return this.#queue.due(now, limit);
  }

  get nextDue(): number {
    return this.#queue.next;
  }

  postpone(id: string, at: number): void {
    const entry = this.#queue.get(id);
    if (!entry) return;
    this.#schedule.postpone(entry, at);
    if (at !== Infinity) this.#recent.remove(id); // its attempt does not follow at once: the memory is others'
  }

  attempting(ids: readonly string[]): void {
    this.#schedule.attempting(ids);
  }

  onDue(callback: () => void): void {
    this.#schedule.onDue(callback);
  }
}

async function readAll(folder: string, disk: Disk, log: Log): Promise<Replayed> {
  await disk.makeFolder(`${folder}/body`);
  await disk.syncFolder(folder.slice(0, folder.lastIndexOf("/")) || "/");
  return await replay({ disk, folder, log });
}
