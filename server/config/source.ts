/**
 * A YAML file as an operator wrote it: its plain value, with `${env:NAME}` replaced, and the line and column of
 * everything in it. Used for the configuration, for plugins' options and for files they name.
 */
import { dirname, resolve } from "node:path";
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Pair,
  parseDocument,
  type YAMLError,
} from "yaml";
import { onOneLine, type Path, type Position, type Problem } from "./problem.ts";

/** Deeper than any real file, and shallow enough for every recursion over its value. */
const deepest = 64;
/** How many values all aliases together may stand for: ten lines of aliases to aliases would be billions. */
const mostAliased = 10_000;

/** Values of a file, and where they stand: what checking them needs of a {@linkcode Source}. */
export type Places = Pick<
  Source,
  "file" | "folder" | "at" | "get" | "has" | "problem" | "unusableAt" | "writtenAt"
>;

/** The text of a file, understood as YAML. Never throws for what the text holds: `problems` says it. */
export class Source {
  /** As it is called in problems. */
  readonly file: string;
  /** Where the file stands, absolute: paths in it are relative to this. */
  readonly folder: string;
  /** Mappings (without a prototype), lists, text, numbers, booleans, null; `undefined` where it could not be read. */
  readonly value: unknown;
  /** Of the YAML, its keys, aliases and variables; in no order. */
  readonly problems: readonly Problem[];
  /** Whether `value` is what was meant, as far as YAML goes: if not, its other problems would only confuse. */
  readonly legible: boolean;

  readonly #document: Document.Parsed;
  readonly #lines = new LineCounter();
  readonly #problems: Problem[] = [];
  /** The text as written, by path, of what variables stand in. */
  readonly #written = new Map<string, string>();
  /** Paths already complained about: what is there is not the operator's value. */
  readonly #unusable = new Set<string>();
  #aliased = 0;

  /**
   * @param file What to call it in problems; relative to the working directory.
   * @param text Its content; a byte order mark and CRLF are fine.
   * @param env Looks up a variable for `${env:NAME}`; absent: every variable is missing.
   */
  constructor(file: string, text: string, env: (name: string) => string | undefined = () => undefined) {
    this.file = file;
    this.folder = dirname(resolve(file));
    const content = text.startsWith("\ufeff") ? text.slice(1) : text; // else it would count as a column
    this.#document = parseDocument(content, {
      lineCounter: this.#lines,
      prettyErrors: false,
      schema: "core", // whatever a %YAML directive says: in 1.1 `no` would be false, and 22:30 a number
      resolveKnownTags: false,
      uniqueKeys: false, // it compares every key with every other: 4 s for 20,000 users; #addPair looks instead
    });
    this.legible = this.#syntax(content);
    this.value = this.legible
      ? this.#plain(this.#document.contents, [], env, 0, false) ?? undefined
      : undefined;
    this.problems = this.#problems;
  }

  /** Where something stands; of what is missing, where the nearest mapping or list around it begins. */
  at(path: Path, what: "key" | "value" = "value"): Position {
    let offset = startOf(this.#document.contents) ?? 0;
    this.#follow(path, (node, pair, last) => {
      const key = startOf(pair?.key);
      offset = (last && what === "key" ? key : startOf(node) ?? key) ?? offset;
    });
    return this.#position(offset);
  }

  /** Whether the file says something at this path, were it only a key without a value. */
  has(path: Path): boolean {
    let found = path.length === 0;
    this.#follow(path, (_node, _pair, last) => found = last);
    return found;
  }

  /** The value at a path. */
  get(path: Path): unknown {
    let value = this.value;
    for (const key of path) {
      if (typeof value !== "object" || value === null || !Object.hasOwn(value, key)) return undefined;
      value = (value as Record<string | number, unknown>)[key];
    }
    return value;
  }

  /** What was written, of a value that variables stand in: messages show this, for the variable may be a secret. */
  writtenAt(path: Path): string | undefined {
    return this.#written.get(JSON.stringify(path));
  }

  /** Whether the value at this path is unknown for a reason `problems` has told. */
  unusableAt(path: Path): boolean {
    return path.some((_, i) => this.#unusable.has(JSON.stringify(path.slice(0, i + 1))));
  }

  /** A problem at a place in this file. */
  problem(message: string, position: Position, severity: Problem["severity"] = "error"): Problem {
    return {
      file: this.file,
      line: position.line,
      column: position.column,
      message: onOneLine(message),
      severity,
    };
  }

  #position(offset: number): Position {
    const { line, col } = this.#lines.linePos(offset);
    return line === 0 ? { line: 1, column: 1 } : { line, column: col };
  }

  /** Calls `visit` for each step of the path that exists; `last` at its end. */
  #follow(path: Path, visit: (node: unknown, pair: Pair | undefined, last: boolean) => void): void {
    let node: unknown = this.#document.contents;
    for (const [depth, key] of path.entries()) {
      if (isAlias(node)) node = node.resolve(this.#document);
      let pair: Pair | undefined;
      if (isMap(node)) {
        pair = node.items.find((item) => keyText(item.key) === String(key));
        if (!pair) return;
        node = pair.value;
      } else if (isSeq(node) && typeof key === "number" && key < node.items.length) node = node.items[key];
      else return;
      visit(node, pair, depth === path.length - 1);
    }
  }

  /** Reports what YAML itself finds wrong; one problem a line, for one slip makes several. */
  #syntax(content: string): boolean {
    const lines = new Set<number>();
    const { errors, warnings } = this.#document;
    for (const error of [...errors, ...warnings]) {
      const position = this.#position(error.pos[0]);
      if (lines.has(position.line)) continue;
      lines.add(position.line);
      this.#problems.push(this.problem(this.#syntaxSentence(error, content, position.line), position));
    }
    return errors.length === 0;
  }

  #syntaxSentence({ code, message, pos }: YAMLError, content: string, line: number): string {
    const here = content.slice(...pos);
    const lineText = content.split(/\r?\n/, line)[line - 1] ?? "";
    if (/[{[].*\$\{env:/.test(lineText) && !/["']\$\{env:/.test(lineText)) {
      return 'between { } or [ ], a variable stands in quotes: "${env:NAME}"';
    }
    const sentence = sentences[code];
    return sentence ? sentence(here, message) : `not YAML: ${decapitalized(message)}`;
  }

  #complain(message: string, path: Path): undefined {
    this.#unusable.add(JSON.stringify(path));
    this.#problems.push(this.problem(message, this.at(path)));
  }

  #plain(
    node: unknown,
    path: Path,
    env: (name: string) => string | undefined,
    depth: number,
    aliased: boolean,
  ): unknown {
    if (depth > deepest) return this.#complain(`nested more than ${deepest} deep`, path);
    if (aliased && ++this.#aliased > mostAliased) {
      return this.#aliased === mostAliased + 1
        ? this.#complain("the aliases in this file stand for too much: write out what they stand for", path)
        : void this.#unusable.add(JSON.stringify(path));
    }
    if (isAlias(node)) {
      const target = node.resolve(this.#document);
      if (target) return this.#plain(target, path, env, depth + 1, true);
      return this.#complain(`no "&${node.source}" stands above this "*${node.source}"`, path);
    }
    if (isSeq(node)) {
      return node.items.map((item, i) => this.#plain(item, [...path, i], env, depth + 1, aliased));
    }
    if (isMap(node)) {
      const mapping: Record<string, unknown> = Object.create(null);
      for (const pair of node.items) this.#addPair(mapping, pair, path, env, depth, aliased);
      return mapping;
    }
    if (!isScalar(node)) return null;
    return typeof node.value === "string" ? this.#substituted(node.value, path, env) : node.value;
  }

  #addPair(
    mapping: Record<string, unknown>,
    pair: Pair,
    path: Path,
    env: (name: string) => string | undefined,
    depth: number,
    aliased: boolean,
  ): void {
    const key = keyText(pair.key);
    const wrong = key === undefined
      ? "a key must be plain text"
      : key === "__proto__"
      ? `"${key}" cannot be a key`
      : Object.hasOwn(mapping, key)
      ? `the key "${key}" is given twice in this mapping: remove one`
      : undefined;
    if (wrong !== undefined) {
      this.#problems.push(this.problem(wrong, this.#position(startOf(pair.key) ?? startOf(pair.value) ?? 0)));
    }
    if (key === undefined || wrong !== undefined) return;
    mapping[key] = this.#plain(pair.value, [...path, key], env, depth + 1, aliased);
  }

  /** Variables are put into the text, never into the YAML: whatever they hold, it stays one piece of text. */
  #substituted(text: string, path: Path, env: (name: string) => string | undefined): string | undefined {
    if (!text.includes("${env:")) return text;
    this.#written.set(JSON.stringify(path), text);
    const troubles: string[] = [];
    const out = text.replace(/\$\{env:([^}]*)\}/g, (whole, name: string) => {
      if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) {
        troubles.push(`"${whole}" does not name a variable: write "\${env:NAME}"`);
        return "";
      }
      const value = env(name);
      if (value === undefined) troubles.push(`the environment variable ${name} is not set`);
      return value ?? "";
    });
    if (troubles.length === 0) return out;
    for (const trouble of new Set(troubles)) this.#complain(trouble, path);
    return undefined;
  }
}

