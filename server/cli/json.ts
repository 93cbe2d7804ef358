/** JSON as commands print it: indented for who reads it, with nothing in it that a terminal obeys. */
import { visibleJson } from "../log/format.ts";

/** The value's text. */
export function jsonText(value: unknown): string {
  return JSON.stringify(value, undefined, 2).split("\n").map(visibleJson).join("\n");
}
