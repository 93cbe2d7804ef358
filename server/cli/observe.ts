/** `observe report`: what plugins with `observe: true` would have changed. Reads the store, beside a running server or without one. */
import { join } from "node:path";
import type { Clock } from "../clock.ts";
import { config } from "../config/config.ts";
import { formatProblem, readSource, readValue } from "../config/read.ts";
import { visible } from "../log/format.ts";
import { type Counted, storeName, sumUp } from "../observe/observations.ts";
import { readDuration } from "../options.ts";
import { openStore } from "../store.ts";
import { Table } from "./columns.ts";
import { jsonText } from "./json.ts";
import type { ExitCode, UserIo } from "./user.ts";

/** What the command line says. */
export interface ObserveOptions {
  readonly config: string;
  /** How far back, as `3d`. */
  readonly since?: string | undefined;
  readonly json?: boolean | undefined;
}

/** What the command needs of the world. */
export interface ObserveIo extends UserIo {
  readonly clock: Clock;
  columns(): number | undefined;
}

const usual = "3d";
/** The store forgets what is older. */
const longest = 14 * 86_400_000;

/** Prints the report. @returns The exit code. */
export async function observeReport(options: ObserveOptions, io: ObserveIo): Promise<ExitCode> {
  const say = (text: string, code: ExitCode): ExitCode => {
    io.stderr.write(`${text}\n`);
    return code;
  };
  const { since = usual } = options;
  const length = readDuration(since);
  if (length === undefined || length === 0) {
    return say(`--since ${since}: that is not a duration such as 12h or 3d.`, 2);
  }
  if (length > longest) return say(`--since ${since}: what is older than 14d is not kept.`, 2);
  const found = await findState(options.config, io);
  if ("problem" in found) return say(found.problem, 2);
  const now = io.clock.now();
  try {
    const counted = await readCounts(join(found.state, "store.db"), now - length, io.clock);
    if (options.json) io.stdout.write(`${jsonText(counted.map(asJson))}\n`);
    else {for (const line of report(counted, since, found.observed, io.columns())) {
        io.stdout.write(`${line}\n`);
      }}
    return 0;
  } catch (error) {
    return say(error instanceof Error ? error.message : String(error), 1);
  }
}

async function readCounts(path: string, since: number, clock: Clock): Promise<Counted[]> {
  try {
    await Deno.stat(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
  const stores = await openStore(path, clock, "read");
  try {
    return await sumUp(stores.for(storeName), since, clock.now());
  } finally {
    await stores.close();
  }
}

/** Where the state is, and who is observed now. */
async function findState(
  file: string,
  io: UserIo,
): Promise<{ state: string; observed: readonly string[] } | { problem: string }> {
  const { source, problems } = await readSource(file, io);
  const errors = problems.filter(({ severity }) => severity === "error");
  const state = readValue(config.shape.state, source, ["state"]);
  const plugins = readValue(config.shape.plugins, source, ["plugins"]);
  if (errors.length > 0 || state.value === undefined) {
    return { problem: [...errors, ...state.problems].map(formatProblem).join("\n") };
  }
  const observed = (plugins.value ?? []).filter(({ observe }) => observe).map(({ use, as }) => as ?? use);
  return { state: state.value, observed };
}

/** How many of a word's cases would have gone otherwise with it. */
export function changes({ said, fates }: Counted): number {
  // Whoever claims would have taken what was refused; whoever objects, or edits, would have changed what was accepted.
  return said === "accept" ? fates.refused : fates.accepted;
}

const asJson = (counted: Counted) => ({ ...counted, changes: changes(counted) });

const wouldHave = (said: string): string => {
  if (said === "accept") return "accepted";
  if (said === "edits") return "edited";
  if (said === "failed") return "failed";
  return said.startsWith("defer") ? "refused for now" : "refused";
};

/** The report for people. */
export function report(
  counted: readonly Counted[],
  since: string,
  observed: readonly string[],
  columns: number | undefined,
): string[] {
  if (counted.length === 0) {
    return [
      observed.length === 0
        ? `no plugin here has \`observe: true\`, and none has said anything in the last ${since}`
        : `${observed.join(", ")}: nothing said in the last ${since}`,
    ];
  }
  const rows = counted.map((one) => [
    one.plugin,
    one.hook,
    one.said,
    ...[one.fates.accepted, one.fates.refused, one.fates.none, changes(one)].map(String),
  ]);
  const table = new Table(
    [
      { title: "PLUGIN", align: "left", kind: "shrinks", least: 6 },
      { title: "HOOK", align: "left", kind: "firm", least: 4 },
      { title: "WOULD SAY", align: "left", kind: "shrinks", least: 9 },
      { title: "ACCEPTED", align: "right", kind: "firm", least: 8 },
      { title: "REFUSED", align: "right", kind: "firm", least: 7 },
      { title: "NO MAIL", align: "right", kind: "firm", least: 7 },
      { title: "CHANGES", align: "right", kind: "firm", least: 7 },
    ],
    rows,
    columns,
  );
  const examples = counted.filter((one) => changes(one) > 0).flatMap((one) => {
    const fate = one.said === "accept" ? "refused" : "accepted";
    const cases = one.examples.filter((example) => example.fate === fate).slice(0, 3);
    return cases.map(({ time, about, text }) => [
      `${new Date(time).toISOString().slice(0, 16).replace("T", " ")}Z ${visible(about)}`,
      `  ${one.plugin} would have ${wouldHave(one.said)}: ${visible(text)}`,
    ]).flat();
  });
  return [
    `the last ${since}: what became of mail, and what observed plugins would have said`,
    "",
    table.head(),
    ...rows.map((row) => table.row(row)),
    ...(examples.length > 0 ? ["", "for example", ...examples.map((line) => `  ${line}`)] : []),
  ];
}
