/** Figures as people read them: medians with what they range between, in Markdown. */
import { fileURLToPath } from "node:url";
import { postfixVersion } from "./postfix.ts";
import type { Run } from "./load.ts";

/** The runs of one peer, a round each. */
export interface Measured {
  readonly peer: string;
  readonly runs: readonly Run[];
}

/** Whether one of the goals was met. */
export interface Goal {
  readonly what: string;
  readonly wanted: string;
  readonly got: string;
  readonly met: boolean;
}

/** The middle one; of an even number the mean of the two. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** `4210 (4100–4300)`. */
export function spread(values: readonly number[], digits = 0): string {
  const [middle, least, most] = [median(values), Math.min(...values), Math.max(...values)]
    .map((value) => value.toFixed(digits));
  return least === most ? middle! : `${middle} (${least}–${most})`;
}

/** This one's rate by the other's, round by round: what else the machine did in a round concerned both. */
export function ratios(ours: Measured, other: Measured, rate: "accepted" | "delivered"): number[] {
  return ours.runs.map((run, round) => run[rate] / other.runs[round]![rate]);
}

/** One's CPU for a message by the other's, round by round. */
export function cpuRatios(ours: Measured, other: Measured): number[] {
  return ours.runs.map((run, round) => run.cpu / other.runs[round]!.cpu);
}

/** Octets in KiB or MiB. */
export const kib = (octets: number): string => `${(octets / 1024).toFixed(1)} KiB`;
export const mib = (octets: number): string => `${(octets / 1024 ** 2).toFixed(1)} MiB`;

/** A column besides those that every table of rates has. */
export interface Column {
  readonly head: string;
  /** By the peer's name. */
  readonly cells: ReadonlyMap<string, string>;
}

/**
 * One table of rates.
 *
 * @param base Whose rate the others are compared with.
 * @param absent Who ought to be in it, and why it is not.
 */
export function rateTable(
  title: string,
  peers: readonly Measured[],
  base: Measured,
  more: readonly Column[] = [],
  absent: readonly { readonly peer: string; readonly why: string }[] = [],
): string {
  const rows = peers.map((one) => {
    const rate = (which: "accepted" | "delivered") => spread(one.runs.map((run) => run[which]));
    const compared = one === base ? "1" : spread(ratios(one, base, "delivered"), 2);
    const cpu = spread(one.runs.map((run) => run.cpu), 2);
    const memory = mib(Math.max(...one.runs.map((run) => run.memory)));
    const cells = more.map(({ cells }) => cells.get(one.peer) ?? "–");
    return [one.peer, rate("accepted"), rate("delivered"), compared, cpu, memory, ...cells];
  });
  const head = ["server", "accepted/s", "delivered/s", `× ${base.peer}`, "CPU s per 1,000", "peak RSS"];
  const heads = [...head, ...more.map((column) => column.head)];
  const left = absent.map(({ peer, why }) => [peer, why, ...heads.slice(2).map(() => "–")]);
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [`### ${title}`, "", line(heads), line(heads.map(() => "---")), ...[...rows, ...left].map(line), ""]
    .join("\n");
}

/** What was wanted, and what came of it. */
export function goalTable(goals: readonly Goal[]): string {
  const rows = goals.map(({ what, wanted, got, met }) =>
    `| ${what} | ${wanted} | ${got} | ${met ? "yes" : "**no**"} |`
  );
  return ["### Goals", "", "| what | wanted | measured | met |", "|---|---|---|---|", ...rows, ""].join("\n");
}

/** The machine, and what else it was doing. */
export async function describeMachine(folder: string): Promise<string> {
  const cpu = /^model name\s*: (.*)$/m.exec(await Deno.readTextFile("/proc/cpuinfo"))?.[1] ?? Deno.build.arch;
  const { total } = Deno.systemMemoryInfo();
  const { stdout } = await new Deno.Command("df", { args: ["--output=fstype", folder] }).output();
  const disk = new TextDecoder().decode(stdout).trim().split("\n").at(-1);
  const load = Deno.loadavg()[0]!.toFixed(1);
  const memory = `${Math.round(total / 1024 ** 3)} GiB`;
  return `${cpu}, ${navigator.hardwareConcurrency} cores, ${memory}, Linux ${Deno.osRelease()}, disk ${disk}; ` +
    `Deno ${Deno.version.deno}, Postfix ${await postfixVersion()}; load average before the run ${load}.`;
}

const [begin, end] = ["<!-- figures -->", "<!-- /figures -->"];

/** Puts the figures where the last ones stand in a page, formatted as the house has it. */
export async function replaceFigures(page: URL, figures: string): Promise<void> {
  const text = await Deno.readTextFile(page);
  const [from, to] = [text.indexOf(begin), text.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`${page.pathname} has no ${begin} … ${end}.`);
  await Deno.writeTextFile(page, `${text.slice(0, from + begin.length)}\n\n${figures}\n${text.slice(to)}`);
  const { success } = await new Deno.Command(Deno.execPath(), {
    args: ["fmt", "--quiet", fileURLToPath(page)],
  }).output();
  if (!success) throw new Error(`deno fmt refuses ${page.pathname}.`);
}
