/** What can be wrong with a message's header: how many there may be of each field (RFC 5322 §3.6), who says he wrote it, and when. Pure. */
import { addressParser, decodeWords } from "postal-mime";
import type { Headers } from "../../server/plugin.ts";
import { domainToASCII, domainToUnicode } from "node:url";
import { readDate } from "./date.ts";

/** The rules, by the names of their options. */
export const rules = [
  "missing.from",
  "missing.date",
  "missing.message-id",
  "missing.to",
  "duplicated",
  "several",
  "unreadable",
  "spoofed",
  "forged",
  "date",
  "received",
] as const;
/** One of them. */
export type Rule = typeof rules[number];

/** One thing that is wrong. */
export interface Problem {
  readonly rule: Rule;
  /** For the client, the header and the log: one line of printable ASCII. */
  readonly text: string;
}

/** What a header is held against. */
export interface Against {
  /** Our domains, in A-labels. */
  readonly domains: readonly string[];
  /** Whether DMARC passed: whoever wrote it, his domain says that he did. */
  readonly isProven: boolean;
  /** All three in milliseconds. */
  readonly now: number;
  readonly past: number;
  readonly future: number;
  /** How many `Received` there may be. */
  readonly hops: number;
}

/** Fields that stand there once at most: RFC 5322 §3.6, and what decides how the body is read (RFC 2045). */
const single = [
  "Date",
  "From",
  "Sender",
  "Reply-To",
  "To",
  "Cc",
  "Bcc",
  "Message-ID",
  "In-Reply-To",
  "References",
  "Subject",
  "MIME-Version",
  "Content-Type",
  "Content-Transfer-Encoding",
];

/** What is required, or advised, and what else may stand for it. */
const wanted: readonly (readonly [rule: Rule, names: readonly string[]])[] = [
  ["missing.from", ["From"]],
  ["missing.date", ["Date"]],
  ["missing.message-id", ["Message-ID"]],
  ["missing.to", ["To", "Cc", "Bcc"]],
];

/** Letters of a `From:` field that is taken apart; a longer one can't be read. */
const longestFrom = 8192;

/** Everything that is wrong. */
export function problemsOf(headers: Headers, against: Against): Problem[] {
  const problems: Problem[] = [];
  for (const [rule, names] of wanted) {
    if (names.some((name) => headers.get(name) !== undefined)) continue;
    problems.push({ rule, text: `There is no ${names.join(", ").replace(/, ([^,]*)$/, " or $1")} field` });
  }
  for (const name of single) {
    const count = headers.all(name).length;
    if (count > 1) problems.push({ rule: "duplicated", text: `There are ${count} ${name} fields` });
  }
  problems.push(
    ...authorProblems(headers.all("From"), against),
    ...dateProblems(headers.get("Date"), against),
  );
  const received = headers.all("Received").length;
  if (received > against.hops) {
    problems.push({
      rule: "received",
      text: `There are ${received} Received fields, and ${against.hops} are taken`,
    });
  }
  return problems;
}

interface Author {
  /** What is shown, decoded. */
  readonly name: string;
  readonly domain: string;
  readonly address: string;
}

/** All fields are read: with two of them, readers disagree on which one they show. */
function authorProblems(fields: readonly string[], { domains, isProven }: Against): Problem[] {
  const problems: Problem[] = [];
  const authors = fields.flatMap((field) => field.length > longestFrom ? [] : authorsOf(field));
  for (const field of fields) {
    if (field.length <= longestFrom && authorsOf(field).length > 0) continue;
    problems.push({ rule: "unreadable", text: "The From field holds no address that can be read" });
  }
  if (new Set(authors.map(({ address }) => address.toLowerCase())).size > 1) {
    problems.push({ rule: "several", text: `The From field names ${authors.length} authors` });
  }
  const isOurs = (domain: string) => domains.some((one) => domain === one || domain.endsWith(`.${one}`));
  for (const { name, domain } of authors) {
    if (isOurs(domain)) {
      if (!isProven) {
        problems.push({
          rule: "forged",
          text: `The From field claims ${ascii(domain)}, whose users log in to send`,
        });
      }
      continue;
    }
    const claimed = domains.find((one) => names(name, one) || names(name, domainToUnicode(one) || one));
    if (claimed === undefined) continue;
    problems.push({
      rule: "spoofed",
      text: `The name in the From field claims ${claimed}, the address ${ascii(domain)}`,
    });
  }
  return problems;
}

function authorsOf(field: string): Author[] {
  return addressParser(field, { flatten: true }).flatMap(({ name, address }) => {
    const at = address?.lastIndexOf("@") ?? -1;
    if (!address || at < 1 || at === address.length - 1) return [];
    // Blanks around the `@` are §4.4's obsolete form, a dot at the end is the root: readers show neither.
    const domain = address.slice(at + 1).replaceAll(/\s+/g, "").replace(/\.$/, "").toLowerCase();
    return [{ name: decoded(name), address, domain: domainToASCII(domain) || domain }];
  });
}

function decoded(name: string): string {
  try {
    return decodeWords(name);
  } catch {
    return name;
  }
}

/** Letters that aren't seen. */
const hidden = /[\p{Cc}\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/gu;

/** Whether a name that is shown holds the domain, or a name below it, as a word or behind an `@`. */
function names(shown: string, domain: string): boolean {
  const text = shown.slice(0, 1000).normalize("NFKC").replace(hidden, "").toLowerCase();
  for (let at = text.indexOf(domain); at >= 0; at = text.indexOf(domain, at + 1)) {
    const [before = "", after = ""] = [text[at - 1], text[at + domain.length]];
    if (!/[a-z0-9_-]/.test(before) && !/[a-z0-9_-]/.test(after)) return true;
  }
  return false;
}

function dateProblems(value: string | undefined, { now, past, future }: Against): Problem[] {
  if (value === undefined) return [];
  const date = readDate(value);
  if (date === undefined) return [{ rule: "date", text: "The Date field holds no date" }];
  if (date < now - past) return [{ rule: "date", text: `The Date field is ${days(now - date)} in the past` }];
  if (date > now + future) {
    return [{ rule: "date", text: `The Date field is ${days(date - now)} in the future` }];
  }
  return [];
}

function days(milliseconds: number): string {
  const count = Math.floor(milliseconds / 86_400_000);
  return count === 1 ? "a day" : count > 1 ? `${count} days` : "less than a day";
}

function ascii(text: string): string {
  return text.slice(0, 100).replace(/[^!-~]/gu, "?");
}
