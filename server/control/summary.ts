/**
 * The queue by where it wants to go: how much waits how long for what, and what was said last. The columns of age are those of
 * Postfix's `qshape`, which double: a growing right end is a destination that is not getting better.
 */
import type { Selected } from "./selection.ts";
import { domainOf, type Standing } from "./standing.ts";

/** Upper bounds of the columns, in minutes; the last column is what is older. */
export const ageColumns = [5, 10, 20, 40, 80, 160, 320, 640, 1280] as const;

/** What the rows are. */
export type SummaryBy = "destination" | "domain" | "sender";

/** One row: recipients that wait. */
export interface SummaryRow {
  /** The destination, the recipient's domain or the sender's; `""` of the null sender. */
  readonly name: string;
  readonly recipients: number;
  /** By column of {@linkcode ageColumns}, and one more. */
  readonly ages: readonly number[];
  readonly states: Readonly<Record<Standing, number>>;
  /** Most frequent first. */
  readonly reasons: readonly { readonly reason: string; readonly recipients: number }[];
}

/** The queue, summed up. */
export interface Summary {
  readonly messages: number;
  readonly total: Omit<SummaryRow, "name" | "reasons">;
  /** Most recipients first. */
  readonly rows: readonly SummaryRow[];
}

/** Reasons kept apart in one row; what differs in every reply can't be summed up. */
const mostReasons = 100;
const otherReasons = "other replies";

interface Sum {
  recipients: number;
  readonly ages: number[];
  readonly states: Record<Standing, number>;
  readonly reasons: Map<string, number>;
}

/** Sums up what was selected. */
export async function summarize(selected: AsyncIterable<Selected>, by: SummaryBy): Promise<Summary> {
  const rows = new Map<string, Sum>();
  const total = emptySum();
  let messages = 0;
  for await (const { queued, waiters } of selected) {
    messages++;
    const sender = by === "sender" ? domainOf(queued.envelope.sender) : "";
    for (const { row } of waiters) {
      const name = by === "sender" ? sender : row[by];
      let sum = rows.get(name);
      if (!sum) rows.set(name, sum = emptySum());
      const column = columnOf(row.age);
      for (const one of [sum, total]) {
        one.recipients++;
        one.ages[column]!++;
        one.states[row.state]++;
      }
      const reason = reasonOf(row.reply, row.state);
      const isKept = sum.reasons.has(reason) || sum.reasons.size < mostReasons;
      const kept = isKept ? reason : otherReasons;
      sum.reasons.set(kept, (sum.reasons.get(kept) ?? 0) + 1);
    }
  }
  const { reasons: _, ...all } = total;
  return {
    messages,
    total: all,
    rows: Array.from(rows, ([name, sum]) => ({
      name,
      ...sum,
      reasons: Array.from(sum.reasons, ([reason, recipients]) => ({ reason, recipients }))
        .sort((a, b) => b.recipients - a.recipients),
    })).sort((a, b) => b.recipients - a.recipients || (a.name < b.name ? -1 : 1)),
  };
}

function emptySum(): Sum {
  return {
    recipients: 0,
    ages: Array.from({ length: ageColumns.length + 1 }, () => 0),
    states: { ready: 0, active: 0, deferred: 0, held: 0 },
    reasons: new Map(),
  };
}

function columnOf(age: number): number {
  const column = ageColumns.findIndex((minutes) => age < minutes * 60_000);
  return column < 0 ? ageColumns.length : column;
}

/** Longer replies mostly differ in what nobody compares. */
const longestReason = 200;

/** What replies of one kind have in common: words with digits or an `@`, the codes aside, differ from one to the next. */
export function reasonOf(reply: string, state: Standing): string {
  if (state === "held") return `held ${reply}`;
  if (reply === "") return "not tried yet";
  const [, codes, text] = /^((?:[245][0-9]{2}[ -])?(?:[245]\.[0-9]{1,3}\.[0-9]{1,3}(?: |$))?)(.*)$/s
    .exec(reply.slice(0, longestReason))!;
  const words = text!.split(/\s+/).map((word) => /[0-9@]/.test(word) ? "…" : word).join(" ");
  return (codes + words).replace(/…(?: …)+/g, "…").trim();
}
