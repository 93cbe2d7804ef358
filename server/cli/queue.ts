/** `queue list|show|summary|retry|hold|release|redirect|delete|export`: works on a running server's queue and on a stopped one's. */
import type { Clock } from "../clock.ts";
import { nextHopOf } from "../control/redirect.ts";
import { domainOf } from "../control/standing.ts";
import { Destinations } from "../delivery/smtp/destination.ts";
import { smtpTransport } from "../resolve.ts";
import type { QueuedRecipient } from "../spool/spool.ts";
import { config } from "../config/config.ts";
import { formatProblem, readSource, readValue } from "../config/read.ts";
import type { Action, QueueControl, SummaryBy, Way } from "../control/operations.ts";
import { findQueue, type FoundQueue } from "../control/stopped.ts";
import type { Log } from "../log.ts";
import { textFormatter, visible, visibleJson } from "../log/format.ts";
import { actedText, countOf, jsonOf, messageJson, messageText, summaryOf, tableOf } from "./queue_view.ts";
import { answerTo, nothingDone } from "./ask.ts";
import { bulk, redirect } from "./queue_bulk.ts";
import { type Exported, exportFiles, exportMbox } from "./queue_export.ts";
import { summaryJson, summaryText } from "./queue_summary.ts";
import { whyNotWhere } from "./queue_where.ts";
import type { ExitCode, UserIo } from "./user.ts";

/** What is done with the queue. */
export type QueueAction = "list" | "show" | "summary" | "redirect" | "export" | Action;

/** What the command line says besides. */
export interface QueueOptions {
  /** The configuration file, as given. */
  readonly config: string;
  readonly ids?: readonly string[];
  /** For scripts. */
  readonly json?: boolean | undefined;
  /** Instead of ids: those this expression chooses. */
  readonly where?: string | undefined;
  /** `delete`, `retry --all` and what `where` chooses: without asking. */
  readonly yes?: boolean | undefined;
  /** `retry`: every message that isn't held; `export`: every message. */
  readonly all?: boolean | undefined;
  /** `show`: the message itself, as it goes out. */
  readonly content?: boolean | undefined;
  /** `hold`: why. */
  readonly reason?: string | undefined;
  /** `redirect`. */
  readonly way?: Way | undefined;
  /** `export`: where `.eml` files go; absent: an mbox on standard output. */
  readonly directory?: string | undefined;
  /** `summary`: what its rows are; default: destinations. */
  readonly by?: SummaryBy | undefined;
  /** `summary`: rows that are shown; default: 20. */
  readonly top?: number | undefined;
}

/** What the command needs of the world. */
export interface QueueIo extends UserIo {
  readonly clock: Clock;
  /** Columns of the terminal that standard output is; `undefined` where it is none. */
  columns(): number | undefined;
  /** To standard output, as they are. */
  writeBytes(bytes: Uint8Array): void;
}

/**
 * Runs one `queue` command.
 *
 * @returns The exit code; all that is to be said is on `io.stdout` and `io.stderr` by then.
 */
export async function queueCommand(
  action: QueueAction,
  options: QueueOptions,
  io: QueueIo,
): Promise<ExitCode> {
  const say = (text: string, code: ExitCode): ExitCode => {
    io.stderr.write(`${text}\n`);
    return code;
  };
  const misused = whyMisused(action, options, io);
  if (misused !== undefined) return say(misused, 2);
  const state = await stateFolder(options.config, io);
  if ("problem" in state) return say(state.problem, 2);
  try {
    const { clock } = io;
    const found = await findQueue(state.folder, { clock, log: logTo(io), nextHop: state.nextHop });
    if (found.state === "never") say(`No server has run with the state directory ${state.folder} yet.`, 0);
    try {
      return await run(action, found, options, io);
    } finally {
      await found.queue.close();
    }
  } catch (error) {
    if (error instanceof Deno.errors.BrokenPipe) return 0; // `| head` has seen enough
    return say(error instanceof Error ? error.message : String(error), 1);
  }
}

