/**
 * Expressions that choose from the queue: `domain = yahoo.com and attempts > 3 and age > 2h`. Pure: from a text to a condition,
 * or to the one thing that is wrong with it and its place. The same text is read where it is typed, for that answer,
 * and where the queue is.
 */
import { closest, distance } from "fastest-levenshtein";
import { readDuration, readSize } from "../options.ts";
import { parseDomain } from "../smtp/address.ts";
import type { Standing } from "./operations.ts";

/** What an expression may ask about: one recipient that waits, with its message. */
export interface Row {
  /** Of the recipient, lower case, in A-labels. */
  readonly domain: string;
  /** `""` is the null sender. */
  readonly sender: string;
  readonly recipient: string;
  readonly state: Standing;
  /** Octets of the message. */
  readonly size: number;
  /** Milliseconds since the message was received. */
  readonly age: number;
  /** That have failed so far. */
  readonly attempts: number;
  /** The last one, or why it is held; `""` before the first attempt. */
  readonly reply: string;
  readonly transport: string;
  /** Where its copy goes next. */
  readonly destination: string;
}

/** How two values are compared; `~`: contains, where `*` stands for anything. */
export type Operator = "=" | "!=" | "<" | "<=" | ">" | ">=" | "~";

/** An expression that was understood. */
export type Condition =
  | { readonly kind: "and" | "or"; readonly of: readonly Condition[] }
  | { readonly kind: "not"; readonly of: Condition }
  | {
    readonly kind: "compare";
    readonly field: keyof Row;
    readonly operator: Operator;
    readonly value: string | number;
  };

/** Why a text is no expression. */
export class WhereProblem extends Error {
  override readonly name = "WhereProblem";

  /** @param at The place, in characters of the expression. */
  constructor(message: string, readonly at: number) {
    super(message);
  }
}

/** The kinds of fields: what may be asked of them, and how their values are written. */
type Kind = "text" | "domain" | "state" | "number" | "duration" | "size";

const fields: Readonly<Record<keyof Row, Kind>> = {
  domain: "domain",
  sender: "text",
  recipient: "text",
  state: "state",
  size: "size",
  age: "duration",
  attempts: "number",
  reply: "text",
  transport: "text",
  destination: "text",
};
const names = Object.keys(fields) as (keyof Row)[];
const states: readonly Standing[] = ["ready", "active", "deferred", "held"];
const operators: Readonly<Record<Kind, readonly Operator[]>> = {
  text: ["=", "!=", "~"],
  domain: ["=", "!=", "~"],
  state: ["=", "!="],
  number: ["=", "!=", "<", "<=", ">", ">="],
  duration: ["<", "<=", ">", ">=", "=", "!="],
  size: ["<", "<=", ">", ">=", "=", "!="],
};

/** Longer ones are a mistake, or an attack on whoever reads them. */
export const longestWhere = 4000;
const deepest = 50;

/**
 * Reads an expression. `and` binds more than `or`, `not` most; words in any case.
 *
 * @throws {WhereProblem} when it can't be understood.
 */
export function parseWhere(text: string): Condition {
  return new Parser(text).parse();
}

/** Whether a recipient is meant. */
export function matches(condition: Condition, row: Row): boolean {
  switch (condition.kind) {
    case "and":
      return condition.of.every((one) => matches(one, row));
    case "or":
      return condition.of.some((one) => matches(one, row));
    case "not":
      return !matches(condition.of, row);
    case "compare":
      return compare(row[condition.field], condition.operator, condition.value);
  }
}

function compare(given: string | number, operator: Operator, value: string | number): boolean {
  if (typeof given === "string") given = given.toLowerCase();
  switch (operator) {
    case "=":
      return given === value;
    case "!=":
      return given !== value;
    case "<":
      return given < value;
    case "<=":
      return given <= value;
    case ">":
      return given > value;
    case ">=":
      return given >= value;
    case "~":
      return contains(String(given), String(value));
  }
}

/** Whether the pieces between the `*` stand in the text, in their order. No regular expression: theirs can take for ever. */
function contains(text: string, pattern: string): boolean {
  let from = 0;
  for (const piece of pattern.split("*")) {
    const at = text.indexOf(piece, from);
    if (at < 0) return false;
    from = at + piece.length;
  }
  return true;
}

class Parser {
  readonly #text: string;
  #at = 0;
  #depth = 0;

  constructor(text: string) {
    this.#text = text;
  }

