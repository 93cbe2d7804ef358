/** The history that plugins read: in the real database, over power cuts and new files. */
import { deepStrictEqual as deepEqual, strictEqual as equal } from "node:assert/strict";
import type { Digest } from "../../server/tracking/digest.ts";
import { TrackDatabase } from "../../server/tracking/database.ts";
import { eventsOf } from "../../server/tracking/history.ts";
import type { Step } from "../../server/tracking/steps.ts";

const recipient = (address: string) => ({ address, original: address, via: "smtp" });

function received(id: string, to: string[], copies = 0): Digest {
  const recipients = [
    ...to.map(recipient),
    ...Array.from({ length: copies }, () => ({ ...recipient("copy@localhost"), copy: true as const })),
  ];
  const steps: Step[] = [{ step: "received", at: 1, arrival: { sender: "a@b.c", size: 1, recipients } }];
  return { id, steps, words: [], kind: "news" };
}

const attempt = (id: string, at: number, outcome: "delivered" | "deferred" | "failed", to = 0): Digest => ({
  id,
  steps: [{ step: "attempt", at, to, outcome, attempt: 1, reply: "said" }],
  words: [],
  kind: "news",
});

async function withFile(use: (path: string) => void | Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await use(`${folder}/track.db`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const keys = ({ events }: { events: readonly { key: string }[] }) => events.map(({ key }) => key);

Deno.test("history: from now on, in order, in pieces of any size", () =>
  withFile((path) => {
    const db = new TrackDatabase(path);
    db.write([received("M1", ["x@y.z"])], [], 0);
    let { place } = db.after(undefined, 10);
    deepEqual(db.after(place, 10).events, []);
    db.write([attempt("M1", 5, "deferred"), received("M2", ["u@v.w", "v@v.w"])], [], 0);
    db.write([attempt("M1", 6, "delivered"), attempt("M2", 7, "failed", 1)], [], 0);
    const whole = db.after(place, 10);
    deepEqual(keys(whole), ["M1/0/deferred/1/5", "M2/accepted", "M1/0/delivered/1/6", "M2/1/bounced/1/7"]);
    equal(whole.more, false);
    deepEqual(whole.events[3]!.recipient, "v@v.w");
    const single: string[] = [];
    for (let piece = db.after(place, 1); piece.events.length > 0; piece = db.after(place, 1)) {
      single.push(...keys(piece));
      place = piece.place;
    }
    deepEqual(single, keys(whole));
    db.close();
  }));

Deno.test("history: a place holds in a database that is opened again; one in another database is told as missed", () =>
  withFile((path) => {
    let db = new TrackDatabase(path);
    const { place: begin } = db.after(undefined, 10);
    db.write([received("M1", ["x@y.z"])], [], 0);
    const { place } = db.after(begin, 10);
    db.close();
    db = new TrackDatabase(path);
    db.write([attempt("M1", 5, "delivered")], [], 0);
    deepEqual(keys(db.after(place, 10)), ["M1/0/delivered/1/5"]);
    deepEqual(keys(db.after(begin, 10)), ["M1/accepted", "M1/0/delivered/1/5"]);
    db.close();
    for (const suffix of ["", "-wal", "-shm"]) {
      try {
        Deno.removeSync(path + suffix);
      } catch { /* it was closed in order */ }
    }
    db = new TrackDatabase(path);
    db.write([received("M3", ["x@y.z"])], [], 0);
    const anew = db.after(place, 10);
    deepEqual(keys(anew), ["M3/accepted"]);
    equal(anew.missed, true);
    db.close();
  }));

Deno.test("history: what a power cut has taken is read from the log again, in other batches, and none of it is left out", () =>
  withFile(async (path) => {
    let db = new TrackDatabase(path);
    const { place: begin } = db.after(undefined, 10);
    db.write([received("M1", ["x@y.z"])], [], 0);
    db.close();
    await Deno.copyFile(path, `${path}.before`);
    db = new TrackDatabase(path);
    db.write([attempt("M1", 5, "deferred")], [], 0);
    db.write([attempt("M1", 6, "deferred")], [], 0);
    const { place } = db.after(begin, 10);
    db.close();
    await Deno.copyFile(`${path}.before`, path);
    db = new TrackDatabase(path);
    db.write(
      [attempt("M1", 5, "deferred"), attempt("M1", 6, "deferred"), attempt("M1", 7, "delivered")],
      [],
      0,
    );
    const found = keys(db.after(place, 10));
    equal(found.includes("M1/0/delivered/1/7"), true);
    deepEqual(keys(db.after(db.after(place, 10).place, 10)), []);
    db.close();
  }));

Deno.test("history: plugins' own copies are not told, recipients are those of the moment", () => {
  const { steps } = received("M1", ["x@y.z"], 1);
  equal(eventsOf("M1", attempt("M1", 5, "delivered", 1).steps, [...steps]).length, 0);
  equal(eventsOf("M2", received("M2", [], 1).steps, received("M2", [], 1).steps).length, 0);
  const moved: Step = { step: "redirected", at: 4, to: [0], recipients: [recipient("new@y.z")] };
  const [event] = eventsOf("M1", attempt("M1", 5, "delivered").steps, [...steps, moved]);
  equal(event!.recipient, "new@y.z");
  const [deleted] = eventsOf("M1", [{ step: "deleted", at: 9 }], [...steps]);
  deepEqual([deleted!.kind, deleted!.at, deleted!.recipient], ["deleted", 9, undefined]);
});
