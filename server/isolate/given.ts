/** In the Worker: the options that it was given, checked by the plugin's schema. */
import { dirname, resolve } from "node:path";
import { onOneLine, type Path, type Position, type Problem } from "../config/problem.ts";
import { type Places, readValue } from "../config/read.ts";
import type { Plugin } from "../plugin.ts";
import type { OptionProblem, ToWorker } from "./messages.ts";

/** Options as a file would have them, whose places are paths: the server knows where in the real file they stand. */
class Options implements Places {
  readonly paths: (readonly [Path, "key" | "value"])[] = [];
  readonly folder: string;
  readonly #options: unknown;
  readonly #written: ReadonlyMap<string, string>;

  constructor(readonly file: string, options: unknown, written: readonly (readonly [string, string])[]) {
    this.folder = dirname(resolve(file));
    this.#options = { with: options };
    this.#written = new Map(written);
  }

  at(path: Path, what: "key" | "value" = "value") {
    return { line: this.paths.push([path, what]), column: 1 };
  }

  get(path: Path): unknown {
    let value = this.#options;
    for (const key of path) {
      if (typeof value !== "object" || value === null || !Object.hasOwn(value, key)) return undefined;
      value = (value as Record<string | number, unknown>)[key];
    }
    return value;
  }

  has(path: Path): boolean {
    const last = path.at(-1);
    const around = this.get(path.slice(0, -1));
    return last === undefined ||
      (typeof around === "object" && around !== null && Object.hasOwn(around, last));
  }

  unusableAt(): boolean {
    return false; // then nothing would have been loaded
  }

  writtenAt(path: Path): string | undefined {
    return this.#written.get(JSON.stringify(path));
  }

  problem(message: string, { line, column }: Position, severity: Problem["severity"] = "error"): Problem {
    return { file: this.file, line, column, message: onOneLine(message), severity };
  }
}

/** What the plugin's `setup` gets, and the transports it names; or what is wrong. */
export function readOptions(
  { options, name }: Plugin,
  message: ToWorker & { kind: "setup" },
): { value: unknown; named: string[] } | { problems: OptionProblem[] } {
  const given = message.options ?? {};
  if (!options) {
    if (typeof given === "object" && Object.keys(given).length === 0) return { value: {}, named: [] };
    return {
      problems: [{ path: ["with"], what: "key", message: `${name} takes no options: remove \`with\`` }],
    };
  }
  const source = new Options(message.file, given, message.written);
  const { value, problems, transports } = readValue(options, source, ["with"], given);
  if (problems.length === 0) return { value, named: transports.map(({ transport }) => transport) };
  return {
    problems: problems.map(({ line, message }) => {
      const [path, what] = source.paths[line - 1] ?? [["with"], "value"];
      return { path, what, message };
    }),
  };
}
