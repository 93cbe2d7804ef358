/**
 * The next segment, written full of zeros while the present one is filled: what is overwritten needs no new blocks and no journal,
 * so that each fdatasync takes about half as long as one that lets a file grow.
 */
import type { Disk } from "./disk.ts";
import type { Reserve } from "./reserve.ts";
import { type NewSegment, SegmentFile } from "./segment_file.ts";

/** What spares are made of. */
export interface SpareOptions {
  readonly disk: Disk;
  readonly folder: string;
  readonly reserve: Pick<Reserve, "room" | "blame">;
  /** Octets of a segment. */
  readonly segmentSize: number;
  /** `none`: every segment grows as it is written. */
  readonly spares: "ahead" | "none";
}

const [ready, unfinished] = ["spare", "spare.new"];
/** Octets written and synced at a time: more would keep the commits of others waiting behind them. */
const step = 1024 * 1024;

/** Keeps one spare segment ready. */
export class Spare {
  readonly #options: SpareOptions;
  #state: "none" | "ready" = "none";
  #making: Promise<void> | undefined;
  #isClosed = false;

  constructor(options: SpareOptions) {
    this.#options = options;
  }

  /** Removes what the last process left: after a crash nobody knows what is in it. @throws what the disk throws. */
  async open(): Promise<void> {
    const { disk, folder } = this.#options;
    const names = await disk.list(folder);
    for (const name of [ready, unfinished]) if (names.includes(name)) await disk.unlink(`${folder}/${name}`);
  }

  /** Ends what is under way, and leaves nothing behind. What can't be removed the next start removes. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#making;
    await this.open().catch(() => {});
  }

  /** The spare as a segment, where one is ready. @throws what the disk throws. */
  async take(made: NewSegment): Promise<SegmentFile | undefined> {
    if (this.#state === "none") return undefined;
    this.#state = "none";
    return await SegmentFile.of(`${this.#options.folder}/${ready}`, made);
  }

  /** Makes one, while nobody waits. It is only for speed: where it fails, or there is little space, segments grow. */
  prepare(): void {
    const { reserve, segmentSize, spares } = this.#options;
    if (spares === "none" || this.#isClosed || this.#state === "ready" || this.#making) return;
    if (reserve.room(segmentSize) === "full") return;
    this.#making = this.#make().catch((error) => reserve.blame(error)).finally(() =>
      this.#making = undefined
    );
  }

  async #make(): Promise<void> {
    const { disk, folder, segmentSize } = this.#options;
    await this.open(); // what an attempt that failed has left
    const file = await disk.openNew(`${folder}/${unfinished}`);
    try {
      const zeros = new Uint8Array(Math.min(segmentSize, step));
      for (let left = segmentSize; left > 0 && !this.#isClosed; left -= zeros.length) {
        await file.write(zeros.subarray(0, left));
        await file.sync();
      }
    } finally {
      file.close();
    }
    if (this.#isClosed) return;
    await disk.rename(`${folder}/${unfinished}`, `${folder}/${ready}`);
    this.#state = "ready";
  }
}
