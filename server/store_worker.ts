/**
 * The store's thread: it owns the database and answers one batch of requests after another, each batch in one transaction.
 * Only `store.ts` talks to it.
 */
import { existsSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { type FromWorker, type Request, type Result, sumOf, type ToWorker } from "./store_request.ts";

/** What a Worker finds in its global scope; the page's types, which this file is checked with, lack it. */
const scope = globalThis as unknown as {
  onmessage: (event: MessageEvent<ToWorker>) => void;
  postMessage(message: FromWorker): void;
};

/** The form of the tables; a database of another one is not touched. */
const version = 1;

/** Rows a sweep deletes in one transaction: about 5 ms. */
const slice = 500;

interface Opened {
  readonly database: DatabaseSync;
  readonly get: StatementSync;
  readonly put: StatementSync;
  readonly remove: StatementSync;
  readonly sweep: StatementSync;
}

let store: Opened | undefined;

scope.onmessage = ({ data }) => {
  switch (data.kind) {
    case "open":
      return scope.postMessage(open(data.path, data.access));
    case "requests":
      return scope.postMessage({ kind: "results", results: transact(store!, data.requests, data.now) });
    case "close":
      store?.database.close();
      return scope.postMessage({ kind: "results", results: [] });
  }
};

function open(path: string, access: "write" | "read"): FromWorker {
  try {
    // SQLite would make it readable to all that may look into the folder; the files beside it take its mode.
    if (access === "write") Deno.openSync(path, { create: true, write: true, mode: 0o600 }).close();
    const database = access === "write" ? new DatabaseSync(path) : openToRead(path);
    const found = Object.values(database.prepare("PRAGMA user_version").get() ?? {})[0];
    if (found !== 0 && found !== version) {
      database.close();
      const problem =
        `store ${path} was written by another version (format ${found}, this one reads ${version})`;
      return { kind: "unusable", problem };
    }
    if (access === "write") makeTables(database);
    else database.exec("PRAGMA busy_timeout = 5000");
    store = prepared(database);
    return { kind: "opened" };
  } catch (error) {
    const reason = messageOf(error);
    const problem = /not a database|malformed/.test(reason)
      ? `store ${path} is damaged (${reason}): move it away and start again; what plugins remembered in it is lost`
      : `store ${path} can't be opened: ${reason}`;
    return { kind: "unusable", problem };
  }
}

/** Without a server that has it open the database is only the one file, and nothing is to be put beside it. */
function openToRead(path: string): DatabaseSync {
  const url = pathToFileURL(path);
  if (!existsSync(`${path}-wal`)) url.searchParams.set("immutable", "1");
  return new DatabaseSync(url, { readOnly: true });
}

function makeTables(database: DatabaseSync): void {
  database.exec(`
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA busy_timeout = 5000;
    CREATE TABLE IF NOT EXISTS entry (
      name TEXT NOT NULL, key TEXT NOT NULL, json TEXT NOT NULL, expires REAL NOT NULL, PRIMARY KEY (name, key)
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS entry_expires ON entry (expires);
    PRAGMA user_version = ${version};
  `);
}

function prepared(database: DatabaseSync): Opened {
  return {
    database,
    get: database.prepare("SELECT json, expires FROM entry WHERE name = ? AND key = ? AND expires > ?"),
    put: database.prepare("INSERT OR REPLACE INTO entry (name, key, json, expires) VALUES (?, ?, ?, ?)"),
    remove: database.prepare("DELETE FROM entry WHERE name = ? AND key = ?"),
    sweep: database.prepare(
      "DELETE FROM entry WHERE (name, key) IN (SELECT name, key FROM entry WHERE expires <= ? LIMIT ?)",
    ),
  };
}

/** Answers all of them or, where the disk fails, none: the text is then the reason. */
function transact(store: Opened, requests: readonly Request[], now: number): readonly Result[] | string {
  const writes = requests.some((request) => request.do !== "get");
  try {
    if (writes) store.database.exec("BEGIN IMMEDIATE");
    const results = requests.map((request) => answer(store, request, now));
    if (writes) store.database.exec("COMMIT");
    return results;
  } catch (error) {
    try {
      store.database.exec("ROLLBACK");
    } catch {
      // SQLite has rolled back already, or there was no transaction
    }
    return messageOf(error);
  }
}

function answer(store: Opened, request: Request, now: number): Result {
  if (request.do === "sweep") return Number(store.sweep.run(now, slice).changes) === slice ? "more" : "done";
  const { name, key } = request;
  switch (request.do) {
    case "get":
      return find(store, name, key, now)?.json;
    case "set":
      store.put.run(name, key, request.json, now + request.ttl);
      return undefined;
    case "getOrSet": {
      const found = find(store, name, key, now);
      if (!found) store.put.run(name, key, request.json, now + request.ttl);
      return found?.json ?? request.json;
    }
    case "increment": {
      const found = find(store, name, key, now);
      const sum = sumOf(found?.json, request.by);
      if (typeof sum === "string") store.put.run(name, key, sum, found?.expires ?? now + request.ttl);
      return sum;
    }
    case "delete":
      store.remove.run(name, key);
      return undefined;
  }
}

function find(
  store: Opened,
  name: string,
  key: string,
  now: number,
): { json: string; expires: number } | undefined {
  const row = store.get.get(name, key, now);
  return row && { json: String(row.json), expires: Number(row.expires) };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
