/** Edits of a header, as an operator writes them: `add`, `set`, `remove`, `replace`. */
import { type Editable, z } from "../../server/plugin.ts";

/** A longer value matches no pattern: a careless one takes time that grows with it. */
const longestValue = 4096;

const name = z.string().regex(/^[!-9;-~]{1,255}$/, "not the name of a header field");
const value = z.string().refine((text) => !/[\r\n\0]/.test(text), "more than one line");
const pattern = z.string().refine((text) => isRegExp(text), "not a regular expression");

/** One edit. */
export const editOption = z.union([
  z.strictObject({
    add: name.describe("A field of this name is put on top"),
    value: value.describe("What stands in it"),
  }),
  z.strictObject({
    set: name.describe(
      "The first field of this name becomes the value, others go; where there is none, it is added",
    ),
    value: value.describe("What stands in it"),
  }),
  z.strictObject({
    remove: name.describe("All fields of this name go; `X-Internal-*`: of all names that begin so"),
    matching: pattern.optional().describe(
      "Only those whose value matches this regular expression, without case",
    ),
  }),
  z.strictObject({
    replace: name.describe("In all fields of this name …"),
    matching: pattern.describe("… what matches this regular expression, without case …"),
    value: value.describe("… becomes this; `$1` is its first group"),
  }),
]);

/** A checked edit. */
export type Edit = z.output<typeof editOption>;

function isRegExp(text: string): boolean {
  try {
    return new RegExp(text, "iu") !== undefined;
  } catch {
    return false;
  }
}

/** Makes what carries the edit out; its pattern is read once. */
export function editor(edit: Edit): (message: Editable) => void {
  if ("add" in edit) return (message) => message.prependHeader(edit.add, edit.value);
  if ("set" in edit) return (message) => message.replaceHeader(edit.set, edit.value);
  if ("remove" in edit) return remover(edit.remove, edit.matching);
  const matching = new RegExp(edit.matching, "giu");
  return (message) => {
    changeAll(message, edit.replace, (was) => {
      const text = was.replaceAll(matching, edit.value);
      return /[\r\n\0]/.test(text) ? was : text;
    }, longestValue);
  };
}

/** Changes each field of a name that has at most so many letters; those whose value stays the same stay as they are written. */
export function changeAll(
  message: Editable,
  name: string,
  change: (value: string) => string,
  most = Infinity,
): void {
  for (const [index, was] of message.headers.all(name).entries()) {
    if (was.length > most) continue;
    const text = change(was);
    if (text !== was) message.replaceHeader(name, text, index);
  }
}

function remover(name: string, matching: string | undefined): (message: Editable) => void {
  const pattern = matching === undefined ? undefined : new RegExp(matching, "iu");
  const prefix = name.endsWith("*") ? name.slice(0, -1).toLowerCase() : undefined;
  const isMeant = (value: string) => !pattern || (value.length <= longestValue && pattern.test(value));
  return (message) => {
    const names = prefix === undefined ? [name] : new Set(
      [...message.headers].map(([one]) => one.toLowerCase()).filter((one) => one.startsWith(prefix)),
    );
    for (const one of names) {
      // From the bottom up, or each removal would move those below it.
      for (const [index, value] of [...message.headers.all(one).entries()].reverse()) {
        if (isMeant(value)) message.removeHeader(one, index);
      }
    }
  };
}
