/** `queue summary` on a terminal: two tables, how long it waits and why. */
import { ageColumns, type Summary, type SummaryBy, type SummaryRow } from "../control/summary.ts";
import { visibleJson } from "../log/format.ts";
import { type Column, Table } from "./columns.ts";
import { countOf } from "./queue_view.ts";

const titles: Record<SummaryBy, string> = {
  destination: "DESTINATION",
  domain: "RECIPIENTS AT",
  sender: "SENDERS AT",
};

/** Reasons of one row that are shown. */
const mostReasons = 3;

/** @param top Rows that are shown. @param width Of the terminal. */
export function summaryText(
  summary: Summary,
  by: SummaryBy,
  top: number,
  width: number | undefined,
): string {
  const { messages, total, rows } = summary;
  if (total.recipients === 0) return "nothing waits\n";
  const shown = rows.slice(0, top);
  const rest = rows.length - shown.length;
  const lines = [
    ...agesOf(summary, shown, by, width),
    ...(rest > 0 ? [`… and ${rest} more: --top ${rows.length} shows them`] : []),
    "",
    ...reasonsOf(shown, by, width),
    "",
    `${total.recipients} ${total.recipients === 1 ? "recipient" : "recipients"} of ${countOf(messages)}: ` +
    `${total.states.ready} ready, ${total.states.active} being tried, ${total.states.deferred} deferred, ` +
    `${total.states.held} held.`,
    "Columns are minutes since it came; T is all.",
  ];
  return `${lines.join("\n")}\n`;
}

function agesOf({ total }: Summary, shown: readonly SummaryRow[], by: SummaryBy, width: number | undefined) {
  const heads = ["T", ...ageColumns.map(String), `${ageColumns.at(-1)}+`];
  const columns: Column[] = [
    { title: titles[by], align: "left", kind: "shrinks", least: 5 },
    ...heads.map((title): Column => ({ title, align: "right", kind: "firm", least: 3 })),
  ];
  const cells = ({ name, recipients, ages }: Pick<SummaryRow, "name" | "recipients" | "ages">) => [
    name === "" ? "<>" : name,
    String(recipients),
    ...ages.map((count) => count === 0 ? "." : String(count)),
  ];
  const rows = [{ name: "TOTAL", ...total }, ...shown].map(cells);
  const table = new Table(columns, rows, width);
  return [table.head(), ...rows.map((row) => table.row(row))];
}

function reasonsOf(shown: readonly SummaryRow[], by: SummaryBy, width: number | undefined): string[] {
  const columns: Column[] = [
    { title: titles[by], align: "left", kind: "shrinks", least: 5 },
    { title: "COUNT", align: "right", kind: "firm", least: 5 },
    { title: "REASON", align: "left", kind: "shrinks", least: 6 },
  ];
  const rows = shown.flatMap(({ name, reasons }) => {
    const first = reasons.slice(0, mostReasons);
    const rest = reasons.slice(mostReasons).reduce((sum, { recipients }) => sum + recipients, 0);
    const all = rest > 0 ? [...first, { reason: "other", recipients: rest }] : first;
    return all.map(({ reason, recipients }, i) => [
      i > 0 ? "" : name === "" ? "<>" : name,
      String(recipients),
      reason,
    ]);
  });
  const table = new Table(columns, rows, width);
  return [table.head(), ...rows.map((row) => table.row(row))];
}

/** For scripts: columns by their name. */
export function summaryJson({ messages, total, rows }: Summary, by: SummaryBy): string {
  const agesOf = (ages: readonly number[]) =>
    Object.fromEntries(ages.map((count, i) => [i < ageColumns.length ? `${ageColumns[i]}` : "older", count]));
  const shown = {
    by,
    messages,
    total: { ...total, ages: agesOf(total.ages) },
    rows: rows.map(({ ages, ...row }) => ({ ...row, ages: agesOf(ages) })),
  };
  return `${visibleJson(JSON.stringify(shown))}\n`;
}
