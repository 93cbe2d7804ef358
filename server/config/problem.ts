/** What is wrong with a file an operator wrote: where, and what to do, in one plain sentence. */

/** The way to a value inside a file: keys of mappings and indices of lists. */
export type Path = readonly (string | number)[];

/** A place in a file, both counted from 1. */
export interface Position {
  /** The first is 1. */
  readonly line: number;
  /** The first is 1. */
  readonly column: number;
}

/** One problem of one file; the server starts with warnings, and never with errors. */
export interface Problem extends Position {
  /** As it was given on the command line, or in the file that names it. */
  readonly file: string;
  /** One sentence, without control bytes. */
  readonly message: string;
  /** With an error the server does not start. */
  readonly severity: "error" | "warning";
}

/**
 * `FILE:LINE:COL: message`, which editors and terminals turn into a link; a warning says that it is one.
 *
 * @example
 * ```ts
 * import { formatProblem } from "postrider";
 * import { strictEqual } from "node:assert/strict";
 * const problem = { file: "p.yaml", line: 2, column: 1, message: "unknown key", severity: "error" } as const;
 * strictEqual(formatProblem(problem), "p.yaml:2:1: unknown key");
 * ```
 */
export function formatProblem({ file, line, column, message, severity }: Problem): string {
  return `${file}:${line}:${column}: ${severity === "warning" ? "warning: " : ""}${message}`;
}

/** In the order in which they stand in their files, each once. */
export function inOrder(problems: readonly Problem[]): Problem[] {
  const once = new Map(problems.map((problem) => [formatProblem(problem), problem]));
  const files = [...new Set(problems.map(({ file }) => file))];
  return [...once.values()].sort((a, b) =>
    files.indexOf(a.file) - files.indexOf(b.file) || a.line - b.line || a.column - b.column
  );
}

/** Makes text safe for a terminal and for one line of a log: what a file or a variable holds is not to be trusted. */
export function onOneLine(text: string): string {
  return text.replace(/\s*[\r\n]\s*/g, " ").replace(
    /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu,
    (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`,
  );
}

/** Why a file could not be read, for people. */
export function whyUnreadable(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return "does not exist";
  if (error instanceof Deno.errors.PermissionDenied || error instanceof Deno.errors.NotCapable) {
    return "may not be read by this user";
  }
  if (error instanceof Deno.errors.IsADirectory) return "is a folder, not a file";
  return `cannot be read: ${onOneLine(error instanceof Error ? error.message : String(error))}`;
}