function whyMisused(action: QueueAction, options: QueueOptions, io: QueueIo): string | undefined {
  const { ids = [], all, content, json, where, way } = options;
  const problem = where === undefined ? undefined : whyNotWhere(where);
  if (problem !== undefined) return problem;
  if (action === "list" || action === "summary") {
    return ids.length > 0 ? `\`queue ${action}\` takes no ids: \`queue show\` does.` : undefined;
  }
  const or = { retry: ", --where or --all", export: ", --where or --all", show: "" } as Record<
    string,
    string
  >;
  const given = [ids.length > 0, where !== undefined, all === true].filter(Boolean).length;
  if (given > 1) return `\`queue ${action}\` takes ids${or[action] ?? " or --where"}, one of them.`;
  if (given === 0) {
    return `\`queue ${action}\` needs the id of a message${
      or[action] ?? ", or --where"
    }: \`queue list\` shows them.`;
  }
  if (action === "redirect" && !way) return "`queue redirect` needs --to, --host or --transport: where to?";
  if (action === "export" && options.directory === undefined && io.columns() !== undefined) {
    return "`queue export` writes an mbox: say `> FILE`, or --directory for .eml files.";
  }
  if (content && ids.length > 1) return "`queue show --content` takes one id.";
  if (content && json) return "`queue show` takes --content or --json, not both.";
  return undefined;
}

function run(
  action: QueueAction,
  { queue }: FoundQueue,
  options: QueueOptions,
  io: QueueIo,
): Promise<ExitCode> {
  const ids = [...new Set(options.ids)];
  const { where, reason, way, json = false, yes = false } = options;
  switch (action) {
    case "list":
      return list(queue, options, io);
    case "summary":
      return summary(queue, options, io);
    case "show":
      return options.content ? content(queue, ids[0]!, io) : show(queue, ids, options, io);
    case "export":
      return exportAll(queue, ids, options, io);
    case "redirect":
      if (where === undefined) return redirect(queue, way!, ids, { json }, io);
      return bulk(queue, { action, way: way! }, { where, yes, json }, io);
    default:
      if (where !== undefined) {
        return bulk(queue, { action, ...(reason !== undefined && { reason }) }, { where, yes, json }, io);
      }
      return action === "retry" && options.all
        ? retryAll(queue, options, io)
        : act(action, queue, ids, options, io);
  }
}

async function summary(
  queue: QueueControl,
  { where, by = "destination", top = 20, json }: QueueOptions,
  io: QueueIo,
): Promise<ExitCode> {
  const summed = await queue.summary(by, where);
  io.stdout.write(json ? summaryJson(summed, by) : summaryText(summed, by, top, io.columns()));
  return 0;
}

function exportAll(
  queue: QueueControl,
  ids: readonly string[],
  { where, directory }: QueueOptions,
  io: QueueIo,
): Promise<ExitCode> {
  const messages = ids.length > 0 ? byId(queue, ids, io) : queue.list(where);
  return directory === undefined
    ? exportMbox(queue, messages, io)
    : exportFiles(queue, messages, directory, io);
}

/** An id that is not there is found out again when its content is asked for. */
async function* byId(queue: QueueControl, ids: readonly string[], io: QueueIo): AsyncGenerator<Exported> {
  for (const id of ids) yield await queue.show(id) ?? { id, sender: "", received: io.clock.now() };
}

async function list(queue: QueueControl, { json, where }: QueueOptions, io: QueueIo): Promise<ExitCode> {
  if (json) {
    for await (const text of jsonOf(queue.list(where))) io.stdout.write(text);
    return 0;
  }
  const now = io.clock.now();
  const width = io.columns();
  let lines = 0;
  for await (const line of tableOf(queue.list(where), now, width)) {
    io.stdout.write(`${line}\n`);
    lines++;
  }
  if (lines === 0) {
    io.stdout.write(where === undefined ? "the queue is empty\n" : "nothing in the queue is so\n");
  }
  const overview = await queue.overview();
  const isWorthIt = lines > 0 || overview.asleep.length > 0;
  if (width !== undefined && isWorthIt) io.stdout.write(`\n${summaryOf(overview, now)}\n`);
  return 0;
}

async function show(
  queue: QueueControl,
  ids: readonly string[],
  { json }: QueueOptions,
  io: QueueIo,
): Promise<ExitCode> {
  let code: ExitCode = 0;
  const shown: string[] = [];
  for (const id of ids) {
    const message = await queue.show(id);
    if (message) shown.push(json ? messageJson(message) : messageText(message, io.clock.now()));
    else code = unknown(id, io);
  }
  if (json) io.stdout.write(shown.length === 0 ? "[]\n" : `[\n${shown.join(",\n")}\n]\n`);
  else io.stdout.write(shown.join("\n"));
  return code;
}

