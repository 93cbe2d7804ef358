/** What became of messages, for people and as JSON. Whatever a peer has sent may stand in it: everything is escaped. */
import { visible, visibleJson } from "../log/format.ts";
import type { Arrival, AttemptStep, Gap, Step, TrackedMessage, TrackedRecipient } from "../tracking/steps.ts";

/** How a recipient, or the whole message, stands. */
export type Standing = "waiting" | "delivered" | "failed" | "held" | "deleted" | "kept elsewhere" | "unknown";

/** Columns where the output is no terminal. */
const usualWidth = 100;
/** Where a step's words begin, behind its time. */
const margin = 12;

// ── How it stands ──────────────────────────────────────────────────────────────────────────────────

/** How each recipient stands, by its index. */
export function standingsOf({ steps }: TrackedMessage): readonly Standing[] {
  const arrival = arrivalOf(steps);
  if (!arrival) return [];
  if (arrival.keeper?.kind === "plugin") return arrival.recipients.map(() => "kept elsewhere");
  const standings: Standing[] = arrival.recipients.map(() => "waiting");
  for (const step of steps) {
    const isOpen = (i: number) => standings[i] === "waiting" || standings[i] === "held";
    if (step.step === "attempt" && step.outcome !== "deferred") standings[step.to] = step.outcome;
    const all = step.step === "held" ? "held" : step.step === "released" ? "waiting" : step.step;
    if (all !== "held" && all !== "waiting" && all !== "deleted") continue;
    for (const i of standings.keys()) if (isOpen(i)) standings[i] = all;
  }
  return standings;
}

/** `delivered`, `1 of 3 delivered, 2 waiting`. */
export function standingText(message: TrackedMessage): string {
  const standings = standingsOf(message);
  if (standings.length === 0) {
    return arrivalOf(message.steps) ? "kept for nobody" : "its arrival is not known";
  }
  const [first] = standings;
  if (standings.every((standing) => standing === first)) return first!;
  const counts = [...Map.groupBy(standings, (standing) => standing)].map(([standing, its]) =>
    `${its.length} ${standing}`
  );
  return `${standings.length} recipients: ${counts.join(", ")}`;
}

function arrivalOf(steps: readonly Step[]): Arrival | undefined {
  const [first] = steps;
  return first?.step === "received" ? first.arrival : undefined;
}

/** Who an index means, step by step: an operator may have sent recipients elsewhere in between. */
class Recipients {
  readonly #now: TrackedRecipient[];

  constructor(arrival: Arrival | undefined) {
    this.#now = [...arrival?.recipients ?? []];
  }

  get all(): readonly TrackedRecipient[] {
    return this.#now;
  }

  /** How this step is to be read, and those after it. */
  pass(step: Step): this {
    if (step.step !== "redirected") return this;
    for (const [i, index] of step.to.entries()) this.#now[index] = step.recipients[i]!;
    return this;
  }

  at(index: number): TrackedRecipient | undefined {
    return this.#now[index];
  }
}

// ── For people ─────────────────────────────────────────────────────────────────────────────────────

/** A message with all of its steps. @param width Of the terminal. */
export function trackText(message: TrackedMessage, width: number = usualWidth): string {
  const { id, steps } = message;
  const arrival = arrivalOf(steps);
  const lines = [`${visible(id)}  ${standingText(message)}`];
  if (arrival) lines.push(...headOf(arrival, width));
  const recipients = new Recipients(arrival);
  let day = "";
  for (const step of steps) {
    const time = step.at === null ? undefined : new Date(step.at).toISOString();
    if (time !== undefined && time.slice(0, 10) !== day) {
      day = time.slice(0, 10);
      lines.push("", `  ${day}`);
    }
    const [first = "", ...more] = wordsOf(step, recipients.pass(step));
    lines.push(...hang(`  ${time?.slice(11, 19) ?? "        "}  `, first, width));
    for (const line of more) lines.push(...hang(" ".repeat(margin + 2), line, width));
  }
  return `${lines.join("\n")}\n`;
}

function headOf({ sender, messageId, about, size }: Arrival, width: number): string[] {
  const facts: [string, string | undefined][] = [
    ["from", sender === "" ? "<>" : sender],
    ["Message-ID", messageId],
    ["report on", about && `${about.id} (${about.kind})`],
    ["size", `${size} octets`],
  ];
  return facts.flatMap(([name, value]) =>
    value === undefined ? [] : hang(`  ${name.padEnd(12)}`, value, width)
  );
}

/** A step's lines; the first is a sentence. */
function wordsOf(step: Step, recipients: Recipients): string[] {
  const recipient = (to: number): string => recipients.at(to)?.address ?? `recipient ${to + 1}`;
  switch (step.step) {
    case "received":
      return receivedWords(step.arrival);
    case "attempt":
      return attemptWords(step, recipient(step.to), recipients.at(step.to));
    case "waits":
      return [
        `${recipient(step.to)} waits until ${moment(step.next)}, its destination can't be reached:`,
        step.reply,
      ];
    case "passed":
      return [
        `${step.recipients.map(({ address }) => address).join(", ")} passed on to ${
          step.host ?? "the next hop"
        }` +
        `${step.tls === undefined ? "" : `, ${step.tls}`}`,
        step.reply,
      ];
    case "held":
      return [`held: ${step.reason}`];
    case "released":
      return ["made due at once by an operator (`queue retry` or `release`)"];
    case "deleted":
      return ["taken out of the queue, nobody was told"];
    case "redirected":
      return step.recipients.map(({ address, original, via }) =>
        `redirected by an operator: ${original === address ? "" : `${original} `}to ${address} by ${via}`
      );
    case "report":
      return [`the sender was sent a report of ${reportNames[step.kind]}: ${step.report}`];
  }
}

