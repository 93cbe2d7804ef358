/** A segment as the others see it: how much of it lives, and what keeps it on the disk. */
import type { Entry } from "./queue.ts";
import { Nonce, type SegmentKind, type SegmentName, segmentName } from "./record.ts";

/**
 * `open`: it is being written. `sealing`: its index is. `closed`: it is never written again, whether it ends in an index or was
 * given up after a fault. `gone`: its file is unlinked, and the folder synced after that.
 */
export type SegmentState = "open" | "sealing" | "closed" | "gone";

/** One file of the log. */
export class Segment implements SegmentName {
  readonly number: number;
  readonly kind: SegmentKind;
  readonly nonce: string;
  readonly path: string;
  readonly key: Nonce;
  state: SegmentState;
  /** Octets written. */
  size = 0;
  /** Octets that count, where a start found that those behind them are void. */
  end = Infinity;
  /** Messages that live here, and octets of their records. */
  live = 0;
  liveOctets = 0;
  /**
   * Segments that hold a copy of a message which some record in here concerns, or a batch that one voids. While such a file
   * exists this one has to: else what was delivered, removed or refused would rise again.
   */
  readonly needs = new Set<Segment>();
  /** It is free, and its file is being deleted, or was: nobody copies it. */
  isGoing = false;
  /** When it was closed, monotonic milliseconds: young ones are left to die by themselves. */
  closed = -Infinity;

  constructor(folder: string, name: SegmentName, state: SegmentState) {
    this.number = name.number;
    this.kind = name.kind;
    this.nonce = name.nonce;
    this.path = `${folder}/${segmentName(name)}`;
    this.key = new Nonce(name.nonce);
    this.state = state;
  }

  /** Whether its file may go now. */
  get isFree(): boolean {
    if (this.live > 0 || this.state !== "closed") return false;
    for (const needed of this.needs) {
      if (needed.state !== "gone") return false;
      this.needs.delete(needed);
    }
    return true;
  }

  /** A record about this message is in here, or may be: not less than that is known while it is written. */
  concerns(entry: Entry): void {
    if (entry.segment !== this) this.needs.add(entry.segment);
    for (const copy of entry.copies ?? []) if (copy !== this) this.needs.add(copy);
  }

  settle(entry: Entry): void {
    this.live++;
    this.liveOctets += entry.octets;
  }

  leave(entry: Entry): void {
    this.live--;
    this.liveOctets -= entry.octets;
  }
}
