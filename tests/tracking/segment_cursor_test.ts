import { deepStrictEqual as deepEqual, ok, strictEqual as equal } from "node:assert/strict";
import { join } from "node:path";
import { RecordType } from "../../server/spool/record.ts";
import { decodeMessage } from "../../server/spool/summary.ts";
import { SegmentCursor } from "../../server/tracking/segment_cursor.ts";
import { content, envelopeOf, Place } from "./kit.ts";

/** The ids of the messages that a segment tells of. */
function idsIn(path: string, nonce: string, end: number, from = 0): { ids: string[]; at: number } {
  const extent = { number: 1, kind: "hot", nonce, path, end, isClosed: true } as const;
  const cursor = new SegmentCursor(extent, from);
  const ids: string[] = [];
  for (let record = cursor.next(); record; record = cursor.next()) {
    if (record.type === RecordType.message) ids.push(decodeMessage(record.summary).id);
  }
  cursor.close();
  return { ids, at: cursor.at };
}

async function segmentOf(
  place: Place,
  count: number,
): Promise<{ path: string; nonce: string; bytes: Uint8Array }> {
  const { spool } = await place.open();
  for (let i = 0; i < count; i++) {
    await spool.keep(envelopeOf(`M${i}`), content(`Subject: ${i}\r\n\r\n${"x".repeat(i * 400)}\r\n`));
  }
  await place.close();
  const [name] = await place.segments();
  const path = join(place.folder, "spool", name!);
  return { path, nonce: name!.slice(11, 27), bytes: await Deno.readFile(path) };
}

Deno.test("segment cursor: every record up to any end, from wherever it ended before", async () => {
  await using place = await Place.make();
  const { path, nonce, bytes } = await segmentOf(place, 12);
  const all = Array.from({ length: 12 }, (_, i) => `M${i}`);
  const whole = idsIn(path, nonce, bytes.length);
  deepEqual(whole, { ids: all, at: bytes.length });
  for (let end = 0; end < bytes.length; end += 101) {
    // What is cut is no record yet: it is found by the one who goes on there.
    const extent = { number: 1, kind: "hot", nonce, path, end, isClosed: false } as const;
    const cursor = new SegmentCursor(extent, 0);
    const ids: string[] = [];
    let at = cursor.at;
    for (let record = cursor.next(); record; record = cursor.next()) {
      if (record.type === RecordType.message) ids.push(decodeMessage(record.summary).id);
      at = cursor.at;
    }
    cursor.close();
    deepEqual([...ids, ...idsIn(path, nonce, bytes.length, at).ids], all, `${end}`);
  }
});

Deno.test("segment cursor: Q02 damage anywhere costs the record it is in, never the others, and never hangs", async () => {
  await using place = await Place.make();
  const { path, nonce, bytes } = await segmentOf(place, 8);
  const all = Array.from({ length: 8 }, (_, i) => `M${i}`);
  for (let at = 48; at < bytes.length; at += 37) {
    const damaged = bytes.slice();
    damaged[at]! ^= 0x55;
    await Deno.writeFile(path, damaged);
    const { ids } = idsIn(path, nonce, damaged.length);
    ok(ids.length >= 7, `${at}: ${ids}`);
    deepEqual(ids, all.filter((id) => ids.includes(id)));
  }
  await Deno.writeFile(path, bytes.subarray(0, 100)); // and one that ends before it should
  equal(idsIn(path, nonce, bytes.length).ids.length, 0);
});