  parse(): Condition {
    if (this.#text.length > longestWhere) {
      throw new WhereProblem(`this is longer than ${longestWhere} characters`, longestWhere);
    }
    const condition = this.#or();
    this.#skip();
    if (this.#at === this.#text.length) return condition;
    if (this.#text[this.#at] === ")") throw this.#problem("this closes nothing");
    throw this.#problem('"and" or "or" is missing here; a value with spaces stands in quotes');
  }

  #or(): Condition {
    const of = [this.#and()];
    while (this.#takes("or")) of.push(this.#and());
    return of.length === 1 ? of[0]! : { kind: "or", of };
  }

  #and(): Condition {
    const of = [this.#not()];
    while (this.#takes("and")) of.push(this.#not());
    return of.length === 1 ? of[0]! : { kind: "and", of };
  }

  #not(): Condition {
    this.#skip();
    const at = this.#at;
    if (++this.#depth > deepest) throw new WhereProblem(`this is nested more than ${deepest} deep`, at);
    try {
      if (this.#takes("not")) return { kind: "not", of: this.#not() };
      if (this.#text[at] !== "(") return this.#comparison();
      this.#at++;
      const inner = this.#or();
      this.#skip();
      if (this.#text[this.#at] !== ")") {
        if (this.#at < this.#text.length) throw this.#problem('"and", "or" or ")" is missing here');
        throw new WhereProblem('the ")" of this is missing', at);
      }
      this.#at++;
      return inner;
    } finally {
      this.#depth--;
    }
  }

  #comparison(): Condition {
    const field = this.#field();
    const kind = fields[field];
    this.#skip();
    const at = this.#at;
    const operator = this.#operator(field, kind);
    if (!operators[kind].includes(operator)) {
      throw new WhereProblem(`${field} can't be compared by ${operator}: ${listOf(operators[kind])}`, at);
    }
    this.#skip();
    return { kind: "compare", field, operator, value: this.#value(field, kind, operator) };
  }

  #field(): keyof Row {
    this.#skip();
    const at = this.#at;
    const word = this.#match(/[^\s()"'=!<>~]+/y);
    if (word === undefined) {
      const what = at === 0 && this.#text.trim() === "" ? "the expression is empty: " : "";
      throw new WhereProblem(`${what}one of these is missing here: ${names.join(", ")}`, at);
    }
    const name = word.toLowerCase();
    if (Object.hasOwn(fields, name)) return name as keyof Row;
    const near = closest(name, names);
    const hint = distance(name, near) <= 2 ? `did you mean ${near}?` : `there are ${names.join(", ")}`;
    throw new WhereProblem(`"${word}" is nothing that can be asked about: ${hint}`, at);
  }

  #operator(field: keyof Row, kind: Kind): Operator {
    const at = this.#at;
    const found = this.#match(/[=!<>~]+/y);
    // `sender=<>`: the value stands close to the operator
    const known = (["!=", "<=", ">=", "=", "<", ">", "~"] as const).find((one) => found?.startsWith(one));
    if (found === undefined) {
      throw new WhereProblem(`a comparison is missing behind ${field}: ${listOf(operators[kind])}`, at);
    }
    if (known === undefined || found === "==") {
      throw new WhereProblem(`${found} is no comparison: ${listOf(operators[kind])}`, at);
    }
    this.#at = at + known.length;
    return known;
  }

  #value(field: keyof Row, kind: Kind, operator: Operator): string | number {
    const at = this.#at;
    const word = this.#word();
    if (word === undefined) throw new WhereProblem(`a value is missing behind ${field} ${operator}`, at);
    const problem = (message: string) => new WhereProblem(message, at);
    if (operator === "~" && (word === "" || word === "<>")) {
      throw problem(`everything contains that: the null sender is ${field} = <>`);
    }
    switch (kind) {
      case "text":
        return word === "<>" ? "" : word.toLowerCase();
      case "domain": {
        if (operator === "~") return word.toLowerCase();
        const domain = parseDomain(word);
        if (domain === undefined) throw problem(`"${word}" is not a domain such as example.org`);
        return domain;
      }
      case "state": {
        const state = states.find((one) => one === word.toLowerCase());
        if (!state) throw problem(`"${word}" is not a state: there are ${states.join(", ")}`);
        return state;
      }
      case "number":
        if (/^[0-9]{1,9}$/.test(word)) return Number(word);
        throw problem(`"${word}" is not a number of attempts such as 3`);
      case "duration": {
        const ms = readDuration(word);
        if (ms === undefined) throw problem(`"${word}" is not a time such as 30s, 5m, 36h, 5d`);
        return ms;
      }
      case "size": {
        const octets = /^[0-9]{1,15}$/.test(word) ? Number(word) : readSize(word);
        if (octets === undefined) throw problem(`"${word}" is not a size such as 4000, 64KiB, 25MiB`);
        return octets;
      }
    }
  }

  /** A value: in quotes anything, else up to a space or a parenthesis. */
  #word(): string | undefined {
    const at = this.#at;
    const quote = this.#text[at];
    if (quote !== '"' && quote !== "'") return this.#match(/[^\s()]+/y);
    const body = quote === '"' ? this.#match(/"(?:[^"\\]|\\.)*"/ys) : this.#match(/'(?:[^'\\]|\\.)*'/ys);
    if (body === undefined) throw new WhereProblem(`the second ${quote} of this is missing`, at);
    return body.slice(1, -1).replace(/\\(.)/gs, "$1");
  }

  /** Goes past this word, if it stands here. */
  #takes(word: "and" | "or" | "not"): boolean {
    this.#skip();
    const at = this.#at;
    if (this.#match(/[^\s()"'=!<>~]+/y)?.toLowerCase() === word) return true;
    this.#at = at;
    return false;
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0];
    if (found !== undefined) this.#at += found.length;
    return found;
  }

  #skip(): void {
    this.#match(/\s+/y);
  }

  #problem(message: string): WhereProblem {
    return new WhereProblem(message, this.#at);
  }
}

function listOf(words: readonly string[]): string {
  return `there are ${words.join(" ")}`;
}
