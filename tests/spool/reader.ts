/** Who follows the log in the simulator: reads at random times, remembers what it has seen, and wants what it has not. */
import { ok } from "node:assert/strict";
import type { Disk } from "../../server/spool/disk.ts";
import type { Extent, Follower } from "../../server/spool/follower.ts";
import type { LogSpool } from "../../server/spool/log.ts";
import { RecordType } from "../../server/spool/record.ts";
import { scan } from "../../server/spool/scan.ts";
import { Segment } from "../../server/spool/segment.ts";
import { decodeAbout, decodeMessage } from "../../server/spool/summary.ts";

/** What it knows is durable: another disk than the one that is cut off. */
export class SimReader implements Follower {
  patience = Infinity;
  /** Messages and notes that were seen. */
  readonly seen = new Set<string>();
  /** Segments that were deleted before they were read. */
  misses = 0;
  readonly #read = new Map<string, number>();

  constructor(readonly folder: string) {}

  wants({ nonce, end, isClosed }: Extent): boolean {
    return !isClosed || (this.#read.get(nonce) ?? 0) < end;
  }

  missed({ nonce }: Extent): void {
    this.misses++;
    this.#read.set(nonce, Infinity);
  }

  /** Reads what there is; what it could not read whole it reads again. */
  async follow(spool: LogSpool, disk: Disk): Promise<void> {
    for (const extent of spool.extents()) {
      if ((this.#read.get(extent.nonce) ?? 0) >= extent.end) continue;
      await this.#scan(disk, extent);
      this.#read.set(extent.nonce, extent.end);
    }
    spool.followed();
  }

  /** Whatever was kept was seen, unless it was missed. */
  check(ids: Iterable<string>): void {
    for (const id of ids) {
      ok(this.seen.has(id) || this.misses > 0, `${id} was kept, and the log does not show it`);
    }
  }

  async #scan(disk: Disk, extent: Extent): Promise<void> {
    const segment = new Segment(this.folder, extent, "closed");
    for await (const found of scan(disk, segment, extent.end)) {
      if (found.found === "damage") continue;
      const { type } = found.header;
      if (type === RecordType.message) this.seen.add(decodeMessage(found.summary).id);
      if (type === RecordType.note) this.seen.add(decodeAbout(found.summary).id);
    }
  }
}
