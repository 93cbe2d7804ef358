/** `queue retry|hold|release|delete|redirect --where …`: counts, asks, and does it, all of it where the queue is. */
import type { Action, BulkChange, Changed, Count, QueueControl, Way } from "../control/operations.ts";
import { visible, visibleJson } from "../log/format.ts";
import { answerTo, nothingDone } from "./ask.ts";
import type { QueueIo } from "./queue.ts";
import { actedText, countOf } from "./queue_view.ts";
import type { ExitCode } from "./user.ts";

/** How it is to be done. */
export interface BulkHow {
  readonly where: string;
  readonly yes: boolean;
  readonly json: boolean;
}

/** Changes those an expression chooses. */
export async function bulk(
  queue: QueueControl,
  what: BulkChange,
  { where, yes, json }: BulkHow,
  io: QueueIo,
): Promise<ExitCode> {
  // What comes or ages while people think was in no count, and stays out of it.
  const asOf = io.clock.now();
  const count = await queue.count(where, asOf);
  const isRefused = what.action === "retry" || what.action === "hold";
  const concerned = count.messages - (isRefused ? count.held : 0);
  if (concerned > 0 && !yes) {
    if (!io.stdin.isTerminal()) {
      io.stderr.write(`That is ${chosenText(what, count)}. Say --yes to ${verbs[what.action]} them.\n`);
      return 2;
    }
    if (await answerTo(`${questionOf(what, count)} [y/N] `, io) === "no") return nothingDone(io);
  }
  const none = { messages: 0, recipients: 0, partial: 0, held: count.held, underWay: 0 };
  const changed = concerned > 0 ? await queue.change(what, where, asOf) : none;
  io.stdout.write(json ? `${JSON.stringify(changed)}\n` : changedText(what, changed, queue.server));
  return 0;
}

/** Sends messages elsewhere by their ids. */
export async function redirect(
  queue: QueueControl,
  way: Way,
  ids: readonly string[],
  { json }: Pick<BulkHow, "json">,
  io: QueueIo,
): Promise<ExitCode> {
  const acted = await queue.redirect(way, ids);
  if (json) io.stdout.write(`${visibleJson(JSON.stringify(acted))}\n`);
  let code: ExitCode = 0;
  for (const one of acted) {
    const text = one.outcome === "done"
      ? `${visible(one.id)} goes to ${wayText(way)}${
        one.underWay ? ", but an attempt was under way already: its outcome counts" : ""
      }${one.stays ? `, and is still held: \`queue release ${visible(one.id)}\` lets it go` : ""}.\n`
      : one.outcome === "held"
      ? `${visible(one.id)} can't be read, nothing was done.\n`
      : `${actedText("retry", one, queue.server)}\n`;
    if (one.outcome !== "done") code = 1;
    if (one.outcome !== "done") io.stderr.write(text);
    else if (!json) io.stdout.write(text);
  }
  return code;
}

const verbs: Record<Action | "redirect", string> = {
  retry: "try",
  hold: "hold",
  release: "release",
  delete: "delete",
  redirect: "redirect",
};

/** `430 recipients of 412 messages`, where not all of those are meant. */
function chosenText(
  { action }: Pick<BulkChange, "action">,
  { messages, recipients, partial, held }: Count,
): string {
  const isByRecipient = action === "delete" || action === "redirect";
  if (isByRecipient && partial > 0) {
    return recipientsText(recipients, messages);
  }
  const isRefused = action === "retry" || action === "hold";
  const rest = partial > 0 && !isByRecipient ? ", with all their recipients" : "";
  return `${countOf(messages - (isRefused ? held : 0))}${rest}`;
}

function recipientsText(recipients: number, messages: number): string {
  return `${recipients} ${recipients === 1 ? "recipient" : "recipients"} of ${countOf(messages)}`;
}

function questionOf(what: BulkChange, count: Count): string {
  const chosen = chosenText(what, count);
  switch (what.action) {
    case "retry":
      return `Try ${chosen} now?`;
    case "hold":
      return `Hold ${chosen}?`;
    case "release":
      return `Release ${chosen}, to be tried now?`;
    case "delete":
      return `Delete ${chosen} for good? Neither senders nor recipients are told.`;
    case "redirect":
      return `Send ${chosen} to ${wayText(what.way)} instead?`;
  }
}

function changedText(
  what: BulkChange,
  { messages, recipients, partial, held, underWay }: Changed,
  server: QueueControl["server"],
): string {
  const isByRecipient = what.action === "delete" || what.action === "redirect";
  const isPart = isByRecipient && partial > 0;
  const chosen = isPart ? recipientsText(recipients, messages) : countOf(messages);
  const are = `${chosen} ${(isPart ? recipients : messages) === 1 ? "is" : "are"}`;
  const when = server === "running" ? "now" : "when the server starts";
  const texts: Record<Action | "redirect", string> = {
    retry: `${are} tried ${when}`,
    hold: `${are} held`,
    release: `${are} released, and tried ${when}`,
    delete: `${are} deleted`,
    redirect: `${are} redirected${what.action === "redirect" ? ` to ${wayText(what.way)}` : ""}`,
  };
  const lines = [`${texts[what.action]}.`];
  if (held > 0) {
    const verb = held === 1 ? "is" : "are";
    lines.push(
      what.action === "redirect"
        ? `${countOf(held)} ${verb} still held: \`queue release\` lets them go.`
        : what.action === "retry"
        ? `${countOf(held)} ${verb} held: \`queue release\` lets them go.`
        : `${countOf(held)} ${verb} held already.`,
    );
  }
  if (underWay > 0) {
    lines.push(`Of ${countOf(underWay)} an attempt was under way already: its outcome counts.`);
  }
  return `${lines.join("\n")}\n`;
}

function wayText({ to, via, host }: Way): string {
  const by = host ? `${host.host}${host.port === undefined ? "" : `:${host.port}`}` : via;
  if (to === undefined) return visible(host ? by! : `transport ${by}`);
  return visible(by === undefined ? to : `${to} by ${by}`);
}
