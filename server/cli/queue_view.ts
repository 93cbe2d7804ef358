/** How the queue looks on a terminal, and as JSON. Whatever a peer has sent may stand in it: everything is escaped. */
import type {
  Acted,
  Action,
  ListedMessage,
  Overview,
  ShownMessage,
  ShownRecipient,
} from "../control/operations.ts";
import { hopText } from "../control/redirect.ts";
import { visible, visibleJson } from "../log/format.ts";
import { type Column, Table } from "./columns.ts";

const columns: readonly Column[] = [
  { title: "ID", align: "left", kind: "firm", least: 16 },
  { title: "AGE", align: "right", kind: "firm", least: 3 },
  { title: "SIZE", align: "right", kind: "firm", least: 4 },
  { title: "STATE", align: "left", kind: "firm", least: 8 },
  { title: "SENDER", align: "left", kind: "shrinks", least: 6 },
  { title: "RECIPIENT", align: "left", kind: "shrinks", least: 9 },
  { title: "TRY", align: "right", kind: "firm", least: 3 },
  { title: "NEXT", align: "right", kind: "firm", least: 4 },
  { title: "LAST REPLY", align: "left", kind: "shrinks", least: 10 },
];
/** Rows that the widths are taken from. */
const looked = 500;

/** A line for each recipient that waits, titles first. @param width Of the terminal. */
export async function* tableOf(
  messages: AsyncIterable<ListedMessage>,
  now: number,
  width: number | undefined,
): AsyncGenerator<string> {
  const first: string[][] = [];
  let table: Table | undefined;
  function* lay(): Generator<string> {
    table = new Table(columns, first, width);
    yield table.head();
    for (const row of first) yield table.row(row);
  }
  for await (const message of messages) {
    for (const row of rowsOf(message, now)) {
      if (table) yield table.row(row);
      else if (first.push(row) === looked) yield* lay();
    }
  }
  if (!table && first.length > 0) yield* lay();
}

function rowsOf(message: ListedMessage, now: number): string[][] {
  const { id, received, size, sender, recipients, held } = message;
  return recipients.map(({ address, state, attempts, nextAttempt, lastReply }) => [
    id,
    shortTime(now - received),
    shortSize(size),
    state,
    shownSender(sender),
    address,
    String(attempts),
    nextAttempt === null ? "-" : nextAttempt <= now ? "now" : shortTime(nextAttempt - now),
    held === null ? lastReply ?? "" : `held ${held}`,
  ]);
}

/** A list as DESIGN §6 has it, one message a line; times are ISO 8601, in UTC. */
export async function* jsonOf(messages: AsyncIterable<ListedMessage>): AsyncGenerator<string> {
  let before = "[\n";
  for await (const { id, received, sender, size, state, recipients } of messages) {
    const shown = {
      ...{ id, received: isoTime(received), sender, size, state },
      recipients: recipients.map((recipient) => ({
        ...recipient,
        nextAttempt: isoTime(recipient.nextAttempt),
      })),
    };
    yield before + visibleJson(JSON.stringify(shown));
    before = ",\n";
  }
  yield before === "[\n" ? "[]\n" : "\n]\n";
}

/** A message as JSON. */
export function messageJson(message: ShownMessage): string {
  const { received, recipients } = message;
  const shown = {
    ...message,
    received: isoTime(received),
    recipients: recipients.map((recipient) => ({
      ...recipient,
      nextAttempt: isoTime(recipient.nextAttempt),
    })),
  };
  return visibleJson(JSON.stringify(shown));
}

/** What stands below a list on a terminal. */
export function summaryOf({ ready, deferred, held, oldest, asleep }: Overview, now: number): string {
  const all = ready + deferred + held;
  const age = oldest === null ? "" : `; the oldest came ${longTime(now - oldest)} ago`;
  const lines = [`${countOf(all)}: ${ready} ready or being tried, ${deferred} deferred, ${held} held${age}`];
  for (const { destination, until, reply } of asleep) {
    lines.push(visible(`${destination} can't be reached, next try in ${longTime(until - now)}: ${reply}`));
  }
  return lines.join("\n");
}

/** `1 message`, `2 messages`. */
export function countOf(messages: number): string {
  return `${messages} ${messages === 1 ? "message" : "messages"}`;
}

