/** Where the fuzzers begin: what the golden dialogs' clients and servers say. */
import { octets } from "./target.ts";

const folder = new URL("../dialogs/", import.meta.url);
const escapes: Readonly<Record<string, string>> = { r: "\r", n: "\n", t: "\t", "0": "\0" };

/** What the client says in each dialog, as one stream. */
export const dialogSeeds: readonly Uint8Array[] = [...Deno.readDirSync(folder)]
  .filter(({ name }) => name.endsWith(".smtp"))
  .sort((one, other) => one.name.localeCompare(other.name))
  .map(({ name }) => octets(clientOf(Deno.readTextFileSync(new URL(name, folder)))).slice(0, 4096));

function clientOf(dialog: string): string {
  let said = "";
  for (const line of dialog.split("\n")) {
    // Non-ASCII text is UTF-8 on the wire, and each octet a character here.
    if (line.startsWith("C: ")) said += `${inOctets(line.slice(3))}\r\n`;
    if (!line.startsWith("C> ")) continue;
    for (const [, text, times] of line.matchAll(/"((?:[^"\\]|\\.)*)"(?:\*(\d+))?/g)) {
      said += unescaped(text!).repeat(Math.min(Number(times ?? 1), 100));
    }
  }
  return said;
}

function unescaped(text: string): string {
  return inOctets(text).replaceAll(
    /\\(?:x([0-9A-Fa-f]{2})|(.))/g,
    (_, hex: string | undefined, one: string) =>
      hex === undefined ? escapes[one] ?? one : String.fromCharCode(parseInt(hex, 16)),
  );
}

function inOctets(text: string): string {
  return String.fromCharCode(...new TextEncoder().encode(text));
}
