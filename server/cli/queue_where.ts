/** What is wrong with an expression, with a caret under the place. */
import { visible } from "../log/format.ts";
import { parseWhere, WhereProblem } from "../control/where.ts";
import { widthOf } from "./columns.ts";

/** Characters of a long expression that are shown before the place, and in all. */
const [before, shown] = [50, 74];

/** Three lines for people; `undefined` where nothing is wrong. */
export function whyNotWhere(text: string): string | undefined {
  try {
    parseWhere(text);
    return undefined;
  } catch (error) {
    if (!(error instanceof WhereProblem)) throw error;
    const { message, at } = error;
    const from = at > before && text.length > shown ? at - before : 0;
    const [head, tail] = [from > 0 ? "…" : "", text.length > from + shown ? "…" : ""];
    const line = `${head}${visible(text.slice(from, from + shown))}${tail}`;
    const caret = " ".repeat(widthOf(head + visible(text.slice(from, at))));
    return `--where: ${visible(message)}\n  ${line}\n  ${caret}^`;
  }
}
