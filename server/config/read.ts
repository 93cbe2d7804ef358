/** Reads the configuration and says everything that is wrong with it, at once; the same for options of plugins. */
import type { z } from "zod";
import { parsingIn } from "../options.ts";
import type { Transport } from "../plugin.ts";
import { type Config, config, listenRemarks } from "./config.ts";
import { unknownKeys } from "./keys.ts";
import { inOrder, onOneLine, type Path, type Problem, whyUnreadable } from "./problem.ts";
import { closest, flattened, problemsOf, unknownKeyProblem } from "./sentence.ts";
import { type Places, Source } from "./source.ts";

export { type UnknownKey, unknownKeys } from "./keys.ts";
export { formatProblem, inOrder, type Path, type Position, type Problem } from "./problem.ts";
export { closest, problemsOf, unknownKeyProblem } from "./sentence.ts";
export { type Places, Source } from "./source.ts";

/** What reading files needs of the world. */
export interface Io {
  readTextFile(path: string): Promise<string>;
  /** The value of an environment variable. */
  env(name: string): string | undefined;
}

/**
 * Reads a YAML file; one that cannot be read is empty and has a problem in its first line.
 *
 * @param file As it is to be called in problems; relative to the working directory.
 */
export async function readSource(file: string, io: Io): Promise<{ source: Source; problems: Problem[] }> {
  let text = "";
  const problems: Problem[] = [];
  try {
    text = await io.readTextFile(file);
  } catch (error) {
    problems.push({
      file,
      line: 1,
      column: 1,
      message: `this file ${whyUnreadable(error)}`,
      severity: "error",
    });
  }
  const source = new Source(file, text, (name) => io.env(name));
  return { source, problems: [...problems, ...source.problems] };
}

/** What became of a value that was checked against a schema. */
export interface Checked<T> {
  /** `undefined` where there is a problem. */
  readonly value: T | undefined;
  readonly problems: Problem[];
  /** The transports that `transport()` options named. */
  readonly transports: readonly Transport[];
}

/**
 * Checks a value of a file against a schema, whose objects count as closed at every depth. Never throws, whatever a
 * plugin author's schema does.
 *
 * @param base Where in the file the value stands; paths in it are relative to the file.
 * @param value The value, where it is another than the one that stands there: `{}` for options left out.
 */
export function readValue<S extends z.ZodType>(
  schema: S,
  source: Places,
  base: Path = [],
  value: unknown = source.get(base),
): Checked<z.output<S>> {
  try {
    const unknown = unknownKeys(schema, value).filter(({ path }) => !source.unusableAt([...base, ...path]));
    const parse = (input: unknown) => parsingIn(source.folder, () => schema.safeParse(input));
    let { value: result, transports } = parse(value);
    if (!result.success) {
      const typed = typedByVariables(result.error.issues, source, base, value);
      if (typed !== undefined) ({ value: result, transports } = parse(typed));
    }
    const problems = unknown.map((one) => unknownKeyProblem(one, source, base));
    if (!result.success) {
      const issues = result.error.issues;
      // The key that is missing because another one is misspelt is not told twice; one that is there and wrong is.
      const misspelt = unknown.map(({ path, key, known }) => [...path, closest(key, known)])
        .filter((path) => !source.has([...base, ...path] as Path)).map((path) => JSON.stringify(path));
      const rest = {
        ...result.error,
        issues: flattened(issues).filter(({ path }) => !misspelt.includes(JSON.stringify(path))),
      };
      problems.push(...problemsOf(rest, source, base, schema));
    }
    const good = result.success && problems.length === 0;
    return { value: good ? result.data : undefined, problems: inOrder(problems), transports };
  } catch (error) {
    const message = `could not be checked, for its schema failed: ${
      error instanceof Error ? error.message : String(error)
    }`;
    return { value: undefined, problems: [source.problem(message, source.at(base))], transports: [] };
  }
}

/**
 * Variables are text; where the schema wants a number or a truth value and a variable's text is one, it is taken so.
 * Never the other way round: a password of digits stays text.
 */
