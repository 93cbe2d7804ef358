/** Placeholders for an address in what an operator writes: `{address}`, `{local}`, `{domain}`. Pure. */
import { addressOf, type Name } from "./directory.ts";

const placeholder = /\{(address|local|domain)\}/g;

/** Whether the text asks about an address at all, so that not every address gets the same answer. */
export const asksAbout = (text: string): boolean => /\{(address|local)\}/.test(text);

/** The text about one address; `escape` makes what strangers write harmless where it is put. */
export function fill(text: string, name: Name, escape: (value: string) => string): string {
  const values = { address: addressOf(name), ...name };
  return text.replaceAll(placeholder, (_whole, key: keyof typeof values) => escape(values[key]));
}
