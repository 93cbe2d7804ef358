/** A log that remembers, for tests. */
import type { Field, Level, Log } from "../log.ts";

export type { Field, Level, Log };

/** One event, with the fields of `with` and of the call together. */
export interface LogEntry {
  /** How much it matters. */
  readonly level: Level;
  /** What happened, in words that are always the same. */
  readonly event: string;
  /** Its particulars. */
  readonly fields: Record<string, Field>;
}

/** A {@linkcode Log} whose events a test can look at. */
export interface MemoryLog extends Log {
  /** All that was logged here and on what `with` made, in order. */
  readonly entries: readonly LogEntry[];
  /** The entries of one event. */
  of(event: string): LogEntry[];
}

/**
 * Makes a log that keeps its events in memory.
 *
 * @example
 * ```ts
 * import { memoryLog } from "postrider/testing";
 * import { strictEqual as equal } from "node:assert/strict";
 * const log = memoryLog();
 * log.with({ session: "S1" }).info("connected", { remote: "192.0.2.1" });
 * equal(log.of("connected")[0]?.fields.session, "S1");
 * ```
 */
export function memoryLog(): MemoryLog {
  const entries: LogEntry[] = [];
  const make = (bound: Record<string, Field>): Log => {
    const at = (level: Level) => (event: string, fields?: Record<string, Field>) => {
      entries.push({ level, event, fields: { ...bound, ...fields } });
    };
    return {
      debug: at("debug"),
      info: at("info"),
      warning: at("warning"),
      error: at("error"),
      with: (fields) => make({ ...bound, ...fields }),
    };
  };
  return {
    ...make({}),
    entries,
    of: (event) => entries.filter((entry) => entry.event === event),
  };
}
