/** Brings what stands in the log into the database, a portion at a time. It blocks: for a Worker. */
import type { Extent } from "../spool/follower.ts";
import type { ReadPlace, TrackDatabase } from "./database.ts";
import { type Digest, digest } from "./digest.ts";
import { SegmentCursor, step } from "./segment_cursor.ts";

/** Of one transaction: records, and octets of the log. More would hardly be cheaper, and fill the memory. */
const [mostRecords, mostOctets] = [400, 4 * 1024 * 1024];
const buffer = new Uint8Array(step);

/**
 * Reads on where it ended, in the order of the log: what was rewritten comes last, because it was told before.
 *
 * @returns Whether there is more.
 * @throws what SQLite throws, and what the disk throws, but for segments that are gone.
 */
export function readOn(database: TrackDatabase, extents: readonly Extent[], now: number): "more" | "all" {
  const digests: Digest[] = [];
  const places: ReadPlace[] = [];
  let octets = 0;
  let isFull = false;
  for (const extent of inOrder(extents)) {
    const before = database.places.get(extent.nonce);
    if (before?.done || (before && before.at >= extent.end && !extent.isClosed)) continue;
    const cursor = open(extent, before?.at ?? 0);
    if (!cursor) continue;
    try {
      while (!isFull) {
        const from = cursor.at;
        const record = cursor.next();
        if (!record) break;
        octets += cursor.at - from;
        digests.push(...readable(() => digest(record)));
        isFull = digests.length >= mostRecords || octets >= mostOctets;
      }
      const isAtEnd = cursor.at >= extent.end;
      places.push({ nonce: extent.nonce, at: cursor.at, done: extent.isClosed && isAtEnd });
    } finally {
      cursor.close();
    }
    if (isFull) break;
  }
  if (places.length === 0) return "all";
  database.write(digests, places, now);
  if (places.some(({ done }) => done)) database.settle(); // the log may let go of them now
  return isFull ? "more" : "all";
}

function inOrder(extents: readonly Extent[]): Extent[] {
  const rank = ({ kind }: Extent) => kind === "hot" ? 0 : 1;
  return extents.toSorted((a, b) => rank(a) - rank(b) || a.number - b.number);
}

/** `undefined`: it was deleted meanwhile, with all that was read of it. */
function open(extent: Extent, from: number): SegmentCursor | undefined {
  try {
    return new SegmentCursor(extent, from, buffer);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** A record that passes its checksums and still can't be read is a bug of ours, and stops no others. */
function readable(read: () => readonly Digest[]): readonly Digest[] {
  try {
    return read();
  } catch {
    return [];
  }
}
