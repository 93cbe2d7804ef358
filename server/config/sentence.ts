/** Says in plain sentences what zod found, each at its line and column. */
import { distance } from "fastest-levenshtein";
import type { z } from "zod";
import { aboutPath, type UnknownKey, unknownKeys } from "./keys.ts";
import type { Path, Problem } from "./problem.ts";
import type { Places } from "./source.ts";

type Issue = z.core.$ZodIssue;
type Schema = z.core.$ZodType;

/** Where a value stands and what its schema says: what every sentence is made from. */
interface Scene {
  readonly source: Places;
  /** From the file's root. */
  readonly path: Path;
  readonly issue: Issue;
  /** The schema at the issue's own path. */
  readonly about: ReturnType<typeof aboutPath>;
}

/**
 * Turns what zod found into problems of the file, each at the line and column it is about.
 *
 * @param error What `safeParse` gave.
 * @param source The file the value came from.
 * @param base Where in the file the parsed value stands.
 * @param schema What it was parsed with: then messages hold descriptions, examples and did-you-means.
 */
export function problemsOf(
  error: z.core.$ZodError,
  source: Places,
  base: Path = [],
  schema?: Schema,
): Problem[] {
  const problems: Problem[] = [];
  for (const issue of flattened(error.issues)) {
    const own = issue.path.map((step) => typeof step === "number" ? step : String(step));
    const path = [...base, ...own];
    if (source.unusableAt(path)) continue;
    if (issue.code === "unrecognized_keys") {
      const known = schema ? unknownKeys(schema, source.get(base)) : [];
      for (const key of issue.keys) {
        const listed = known.find((one) =>
          one.key === key && one.path.join("\n") === own.join("\n")
        )?.known ?? [];
        problems.push(unknownKeyProblem({ path: own, key, known: listed }, source, base));
      }
      continue;
    }
    const about = schema && aboutPath(schema, own, source.get(base));
    const scene: Scene = { source, path, issue, about };
    problems.push(
      source.problem(sentence(scene), source.at(path, issue.code === "invalid_key" ? "key" : "value")),
    );
  }
  return problems;
}

/** The problem of a key that nothing reads. */
export function unknownKeyProblem(
  { path, key, known }: UnknownKey,
  source: Places,
  base: Path = [],
): Problem {
  const here = [...base, ...path];
  const meant = closest(key, known);
  const advice = meant !== undefined
    ? `: did you mean "${meant}"?`
    : known.length > 0
    ? `: ${known.length === 1 ? "the only key here is" : "the keys here are"} ${
      listed(known.map(quoted), "and")
    }`
    : ": no key is read here";
  return source.problem(`unknown key ${quoted(key)}${advice}`, source.at([...here, key], "key"));
}

/** The known word a misspelt one was probably meant to be. */
export function closest(word: string, known: readonly string[]): string | undefined {
  const lower = word.toLowerCase();
  const letters = (text: string) => [...text].sort().join("");
  const obvious = known.find((one) => {
    const other = one.toLowerCase();
    return letters(other) === letters(lower) || (lower.length >= 3 && other.startsWith(lower));
  });
  if (obvious !== undefined) return obvious;
  const allowed = word.length <= 4 ? 1 : word.length <= 7 ? 2 : 3;
  let best: string | undefined;
  let least = allowed + 1;
  for (const one of known) {
    const far = distance(lower, one.toLowerCase());
    if (far < least && far < one.length) [best, least] = [one, far];
  }
  return best;
}

/** A union's issue is many, one list an option: says those of the option that was meant. */
export function flattened(issues: readonly Issue[]): Issue[] {
  return issues.flatMap((issue) => {
    if (issue.code !== "invalid_union" || issue.errors.length === 0) return [issue];
    const candidates = issue.errors.filter((option) => !option.some(isOfAnotherKind));
    const [meant] = candidates.sort((a, b) => a.length - b.length);
    if (!meant) return [issue];
    return flattened(meant.map((inner) => ({ ...inner, path: [...issue.path, ...inner.path] })));
  });
}

/** Whether an option of a union was left at its door: another kind of value, or another word. */
function isOfAnotherKind(issue: Issue): boolean {
  return issue.path.length === 0 && (issue.code === "invalid_type" || issue.code === "invalid_value");
}