/** On a terminal escaped, line by line: a message may hold what a terminal obeys. */
async function content(queue: QueueControl, id: string, io: QueueIo): Promise<ExitCode> {
  const isTerminal = io.columns() !== undefined;
  const decoder = new TextDecoder();
  let octets = 0;
  let rest = "";
  for await (const piece of queue.content(id)) {
    octets += piece.length;
    if (!isTerminal) {
      io.writeBytes(piece);
      continue;
    }
    const lines = (rest + decoder.decode(piece, { stream: true })).split(/\r?\n/);
    rest = lines.pop()!;
    for (const line of lines) io.stdout.write(`${line.split("\t").map(visible).join("\t")}\n`);
  }
  if (rest !== "") io.stdout.write(`${visible(rest)}\n`);
  return octets > 0 ? 0 : unknown(id, io);
}

async function act(
  action: Action,
  queue: QueueControl,
  ids: readonly string[],
  { yes, json, reason }: QueueOptions,
  io: QueueIo,
): Promise<ExitCode> {
  if (action === "delete" && !yes && io.stdin.isTerminal()) {
    const what = ids.length === 1 ? `message ${visible(ids[0]!)}` : countOf(ids.length);
    const question = `Delete ${what} for good? Neither senders nor recipients are told. [y/N] `;
    if (await answerTo(question, io) === "no") return nothingDone(io);
  }
  const acted = await queue.act(action, ids, reason);
  if (json) io.stdout.write(`${visibleJson(JSON.stringify(acted))}\n`);
  let code: ExitCode = 0;
  for (const one of acted) {
    const isRefused = one.outcome === "unknown" || (one.outcome === "held" && action === "retry");
    if (isRefused) code = 1;
    const text = `${actedText(action, one, queue.server)}\n`;
    if (isRefused) io.stderr.write(text);
    else if (!json) io.stdout.write(text);
  }
  return code;
}

async function retryAll(queue: QueueControl, { yes, json }: QueueOptions, io: QueueIo): Promise<ExitCode> {
  const { ready, deferred } = await queue.overview();
  const isAsked = !yes && ready + deferred > 0;
  if (isAsked && !io.stdin.isTerminal()) {
    io.stderr.write(`That is ${countOf(ready + deferred)}. Say --yes to try them all now.\n`);
    return 2;
  }
  const question = `Try ${countOf(ready + deferred)} now? [y/N] `;
  if (isAsked && await answerTo(question, io) === "no") return nothingDone(io);
  const count = await queue.retryAll();
  const verb = count === 1 ? "is" : "are";
  const when = queue.server === "running" ? "now" : "when the server starts";
  io.stdout.write(json ? `${JSON.stringify({ count })}\n` : `${countOf(count)} ${verb} tried ${when}.\n`);
  return 0;
}

function unknown(id: string, io: QueueIo): ExitCode {
  io.stderr.write(
    `${visible(id)} is not in the queue: it is delivered, given up or deleted, or never was in it.\n`,
  );
  return 1;
}

interface StateFolder {
  readonly folder: string;
  /** As far as `outbound` could be read. */
  readonly nextHop: (recipient: QueuedRecipient) => string;
}

/** Only what concerns the queue is read: it can be looked into while the rest of the file is broken. */
export async function stateFolder(file: string, io: QueueIo): Promise<StateFolder | { problem: string }> {
  const { source, problems } = await readSource(file, io);
  const errors = problems.filter(({ severity }) => severity === "error");
  const state = readValue(config.shape.state, source, ["state"]);
  if (errors.length === 0 && state.value !== undefined) {
    const outbound = readValue(config.shape.outbound, source, ["outbound"]).value;
    const destinations = outbound && new Destinations(outbound);
    const nextHop = (recipient: QueuedRecipient) =>
      destinations && recipient.via === smtpTransport
        ? destinations.of(domainOf(recipient.address), recipient.hops).key
        : nextHopOf(recipient);
    return { folder: state.value, nextHop };
  }
  return { problem: (errors.length > 0 ? errors : state.problems).map(formatProblem).join("\n") };
}

/** What the spool has to say is worth seeing only where something is wrong. */
export function logTo(io: QueueIo): Log {
  const format = textFormatter(false);
  const nothing = () => {};
  const log: Log = {
    debug: nothing,
    info: nothing,
    warning: (event, fields = {}) => io.stderr.write(format(io.clock.now(), "warning", event, fields)),
    error: (event, fields = {}) => io.stderr.write(format(io.clock.now(), "error", event, fields)),
    with: () => log,
  };
  return log;
}
