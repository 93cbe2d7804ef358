/** A YAML file that an operator edits while the server runs. Shared by the plugins that have one. */
import { LineCounter, type Node, parseDocument } from "yaml";
import type { Host } from "../server/plugin.ts";
import { type FollowedFile, followFile } from "./followed_file.ts";

/** Makes an error that says where in the file something is wrong. */
export type Problem = (node: Node | null | undefined, text: string) => Error;

/** Turns a parsed file into what the plugin works with; `root` is `null` where the file says nothing. */
export type Reader<T> = (root: Node | null, problem: Problem) => T;

/**
 * Parses `text` and hands its root to `read`.
 *
 * @param file Its name, for problems.
 * @throws {Error} `FILE:LINE:COLUMN: what is wrong`.
 */
export function readYaml<T>(file: string, text: string, read: Reader<T>): T {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const at = (offset: number, message: string) => {
    const { line, col } = lines.linePos(offset);
    return new Error(`${file}:${line}:${col}: ${message}`);
  };
  const broken = document.errors[0];
  if (broken) {
    // YAML reserves a leading @, with which addresses of a whole domain are written.
    const quote = broken.code === "BAD_SCALAR_START" ? " (put the address in quotes)" : "";
    throw at(broken.pos[0], `${broken.message}${quote}`);
  }
  return read(document.contents, (node, message) => at(node?.range?.[0] ?? 0, message));
}

/**
 * Reads the file now, and again whenever it has changed (`followFile`).
 *
 * @param absent What holds until there is such a file; without it, a file missing at load is an error.
 * @throws {Error} when the file can't be read at load.
 */
export function followYaml<T>(
  file: string,
  read: Reader<T>,
  host: Pick<Host, "clock" | "log">,
  absent?: T,
): Promise<FollowedFile<T>> {
  return followFile(file, (text) => readYaml(file, text, read), host, absent);
}