const reportNames = { failure: "failure", delay: "delay", success: "delivery" } as const;

function receivedWords({ from, recipients, said = [], facts = [], keeper }: Arrival): string[] {
  const lines = [from ? `received ${originWords(from)}` : "written by this server"];
  for (const { address, original, via } of recipients) {
    lines.push(`to ${address}${original === address ? "" : ` (given as ${original})`} by ${via}`);
  }
  // For a message to many each of them says the same many times.
  for (const [text, { length }] of Map.groupBy(said, saidWords)) {
    lines.push(length === 1 ? text : `${text} (${length} times)`);
  }
  for (const [name, value] of facts) lines.push(`found ${name}: ${JSON.stringify(value)}`);
  if (keeper?.kind === "plugin") lines.push(`taken by the plugin ${keeper.plugin} as ${keeper.name}`);
  if (keeper?.kind === "nobody") lines.push("plugins removed all recipients: it went nowhere");
  return lines;
}

function originWords({ ip, helo, user, tls, protocol }: NonNullable<Arrival["from"]>): string {
  if (protocol === "internal") return "from this server itself";
  const parts = [
    `from ${helo === undefined ? "" : `${helo} `}[${ip}] by ${(protocol ?? "smtp").toUpperCase()}`,
    tls === undefined ? "without TLS" : tls.replace(" ", ", "),
    user === undefined ? undefined : `user ${user}`,
  ];
  return parts.filter((part) => part !== undefined).join(", ");
}

/** `rcpt relay accept` → `relay at rcpt: accept`. */
function saidWords(text: string): string {
  const [, hook, plugin, verdict] = /^([A-Za-z]+) (\S+) (.*)$/s.exec(text) ?? [];
  return verdict === undefined || hook === "and" ? text : `${plugin} at ${hook}: ${verdict}`;
}

function attemptWords(step: AttemptStep, address: string, recipient: TrackedRecipient | undefined): string[] {
  const { outcome, attempt, host, tls, reply, next } = step;
  const where = [
    host === undefined ? `by ${recipient?.via ?? "its transport"}` : `by ${host}`,
    tls,
    attempt !== undefined && attempt > 1 ? `attempt ${attempt}` : undefined,
  ].filter((part) => part !== undefined).join(", ");
  const again = next === undefined ? "" : `, next try ${moment(next)}`;
  return [`${address} ${outcome} ${where}${again}`, ...(reply === "" ? [] : [reply])];
}

/** `2026-11-21 22:00:00`. */
function moment(time: number): string {
  return new Date(time).toISOString().slice(0, 19).replace("T", " ");
}

/** Text broken between words, behind a first line's beginning; a word that fits nowhere is not cut. */
function hang(start: string, text: string, width: number): string[] {
  const lines: string[] = [];
  let line = start;
  let isFresh = true;
  for (const word of visible(text).split(" ")) {
    if (!isFresh && line.length + 1 + word.length > width) {
      lines.push(line.trimEnd());
      line = " ".repeat(start.length + 2);
      isFresh = true;
    }
    line += isFresh ? word : ` ${word}`;
    isFresh = false;
  }
  return [...lines, line.trimEnd()];
}

/** What is missing, if something is. */
export function gapText({ at, why }: Gap): string {
  return `${moment(at)} UTC: ${visible(why)}`;
}

// ── For scripts ────────────────────────────────────────────────────────────────────────────────────

/** A message as one line of JSON; times are ISO 8601, in UTC. */
export function trackJson(message: TrackedMessage): string {
  const { id, steps } = message;
  const arrival = arrivalOf(steps);
  const standings = standingsOf(message);
  const recipients = new Recipients(arrival);
  const told = steps.map((step) => stepJson(step, recipients.pass(step)));
  const shown = {
    id,
    received: arrival ? iso(steps[0]!.at) : null,
    sender: arrival?.sender ?? null,
    messageId: arrival?.messageId ?? null,
    size: arrival?.size ?? null,
    from: arrival?.from ?? null,
    reportOn: arrival?.about ?? null,
    recipients: recipients.all.map((recipient, i) => ({ ...recipient, state: standings[i] })),
    said: arrival?.said ?? [],
    facts: (arrival?.facts ?? []).map(([name, value]) => ({ name, value })),
    keptBy: arrival?.keeper ?? null,
    steps: told.filter(({ what }) => what !== "received"),
  };
  return visibleJson(JSON.stringify(shown));
}

function stepJson(step: Step, recipients: Recipients): { readonly what: string } {
  const { at, step: what, ...rest } = step;
  if (!("to" in rest) || "recipients" in rest) {
    const { to: _to, ...others } = rest as typeof rest & { to?: unknown };
    const shown = { at: iso(at), what, ...others };
    return shown;
  }
  const { to, next, ...more } = rest as typeof rest & { next?: number };
  const recipient = recipients.at(to)?.address ?? null;
  const shown = { at: iso(at), what, recipient, ...more, ...(next !== undefined && { next: iso(next) }) };
  return shown;
}

function iso(time: number | null): string | null {
  return time === null ? null : new Date(time).toISOString();
}
