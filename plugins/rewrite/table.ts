/** A table of addresses and what they become: how an operator writes it, and which entry an address falls under. Pure. */
import { domainToASCII } from "node:url";
import { fold, isDomain, isLocal, join, split } from "../addresses.ts";

/** An address, taken apart. */
export interface Parts {
  /** Unquoted, with its tag. */
  readonly local: string;
  /** Lower case, in A-labels. */
  readonly domain: string;
}

interface Pattern {
  /** What stands before and behind the star. */
  readonly before: string;
  readonly behind: string;
  readonly domain: string;
  /** Names below the domain, not itself. */
  readonly below: boolean;
  readonly target: string;
}

/** An address's text as parts; `undefined` where it is none. */
export function partsOf(address: string): Parts | undefined {
  const { local, domain } = split(address);
  return domain === undefined || local === "" || !isDomain(domain) ? undefined : { local, domain };
}

/** Entries by what they match: the whole address first, then without its tag, then patterns, the most particular first. */
export class Table {
  readonly #addresses = new Map<string, string>();
  readonly #patterns: Pattern[] = [];

  /** Adds an entry; says what is wrong with it, as a sentence, and it was not added. */
  add(key: string, target: string): string | undefined {
    const wrong = whyNoKey(key) ?? whyNoTarget(key, target);
    if (wrong) return wrong;
    const at = key.lastIndexOf("@");
    const local = key.slice(0, at) || "*";
    const given = key.slice(at + 1);
    const below = given.startsWith("*.");
    const domain = domainToASCII(below ? given.slice(2) : given);
    if (isPattern(local) || below) {
      const [before = "", behind = ""] = local.split("*").map(fold);
      if (this.#patterns.some((one) => sameKey(one, { before, behind, domain, below }))) {
        return `"${key}" stands here twice`;
      }
      this.#patterns.push({ before, behind, domain, below, target });
      this.#patterns.sort(moreParticular);
      return;
    }
    const name = `${fold(split(key).local)}@${domain}`;
    if (this.#addresses.has(name)) return `"${key}" stands here twice`;
    this.#addresses.set(name, target);
  }

  /** What an address becomes; `undefined` where the table says nothing, or what it says would be no address, or the same. */
  rewrite({ local, domain }: Parts): string | undefined {
    const made = this.#find(local, domain);
    if (made === undefined) return undefined;
    const parts = partsOf(made);
    if (!parts || [...parts.local].length > 64 || made.length > 254) return undefined;
    return parts.local === local && parts.domain === domain ? undefined : made;
  }

  #find(local: string, domain: string): string | undefined {
    const whole = this.#addresses.get(`${fold(local)}@${domain}`);
    if (whole !== undefined) return made(whole, "");
    const plus = local.indexOf("+");
    const untagged = plus > 0 ? this.#addresses.get(`${fold(local.slice(0, plus))}@${domain}`) : undefined;
    if (untagged !== undefined) return made(untagged, "", local.slice(plus));
    for (const pattern of this.#patterns) {
      const matched = match(pattern, local, domain);
      if (matched !== undefined) return made(pattern.target, matched);
    }
  }
}

const isPattern = (local: string) => local.includes("*") && !local.startsWith('"');

function whyNoKey(key: string): string | undefined {
  const at = key.lastIndexOf("@");
  const given = key.slice(at + 1);
  const local = key.slice(0, at) || "*";
  const domain = domainToASCII(given.startsWith("*.") ? given.slice(2) : given);
  if (
    at < 0 || !isDomain(domain) || !isLocal(local.replace("*", "x")) ||
    (isPattern(local) && local.split("*").length > 2)
  ) {
    return `"${key}" is not an address such as alice@example.org, sales-*@example.org, *@example.org or *@*.example.org`;
  }
}

function whyNoTarget(key: string, target: string): string | undefined {
  const { local, domain } = split(target);
  if (
    domain === undefined || !isDomain(domain) ||
    !isLocal(target.slice(0, target.lastIndexOf("@")).replace("*", "x"))
  ) {
    return `"${target}" is not an address such as alice@example.org or *@example.org`;
  }
  const [name = ""] = key.split("@");
  const hasStar = name === "" || isPattern(name) || key.includes("@*.");
  if (isPattern(local) && (!hasStar || local.split("*").length > 2)) {
    return `"${target}" has a star, and "${key}" has none that it could stand for`;
  }
}

type Key = Omit<Pattern, "target">;

const sameKey = (one: Key, other: Key) =>
  one.before === other.before && one.behind === other.behind && one.domain === other.domain &&
  one.below === other.below;

/** The longer local part, then the domain itself, then the longer domain. */
function moreParticular(one: Pattern, other: Pattern): number {
  const letters = ({ before, behind }: Pattern) => before.length + behind.length;
  return letters(other) - letters(one) || Number(one.below) - Number(other.below) ||
    other.domain.length - one.domain.length;
}

/** What the star stands for. */
function match({ before, behind, domain, below }: Pattern, local: string, of: string): string | undefined {
  if (below ? !of.endsWith(`.${domain}`) : of !== domain) return undefined;
  const folded = fold(local);
  if (folded.length < before.length + behind.length) return undefined;
  if (!folded.startsWith(before) || !folded.endsWith(behind)) return undefined;
  // Folding may change how long a letter is; then the folded one is as good.
  const from = folded.length === local.length ? local : folded;
  return from.slice(before.length, from.length - behind.length);
}

/** The target with what its star stands for, and the tag that was left out of the key. */
function made(target: string, star: string, tag = ""): string {
  const { local, domain } = split(target);
  const filled = isPattern(local) ? local.replace("*", () => star) : local;
  return join(filled + (filled.includes("+") ? "" : tag), domain!);
}
