/**
 * Hashing passwords without holding up other sessions (CASES U03). scrypt is node:crypto's, which computes in the
 * runtime's own threads (measured: 90 ms of hashing delays the event loop by 3 ms); Argon2id is WebAssembly in a
 * Worker. Both pass one short queue, so that a flood of logins can neither take all cores nor wait for ever.
 */
import { randomBytes, scrypt, timingSafeEqual } from "node:crypto";
import { type Argon2id, formatHash, type PasswordHash, type Scrypt } from "./phc.ts";
import { assertRoomForWorker } from "../worker_room.ts";

/** What the Worker is asked. */
export interface Question {
  readonly id: number;
  readonly password: Uint8Array;
  readonly salt: Uint8Array;
  readonly m: number;
  readonly t: number;
  readonly p: number;
  readonly length: number;
}

/** What the Worker says. */
export type Answer =
  | { readonly id: number; readonly hash: Uint8Array }
  | { readonly id: number; readonly failed: string };

/** Hashes a password the way `like` was made: same kind, parameters, salt and length. */
export type Derive = (like: PasswordHash, password: string) => Promise<Uint8Array>;

/** Parameters of new passwords: 32 MiB and about 90 ms. */
const standard = { kind: "scrypt", ln: 15, r: 8, p: 1 } as const;

/**
 * A hash of the standard parameters that no password has: what an unknown account is compared with, so that it
 * takes the same time as a known one.
 */
export function unmatchable(like: PasswordHash | undefined): PasswordHash {
  const [salt, hash] = [randomBytes(16), randomBytes(32)];
  return like ? { ...like, salt, hash } : { ...standard, salt, hash };
}

/** Hashes a new password. @returns the PHC string for the users file. */
export async function hashPassword(password: string): Promise<string> {
  const like = { ...standard, salt: randomBytes(16), hash: new Uint8Array(32) };
  return formatHash({ ...like, hash: await deriveScrypt(like, password) });
}

/** NFC, as RFC 8265 §4.2 prepares passwords: the same key strokes give different code points on different systems. */
function octets(password: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(password.normalize("NFC"));
}

function deriveScrypt(like: Scrypt, password: string): Promise<Uint8Array> {
  const { ln, r, p } = like;
  const maxmem = 128 * r * (2 ** ln + p) + 1024 * 1024; // the default of 32 MiB refuses ln=15
  return new Promise((resolve, reject) => {
    scrypt(octets(password), like.salt, like.hash.length, { N: 2 ** ln, r, p, maxmem }, (error, key) => {
      if (error) reject(error);
      else resolve(key);
    });
  });
}

/** Argon2id in a Worker, started when it is first needed. */
class Argon2Worker {
  #worker: Worker | undefined;
  #last = 0;
  readonly #asked = new Map<number, { resolve(hash: Uint8Array): void; reject(error: Error): void }>();

  derive(like: Argon2id, password: string): Promise<Uint8Array> {
    const id = ++this.#last;
    const { m, t, p, salt, hash: { length } } = like;
    const question: Question = { id, password: octets(password), salt, m, t, p, length };
    return new Promise((resolve, reject) => {
      const worker = this.#running();
      this.#asked.set(id, { resolve, reject });
      worker.postMessage(question);
    });
  }

  close(why = "the password hasher is closed"): void {
    this.#worker?.terminate();
    this.#worker = undefined;
    for (const { reject } of this.#asked.values()) reject(new Error(why));
    this.#asked.clear();
  }

  #running(): Worker {
    if (this.#worker) return this.#worker;
    assertRoomForWorker(); // where there is none, the login is put off
    const worker = new Worker(new URL("./hash_worker.ts", import.meta.url), { type: "module" });
    worker.addEventListener("message", ({ data }: MessageEvent<Answer>) => {
      const asked = this.#asked.get(data.id);
      this.#asked.delete(data.id);
      if ("hash" in data) asked?.resolve(data.hash);
      else asked?.reject(new Error(`argon2id failed: ${data.failed}`));
    });
    worker.addEventListener("error", (event) => {
      event.preventDefault(); // else it ends the process; the next login starts a new Worker
      if (this.#worker === worker) this.close(`the Worker for argon2id failed: ${event.message}`);
    });
    return this.#worker = worker;
  }
}

/** The real hashing, and what ends its Worker. */
export function hashing(): { derive: Derive; close(): void } {
  const argon2 = new Argon2Worker();
  return {
    derive: (like, password) =>
      like.kind === "scrypt" ? deriveScrypt(like, password) : argon2.derive(like, password),
    close: () => argon2.close(),
  };
}

/** What comparing a password came to; `busy`: too many are waiting, nothing was computed. */
export type Checked = "match" | "mismatch" | "busy";

/** How much hashing there may be at a time. */
export interface Bounds {
  /** Hashes computed at the same time. */
  readonly parallel: number;
  /** Hashes that wait, all together. */
  readonly waiting: number;
  /** Hashes that wait or run for one client network: a flood from one place leaves room for the others. */
  readonly perNetwork: number;
}

/** One core stays with the event loop. */
const defaultBounds: Bounds = {
  parallel: Math.max(1, Math.min(4, navigator.hardwareConcurrency - 1)),
  waiting: 64,
  perNetwork: 8,
};

/** Compares passwords with hashes, a few at a time; the others wait in a queue of bounded length. */
export class Passwords {
  readonly #derive: Derive;
  readonly #bounds: Bounds;
  readonly #waiting = new Set<() => void>();
  readonly #ofNetwork = new Map<string, number>();
  #running = 0;

  constructor(derive: Derive, bounds: Bounds = defaultBounds) {
    this.#derive = derive;
    this.#bounds = bounds;
  }

  /**
   * @param network Of the client: what `perNetwork` counts by.
   * @throws the signal's reason when it aborts while this one waits for its turn.
   */
  async check(hash: PasswordHash, password: string, network: string, signal: AbortSignal): Promise<Checked> {
    const ofNetwork = this.#ofNetwork.get(network) ?? 0;
    if (ofNetwork >= this.#bounds.perNetwork) return "busy";
    if (this.#running >= this.#bounds.parallel && this.#waiting.size >= this.#bounds.waiting) return "busy";
    this.#ofNetwork.set(network, ofNetwork + 1);
    try {
      await this.#turn(signal);
      try {
        const derived = await this.#derive(hash, password);
        return timingSafeEqual(derived, hash.hash) ? "match" : "mismatch";
      } finally {
        this.#next();
      }
    } finally {
      const left = this.#ofNetwork.get(network)! - 1;
      if (left === 0) this.#ofNetwork.delete(network);
      else this.#ofNetwork.set(network, left);
    }
  }

  #turn(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#running < this.#bounds.parallel) {
      this.#running++;
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      const start = () => {
        signal.removeEventListener("abort", leave);
        resolve();
      };
      const leave = () => {
        this.#waiting.delete(start);
        reject(signal.reason);
      };
      this.#waiting.add(start);
      signal.addEventListener("abort", leave, { once: true });
    });
  }

  /** Hands this one's place to who has waited longest. */
  #next(): void {
    for (const start of this.#waiting) {
      this.#waiting.delete(start);
      return start();
    }
    this.#running--;
  }
}