function sentence(scene: Scene): string {
  const { source, path, issue } = scene;
  const value = source.get(path);
  const label = labelled(path);
  const custom = customMessage(scene);
  if (value === undefined && !source.has(path) && issue.code !== "custom") return missing(scene, custom);
  if (custom !== undefined) return joined(label, custom);
  const must = `${label || "the file"} must`;
  switch (issue.code) {
    case "invalid_type":
      return `${must} be ${expected(scene)}, ${butIs(scene)}${hint(value, issue.expected)}`;
    case "invalid_value":
      return mustBeOneOf(scene, issue.values.map(String));
    case "invalid_union": {
      const options = "options" in issue && Array.isArray(issue.options)
        ? issue.options.map(String)
        : undefined;
      if (issue.errors.length === 0 && options) return mustBeOneOf(scene, options);
      const wanted = [...new Set(issue.errors.flat().map(wantedBy))];
      return `${must} be ${listed(wanted, "or")}, ${butIs(scene)}`;
    }
    case "too_small": {
      const how = issue.inclusive ? "at least" : "more than";
      return `${must} ${bound(issue, issue.minimum, how)}, ${butIs(scene)}`;
    }
    case "too_big": {
      const how = issue.inclusive ? "at most" : "less than";
      return `${must} ${bound(issue, issue.maximum, how)}, ${butIs(scene)}`;
    }
    case "not_multiple_of":
      return `${must} be a multiple of ${issue.divisor}, not ${shown(scene)}`;
    case "invalid_key":
      return `the key ${quoted(String(path.at(-1)))} cannot stand here${inner(issue.issues)}`;
    case "invalid_format":
      return `${label}: ${shown(scene)} is not ${formatName(issue)}${examples(scene)}`;
    default:
      return `${label || "the file"}: ${shown(scene)} is not valid${examples(scene)}`;
  }
}

/** Messages of refinements read on from the label where they begin with a verb. */
function joined(label: string, message: string): string {
  if (label === "") return message;
  const verb = /^(must|needs?|is|are|has|have|cannot|can|may|should|listens) /.test(message);
  return verb ? `${label} ${message}` : `${label}: ${message}`;
}

function missing({ source, path, about }: Scene, custom: string | undefined): string {
  const parent = path.slice(0, -1);
  const where = parent.length > 0 && !source.has(parent) ? ` under ${labelled(parent)}` : "";
  const what = custom ?? about?.description;
  return `missing key ${quoted(String(path.at(-1)))}${where}${what ? `: ${what}` : ""}`;
}

function mustBeOneOf(scene: Scene, words: readonly string[]): string {
  const value = scene.source.get(scene.path);
  const meant = typeof value === "string" && isShowable(scene) ? closest(value, words) : undefined;
  const question = meant === undefined || words.length === 1 ? "" : `: did you mean "${meant}"?`;
  return `${labelled(scene.path) || "the file"} must be ${listed(words, "or")}, ${butIs(scene)}${question}`;
}

/** `item 2 of "listen"`, `"port"`; empty for the whole file. */
function labelled(path: Path): string {
  const last = path.at(-1);
  if (last === undefined) return "";
  if (typeof last === "string") return quoted(last);
  const list = labelled(path.slice(0, -1));
  return `item ${last + 1}${list && ` of ${list}`}`;
}

const kinds: Readonly<Record<string, string>> = {
  string: "text",
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
  object: "a mapping",
  record: "a mapping",
  map: "a mapping",
  array: "a list",
  tuple: "a list",
  null: "left empty",
};

function expected({ issue, about }: Scene): string {
  if (issue.code !== "invalid_type") return "something else";
  const whole = isWhole(about?.schema);
  const kind = kinds[whole && issue.expected === "number" ? "int" : issue.expected] ??
    `of kind ${issue.expected}`;
  return about && about.examples.length > 0 ? `${kind} such as ${about.examples.join(", ")}` : kind;
}

/** Both `z.int()` and `z.number().int()`. */
function isWhole(schema: z.core.$ZodTypes | undefined): boolean {
  if (schema?._zod.def.type !== "number") return false;
  const checks = [schema._zod.def, ...(schema._zod.def.checks ?? []).map((check) => check._zod.def)];
  return checks.some((def) => "format" in def && def.format === "safeint");
}

