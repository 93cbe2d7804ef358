/**
 * Files that stay while somebody copies them (`backup`): nothing is deleted between `freeze` and `release`, and the lengths that
 * `cut` tells make a queue as it stood at that moment, as a power cut would have left it. Mail goes on meanwhile.
 */

import type { Disk } from "./disk.ts";
import type { Queue } from "./queue.ts";
import { segmentHeaderSize } from "./record.ts";
import type { Segment } from "./segment.ts";

/** A file of the spool, and how much of it belongs to the copy. */
export interface FrozenFile {
  /** Below the spool's folder: `0000000001-….hot`, `body/…`. */
  readonly name: string;
  /** Octets; what lies behind them came later. */
  readonly octets: number;
  /** `maybe`: of a message that is being decided; it goes if that is refused. */
  readonly needed: "yes" | "maybe";
}

/** The files of a spool, kept. */
export interface Freeze {
  /**
   * The queue as it stands at this moment: all that was acknowledged before is in it.
   *
   * @throws what the disk throws.
   */
  cut(): Promise<readonly FrozenFile[]>;
  /** `thawed`: the disk became full, and space was worth more than a copy, which may have holes. */
  readonly state: "whole" | "thawed";
  /** Files may go again. */
  release(): void;
}

/** Who keeps files, and what is deleted when nobody does any more. */
export class Freezer {
  readonly #freezes = new Set<{ state: Freeze["state"] }>();
  #later: (() => void)[] = [];

  /** @param isFull Whether space is so scarce that nothing waits. @param thawed Called when files may go. */
  constructor(readonly isFull: () => boolean, readonly thawed: () => void) {}

  /** Whether files have to stay. */
  get isFrozen(): boolean {
    if (this.#freezes.size > 0 && this.isFull()) {
      for (const freeze of this.#freezes) freeze.state = "thawed";
      this.#freezes.clear();
      this.#thaw();
    }
    return this.#freezes.size > 0;
  }

  /** Deletes something, now or when nobody needs it. */
  unlink(now: () => void): void {
    if (this.isFrozen) this.#later.push(now);
    else now();
  }

  freeze(cut: Freeze["cut"]): Freeze {
    const held: { state: Freeze["state"] } = { state: "whole" };
    this.#freezes.add(held);
    return {
      cut,
      get state() {
        return held.state;
      },
      release: () => {
        if (this.#freezes.delete(held) && this.#freezes.size === 0) this.#thaw();
      },
    };
  }

  /** For the end: whoever still copies is told so. */
  close(): void {
    for (const freeze of this.#freezes) freeze.state = "thawed";
    this.#freezes.clear();
    this.#thaw();
  }

  #thaw(): void {
    for (const now of this.#later.splice(0)) now();
    this.thawed();
  }
}

/** What a queue is made of. */
export interface Cut {
  readonly disk: Disk;
  readonly folder: string;
  readonly segments: Iterable<Segment>;
  readonly queue: Queue;
}

/** What is durable at this moment, as a power cut would leave it: so a start makes of the copy what it makes of that. */
export async function cut({ disk, folder, segments, queue }: Cut): Promise<FrozenFile[]> {
  const files: FrozenFile[] = [];
  for (const { path, size, isGoing } of segments) {
    // One that failed with its first batch has no header: nothing in it counts.
    const isWorth = size >= segmentHeaderSize && !isGoing;
    if (isWorth) files.push({ name: path.slice(folder.length + 1), octets: size, needed: "yes" });
  }
  const needed = new Set<string>();
  for (const { file } of queue.entries()) if (file !== undefined) needed.add(file);
  // Those of messages that are just being kept, too: a start removes what nobody needs.
  for (const name of await disk.list(`${folder}/body`)) {
    const octets = await disk.size(`${folder}/body/${name}`).catch((error) => {
      if (needed.has(name) || !(error instanceof Deno.errors.NotFound)) throw error;
    });
    if (octets === undefined) continue;
    files.push({ name: `body/${name}`, octets, needed: needed.has(name) ? "yes" : "maybe" });
  }
  return files;
}
