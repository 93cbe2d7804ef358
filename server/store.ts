/**
 * What plugins remember: keys and JSON values, each with a time to live. Durable in a SQLite database, or in memory and
 * bounded (`host.cache`, and the fake of tests); one contract suite holds both.
 *
 * The database runs in a Worker, since `node:sqlite` blocks the thread it is on. It is in WAL mode with
 * `synchronous=FULL`: once `set` has resolved, the value is on the disk, and neither `kill -9` nor a power cut takes it back.
 * That costs an fdatasync a transaction, so all requests that arrive during one transaction share the next.
 */
import type { Clock } from "./clock.ts";
import { type Duration, readDuration } from "./options.ts";
import type { Json, Store } from "./plugin.ts";
import { type FromWorker, type Request, type Result, sumOf, type ToWorker } from "./store_request.ts";

/** Stores of many plugin instances in one place. */
export interface Stores {
  /** The store of this name; the keys of different names are apart. */
  for(name: string): Store;
  /** Resolves once all that was asked is done; what is asked later rejects. */
  close(): Promise<void>;
}

/** UTF-16 units of a key, and of a value as JSON: a store is for what is remembered of mail, not for mail. */
const longestKey = 1024;
const longestValue = 256 * 1024;

/** Milliseconds between two looks for expired rows. */
const sweepEvery = 60_000;

// ── Durable ────────────────────────────────────────────────────────────────────────────────────────

/**
 * Opens the database, making it where there is none.
 *
 * @param path Of the database file; its folder exists.
 * @param clock Decides what has expired.
 * @param access `read`: beside a server that has it open, say; whoever writes is refused, and so is a file that is missing.
 * @throws {Error} when the file can't be opened, is damaged, or was written by a newer version; the message names it.
 */
export async function openStore(
  path: string,
  clock: Clock,
  access: "write" | "read" = "write",
): Promise<Stores> {
  const database = new Database(path, clock, access);
  await database.opened;
  return database;
}

interface Waiting {
  readonly request: Request;
  readonly resolve: (value: Result) => void;
  readonly reject: (error: Error) => void;
}

class Database implements Stores {
  readonly opened: Promise<void>;
  readonly #worker: Worker;
  #waiting: Waiting[] = [];
  /** The transaction under way: at most one, so that those who come meanwhile share the next. */
  #underWay: readonly Waiting[] | undefined;
  #broken: Error | undefined;
  #closed: PromiseWithResolvers<void> | undefined;
  #cancelSweep: () => void = () => {};

