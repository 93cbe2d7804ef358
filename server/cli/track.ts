/** `track TEXT`: every step of a message, of a running server and of a stopped one. */
import { config } from "../config/config.ts";
import { formatProblem, readSource, readValue } from "../config/read.ts";
import { findTracking } from "../control/stopped_tracking.ts";
import { visible, visibleJson } from "../log/format.ts";
import { duration } from "../options.ts";
import type { Tracked } from "../tracking/steps.ts";
import { logTo, type QueueIo, stateFolder } from "./queue.ts";
import { gapText, trackJson, trackText } from "./track_view.ts";
import type { ExitCode } from "./user.ts";

/** What the command line says. */
export interface TrackOptions {
  /** The configuration file, as given. */
  readonly config: string;
  /** What is looked for. */
  readonly text: string;
  /** For scripts. */
  readonly json?: boolean | undefined;
  /** Received then or later: a duration before now, or a date. */
  readonly since?: string | undefined;
  /** At most so many messages, the newest. */
  readonly limit?: string | undefined;
}

const [usualLimit, mostLimit] = [20, 10_000];

/**
 * Shows what became of messages.
 *
 * @returns The exit code: 0 found, 1 nothing found or it can't be told, 2 the command line or the configuration is wrong.
 */
export async function trackCommand(options: TrackOptions, io: QueueIo): Promise<ExitCode> {
  const say = (text: string, code: ExitCode): ExitCode => {
    io.stderr.write(`${text}\n`);
    return code;
  };
  const { clock } = io;
  const since = options.since === undefined ? undefined : sinceOf(options.since, clock.now());
  if (since === null) {
    return say(
      `--since takes a duration such as 36h or 7d, or a time such as 2026-11-21T17:00Z; "${
        visible(options.since!)
      }" is neither.`,
      2,
    );
  }
  const limit = options.limit === undefined ? usualLimit : limitOf(options.limit);
  if (limit === undefined) return say(`--limit takes a number from 1 to ${mostLimit}.`, 2);
  const state = await stateFolder(options.config, io);
  if ("problem" in state) return say(state.problem, 2);
  const settings = await trackingSettings(options.config, io);
  if ("problem" in settings) return say(settings.problem, 2);
  try {
    const found = await findTracking(state.folder, settings.keep, { clock, log: logTo(io) });
    if (found === "never") return say(`No server has run with the state directory ${state.folder} yet.`, 1);
    try {
      const { text } = options;
      return show(
        await found.tracking.find({ text, limit, ...(since !== undefined && { since }) }),
        options,
        io,
      );
    } finally {
      await found.close();
    }
  } catch (error) {
    if (error instanceof Deno.errors.BrokenPipe) return 0; // `| head` has seen enough
    return say(error instanceof Error ? error.message : String(error), 1);
  }
}

function show(
  { messages, more, gaps, behind }: Tracked,
  { text, json, limit }: TrackOptions,
  io: QueueIo,
): ExitCode {
  if (json) {
    io.stdout.write(messages.length === 0 ? "[]\n" : `[\n${messages.map(trackJson).join(",\n")}\n]\n`);
  } else {
    io.stdout.write(messages.map((message) => trackText(message, io.columns())).join("\n"));
    if (messages.length > 0) io.stdout.write("\nTimes are UTC.\n");
  }
  const note = (line: string) => void io.stderr.write(`${line}\n`);
  if (messages.length === 0) note(`Nothing is known of ${visible(text)}.`);
  if (more) {
    note(
      `There are older ones: --limit ${
        Math.min(Number(limit ?? usualLimit) * 10, mostLimit)
      } shows more, --since fewer.`,
    );
  }
  if (behind > 0) {
    note(
      `${visibleJson(String(behind))} octets of the log are not read yet: what happened last may be missing.`,
    );
  }
  for (const gap of gaps) note(gapText(gap));
  return messages.length > 0 ? 0 : 1;
}

/** Milliseconds since 1970; `null` where it can't be read. */
function sinceOf(text: string, now: number): number | null {
  const ago = duration().safeParse(text);
  if (ago.success) return now - ago.data;
  if (!/^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?$/.test(text)) return null;
  // As all times that are shown are UTC's, so is one without a zone.
  const isZoned = /Z$|[+-]\d\d:\d\d$/.test(text) || text.length === 10;
  const time = Date.parse(`${text.replace(" ", "T")}${isZoned ? "" : "Z"}`);
  return Number.isNaN(time) ? null : time;
}

function limitOf(text: string): number | undefined {
  const limit = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  return limit >= 1 && limit <= mostLimit ? limit : undefined;
}

/** Only what concerns tracking is read: it can be looked into while the rest of the file is broken. */
async function trackingSettings(file: string, io: QueueIo): Promise<{ keep: number } | { problem: string }> {
  const { source } = await readSource(file, io);
  const { value, problems } = readValue(config.shape.tracking, source, ["tracking"]);
  if (value === undefined) return { problem: problems.map(formatProblem).join("\n") };
  if (value.enabled) return { keep: value.keep };
  return { problem: `${file} says \`tracking: { enabled: false }\`: nothing is recorded.` };
}
