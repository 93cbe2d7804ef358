/**
 * What became of each message, for `track`: followed from the queue's log by a Worker, since `node:sqlite` blocks the thread it is
 * on. Mail never waits for it: whatever is wrong with the database is a line in the log, and tried again.
 */
import type { Clock } from "../clock.ts";
import { assertRoomForWorker } from "../descriptors.ts";
import type { Log } from "../log.ts";
import type { MailHistory } from "../plugin.ts";
import type { Extent, Follower } from "../spool/follower.ts";
import type { FromTracker, ToTracker } from "./request.ts";
import type { Tracked, TrackQuery } from "./steps.ts";

/** What following needs. */
export interface TrackingOptions {
  /** Of the database. */
  readonly path: string;
  readonly clock: Clock;
  readonly log: Log;
  /** Milliseconds after which messages are forgotten. */
  readonly keep: number;
  /** Octets of the log that wait for it; default 1 GiB. */
  readonly patience?: number;
}

/** What is followed. */
export interface Followed {
  extents(): readonly Extent[];
  /** Writes what was noted until now. */
  flush(): Promise<void>;
  followed(): void;
}

/** Milliseconds between two looks at the log; after trouble; and those a question waits for what happened just now. */
const [often, afterTrouble, catchingUp] = [500, 30_000, 5_000];

/** Follows a queue. Its methods never throw for the database's sake, `find` aside. */
export class Tracking implements Follower {
  readonly patience: number;
  readonly #options: TrackingOptions;
  #keep: number;
  #worker: Conversation | undefined;
  #followed: Followed | undefined;
  /** Segments that were read, and how far. */
  #places = new Map<string, { readonly at: number; readonly done: boolean }>();
  #missed: Extent[] = [];
  readonly #givenUp = new Set<string>();
  #cancel: (() => void) | undefined;
  #reading: Promise<void> | undefined;
  #trouble: string | undefined;
  #isClosed = false;

  constructor(options: TrackingOptions) {
    this.#options = options;
    this.#keep = options.keep;
    this.patience = options.patience ?? 1024 ** 3;
  }

  /** How long messages are remembered from now on. */
  set keep(ms: number) {
    this.#keep = ms;
  }

  /** Begins to read. */
  follow(followed: Followed): void {
    this.#followed = followed;
    this.#later(0);
  }

  wants({ nonce }: Extent): boolean {
    return !this.#givenUp.has(nonce) && !(this.#places.get(nonce)?.done ?? false);
  }

  missed(extent: Extent): void {
    this.#missed.push(extent);
    this.#givenUp.add(extent.nonce);
    this.#options.log.warning("tracking: a part of the log goes unread", { file: extent.path });
  }

