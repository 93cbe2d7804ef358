/** Where in which file an error of a plugin arose, for the sentence that an operator reads. */
import { stripVTControlCharacters } from "node:util";
import { isAbsolute, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { asWritten } from "../log/places.ts";

/** How files are called in sentences: the plugin's own file as `use` calls it, others by the shortest path. */
export interface Naming {
  /** As the configuration has it. */
  readonly use: string;
  /** The plugin's module; `undefined` of a bundled one. */
  readonly url: string | undefined;
  /** The configuration's folder, absolute. */
  readonly folder: string;
}

/** Frames in here are the server's: of no use to whoever wrote the plugin. */
const server = new URL("../", import.meta.url).href;

/**
 * The place in the plugin that an error or its stack points at, as `./greylist.ts:12:5`.
 *
 * @returns `undefined` where it points at no file of the plugin's.
 */
export function placeOf(error: unknown, naming: Naming): string | undefined {
  if (!(error instanceof Error) || naming.url === undefined) return undefined;
  const own = naming.url.split("?")[0];
  const places = [
    ...plain(`${error.message}\n${error.stack ?? ""}`).matchAll(/(file:\/\/\/[^\s()"']+?):(\d+):(\d+)/g),
  ]
    .map(([, url, line, column]) => ({ url: url!.split("?")[0]!, line, column }))
    .filter(({ url }) => !url.startsWith(server));
  const found = places.find(({ url }) => url === own) ?? places[0];
  return found && `${nameFile(found.url, naming)}:${found.line}:${found.column}`;
}

/** What a file is called, given its URL. */
export function nameFile(url: string, { use, url: own, folder }: Naming): string {
  if (url === own?.split("?")[0]) return use;
  const path = fileURLToPath(url);
  const short = relative(folder, path);
  return short.startsWith("..") || isAbsolute(short) ? path : `./${short}`;
}

/** What stands before a file's path in a generation that reads its code anew (`reread.ts`); `""` in the first. */
export function linkOf(url: string, { url: own }: Naming): string {
  return own === undefined ? "" : fileURLToPath(url).slice(0, -fileURLToPath(own).length);
}

/** Deno colours the places in its messages where there is a terminal somewhere. */
const plain = (text: string) => asWritten(stripVTControlCharacters(text));

/** The text of whatever was thrown, on one line, without the places that Deno writes into it. */
export function textOf(error: unknown): string {
  const text = plain(error instanceof Error ? error.message || error.name : `${error}`);
  return (text.split("\n", 1)[0] ?? "").replace(/ at file:\/\/\S+$/, "").replace(
    /^(?:Syntax|Type)Error: /,
    "",
  );
}