  constructor(private readonly path: string, private readonly clock: Clock, access: "write" | "read") {
    // This literal is what `deno compile` and bundlers look for: keep it whole, and the only one.
    this.#worker = new Worker(new URL("./store_worker.ts", import.meta.url), { type: "module" });
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.opened = promise;
    this.#worker.onmessage = ({ data }: MessageEvent<FromWorker>) => {
      if (data.kind === "results") return this.#settle(data.results);
      if (data.kind === "opened") {
        if (access === "write") this.#sweepLater();
        return resolve();
      }
      this.#worker.terminate();
      reject(new Error(data.problem));
    };
    this.#worker.onerror = (event) => {
      event.preventDefault(); // else it ends the process, and mail with it
      this.#break(new Error(`store ${this.path}: its worker stopped: ${event.message}`));
      reject(this.#broken!);
    };
    this.#post({ kind: "open", path, access });
  }

  for(name: string): Store {
    return storeOver(name, (request) => this.#ask(request));
  }

  async close(): Promise<void> {
    if (this.#broken) return;
    this.#cancelSweep();
    this.#closed ??= Promise.withResolvers();
    this.#sendNext();
    await this.#closed.promise;
  }

  #ask(request: Request): Promise<Result> {
    return new Promise((resolve, reject) => {
      if (this.#broken) return reject(this.#broken);
      if (this.#closed) return reject(new Error(`store ${this.path} is closed`));
      this.#waiting.push({ request, resolve, reject });
      // A turn's end, so that all that is asked in one turn is one transaction.
      if (this.#waiting.length === 1 && !this.#underWay) queueMicrotask(() => this.#sendNext());
    });
  }

  #sendNext(): void {
    if (this.#underWay) return;
    if (this.#waiting.length > 0) {
      this.#underWay = this.#waiting;
      this.#waiting = [];
      this.#post({
        kind: "requests",
        now: this.clock.now(),
        requests: this.#underWay.map((one) => one.request),
      });
    } else if (this.#closed) {
      this.#post({ kind: "close" });
      this.#underWay = []; // nothing more is sent
    }
  }

  #settle(results: readonly Result[] | string): void {
    const asked = this.#underWay ?? [];
    this.#underWay = undefined;
    if (this.#closed && asked.length === 0) {
      this.#worker.terminate();
      return this.#closed.resolve();
    }
    this.#sendNext();
    for (const [index, one] of asked.entries()) {
      if (typeof results === "string") one.reject(new Error(`store ${this.path}: ${results}`));
      else one.resolve(results[index]!);
    }
  }

  #break(error: Error): void {
    this.#broken = error;
    this.#cancelSweep();
    this.#worker.terminate();
    const all = [...this.#underWay ?? [], ...this.#waiting];
    [this.#underWay, this.#waiting] = [undefined, []];
    for (const one of all) one.reject(error);
    this.#closed?.resolve();
  }

  #sweepLater(): void {
    this.#cancelSweep = this.clock.after(sweepEvery, () => void this.#sweep());
  }

  /** Deletes expired rows, a slice a transaction, so that no one waits long behind it. */
  async #sweep(): Promise<void> {
    try {
      while (await this.#ask({ do: "sweep" }) === "more");
    } catch {
      // Expired rows answer nobody; the next sweep tries again, and whoever stores something meets the fault itself.
    }
    if (!this.#closed && !this.#broken) this.#sweepLater();
  }

  #post(message: ToWorker): void {
    this.#worker.postMessage(message);
  }
}

// ── In memory ──────────────────────────────────────────────────────────────────────────────────────

interface Entry {
  readonly json: string;
  readonly expires: number;
}

/**
 * Makes stores in memory: what was used longest ago goes when there is no room.
 *
 * @param clock Decides what has expired.
 * @param maxEntries Entries in all, of all names.
 * @param maxSize UTF-16 units of all keys and values together.
 *
 * @example
 * ```ts
 * import { FakeClock, memoryStore } from "postrider/testing";
 * import { strictEqual as equal } from "node:assert/strict";
 * const clock = new FakeClock();
 * const store = memoryStore(clock).for("greylist");
 * equal(await store.increment("192.0.2.0/24", 1, { ttl: "1h" }), 1);
 * await clock.advance(3_600_000);
 * equal(await store.get("192.0.2.0/24"), undefined);
 * ```
 */
