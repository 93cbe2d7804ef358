/**
 * The tracking database (SQLite). It blocks: for a Worker. All of it is derived from the log: what can't be read any more is made
 * anew from what the log still has.
 *
 * Messages stand in *parts* of some tens of thousands: the index of one is small enough to be written in memory's speed, and
 * what is too old goes as a whole table, not row by row. A message's later steps may stand in later parts.
 */
import { DatabaseSync, type StatementSync } from "node:sqlite";
import type { MailEvent, MailHistory } from "../plugin.ts";
import { checksum } from "../spool/checksum.ts";
import type { Digest } from "./digest.ts";
import { eventsOf } from "./history.ts";
import { type Gap, normalized, type Step, type Tracked, type TrackedMessage, wordsIn } from "./steps.ts";

/** The form of the tables; a database of another one is made anew. */
const version = 1;
/** Messages of one part. */
const partSize = 50_000;
const day = 86_400_000;
/** Rows of one INSERT: the price of a call is most of a row's. */
const rowsAtOnce = 32;
/** Octets a page has: a message's row is about 700. */
const pageSize = 8192;
/** Gaps that are remembered. */
const mostGaps = 20;

/** How far a segment of the log was read. */
export interface ReadPlace {
  readonly nonce: string;
  readonly at: number;
  /** It was closed, and all of it was read. */
  readonly done: boolean;
}

/** The database was written by another version, or is damaged. */
export class Unreadable extends Error {
  override readonly name = "Unreadable";
}

/** Tables of messages that came at about one time. */
interface Part {
  readonly number: number;
  /** When it was begun, milliseconds since 1970. */
  readonly made: number;
  /** Of the youngest step in it. */
  until: number;
  messages: number;
  /** Transactions so far: each has one row for a message at most. */
  batches: number;
  readonly entries: Inserter;
  readonly words: Inserter;
  readonly find: StatementSync;
  readonly load: StatementSync;
  readonly loadUpTo: StatementSync;
}

/** A place in the history. */
interface HistoryPlace {
  readonly part: number;
  readonly batch: number;
  readonly id: string;
}

/** Behind every queue id. */
const last = "~";

const randomNumber = () => 1 + crypto.getRandomValues(new Uint32Array(1))[0]! % 0x7ffffffe;

/** See the top of this file. */
export class TrackDatabase {
  readonly #db: DatabaseSync;
  /** Oldest first. */
  #parts: Part[] = [];
  readonly #readPlaces = new Map<string, ReadPlace>();
  /** Random, the same as long as the file is: a place in another one means nothing here. */
  #identity = 0;
  /** Random, and how far each part was written when it was opened: a power cut may have taken what came last. */
  readonly #opening = randomNumber();
  readonly #opened = new Map<number, number>();

  /** @throws {Unreadable}, and what SQLite and the disk throw. */
  constructor(path: string) {
    Deno.openSync(path, { create: true, write: true, mode: 0o600 }).close();
    this.#db = new DatabaseSync(path);
    try {
      this.#prepare(path);
    } catch (error) {
      this.#db.close();
      throw isDamage(error) ? new Unreadable(`${path} is damaged: ${(error as Error).message}`) : error;
    }
  }

