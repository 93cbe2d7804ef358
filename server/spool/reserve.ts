/**
 * Free space: what is left for messages, and a reserve of files full of zeros that become segments when the disk is full, so that
 * outcomes can still be recorded and old segments rewritten, which frees more.
 */
import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";
import type { Disk } from "./disk.ts";
import type { SegmentKind } from "./record.ts";
import { type NewSegment, SegmentFile } from "./segment_file.ts";

/** What a reserve needs. */
export interface ReserveOptions {
  readonly disk: Disk;
  readonly folder: string;
  readonly clock: Clock;
  readonly log: Log;
  /** Octets of the reserve, half of them for outcomes, half for rewriting; 0: none. */
  readonly reserve: number;
  /** Octets that stay free: with less, no message is taken. */
  readonly room: number;
}

/** How old a figure may be, and how often a full disk is looked at, milliseconds. */
const [fresh, patience] = [1_000, 5_000];
const kinds = ["hot", "cold"] as const;

export class Reserve {
  readonly #options: ReserveOptions;
  #free = Infinity;
  #asked = -Infinity;
  #isFull = false;
  /** There is less than what has to stay free: so far only said, by the log and to MAIL. */
  #isLow = false;
  #cancel: (() => void) | undefined;
  #checking: Promise<void> | undefined;
  #isClosed = false;

  constructor(options: ReserveOptions) {
    this.#options = options;
  }

  /** Makes what is missing of it, or finds that there is no space for that. @throws where the disk says something else. */
  async open(): Promise<void> {
    try {
      this.#free = await this.#options.disk.free(this.#options.folder);
      this.#compare();
      await this.#fill();
    } catch (error) {
      if (!isFullDisk(error)) throw error;
      this.blame(error);
    }
  }

  /** Ends what is under way. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancel?.();
    await this.#checking;
  }

  /** No message can be taken until there is space again. */
  get isFull(): boolean {
    return this.#isFull;
  }

  /** Whether there is space for messages beside so many octets that are on their way. Asks the disk now and then. */
  room(inProgress: number): "room" | "full" {
    if (this.#options.clock.monotonic() - this.#asked > fresh) this.#check();
    return this.#isFull || this.#free - inProgress < this.#options.room ? "full" : "room";
  }

  /** The disk failed: because it is full? */
  blame(cause: unknown): void {
    if (!isFullDisk(cause) || this.#isFull) return;
    this.#isFull = true;
    this.#options.log.error("spool: the disk is full: no mail is taken until there is space", {
      folder: this.#options.folder,
    });
    this.#later();
  }

  /** On a full disk, a segment made of the reserve, where there is some left. @throws what the disk throws. */
  async spend(made: NewSegment): Promise<SegmentFile | undefined> {
    const { disk, folder, reserve } = this.#options;
    if (!this.#isFull || !(await disk.list(folder)).includes(nameOf(made.kind))) return undefined;
    return await SegmentFile.of(`${folder}/${nameOf(made.kind)}`, { ...made, limit: reserve / 2 });
  }

  #later(): void {
    this.#cancel?.();
    if (!this.#isClosed) this.#cancel = this.#options.clock.after(patience, () => this.#check());
  }

  #check(): void {
    this.#asked = this.#options.clock.monotonic();
    this.#checking ??= this.#look().catch((error) => {
      this.#options.log.warning("spool: can't tell how much space is free", { error: `${error}` });
    }).finally(() => {
      this.#checking = undefined;
      if (this.#isFull || this.#isLow) this.#later();
    });
  }

  async #look(): Promise<void> {
    const { disk, folder, reserve, room } = this.#options;
    this.#free = await disk.free(folder);
    if (!this.#isFull) return this.#compare();
    if (this.#free < room + reserve) return;
    await this.#fill();
    this.#isFull = false;
    this.#isLow = true; // until the next line
    this.#compare();
  }

  /** Tells an operator when space runs low, and when there is enough. */
  #compare(): void {
    const { folder, room, log } = this.#options;
    const isLow = this.#free < room;
    if (isLow === this.#isLow) return;
    this.#isLow = isLow;
    if (!isLow) return log.info("spool: there is space again", { folder, free: this.#free });
    log.warning("spool: too little space: no mail is taken until there is more", {
      folder,
      free: this.#free,
      wanted: room,
    });
    this.#later();
  }

  async #fill(): Promise<void> {
    const { disk, folder, reserve } = this.#options;
    if (reserve === 0) return;
    const names = await disk.list(folder);
    for (const name of names) {
      if (kinds.some((kind) => name === newName(kind))) await disk.unlink(`${folder}/${name}`);
    }
    for (const kind of kinds) {
      if (!names.includes(nameOf(kind))) await this.#make(kind, reserve / 2);
    }
  }

  async #make(kind: SegmentKind, octets: number): Promise<void> {
    const { disk, folder } = this.#options;
    const file = await disk.openNew(`${folder}/${newName(kind)}`);
    try {
      const zeros = new Uint8Array(Math.min(octets, 1024 * 1024));
      for (let left = octets; left > 0; left -= zeros.length) await file.write(zeros.subarray(0, left));
      await file.sync();
    } finally {
      file.close();
    }
    await disk.rename(`${folder}/${newName(kind)}`, `${folder}/${nameOf(kind)}`);
    await disk.syncFolder(folder);
  }
}

function nameOf(kind: SegmentKind): string {
  return `reserve-${kind}`;
}

function newName(kind: SegmentKind): string {
  return `reserve-${kind}.new`;
}

/** ENOSPC or EDQUOT. */
export function isFullDisk(error: unknown): boolean {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return code === "ENOSPC" || code === "EDQUOT";
}
