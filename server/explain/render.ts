/** An explanation for people, in as many columns as their terminal has. Pure. */
import { visible } from "../log/format.ts";
import type { Json } from "../plugin.ts";
import type { Copy, Explanation, Outcome, Step, Turn } from "./explanation.ts";

const usual = 80;

/** The lines, without line ends. @param columns Of the terminal; absent: 80. */
export function render(explanation: Explanation, columns: number = usual): string[] {
  const width = Math.max(40, columns);
  const { steps, recipients, copies, notes } = explanation;
  const turns = steps.flatMap((step) => step.turns);
  const widths = {
    hook: longestOf(turns.map(({ hook }) => hook), 7),
    plugin: longestOf(turns.map(({ plugin }) => plugin), 8, 20),
  };
  return [
    ...heading(explanation).flatMap((line) => wrapped(line, width, 2)),
    "",
    ...steps.flatMap((step) => stepLines(step, widths, width)),
    ...(copies.length > 0 ? ["", ...copies.flatMap((copy) => wrapped(copyText(copy), width, 2))] : []),
    "",
    ...recipients.flatMap(({ address, outcome, reply }) =>
      wrapped(`${address}: ${inWords[outcome]}, ${reply.code} ${reply.text}`, width, 2)
    ),
    ...notes.flatMap((note) => wrapped(`note: ${note}`, width, 2)),
  ];
}

const inWords: Record<Outcome, string> = {
  accepted: "accepted",
  deferred: "refused for now",
  refused: "refused for good",
};

function heading({ config, session, from, to, message }: Explanation): string[] {
  const { ip, role, helo, tls, user } = session;
  const login = user === undefined ? "" : `, logged in as ${user}`;
  return [
    `${config}: <${from}> → ${to.join(", ")}`,
    `${ip}, role ${role}, HELO ${helo}, ${tls ? "over TLS" : "in the clear"}${login}`,
    `${message.name}, ${message.size} octets`,
  ];
}

interface Widths {
  readonly hook: number;
  readonly plugin: number;
}

function stepLines({ command, turns, facts, log, reply, by }: Step, widths: Widths, width: number): string[] {
  const said = `→ ${reply.code} ${reply.text}${
    by === undefined ? "" : ` (${by === "core" ? "the server itself" : by})`
  }`;
  if (turns.length + facts.length + log.length === 0) return wrapped(`${command} ${said}`, width, 2);
  const inside = [
    ...turns.map((turn) => turnLines(turn, command, widths, width - 2)),
    ...facts.map(({ fact, value, plugin }) =>
      wrapped(`fact ${fact} = ${JSON.stringify(value)} (${plugin})`, width - 2, 2)
    ),
    ...log.map((line) => wrapped(`log ${line}`, width - 2, 2)),
    wrapped(said, width - 2, 2),
  ];
  const [title, ...more] = wrapped(command, width, 2);
  return [title!, ...more, ...inside.flatMap((lines, i) => branch(lines, i === inside.length - 1))];
}

/** A branch of the tree. */
function branch([first, ...rest]: readonly string[], isLast: boolean): string[] {
  return [`${isLast ? "└" : "├"} ${first}`, ...rest.map((line) => `${isLast ? " " : "│"} ${line}`)];
}

/** `rcpt     relay     accept              0.1 ms`, and below it what there is to say about it. */
function turnLines(turn: Turn, command: string, { hook, plugin }: Widths, width: number): string[] {
  const { claim, edits, rule, why, about, observed } = turn;
  const place = `line ${turn.place.slice(turn.place.lastIndexOf(":") + 1)}`; // the heading says of which file
  const took = `${turn.took < 1000 ? turn.took.toFixed(1) : Math.round(turn.took)} ms`;
  const begin = `${turn.hook.padEnd(hook)}  ${visible(turn.plugin).padEnd(plugin)}  `;
  const said = `${turn.said}${claim === undefined ? "" : ` ${claimText(claim)}`}${
    observed ? " (only observed)" : ""
  }`;
  const room = width - begin.length - took.length - 1;
  const [first, ...rest] = wrapped(said, Math.max(12, room), 0);
  const indent = " ".repeat(Math.min(begin.length, 12));
  const below = [
    ...rest,
    ...(about === undefined || command.includes(`<${about}>`) ? [] : [`about ${about}`]),
    ...(turn.said === "-" ? [] : [rule === undefined ? place : `because ${rule} (${place})`]),
    ...(why === undefined ? [] : why.split("\n").slice(0, 2).map((line) => line.trim())),
    ...(edits ?? []).map((edit) => `edit ${edit}`),
  ];
  return [
    `${begin}${first!.padEnd(room)} ${took}`,
    ...below.flatMap((line) => wrapped(line, width - indent.length, 2).map((part) => indent + part)),
  ];
}

function claimText(claim: Json): string {
  return Object.entries(claim as Record<string, Json>).map(([key, value]) => {
    if (typeof value === "string") return `${key} ${value}`;
    return Array.isArray(value) && value.every((one) => typeof one === "string")
      ? `${key} ${value.join(", ")}`
      : `${key} ${JSON.stringify(value)}`;
  }).join(" ");
}

function copyText({ address, original, via, next }: Copy): string {
  const from = address === original ? "" : ` (for ${original})`;
  return `would go to ${address}${from} by ${via}${next === undefined ? ", from the queue" : `, ${next}`}`;
}

function longestOf(texts: readonly string[], least: number, most = 40): number {
  return Math.min(most, texts.reduce((longest, text) => Math.max(longest, text.length), least));
}

/** A text in lines of this width, broken at spaces where there are any; control characters escaped. */
export function wrapped(text: string, width: number, indent: number): string[] {
  const lines: string[] = [];
  let rest = visible(text);
  while (true) {
    const room = width - (lines.length === 0 ? 0 : indent);
    const before = lines.length === 0 ? "" : " ".repeat(indent);
    if (rest.length <= room) return [...lines, before + rest];
    const space = rest.lastIndexOf(" ", room);
    const at = space > room / 2 ? space : room;
    lines.push(before + rest.slice(0, at));
    rest = rest.slice(at).trimStart();
  }
}