  /**
   * Finds messages, those included that came just now.
   *
   * @throws {Error} where the database can't be had at the moment; the message is for people.
   */
  async find(query: TrackQuery): Promise<Tracked> {
    const { clock } = this.#options;
    const until = clock.monotonic() + catchingUp;
    await this.#followed?.flush();
    while (clock.monotonic() < until && await this.#read() === "more");
    if (!this.#worker) {
      throw new Error(`The tracking database can't be used: ${this.#trouble ?? "it is closed"}`);
    }
    const answer = await this.#worker.ask({ do: "find", query });
    if (answer.kind !== "found") throw new Error(`The tracking database can't be used: ${troubleOf(answer)}`);
    return { ...answer.found, behind: this.#behind() };
  }

  /** What became of mail since a place (`host.history`). @throws {Error} where the database can't be had at the moment. */
  async after(place: string | undefined, limit: number): Promise<MailHistory> {
    const { clock } = this.#options;
    if (place === undefined) { // what lies before now isn't asked for
      const until = clock.monotonic() + catchingUp;
      while (clock.monotonic() < until && await this.#read() === "more");
    }
    if (!this.#worker) {
      throw new Error(`The tracking database can't be used: ${this.#trouble ?? "it is not open yet"}`);
    }
    const answer = await this.#worker.ask({ do: "after", place, limit });
    if (answer.kind !== "history") {
      throw new Error(`The tracking database can't be used: ${troubleOf(answer)}`);
    }
    return answer.history;
  }

  /** Reads the rest of the log, as far as there is time for that, and closes the database. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancel?.();
    const { clock } = this.#options;
    const until = clock.monotonic() + catchingUp;
    await this.#followed?.flush();
    while (this.#followed && clock.monotonic() < until && await this.#read() === "more");
    await this.#worker?.close();
    this.#worker = undefined;
  }

  // ── Reading ──────────────────────────────────────────────────────────────────────────────────────

  #later(ms: number): void {
    this.#cancel?.();
    if (!this.#isClosed) this.#cancel = this.#options.clock.after(ms, () => void this.#look());
  }

  async #look(): Promise<void> {
    const isDue = this.#isDue();
    const left = isDue ? await this.#read() : "all";
    this.#later(left === "more" ? 0 : left === "trouble" ? afterTrouble : often);
  }

  #expired = -Infinity;

  /** Whether there is something to do: a Worker that is asked for nothing costs a wake-up. */
  #isDue(): boolean {
    const { clock } = this.#options;
    if (!this.#worker || clock.monotonic() - this.#expired > 60_000) {
      this.#expired = clock.monotonic();
      return true;
    }
    return this.#behind() > 0 || this.#missed.length > 0;
  }

  /** Octets that are not read. */
  #behind(): number {
    let octets = 0;
    for (const { nonce, end, isClosed } of this.#followed?.extents() ?? []) {
      const place = this.#places.get(nonce);
      if (this.#givenUp.has(nonce) || place?.done) continue;
      // A closed segment whose records are all read is still to be marked as such.
      octets += Math.max(end - (place?.at ?? 0), isClosed ? 1 : 0);
    }
    return octets;
  }

  /** One portion; who comes while one is being read has the next. */
  async #read(): Promise<"more" | "all" | "trouble"> {
    while (this.#reading) await this.#reading;
    let result: "more" | "all" | "trouble" = "trouble";
    this.#reading = this.#portion().then((left) => void (result = left));
    await this.#reading.finally(() => this.#reading = undefined);
    return result;
  }

  async #portion(): Promise<"more" | "all" | "trouble"> {
    const { clock } = this.#options;
    try {
      const worker = this.#worker ?? await this.#open();
      const missed = this.#missed.splice(0);
      const extents = this.#followed!.extents();
      const now = clock.now();
      const answer = await worker.ask({ do: "read", extents, missed, now, before: now - this.#keep });
      if (answer.kind !== "read") {
        this.#missed.unshift(...missed);
        throw new Error(troubleOf(answer));
      }
      this.#note(answer.places);
      if (this.#trouble !== undefined) this.#options.log.info("tracking: goes on");
      this.#trouble = undefined;
      return answer.more ? "more" : "all";
    } catch (error) {
      await this.#failed(error);
      return "trouble";
    }
  }

  #note(places: (FromTracker & { kind: "read" | "opened" })["places"]): void {
    const isFreer = places.some(({ nonce, done }) => done && !this.#places.get(nonce)?.done);
    this.#places = new Map(places.map((place) => [place.nonce, place]));
    for (const nonce of this.#givenUp) this.#forgetIfGone(nonce);
    if (isFreer) this.#followed?.followed();
  }

  #forgetIfGone(nonce: string): void {
    if (!this.#followed?.extents().some((extent) => extent.nonce === nonce)) this.#givenUp.delete(nonce);
  }

  async #open(): Promise<Conversation> {
    const { path, clock, log } = this.#options;
    const worker = new Conversation();
    this.#worker = worker;
    const answer = await worker.ask({ do: "open", path, now: clock.now() });
    if (answer.kind !== "opened") throw new Error(troubleOf(answer));
    if (answer.rebuilt !== undefined) {
      log.warning("tracking: the database is made anew from what the log still has", { why: answer.rebuilt });
    }
    this.#note(answer.places);
    return worker;
  }

  /** Says so once, and begins anew after a while. */
  async #failed(error: unknown): Promise<void> {
    const why = error instanceof Error ? error.message : String(error);
    if (this.#trouble === undefined) {
      this.#options.log.error("tracking: the database can't be used, mail goes on without it", {
        file: this.#options.path,
        error: why,
      });
    }
    this.#trouble = why;
    const worker = this.#worker;
    this.#worker = undefined;
    await worker?.close();
  }
}

function troubleOf(answer: FromTracker): string {
  return answer.kind === "trouble" ? answer.error : `it answered ${answer.kind}`;
}

/** One thing at a time is asked of a Worker, and answered. */
class Conversation {
  readonly #worker: Worker;
  #asked: PromiseWithResolvers<FromTracker> | undefined;
  #before: Promise<unknown> = Promise.resolve();
  #broken: Error | undefined;

  constructor() {
    assertRoomForWorker();
    // This literal is what `deno compile` and bundlers look for: keep it whole, and the only one.
    this.#worker = new Worker(new URL("./tracking_worker.ts", import.meta.url), { type: "module" });
    this.#worker.onmessage = ({ data }: MessageEvent<FromTracker>) => {
      this.#asked?.resolve(data);
      this.#asked = undefined;
    };
    this.#worker.onerror = (event) => {
      event.preventDefault(); // else it ends the process, and mail with it
      this.#break(new Error(`its worker stopped: ${event.message}`));
    };
  }

  ask(question: ToTracker): Promise<FromTracker> {
    const answer = this.#before.then(() => {
      if (this.#broken) throw this.#broken;
      this.#asked = Promise.withResolvers();
      this.#worker.postMessage(question);
      return this.#asked.promise;
    });
    this.#before = answer.catch(() => {});
    return answer;
  }

  /** Lets go of the database and ends the Worker. */
  async close(): Promise<void> {
    await this.ask({ do: "close" }).catch(() => {});
    this.#break(new Error("it is closed"));
  }

  #break(error: Error): void {
    this.#broken ??= error;
    this.#worker.terminate();
    this.#asked?.reject(this.#broken);
    this.#asked = undefined;
  }
}
