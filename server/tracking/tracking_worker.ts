/** The tracking thread: it owns the database and reads the log. Only `tracking.ts` talks to it. */
import { TrackDatabase, Unreadable } from "./database.ts";
import { readOn } from "./reading.ts";
import type { FromTracker, ToTracker } from "./request.ts";

/** What a Worker finds in its global scope; the page's types, which this file is checked with, lack it. */
const scope = globalThis as unknown as {
  onmessage: (event: MessageEvent<ToTracker>) => void;
  postMessage(message: FromTracker): void;
};

let database: TrackDatabase | undefined;

scope.onmessage = ({ data }) => {
  try {
    scope.postMessage(answer(data));
  } catch (error) {
    const unreadable = error instanceof Unreadable;
    scope.postMessage({
      kind: "trouble",
      error: error instanceof Error ? error.message : String(error),
      unreadable,
    });
  }
};

function answer(asked: ToTracker): FromTracker {
  switch (asked.do) {
    case "open":
      return open(asked);
    case "read":
      return read(opened(), asked);
    case "find": {
      const { text, limit, since } = asked.query;
      return { kind: "found", found: opened().find(text, limit, since) };
    }
    case "after":
      return { kind: "history", history: opened().after(asked.place, asked.limit) };
    case "close":
      database?.close();
      database = undefined;
      return { kind: "closed" };
  }
}

function opened(): TrackDatabase {
  if (!database) throw new Error("the tracking database is not open");
  return database;
}

function open({ path, now }: ToTracker & { do: "open" }): FromTracker {
  closeAnyway();
  let rebuilt: string | undefined;
  try {
    database = new TrackDatabase(path);
    database.check();
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error;
    closeAnyway();
    for (const suffix of ["", "-wal", "-shm"]) removeIfThere(path + suffix);
    database = new TrackDatabase(path);
    rebuilt = error.message;
    database.gap({
      at: now,
      why:
        `The database was made anew (${rebuilt}): of mail before that, only what was in the queue is known.`,
    });
  }
  return { kind: "opened", places: [...database.places.values()], ...(rebuilt !== undefined && { rebuilt }) };
}

function read(
  database: TrackDatabase,
  { extents, missed, now, before }: ToTracker & { do: "read" },
): FromTracker {
  if (missed.length > 0) {
    const why =
      "Parts of the log had to go before they were read, for want of space or time: mail of that time may be missing.";
    database.gap({ at: now, why });
  }
  const there = new Set(extents.map(({ nonce }) => nonce));
  const gone = [...database.places.keys()].filter((nonce) => !there.has(nonce));
  if (gone.length > 0) database.forget(gone);
  const more = readOn(database, extents, now) === "more";
  const expired = !more && database.expire(before);
  return { kind: "read", places: [...database.places.values()], more: more || expired };
}

function closeAnyway(): void {
  try {
    database?.close();
  } catch { /* it is gone as it is */ }
  database = undefined;
}

function removeIfThere(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