/** Everything of a message, for people. */
export function messageText(message: ShownMessage, now: number): string {
  const { id, received, sender, size, state, held, from, envid, ret, utf8, recipients, header } = message;
  const facts: [string, string | undefined][] = [
    ["received", `${dateTime(received)}, ${longTime(now - received)} ago`],
    ["sender", shownSender(sender)],
    ["size", `${size} octets`],
    ["state", held === null ? state : `held: ${held}`],
    [
      "brought by",
      from
        ? [from.ip, from.helo && `as ${from.helo}`, from.user && `user ${from.user}`]
          .filter(Boolean).join(", ")
        : undefined,
    ],
    [
      "asked for",
      [ret && `RET=${ret}`, envid && `ENVID=${envid}`, utf8 && "SMTPUTF8"].filter(Boolean).join(" "),
    ],
  ];
  const lines = [id, ...factLines(facts, "  ")];
  for (const recipient of recipients) lines.push("", ...recipientLines(recipient, now));
  lines.push("", "header");
  if (header === null) lines.push("  can't be read: the content is damaged or gone");
  else {for (const line of header.trimEnd().split("\r\n")) {
      lines.push(`  ${visible(line.replaceAll("\t", "  "))}`);
    }}
  return `${lines.join("\n")}\n`;
}

function recipientLines(recipient: ShownRecipient, now: number): string[] {
  const { address, original, via, hops, state, attempts, nextAttempt, lastReply, notify, delayNoticed } =
    recipient;
  const next = nextAttempt === null
    ? undefined
    : nextAttempt <= now
    ? "now"
    : `${dateTime(nextAttempt)}, in ${longTime(nextAttempt - now)}`;
  return [
    visible(`to ${address}`),
    ...factLines([
      ["given as", original === address ? undefined : original],
      ["state", state],
      ["by", hops ? `${via}, through ${hops.map(hopText).join(" ")}` : via],
      ["attempts", attempts === null ? undefined : String(attempts)],
      ["next", next],
      ["last reply", lastReply ?? undefined],
      ["notify", notify === null || notify === undefined ? undefined : [notify].flat().join(",")],
      ["sender", delayNoticed ? "was told of the delay" : undefined],
    ], "  "),
  ];
}

function factLines(facts: readonly [name: string, value: string | undefined][], indent: string): string[] {
  return facts.filter(([, value]) => value !== undefined && value !== "")
    .map(([name, value]) => `${indent}${name.padEnd(12)}${visible(value!)}`);
}

/** What became of one message, in a sentence. @param server Whether it runs. */
export function actedText(action: Action, acted: Acted, server: "running" | "stopped"): string {
  const { id, outcome, underWay } = acted;
  const shown = visible(id);
  if (outcome === "unknown") return `${shown} is not in the queue.`;
  if (outcome === "held") {
    return action === "retry"
      ? `${shown} is held, nothing was done: \`queue release ${shown}\` lets it go.`
      : `${shown} is held already.`;
  }
  const when = server === "running" ? "is tried now" : "is tried when the server starts";
  const meanwhile = underWay ? ", but an attempt was under way already: its outcome counts" : "";
  switch (action) {
    case "retry":
      return underWay ? `${shown} is being tried already.` : `${shown} ${when}.`;
    case "release":
      return `${shown} is released, and ${when}.`;
    case "hold":
      return `${shown} is held${meanwhile}.`;
    case "delete":
      return `${shown} is deleted${meanwhile}.`;
  }
}

function shownSender(sender: string): string {
  return sender === "" ? "<>" : sender;
}

function isoTime(time: number): string;
function isoTime(time: number | null): string | null;
function isoTime(time: number | null): string | null {
  return time === null ? null : new Date(time).toISOString();
}

/** `2026-11-21 22:00:00 UTC`. */
function dateTime(time: number): string {
  return `${new Date(time).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

const units = [["d", "day", 86_400_000], ["h", "hour", 3_600_000], ["m", "minute", 60_000], [
  "s",
  "second",
  1000,
]] as const;

/** `5d`, `12m`. */
function shortTime(ms: number): string {
  const [short, , length] = units.find(([, , length]) => ms >= length) ?? units[3];
  return `${Math.max(0, Math.floor(ms / length))}${short}`;
}

/** `5 days`, `1 minute`. */
function longTime(ms: number): string {
  const [, long, length] = units.find(([, , length]) => ms >= length) ?? units[3];
  const count = Math.max(0, Math.floor(ms / length));
  return `${count} ${long}${count === 1 ? "" : "s"}`;
}

/** Three digits at most, in powers of 1,024: `512`, `1.2K`, `34M`. */
function shortSize(octets: number): string {
  if (octets < 1000) return String(octets);
  let size = octets / 1024;
  for (const unit of ["K", "M", "G"]) {
    if (size < 9.95) return `${size.toFixed(1)}${unit}`;
    if (size < 999.5) return `${Math.round(size)}${unit}`;
    size /= 1024;
  }
  return `${Math.round(size)}T`;
}
