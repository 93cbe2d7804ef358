/** What the tests of channels and listeners share. */
import { fileURLToPath } from "node:url";
import type { CertificateEntry } from "../../server/channel/certificates.ts";
import type { Clock } from "../../server/clock.ts";
import type { Field, Level, Log } from "../../server/log.ts";

/** One of the key pairs in `certs/`. */
export function testCertificate(name: "mx.example.test" | "other.example.test"): CertificateEntry {
  const file = (kind: string) => fileURLToPath(new URL(`certs/${name}.${kind}.pem`, import.meta.url));
  return { cert: file("cert"), key: file("key") };
}

/** A clock that stands still until `advance`. */
export interface ManualClock extends Clock {
  advance(ms: number): void;
  /** Timers that have not fired and are not cancelled. */
  readonly waiting: number;
  /** Resolves when the next timer is set. */
  nextTimer(): Promise<void>;
}

export function manualClock(start = Date.UTC(2026, 0, 1)): ManualClock {
  let now = 0;
  const timers = new Set<{ at: number; callback: () => void }>();
  let announced: (() => void)[] = [];
  return {
    now: () => start + now,
    monotonic: () => now,
    after(ms, callback) {
      const timer = { at: now + ms, callback };
      timers.add(timer);
      for (const tell of announced.splice(0)) tell();
      return () => timers.delete(timer);
    },
    sleep(ms, signal) {
      return new Promise((resolve, reject) => {
        if (signal?.aborted) return reject(signal.reason);
        const cancel = this.after(ms, resolve);
        signal?.addEventListener("abort", () => {
          cancel();
          reject(signal.reason);
        }, { once: true });
      });
    },
    advance(ms) {
      now += ms;
      for (const timer of [...timers].sort((a, b) => a.at - b.at)) {
        if (timer.at <= now && timers.delete(timer)) timer.callback();
      }
    },
    get waiting() {
      return timers.size;
    },
    nextTimer: () => new Promise((resolve) => announced = [...announced, resolve]),
  };
}

export interface Line {
  readonly level: Level;
  readonly event: string;
  readonly fields: Record<string, Field>;
}

/** A log that keeps its lines. */
export function recordingLog(lines: Line[], fields: Record<string, Field> = {}): Log {
  const at = (level: Level) => (event: string, more: Record<string, Field> = {}) => {
    lines.push({ level, event, fields: { ...fields, ...more } });
  };
  return {
    debug: at("debug"),
    info: at("info"),
    warning: at("warning"),
    error: at("error"),
    with: (more) => recordingLog(lines, { ...fields, ...more }),
  };
}

export const silentLog: Log = recordingLog([]);