  #prepare(path: string): void {
    const db = this.#db;
    db.exec(`PRAGMA busy_timeout = 1000; PRAGMA page_size = ${pageSize}; PRAGMA journal_mode = WAL;`);
    // A power cut may forget the last transactions: the log is kept until `settle` has made them durable.
    db.exec("PRAGMA synchronous = NORMAL; PRAGMA cache_size = -16384; PRAGMA wal_autocheckpoint = 2000;");
    const found = Object.values(db.prepare("PRAGMA user_version").get() ?? {})[0];
    if (found !== 0 && found !== version) {
      throw new Unreadable(`${path} is of format ${found}, this program knows ${version}`);
    }
    db.exec(`
      CREATE TABLE IF NOT EXISTS part (
        number INTEGER PRIMARY KEY, made REAL NOT NULL, until REAL NOT NULL, messages INTEGER NOT NULL, batches INTEGER NOT NULL
      );
      CREATE TABLE IF NOT EXISTS place (nonce TEXT PRIMARY KEY, at INTEGER NOT NULL, done INTEGER NOT NULL);
      CREATE TABLE IF NOT EXISTS gap (at REAL NOT NULL, why TEXT NOT NULL);
      PRAGMA user_version = ${version};
    `);
    for (
      const { number, made, until, messages, batches } of db.prepare("SELECT * FROM part ORDER BY number")
        .all()
    ) {
      this.#parts.push({
        ...this.#statements(Number(number)),
        made: Number(made),
        until: Number(until),
        messages: Number(messages),
        batches: Number(batches),
      });
    }
    for (const { number, batches } of this.#parts) this.#opened.set(number, batches);
    this.#identity = Number(Object.values(db.prepare("PRAGMA application_id").get() ?? {})[0]);
    if (this.#identity === 0) db.exec(`PRAGMA application_id = ${this.#identity = randomNumber()}`);
    for (const { nonce, at, done } of db.prepare("SELECT * FROM place").all()) {
      this.#readPlaces.set(String(nonce), { nonce: String(nonce), at: Number(at), done: done === 1 });
    }
  }

  /** How far each segment was read. */
  get places(): ReadonlyMap<string, ReadPlace> {
    return this.#readPlaces;
  }

  close(): void {
    this.#db.close();
  }

  // ── Writing ──────────────────────────────────────────────────────────────────────────────────────

  /** Takes in what was read, with where that ended, in one transaction. @throws what SQLite throws: nothing of it is there then. */
  write(digests: readonly Digest[], places: readonly ReadPlace[], now: number): void {
    this.#transaction(() => {
      const part = this.#partFor(now);
      const rows = new Map<string, Step[]>();
      const words: (readonly [hash: number, id: string])[] = [];
      let messages = 0;
      for (const { id, steps, words: its, kind } of digests) {
        if (kind === "repeat" && (rows.has(id) || this.#isKnown(id))) continue;
        const row = rows.get(id);
        if (row) row.push(...steps);
        else rows.set(id, [...steps]);
        if (steps[0]?.step === "received") messages++;
        for (const word of its) words.push([hashOf(word), id]);
        for (const { at } of steps) {
          if (at === null) continue;
          part.until = Math.max(part.until, at);
        }
      }
      const batch = part.batches + 1;
      part.entries.insert(Array.from(rows, ([id, steps]) => [id, batch, JSON.stringify(steps)]));
      part.words.insert(words.sort(([a], [b]) => a - b)); // neighbours in the index share its pages
      part.batches = batch;
      part.messages += messages;
      this.#savePart(part);
      this.#savePlaces(places);
    });
    for (const place of places) this.#readPlaces.set(place.nonce, place);
  }

  /** Makes all that was written durable, so that the log need not keep it. @throws what SQLite throws. */
  settle(): void {
    this.#db.exec("PRAGMA wal_checkpoint(PASSIVE)");
  }

  /** Looks whether it can be read at all, in no more than a moment. @throws {Unreadable} */
  check(): void {
    try {
      for (const { load, find } of this.#parts) {
        load.get("");
        find.get(0);
      }
    } catch (error) {
      throw new Unreadable((error as Error).message);
    }
  }

  /** Forgets the places of segments that are gone. */
  forget(nonces: readonly string[]): void {
    const remove = this.#db.prepare("DELETE FROM place WHERE nonce = ?");
    this.#transaction(() => nonces.forEach((nonce) => remove.run(nonce)));
    for (const nonce of nonces) this.#readPlaces.delete(nonce);
  }

  /** Something is missing. */
  gap({ at, why }: Gap): void {
    this.#db.prepare("INSERT INTO gap (at, why) VALUES (?, ?)").run(at, why);
    this.#db.prepare(
      "DELETE FROM gap WHERE rowid NOT IN (SELECT rowid FROM gap ORDER BY rowid DESC LIMIT ?)",
    ).run(mostGaps);
  }

  /** Forgets one part of which nothing is younger. @returns Whether there may be another. */
  expire(before: number): boolean {
    const [oldest] = this.#parts;
    this.#db.prepare("DELETE FROM gap WHERE at < ?").run(before);
    if (!oldest || oldest.until >= before) return false;
    const { number } = oldest;
    this.#transaction(() => {
      this.#db.exec(`DROP TABLE entry_${number}; DROP TABLE word_${number};`);
      this.#db.prepare("DELETE FROM part WHERE number = ?").run(number);
    });
    this.#parts.shift();
    return true;
  }

  /** The newest part, or a new one: few messages a day are a part a day, so that what is old can go. */
  #partFor(now: number): Part {
    const newest = this.#parts.at(-1);
    if (newest && newest.messages < partSize && now - newest.made < day) return newest;
    const number = (newest?.number ?? 0) + 1;
    this.#db.exec(`
      CREATE TABLE entry_${number} (id TEXT, batch INTEGER, steps TEXT NOT NULL, PRIMARY KEY (id, batch)) WITHOUT ROWID;
      CREATE TABLE word_${number} (hash INTEGER, id TEXT, PRIMARY KEY (hash, id)) WITHOUT ROWID;
    `);
    const part: Part = { ...this.#statements(number), made: now, until: now, messages: 0, batches: 0 };
    this.#made = part;
    this.#parts.push(part);
    return part;
  }

  /** Made in the transaction under way. */
  #made: Part | undefined;

  #statements(number: number) {
    const db = this.#db;
    return {
      number,
      entries: new Inserter(db, `entry_${number}`, 3),
      words: new Inserter(db, `word_${number}`, 2),
      find: db.prepare(`SELECT id FROM word_${number} WHERE hash = ? ORDER BY id DESC`),
      load: db.prepare(`SELECT steps FROM entry_${number} WHERE id = ? ORDER BY batch`),
      loadUpTo: db.prepare(`SELECT steps FROM entry_${number} WHERE id = ? AND batch <= ? ORDER BY batch`),
    };
  }

  #savePart({ number, made, until, messages, batches }: Part): void {
    this.#db.prepare("INSERT OR REPLACE INTO part VALUES (?, ?, ?, ?, ?)").run(
      number,
      made,
      until,
      messages,
      batches,
    );
  }

  #savePlaces(places: readonly ReadPlace[]): void {
    const save = this.#db.prepare("INSERT OR REPLACE INTO place VALUES (?, ?, ?)");
    for (const { nonce, at, done } of places) save.run(nonce, at, done ? 1 : 0);
  }

  #transaction(work: () => void): void {
    const before = this.#parts.map((part) => ({ ...part }));
    this.#made = undefined;
    this.#db.exec("BEGIN IMMEDIATE");
    try {
      work();
      this.#db.exec("COMMIT");
    } catch (error) {
      for (const [i, part] of before.entries()) Object.assign(this.#parts[i]!, part);
      this.#parts = this.#parts.filter((part) => part !== this.#made);
      try {
        this.#db.exec("ROLLBACK");
      } catch { /* SQLite has rolled back already */ }
      throw isDamage(error) ? new Unreadable((error as Error).message) : error;
    }
  }

  #isKnown(id: string): boolean {
    return this.#load(id)?.steps.some(({ step }) => step === "received") ?? false;
  }

  // ── Finding ──────────────────────────────────────────────────────────────────────────────────────

  /** The newest messages of this id, Message-ID or address. @throws what SQLite throws. */
  find(text: string, limit: number, since = -Infinity): Omit<Tracked, "behind"> {
    const found = new Map<string, TrackedMessage>();
    const byId = this.#load(text.trim());
    if (byId) found.set(byId.id, byId);
    for (const message of this.#byWord(normalized(text), since)) {
      if (found.size > limit) break;
      found.set(message.id, message);
    }
    const newest = [...found.values()].slice(0, limit);
    return {
      messages: newest.sort((a, b) => timeOf(a) - timeOf(b) || (a.id < b.id ? -1 : 1)),
      more: found.size > limit,
      gaps: this.#db.prepare("SELECT at, why FROM gap ORDER BY rowid").all()
        .map(({ at, why }) => ({ at: Number(at), why: String(why) })),
    };
  }

  // ── Reading on

  /** What became of mail since a place. @throws what SQLite throws. */
  after(text: string | undefined, limit: number): MailHistory {
    const newest = this.#parts.at(-1);
    const end = { part: newest?.number ?? 0, batch: newest?.batches ?? 0, id: last };
    if (text === undefined) return { events: [], place: this.#placeText(end), more: false, missed: false };
    const { place, missed } = this.#whereIs(text);
    const events: MailEvent[] = [];
    let left = limit;
    let at = place;
    for (const part of this.#parts) {
      if (part.number < place.part) continue;
      const from = part.number === place.part ? place : { batch: 0, id: last };
      for (const { id, batch, steps } of this.#rows(part.number, from, left)) {
        const news = JSON.parse(steps) as Step[];
        events.push(...eventsOf(id, news, this.#upTo(id, part.number, batch)));
        at = { part: part.number, batch, id };
        left--;
      }
      if (left === 0) break;
    }
    return { events, place: this.#placeText(at), more: left === 0, missed };
  }

  #placeText({ part, batch, id }: HistoryPlace): string {
    return [this.#identity, this.#opening, part, batch, id].join(" ");
  }

  /** Where a reader goes on. */
  #whereIs(text: string): { readonly place: HistoryPlace; readonly missed: boolean } {
    const [identity, opening, part = 0, batch = 0] = text.split(" ", 4).map(Number);
    const id = text.split(" ")[4] ?? "";
    const oldest = this.#parts[0]?.number ?? 1;
    const start = { part: oldest, batch: 0, id: last };
    if (identity !== this.#identity) return { place: start, missed: true };
    if (part < oldest && part > 0) return { place: start, missed: true };
    if (opening === this.#opening) return { place: { part, batch, id }, missed: false };
    const known = this.#opened.get(part);
    if (known !== undefined && batch <= known) return { place: { part, batch, id }, missed: false };
    // What was read after that is gone from here, and read from the log again: other batches hold it now.
    const [reached = oldest, batches = 0] = [...this.#opened].findLast(([number]) => number <= part) ?? [];
    return { place: { part: reached, batch: batches, id: last }, missed: false };
  }

  /** In the order in which they were written. */
  #rows(
    part: number,
    { batch, id }: Pick<HistoryPlace, "batch" | "id">,
    limit: number,
  ): { readonly id: string; readonly batch: number; readonly steps: string }[] {
    // Only where somebody reads the history: it costs the writer an index.
    this.#db.exec(`CREATE INDEX IF NOT EXISTS entry_${part}_batch ON entry_${part} (batch, id)`);
    return this.#db.prepare(
      `SELECT id, batch, steps FROM entry_${part} WHERE (batch, id) > (?, ?) ORDER BY batch, id LIMIT ?`,
    ).all(batch, id, limit).map(({ id, batch, steps }) => ({
      id: String(id),
      batch: Number(batch),
      steps: String(steps),
    }));
  }

  /** A message's steps as they were known then. */
  #upTo(id: string, number: number, batch: number): Step[] {
    const steps: Step[] = [];
    for (const part of this.#parts) {
      if (part.number > number) break;
      for (const { steps: json } of part.loadUpTo.all(id, part.number === number ? batch : Infinity)) {
        steps.push(...JSON.parse(String(json)) as Step[]);
      }
    }
    return inOrder(steps);
  }

  /** Newest first. */
  *#byWord(word: string, since: number): Generator<TrackedMessage> {
    const hash = hashOf(word);
    for (let i = this.#parts.length - 1; i >= 0; i--) {
      const { find, until } = this.#parts[i]!;
      if (until < since) continue;
      for (const row of find.iterate(hash)) {
        const message = this.#load(String((row as { id: unknown }).id), i);
        const [first] = message?.steps ?? [];
        // Another word may have the same hash.
        if (!message || !first || !wordsIn(message.steps).has(word)) continue;
        if ((first.at ?? 0) >= since) yield message;
      }
    }
  }

  /** @param from The part it was found in: later steps are in that, or in later ones. */
  #load(id: string, from = 0): TrackedMessage | undefined {
    const steps: Step[] = [];
    for (const { load } of this.#parts.slice(from)) {
      for (const { steps: json } of load.all(id)) steps.push(...JSON.parse(String(json)) as Step[]);
    }
    if (steps.length === 0) return undefined;
    return { id, steps: inOrder(steps) };
  }
}

/** By time; those that have none stay behind those they came after. */
function inOrder(steps: readonly Step[]): Step[] {
  let last = -Infinity;
  const timed = steps.map((step, i) => ({ step, i, at: last = step.at ?? last }));
  const rank = ({ step }: { step: Step }) => step.step === "received" ? 0 : 1;
  return timed.sort((a, b) => rank(a) - rank(b) || a.at - b.at || a.i - b.i).map(({ step }) => step);
}

const timeOf = ({ steps }: TrackedMessage): number => steps[0]?.at ?? 0;

const utf8 = new TextEncoder();

function hashOf(word: string): number {
  return checksum(utf8.encode(word));
}

/** Whether the file itself is the trouble, not the disk or another process. */
function isDamage(error: unknown): boolean {
  return /malformed|not a database|corrupt|no such table|no such column/i.test(
    error instanceof Error ? error.message : "",
  );
}

/** Inserts many rows with few calls; what is there already stays. */
class Inserter {
  readonly #db: DatabaseSync;
  readonly #sql: (rows: number) => string;
  #many: StatementSync | undefined;
  #one: StatementSync | undefined;

  constructor(db: DatabaseSync, table: string, columns: number) {
    this.#db = db;
    const row = `(${Array(columns).fill("?").join(", ")})`;
    this.#sql = (rows) => `INSERT OR IGNORE INTO ${table} VALUES ${Array(rows).fill(row).join(", ")}`;
  }

  insert(rows: readonly (readonly (string | number)[])[]): void {
    let at = 0;
    for (; at + rowsAtOnce <= rows.length; at += rowsAtOnce) {
      this.#many ??= this.#db.prepare(this.#sql(rowsAtOnce));
      this.#many.run(...rows.slice(at, at + rowsAtOnce).flat());
    }
    for (; at < rows.length; at++) {
      this.#one ??= this.#db.prepare(this.#sql(1));
      this.#one.run(...rows[at]!);
    }
  }
}
