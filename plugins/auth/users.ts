/** The users file, as text: reading it whole with every problem's place, and editing one entry of it. Pure. */
import {
  type Document,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Pair,
  parseDocument,
  Scalar,
  YAMLMap,
} from "yaml";
import type { ScramKeys } from "../../server/plugin.ts";
import { type PasswordHash, readHash } from "./phc.ts";
import { readKeys } from "./scram.ts";
import { accountName, readSendAs } from "./senders.ts";

/** Who may log in. */
export interface Account {
  /** Its address, in the form names are compared in. */
  readonly name: string;
  readonly hash: PasswordHash;
  /** Of the same password, where it can be proven by SCRAM. */
  readonly keys?: ScramKeys | undefined;
  /** The other addresses it may send as: `x@d`, `*@d`, `*`. */
  readonly sendAs: readonly string[];
}

/** Something wrong in a users file. Never repeats what stands there: it may be a password. */
export interface Problem {
  /** From 1. */
  readonly line: number;
  /** From 1. */
  readonly column: number;
  readonly message: string;
}

/** A users file, read: its accounts by name are complete only where there is no problem. */
export interface ReadUsers {
  readonly accounts: ReadonlyMap<string, Account>;
  readonly problems: readonly Problem[];
}

/** Parsing happens on the event loop: at this size it takes about half a second. */
export const largestFile = 4 * 1024 * 1024;

type Complain = (node: unknown, message: string) => void;

/** Reads a users file. */
export function readUsers(text: string): ReadUsers {
  return readDocument(text).read;
}

function readDocument(text: string): { document: Document; read: ReadUsers } {
  const lines = new LineCounter();
  // uniqueKeys compares every key with every other one; prettyErrors quote the line, with its hash.
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: false, prettyErrors: false });
  const problems: Problem[] = [];
  const complainAt = (offset: number, message: string) => {
    const { line, col } = lines.linePos(offset);
    problems.push({ line: Math.max(line, 1), column: Math.max(col, 1), message });
  };
  const complain: Complain = (node, message) => {
    const range = (node as { range?: readonly number[] | null } | null | undefined)?.range;
    complainAt(range?.[0] ?? 0, message);
  };
  for (const { pos, message } of [...document.errors, ...document.warnings]) {
    complainAt(pos[0], yamlSentence(message));
  }
  const accounts = new Map<string, Account>();
  if (problems.length === 0) readAccounts(document, accounts, complain);
  return { document, read: { accounts, problems } };
}

/** What follows a colon or stands in quotes is a piece of the file. */
function yamlSentence(message: string): string {
  return `this is not valid YAML: ${message.replace(/(?:: | ")[^]*$/, "")}`;
}

function readAccounts(document: Document, accounts: Map<string, Account>, complain: Complain): void {
  const top: unknown = document.contents;
  if (top === null || (isScalar(top) && top.value === null)) return;
  if (!isMap(top)) return complain(top, "a users file is a list of `address: { password: HASH }` entries");
  for (const pair of top.items) {
    const name = readName(pair.key, complain);
    const rest = readEntry(pair, complain);
    if (name === undefined) continue;
    if (accounts.has(name)) complain(pair.key, "this account is in the file twice");
    else if (rest) accounts.set(name, { name, ...rest });
  }
}

function readName(key: unknown, complain: Complain): string | undefined {
  const name = isScalar(key) && typeof key.value === "string" ? accountName(key.value) : undefined;
  if (name === undefined) complain(key, "the name of an account is an address, such as alice@example.org");
  return name;
}

function readEntry({ key, value }: Pair, complain: Complain): Omit<Account, "name"> | undefined {
  if (!isMap(value)) {
    complain(
      value ?? key,
      "an account is written as `{ password: HASH }`, with `sendAs: […]` if it has other addresses",
    );
    return undefined;
  }
  let hash: PasswordHash | undefined;
  let keys: ScramKeys | undefined;
  let sendAs: readonly string[] = [];
  const seen = new Set<unknown>();
  for (const { key: word, value: setting } of value.items) {
    const name = isScalar(word) ? word.value : undefined;
    if (seen.has(name)) complain(word, "this key is here twice");
    seen.add(name);
    if (name === "password") hash = readPassword(setting ?? word, value.flow === true, complain);
    else if (name === "scram") keys = readScram(setting ?? word, complain);
    else if (name === "sendAs") sendAs = readSenders(setting ?? word, complain);
    else complain(word, "unknown key: an account has `password`, `scram` and `sendAs`");
  }
  if (!seen.has("password")) complain(key, "this account has no `password`; `user passwd` sets one");
  return hash && { hash, keys, sendAs };
}