const sentences: Partial<Record<YAMLError["code"], (here: string, message: string) => string>> = {
  TAB_AS_INDENT: () => "a tab cannot indent YAML: use spaces",
  MULTIPLE_DOCS: () => 'a second document begins here: remove the "---"',
  RESOURCE_EXHAUSTION: () => `nested more than ${deepest} deep`,
  BAD_SCALAR_START: (here) => `text cannot begin with "${here}": put it in quotes`,
  BLOCK_AS_IMPLICIT_KEY: () =>
    'this cannot be one value: put text that holds ": " in quotes, and check how the next lines are indented',
  TAG_RESOLVE_FAILED: (here) => `the tag "${here}" means nothing here: remove it`,
  BAD_INDENT: (_here, message) => {
    const bracket = /^Flow .* end with a ([\]}])$/.exec(message)?.[1];
    return bracket
      ? `the closing "${bracket}" is missing, or not indented enough`
      : `not YAML: ${decapitalized(message)}`;
  },
  MISSING_CHAR: (_here, message) => {
    const quote = /^Missing closing (["'])quote$/.exec(message)?.[1];
    if (quote) return `the closing ${quote} is missing`;
    return message.startsWith("Implicit map keys")
      ? 'a ":" is missing after this key'
      : `not YAML: ${decapitalized(message)}`;
  },
};

function decapitalized(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}

function startOf(node: unknown): number | undefined {
  const range = typeof node === "object" && node !== null && "range" in node ? node.range : undefined;
  if (isScalar(node) && node.value === null && node.source === "") return undefined; // stands nowhere
  return Array.isArray(range) ? range[0] : undefined;
}

/** A key as text: `25:` is the key "25"; lists, mappings and aliases are none. */
function keyText(key: unknown): string | undefined {
  if (!isScalar(key) || key.value === null) return undefined;
  return typeof key.value === "string" ? key.value : key.source ?? String(key.value);
}
