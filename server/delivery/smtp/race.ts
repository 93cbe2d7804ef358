/** Connects to whichever of several addresses answers first (RFC 8305): one that hangs costs a quarter of a second. */
import type { Clock } from "../../clock.ts";

/** How a race is run. */
export interface RaceHow<T> {
  /** Connects to one address. */
  readonly connect: (address: string, signal: AbortSignal) => Promise<T>;
  /** Ends a connection that came too late. */
  readonly discard: (connection: T) => void;
  readonly clock: Clock;
  /** Milliseconds between the starts of two attempts. */
  readonly stagger: number;
  /** Milliseconds that one attempt may take. */
  readonly timeout: number;
  /** Ends the race: rejects with its reason. */
  readonly signal: AbortSignal;
}

/** How a race ended. */
export type Raced<T> =
  | {
    readonly kind: "connected";
    readonly connection: T;
    readonly address: string;
    readonly failures: ReadonlyMap<string, unknown>;
    /** Not started, or still on the way when the first was there. */
    readonly untried: readonly string[];
  }
  | { readonly kind: "failed"; readonly failures: ReadonlyMap<string, unknown> };

/**
 * Tries the addresses in their order: the next one when the one before has failed, or has not answered yet.
 *
 * @param addresses At least one.
 */
export function race<T>(addresses: readonly string[], how: RaceHow<T>): Promise<Raced<T>> {
  const { connect, discard, clock, signal } = how;
  const failures = new Map<string, unknown>();
  const running = new Map<string, () => void>(); // address → stops it
  let started = 0;
  let over = false;
  let cancelStagger = () => {};

  return new Promise((resolve, reject) => {
    const finish = () => {
      over = true;
      cancelStagger();
      signal.removeEventListener("abort", aborted);
      for (const stop of running.values()) stop();
    };
    const aborted = () => {
      finish();
      reject(signal.reason);
    };

    const won = (address: string, connection: T) => {
      running.delete(address);
      const untried = [...running.keys(), ...addresses.slice(started)];
      finish();
      resolve({ kind: "connected", connection, address, failures, untried });
    };

    const failed = (address: string, error: unknown) => {
      running.delete(address);
      failures.set(address, error);
      cancelStagger();
      if (started < addresses.length) next();
      else if (running.size === 0) {
        finish();
        resolve({ kind: "failed", failures });
      }
    };

    const next = () => {
      const address = addresses[started++]!;
      const attempt = new AbortController();
      const late = new DOMException("Connection timed out", "TimeoutError");
      let isLate = false; // whatever comes of it now is nobody's
      const cancelTimeout = clock.after(how.timeout, () => {
        isLate = true;
        attempt.abort(late);
        failed(address, late);
      });
      running.set(address, () => {
        cancelTimeout();
        attempt.abort();
      });
      connect(address, attempt.signal).then((connection) => {
        cancelTimeout();
        if (over || isLate) discard(connection);
        else won(address, connection);
      }, (error) => {
        cancelTimeout();
        if (!over && !isLate) failed(address, error);
      });
      cancelStagger = started < addresses.length ? clock.after(how.stagger, next) : () => {};
    };

    if (signal.aborted) return reject(signal.reason);
    signal.addEventListener("abort", aborted, { once: true });
    next();
  });
}