export function memoryStore(clock: Clock, maxEntries = 100_000, maxSize = 32 * 1024 ** 2): Stores {
  /** In the order of their last use. */
  const entries = new Map<string, Entry>();
  let size = 0;
  let closed = false;

  const remove = (key: string) => {
    const entry = entries.get(key);
    if (entry === undefined) return;
    entries.delete(key);
    size -= key.length + entry.json.length;
  };
  const put = (key: string, entry: Entry) => {
    remove(key);
    entries.set(key, entry);
    size += key.length + entry.json.length;
    while (entries.size > maxEntries || size > maxSize) remove(entries.keys().next().value!);
  };
  const find = (key: string): Entry | undefined => {
    const entry = entries.get(key);
    if (entry === undefined) return undefined;
    if (entry.expires <= clock.now()) return void remove(key);
    entries.delete(key);
    entries.set(key, entry);
    return entry;
  };
  const answer = (request: Request): Result => {
    if (request.do === "sweep") return "done";
    const key = `${request.name}\0${request.key}`; // a store's name has no NUL
    const found = find(key);
    switch (request.do) {
      case "get":
        return found?.json;
      case "set":
        return void put(key, { json: request.json, expires: clock.now() + request.ttl });
      case "getOrSet":
        if (found) return found.json;
        put(key, { json: request.json, expires: clock.now() + request.ttl });
        return request.json;
      case "increment": {
        const sum = sumOf(found?.json, request.by);
        if (typeof sum === "string") {
          put(key, { json: sum, expires: found?.expires ?? clock.now() + request.ttl });
        }
        return sum;
      }
      case "delete":
        return void remove(key);
    }
  };

  return {
    for: (name) =>
      storeOver(name, (request) => {
        if (closed) return Promise.reject(new Error("the store is closed"));
        return Promise.resolve(answer(request));
      }),
    close() {
      closed = true;
      entries.clear();
      return Promise.resolve();
    },
  };
}

// ── What both share ────────────────────────────────────────────────────────────────────────────────

/** A store whose requests someone answers: checks what it is given, and puts values into JSON and back. */
function storeOver(name: string, ask: (request: Request) => Promise<Result>): Store {
  if (name.includes("\0")) throw new TypeError("a store's name can't hold NUL");
  return {
    async get<T extends Json>(key: string) {
      return fromJson(await ask({ do: "get", name, key: checkedKey(key) })) as T | undefined;
    },
    async set(key, value, { ttl }) {
      await ask({ do: "set", name, key: checkedKey(key), json: toJson(key, value), ttl: milliseconds(ttl) });
    },
    async getOrSet<T extends Json>(key: string, value: T, { ttl }: { ttl: Duration }) {
      const json = toJson(key, value);
      const found = await ask({ do: "getOrSet", name, key: checkedKey(key), json, ttl: milliseconds(ttl) });
      return fromJson(found) as never; // the declared type widens literals by a helper that is plugin.ts's own
    },
    async increment(key, by, { ttl }) {
      if (!Number.isFinite(by)) throw new TypeError(`"${shown(key)}" can't be incremented by ${by}`);
      const sum = await ask({ do: "increment", name, key: checkedKey(key), by, ttl: milliseconds(ttl) });
      if (typeof sum === "object") {
        throw new TypeError(`"${shown(key)}" can't be incremented: ${sum.problem}`);
      }
      return Number(sum);
    },
    async delete(key) {
      await ask({ do: "delete", name, key: checkedKey(key) });
    },
  };
}

function fromJson(result: Result): Json | undefined {
  return typeof result === "string" ? JSON.parse(result) : undefined;
}

function toJson(key: string, value: Json): string {
  // undefined, functions and symbols have no JSON; NaN and the infinities would come back as null.
  const json: string | undefined = typeof value === "number" && !Number.isFinite(value)
    ? undefined
    : JSON.stringify(value);
  if (json === undefined) {
    throw new TypeError(`the value of "${shown(key)}" can't be stored: it has no JSON form`);
  }
  if (json.length <= longestValue) return json;
  throw new RangeError(
    `the value of "${shown(key)}" can't be stored: its JSON is over ${longestValue} characters`,
  );
}

function checkedKey(key: string): string {
  if (key.length <= longestKey) return key.toWellFormed(); // SQLite holds UTF-8, which has no half of a surrogate pair
  throw new RangeError(`the key "${shown(key)}" can't be used: it is over ${longestKey} characters`);
}

function milliseconds(ttl: Duration): number {
  const found = readDuration(ttl);
  if (found === undefined) throw new TypeError(`ttl: "${ttl}" is not a duration such as 30s, 5m, 36h`);
  return found;
}

/** A key in an error message. */
function shown(key: string): string {
  return key.length > 80 ? key.slice(0, 80) + "…" : key;
}