function typedByVariables(
  issues: readonly z.core.$ZodIssue[],
  source: Places,
  base: Path,
  value: unknown,
): unknown {
  let typed: unknown;
  for (const issue of flattened(issues)) {
    const path = issue.path as (string | number)[];
    if (issue.code !== "invalid_type" || source.writtenAt([...base, ...path]) === undefined) continue;
    const text = source.get([...base, ...path]);
    if (typeof text !== "string") continue;
    const number = issue.expected === "number" || issue.expected === "int";
    const better = number && /^-?[0-9]{1,15}$/.test(text)
      ? Number(text)
      : issue.expected === "boolean" && /^(true|false)$/.test(text)
      ? text === "true"
      : undefined;
    if (better === undefined) continue;
    typed ??= structuredClone(value);
    let holder = typed as Record<string | number, unknown>;
    for (const step of path.slice(0, -1)) holder = holder[step] as Record<string | number, unknown>;
    if (path.length > 0) holder[path.at(-1)!] = better;
  }
  return typed;
}

/** A configuration that was read: `config` is there when no problem is an error. */
export interface ReadConfig {
  readonly config?: Config;
  /** The file, for the options of its plugins. */
  readonly source: Source;
  readonly problems: Problem[];
}

/**
 * Reads and checks a configuration file, and that the files of its certificates are there; plugins' options are the
 * loader's to check, with {@linkcode readValue}. Never rejects.
 *
 * @param file As given on the command line: so it is called in problems.
 */
export async function readConfig(file: string, io: Io): Promise<ReadConfig> {
  const { source, problems } = await readSource(file, io);
  if (!source.legible || (source.value === undefined && problems.length > 0)) {
    return { source, problems: inOrder(problems) };
  }
  if (source.value === undefined || source.value === null) {
    const message = "the configuration is empty: it needs at least hostname, state, listen and plugins";
    return { source, problems: [source.problem(message, { line: 1, column: 1 })] };
  }
  if (typeof source.value !== "object" || Array.isArray(source.value)) {
    const message = 'the configuration must be a mapping of keys such as "hostname: mx.example.org"';
    return { source, problems: inOrder([...problems, source.problem(message, source.at([]))]) };
  }
  const checked = readValue(config, source);
  problems.push(...retold(checked.problems, source));
  problems.push(...aboutListeners(source), ...await aboutCertificates(source, io));
  const bad = checked.value === undefined || problems.some(({ severity }) => severity === "error");
  return { ...(!bad && { config: checked.value }), source, problems: inOrder(problems) };
}

/** Says more of unknown keys than a schema can: a later version may know it, or it is a plugin's name. */
function retold(problems: readonly Problem[], source: Source): Problem[] {
  const better = new Map<string, string>();
  for (const { path, key, known } of unknownKeys(config, source.value)) {
    const { line, column } = source.at([...path, key], "key");
    const nameless = path.length === 2 && path[0] === "plugins" && !source.has([...path, "use"]);
    if (nameless && closest(key, known) === undefined) {
      better.set(`${line}:${column}`, `write "use: ${key}", and its options below "with:"`);
    }
  }
  return problems.map((problem) => {
    const replaceable = /^(unknown key|missing key "use")/.test(problem.message); // others stand there, too
    const message = replaceable ? better.get(`${problem.line}:${problem.column}`) : undefined;
    return message === undefined ? problem : { ...problem, message: onOneLine(message) };
  });
}

/** Told even where other parts of the file are wrong. */
function aboutListeners(source: Source): Problem[] {
  const listeners = readValue(config.shape.listen, source, ["listen"]).value;
  if (!listeners) return [];
  return [...listenRemarks(listeners, source.has(["tls"]))].map(({ path, message, severity }) =>
    source.problem(message, source.at(path), severity)
  );
}

async function aboutCertificates(source: Source, io: Io): Promise<Problem[]> {
  const certificates = readValue(config.shape.tls, source, ["tls"]).value ?? [];
  const inList = Array.isArray(source.get(["tls"]));
  const problems: Problem[] = [];
  for (const [i, certificate] of certificates.entries()) {
    for (const [key, inside] of [["cert", "CERTIFICATE"], ["key", "PRIVATE KEY"]] as const) {
      const at = source.at(inList ? ["tls", i, key] : ["tls", key]);
      try {
        const pem = await io.readTextFile(certificate[key]);
        if (new RegExp(`^-----BEGIN [A-Z ]*${inside}-----`, "m").test(pem)) continue;
        problems.push(
          source.problem(`${certificate[key]} holds no PEM text "-----BEGIN ${inside}-----"`, at),
        );
      } catch (error) {
        problems.push(source.problem(`${certificate[key]} ${whyUnreadable(error)}`, at));
      }
    }
  }
  return problems;
}