/** What an option of a union wanted, of a value that was no option's. */
function wantedBy(issue: Issue): string {
  if (issue.code === "invalid_type") return kinds[issue.expected] ?? issue.expected;
  return issue.code === "invalid_value"
    ? listed(issue.values.map((value) => quoted(String(value))), "or")
    : "valid";
}

function hint(value: unknown, wanted: string): string {
  const noSpace = typeof value === "string" && /^[A-Za-z]+:\S/.test(value);
  return wanted === "object" && noSpace ? ": put a space behind the colon" : "";
}

function bound(
  issue: z.core.$ZodIssueTooSmall | z.core.$ZodIssueTooBig,
  limit: number | bigint,
  how: string,
): string {
  const many = limit === 1 || limit === 1n ? "" : "s";
  switch (issue.origin) {
    case "string":
      return `have ${how} ${limit} character${many}`;
    case "array":
    case "tuple":
      return `have ${how} ${limit} item${many}`;
    case "set":
    case "map":
    case "object":
    case "record":
      return `have ${how} ${limit} key${many}`;
    default:
      return `be ${how} ${limit}`;
  }
}

const formats: Readonly<Record<string, string>> = {
  email: "a mail address",
  url: "a URL",
  ipv4: "an IPv4 address",
  ipv6: "an IPv6 address",
  cidrv4: "an IPv4 network",
  cidrv6: "an IPv6 network",
};

function formatName(issue: z.core.$ZodIssueInvalidStringFormat): string {
  if (issue.format === "regex") return `of the form ${issue.pattern ?? ""}`.trim();
  if (issue.format === "starts_with" && "prefix" in issue) {
    return `text that begins with ${JSON.stringify(issue.prefix)}`;
  }
  if (issue.format === "ends_with" && "suffix" in issue) {
    return `text that ends with ${JSON.stringify(issue.suffix)}`;
  }
  return formats[issue.format] ?? `a valid ${issue.format}`;
}

/** A plugin author's own words, when there are any: zod's own all begin in one of these ways. */
function customMessage(scene: Scene): string | undefined {
  const { message } = scene.issue;
  if (/^(Invalid|Too big|Too small|Unrecognized key)/.test(message)) return undefined;
  const { source, path } = scene;
  const value = source.get(path);
  const replaced = source.writtenAt(path) ?? (isShowable(scene) ? undefined : "(hidden)");
  if (typeof value !== "string" || value === "" || replaced === undefined) return message;
  const masked = message.replaceAll(`"${value}"`, () => `"${replaced}"`);
  return value.length < 4 ? masked : masked.replaceAll(value, () => replaced); // "a" stands in every sentence
}

function inner(issues: readonly Issue[]): string {
  const own = issues.map(({ message }) => message).filter((message) => !message.startsWith("Invalid"));
  return own.length > 0 ? `: ${own.join("; ")}` : "";
}

function examples({ about }: Scene): string {
  return about && about.examples.length > 0 ? `: write it like ${about.examples.join(", ")}` : "";
}

/** A value as a message may show it: never a secret, and never what a variable holds. */
function shown(scene: Scene): string {
  const { source, path } = scene;
  const value = source.get(path);
  if (value === null || value === undefined) return "empty";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "a mapping";
  const written = source.writtenAt(path);
  if (written !== undefined) return quoted(written);
  if (!isShowable(scene)) return "this value";
  return typeof value === "string" ? quoted(value) : String(value);
}

/** The end of a sentence about what must be: what is there instead. */
function butIs(scene: Scene): string {
  const value = scene.source.get(scene.path);
  if (value === null || value === undefined) return "but is empty";
  const sized = scene.issue.code === "too_small" || scene.issue.code === "too_big";
  if (sized && Array.isArray(value)) return `but has ${value.length}`;
  if (sized && typeof value === "object") return `but has ${Object.keys(value).length}`;
  return sized && typeof value === "string" ? `but has ${value.length}` : `not ${shown(scene)}`;
}

function isShowable({ path }: Scene): boolean {
  return !path.some((step) =>
    typeof step === "string" && /passw|secret|token|credential|apikey|api_key/i.test(step)
  );
}

function quoted(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 57)}...` : text);
}

function listed(words: readonly string[], link: "and" | "or"): string {
  if (words.length < 2) return words[0] ?? "nothing";
  return `${words.slice(0, -1).join(", ")} ${link} ${words.at(-1)}`;
}
