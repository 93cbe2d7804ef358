/** Whether there is room for another message: asked at MAIL, so that a full disk is told of before it is full (CASES Q03). */
import { statfs } from "node:fs/promises";
import type { Clock } from "./clock.ts";
import { replies, type Reply } from "./smtp/reply.ts";

/** How long one look at the disk is good for, in milliseconds. */
const freshness = 1_000;
/** The least that has to stay free. */
const least = 256 * 1024 ** 2;

/** Free octets of the disk a folder is on. */
export type FreeSpace = (folder: string) => Promise<number>;

const systemFree: FreeSpace = async (folder) => {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
};

/** Watches the free space of a folder's disk without ever making a session wait for it. */
export class Room {
  #free = Infinity;
  #looked = -Infinity;
  #looking = false;

  constructor(
    readonly folder: string,
    readonly clock: Clock,
    /** Octets of a message, at most. */
    readonly message: () => number,
    readonly freeSpace: FreeSpace = systemFree,
  ) {}

  /** Looks once; to be awaited at start, so that the first session is told the truth. */
  async look(): Promise<void> {
    this.#looking = true;
    try {
      this.#free = await this.freeSpace(this.folder);
    } catch {
      this.#free = Infinity; // a disk that can't be asked will say so when it is written to
    } finally {
      this.#looking = false;
      this.#looked = this.clock.monotonic();
    }
  }

  /** The reply to MAIL when the disk is nearly full: less than max(2 messages, 256 MiB) is free. */
  full(): Reply | undefined {
    if (!this.#looking && this.clock.monotonic() - this.#looked > freshness) void this.look();
    return this.#free < Math.max(2 * this.message(), least) ? replies.noRoom : undefined;
  }
}
