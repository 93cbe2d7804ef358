/**
 * Whoever reads the log besides the queue itself, at leisure: `track`. What it has not read yet keeps a segment on the disk, up to
 * a limit; it never keeps a message from being taken.
 */
import type { Segment } from "./segment.ts";
import type { SegmentKind } from "./record.ts";

/** What there is to read of one segment. */
export interface Extent {
  readonly number: number;
  readonly kind: SegmentKind;
  /** Its name: numbers begin anew when the log was empty at a start. */
  readonly nonce: string;
  readonly path: string;
  /** Octets that count, index and footer included. */
  readonly end: number;
  /** There will not be more. */
  readonly isClosed: boolean;
}

/** Reads the log. Its methods are called while segments are deleted: they answer at once. */
export interface Follower {
  /** Octets of segments that are kept for it alone. */
  readonly patience: number;
  /** Whether there is something in this closed segment that it has not read. */
  wants(extent: Extent): boolean;
  /** It goes all the same: space is short, or too much waits. */
  missed(extent: Extent): void;
}

/** What there is to read of this segment now. */
export function extentOf(segment: Segment): Extent {
  const { number, kind, nonce, path, size, end, state } = segment;
  return { number, kind, nonce, path, end: Math.min(size, end), isClosed: state === "closed" };
}
