/**
 * Notes of which messages are being tried, so that one which ends the process is found: after a start, what was under way when
 * the last process ended is under suspicion, is tried alone, and is held the second time. The notes are never synced: they
 * have to survive the process, not the power, and cost one small write for a whole round of attempts.
 *
 * A line is `+id mark crashes` for an attempt, `-id` for one that ended without an outcome, `?id mark crashes` for a
 * suspicion. The mark tells how the message stood: once an outcome is in the log it is another, so ends need no lines.
 */
import type { Log } from "../log.ts";
import { checksum } from "./checksum.ts";
import type { Disk, NotesFile } from "./disk.ts";
import { type Entry, type Queue, stride } from "./queue.ts";

/** Octets after which the notes are written anew: ended attempts are in there, too. */
const most = 256 * 1024;
const text = new TextEncoder();

/** Attempts under way, and those under suspicion. */
export class Attempts {
  /** Messages that were being tried when the process ended, with how often in a row. */
  readonly suspects = new Map<string, number>();
  readonly #notes: NotesFile;
  readonly #queue: Queue;
  readonly #log: Log;
  readonly #running = new Map<string, string>();
  #size = 0;
  #isBroken = false;

  private constructor(notes: NotesFile, queue: Queue, log: Log) {
    this.#notes = notes;
    this.#queue = queue;
    this.#log = log;
  }

  /** Reads what the last process left. @throws what the disk throws. */
  static async open(path: string, disk: Disk, queue: Queue, log: Log): Promise<Attempts> {
    const notes = await disk.openNotes(path);
    const bytes = new Uint8Array(await disk.size(path));
    const octets = await disk.readRange(path, 0, bytes);
    const attempts = new Attempts(notes, queue, log);
    attempts.#read(new TextDecoder().decode(bytes.subarray(0, octets)));
    attempts.#rewrite();
    return attempts;
  }

  /** Attempts begin. Never throws: without notes the mail still flows. */
  begin(entries: readonly Entry[]): void {
    let lines = "";
    for (const entry of entries) {
      const mark = markOf(entry);
      this.#running.set(entry.id, mark);
      lines += `+${entry.id} ${mark} ${this.suspects.get(entry.id) ?? 0}\n`;
    }
    this.#append(lines);
  }

  /** An outcome is in the log, or the message is gone: nothing is held against it. Says whether it was under suspicion. */
  clear(id: string): boolean {
    this.#running.delete(id);
    return this.suspects.delete(id);
  }

  /** An attempt ended without an outcome. */
  giveUp(id: string): void {
    if (this.#running.delete(id)) this.#append(`-${id}\n`);
  }

  /** Attempts that are still under way are not to blame for this end. */
  close(): void {
    this.#running.clear();
    this.#rewrite();
    this.#notes.close();
  }

  #read(lines: string): void {
    const found = new Map<string, { mark: string; crashes: number }>();
    for (const line of lines.split("\n")) {
      const [, kind, id, mark, crashes] = /^([+?-])(\S+)(?: ([0-9a-f]+) (\d{1,3}))?$/.exec(line) ?? [];
      if (kind === undefined || id === undefined) continue;
      if (kind === "-") found.delete(id);
      else if (mark && crashes) found.set(id, { mark, crashes: Number(crashes) + (kind === "+" ? 1 : 0) });
    }
    for (const [id, { mark, crashes }] of found) {
      const entry = this.#queue.get(id);
      if (entry && markOf(entry) === mark) this.suspects.set(id, crashes);
    }
  }

  #append(lines: string): void {
    this.#try(() => {
      this.#notes.append(text.encode(lines));
      this.#size += lines.length;
    });
    if (this.#size > most) this.#rewrite();
  }

  #rewrite(): void {
    let lines = "";
    for (const [id, crashes] of this.suspects) {
      const entry = this.#queue.get(id);
      if (entry && !this.#running.has(id)) lines += `?${id} ${markOf(entry)} ${crashes}\n`;
    }
    for (const [id, mark] of this.#running) lines += `+${id} ${mark} ${this.suspects.get(id) ?? 0}\n`;
    this.#size = lines.length;
    this.#try(() => this.#notes.replace(text.encode(lines)));
  }

  #try(write: () => void): void {
    try {
      write();
      this.#isBroken = false;
    } catch (error) {
      if (!this.#isBroken) this.#log.warning("spool: can't note attempts", { error: `${error}` });
      this.#isBroken = true;
    }
  }
}

/** How a message stands, without where that is written. */
function markOf({ marks }: Entry): string {
  if (!marks) return "0";
  const standing = new Float64Array(marks.length);
  for (let i = 0; i < marks.length; i++) if (i % stride < 2) standing[i] = marks[i]!;
  return checksum(new Uint8Array(standing.buffer)).toString(16);
}