function readPassword(node: unknown, flow: boolean, complain: Complain): PasswordHash | undefined {
  const found = isScalar(node) && typeof node.value === "string" ? readHash(node.value) : undefined;
  if (!found) complain(node, "`password` is the text of a password hash");
  // Its first comma ended it: what follows would be complained about as unknown keys.
  else if ("problem" in found && flow && (node as Scalar).type === Scalar.PLAIN) {
    complain(node, "between { } a password hash must stand in quotes");
  } else if ("problem" in found) complain(node, found.problem);
  else return found.hash;
  return undefined;
}

function readScram(node: unknown, complain: Complain): ScramKeys | undefined {
  const read = readKeys(isScalar(node) && typeof node.value === "string" ? node.value : "");
  if ("keys" in read) return read.keys;
  complain(node, `${read.problem}; \`user passwd\` writes them`);
  return undefined;
}

function readSenders(node: unknown, complain: Complain): string[] {
  if (!isSeq(node)) {
    complain(node, '`sendAs` is a list, such as [sales@example.org, "*@example.com"]');
    return [];
  }
  const senders: string[] = [];
  for (const item of node.items) {
    const sender = isScalar(item) && typeof item.value === "string" ? readSendAs(item.value) : undefined;
    if (sender === undefined) complain(item, 'a `sendAs` entry is an address, "*@" and a domain, or "*"');
    else senders.push(sender);
  }
  return senders;
}

/** One change of a users file; `name` as {@linkcode accountName} gives it, `hash` a PHC string, `keys` for SCRAM. */
export type Edit =
  | {
    readonly action: "add" | "passwd";
    readonly name: string;
    readonly hash: string;
    readonly keys?: string | undefined;
  }
  | { readonly action: "remove"; readonly name: string };

/** What came of an edit: the new text, or why there is none. */
export type Edited =
  | { readonly outcome: "edited"; readonly text: string }
  | { readonly outcome: "exists" | "unknown" }
  | { readonly outcome: "broken"; readonly problems: readonly Problem[] };

/** Changes one entry; comments, order and the other entries stay. */
export function editUsers(text: string, edit: Edit): Edited {
  const { document, read } = readDocument(text);
  if (read.problems.length > 0) return { outcome: "broken", problems: read.problems };
  const known = read.accounts.has(edit.name);
  if (edit.action === "add" && known) return { outcome: "exists" };
  if (edit.action !== "add" && !known) return { outcome: "unknown" };
  const top = topMap(document);
  if (edit.action === "add") {
    const scram = edit.keys === undefined ? {} : { scram: quoted(edit.keys) };
    top.items.push(document.createPair(edit.name, { password: quoted(edit.hash), ...scram }));
  } else {
    const at = top.items.findIndex(({ key }) =>
      isScalar(key) && accountName(String(key.value)) === edit.name
    );
    if (edit.action === "remove") removeAt(document, top, at);
    else {
      const account = top.items[at]!.value as YAMLMap;
      account.set("password", quoted(edit.hash));
      if (edit.keys === undefined) account.delete("scram"); // they would be the old password's
      else account.set("scram", quoted(edit.keys));
    }
  }
  return { outcome: "edited", text: document.toString({ lineWidth: 0 }) };
}

/** A hash has commas: unquoted it would end at the first one in `{ password: … }`. */
function quoted(hash: string): Scalar {
  const scalar = new Scalar(hash);
  scalar.type = Scalar.QUOTE_DOUBLE;
  return scalar;
}

/** The map of accounts; made where the file holds nothing but comments. */
function topMap(document: Document): YAMLMap {
  if (!isMap(document.contents)) {
    const comment = isScalar(document.contents) ? document.contents.comment : undefined;
    document.contents = new YAMLMap() as typeof document.contents;
    if (comment) document.commentBefore = comment;
  }
  const top = document.contents as unknown as YAMLMap;
  if (top.items.length === 0) top.flow = false; // `{}` grows into a block
  return top;
}

/** Of the comments above an entry only the last paragraph goes with it: what an empty line sets apart is about more. */
function removeAt(document: Document, top: YAMLMap, at: number): void {
  const key = top.items[at]!.key;
  top.items.splice(at, 1);
  const next: unknown = top.items[at]?.key;
  if (at === 0 && isScalar(next)) next.spaceBefore = false;
  const kept = isScalar(key) && key.commentBefore?.split("\n\n").slice(0, -1).join("\n\n");
  if (!kept) return;
  if (!isScalar(next)) document.comment = [kept, document.comment ?? ""].join("\n\n").trimEnd();
  else next.commentBefore = [kept, next.commentBefore ?? ""].join("\n\n").trimEnd();
}
