/** The log as the server writes it: one event a line, with fields; where it goes is the sink's business. */
import { configureSync, getLogger, type LogRecord, resetSync, type Sink } from "@logtape/logtape";
import { type Clock, systemClock } from "./clock.ts";
import { type Formatter, jsonFormatter, textFormatter } from "./log/format.ts";
import { asWritten } from "./log/places.ts";
import { LineQueue, type LogTarget, type QueueLimits, standardError } from "./log/queue.ts";

/** How much an event matters, from least to most. */
export type Level = "debug" | "info" | "warning" | "error";

/** Values of a field. Anything a peer sent may stand here: sinks escape control bytes. */
export type Field = string | number | boolean | null | undefined | readonly string[];

/** Where events are written. */
export interface Log {
  /** For who looks for a fault. */
  debug(event: string, fields?: Record<string, Field>): void;
  /** What happened, as it should. */
  info(event: string, fields?: Record<string, Field>): void;
  /** What the operator may want to change. */
  warning(event: string, fields?: Record<string, Field>): void;
  /** What should not happen. */
  error(event: string, fields?: Record<string, Field>): void;
  /** The same log, with these fields on every line. */
  with(fields: Record<string, Field>): Log;
}

/** What is written, and how. */
export interface LogOptions {
  /** The least level that is written. */
  readonly level: Level;
  /** Text for people, JSON (one object a line) for machines. */
  readonly format: "text" | "json";
  /** Absent: where standard error is a terminal and `NO_COLOR` isn't set. JSON is never coloured. */
  readonly color?: boolean;
}

/** Where the bytes go, and how much of them may wait. */
export interface LogEdges {
  /** Absent: standard error. */
  readonly write?: LogTarget;
  readonly clock?: Clock;
  readonly limits?: QueueLimits;
}

/** The server's log, as the one who opened it holds it. */
export interface OpenLog extends Log {
  /** Changes level and format, for this log and all made by `with`: what a reload does. */
  change(options: LogOptions): void;
  /** Resolves when all lines are written, or after `patience` milliseconds (default 2,000). Never rejects. */
  flush(patience?: number): Promise<void>;
  /** Flushes, and gives LogTape back as it was found. */
  close(patience?: number): Promise<void>;
}

const ranks: Record<Level, number> = { debug: 0, info: 1, warning: 2, error: 3 };
const category = ["postrider"] as const;

/**
 * Opens the log. Lines go through LogTape, so that what plugins and their packages log there comes out of the same place, in
 * the same form. LogTape's configuration is the process's: opening a second log takes it over from the first.
 */
export function openLog(options: LogOptions, edges: LogEdges = {}): OpenLog {
  const clock = edges.clock ?? systemClock;
  const state = { rank: 0, format: jsonFormatter, now: () => clock.now() };
  const lost = (count: number) => state.format(clock.now(), "warning", "log lines lost", { count });
  const queue = new LineQueue(edges.write ?? standardError(clock), clock, lost, edges.limits);

  function change(to: LogOptions): void {
    state.rank = ranks[to.level];
    state.format = to.format === "json" ? jsonFormatter : textFormatter(to.color ?? terminalWithColor());
    const sink = immediate((record) => queue.push(lineOf(record, state.format)));
    configureSync({
      reset: true,
      sinks: { lines: sink },
      loggers: [
        { category: [], sinks: ["lines"], lowestLevel: to.level },
        // LogTape's own: at info it greets every start with a line of advice.
        { category: ["logtape", "meta"], sinks: ["lines"], lowestLevel: "warning", parentSinks: "override" },
      ],
    });
  }

  change(options);
  const flush = (patience = 2000) => queue.flush(patience);
  return Object.assign(logWith(state, {}), {
    change,
    flush,
    async close(patience?: number) {
      await flush(patience);
      resetSync();
    },
  });
}

/** What an open log and all made of it by `with` look at, at each event. */
interface State {
  rank: number;
  format: Formatter;
  readonly now: () => number;
}

function logWith(state: State, bound: Record<string, Field>): Log {
  const logger = getLogger(category);
  const write = (level: Level, event: string, fields?: Record<string, Field>) => {
    if (ranks[level] < state.rank) return; // before anything is made: most debug lines end here
    const all = fields === undefined ? bound : { ...bound, ...fields };
    if (ranks[level] >= ranks.warning && typeof all.error === "string") all.error = asWritten(all.error);
    logger.emit(new Event(level, event, state.now(), all));
  };
  return {
    debug: (event, fields) => write("debug", event, fields),
    info: (event, fields) => write("info", event, fields),
    warning: (event, fields) => write("warning", event, fields),
    error: (event, fields) => write("error", event, fields),
    with: (fields) => logWith(state, { ...bound, ...fields }),
  };
}

/** A record made by hand: LogTape's own methods copy the fields and look for `{placeholders}` in texts plugins wrote. */
class Event implements LogRecord {
  readonly category = category;
  readonly message: readonly unknown[];
  constructor(
    readonly level: Level,
    readonly rawMessage: string,
    readonly timestamp: number,
    readonly properties: Record<string, Field>,
  ) {
    this.message = [rawMessage];
  }
}

/**
 * Marks a sink that is done with a record when it returns, so that LogTape makes no copy for it (which costs ten times what
 * handing the record over does). Unknown to a LogTape to come, the mark would only make it slower.
 */
function immediate(sink: Sink): Sink {
  return Object.defineProperty(sink, Symbol.for("LogTape.sinkSnapshotPolicy.immediate"), { value: true });
}

function lineOf(record: LogRecord, format: Formatter): string {
  if (record instanceof Event) {
    return format(record.timestamp, record.level, record.rawMessage, record.properties);
  }
  return format(
    record.timestamp,
    levelOf(record),
    record.message.map(toText).join(""),
    foreignFields(record),
  );
}

/** LogTape has two levels more. */
function levelOf({ level }: LogRecord): Level {
  return level === "trace" ? "debug" : level === "fatal" ? "error" : level;
}

/** Of a record that someone else logged: its logger's name and its properties. */
function foreignFields(record: LogRecord): Record<string, Field> {
  const fields: Record<string, Field> = { logger: record.category.join(".") };
  for (const [key, value] of Object.entries(record.properties)) fields[key] = toField(value);
  return fields;
}

/** Any value as one that a field can hold; what has a structure becomes JSON. For what plugins and their packages log. */
export function toField(value: unknown): Field {
  if (typeof value === "number" || typeof value === "boolean" || value === null) return value;
  return toText(value);
}

function toText(value: unknown): string {
  if (typeof value === "string") return value;
  if (value instanceof Error) return `${value.name}: ${value.message}`;
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return Object.prototype.toString.call(value); // circular, or holds a bigint
  }
}

function terminalWithColor(): boolean {
  return !Deno.noColor && Deno.stderr.isTerminal();
}
