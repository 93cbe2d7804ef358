/** What is wrong with what an inspection found. Pure. */
import type { Closed, Found, Inspection } from "./findings.ts";
import { disguise, extensionOf, mismatch } from "./kinds.ts";

/** The rules, by the names of their options. */
export type Rule = "refused" | "disguised" | "mismatch" | "encrypted" | "unreadable" | "bounds";

/** One thing that is wrong. */
export interface Problem {
  readonly rule: Rule;
  /** For the client, the header and the log: one line of printable ASCII. */
  readonly text: string;
}

/** What is looked for. */
export interface Wanted {
  readonly extensions: ReadonlySet<string>;
  /** Media types, lower case: `application/x-msdownload`, `video/*`. */
  readonly types: readonly string[];
  readonly most: number | undefined;
  readonly largest: number | undefined;
}

/** @returns What is wrong, in the message's order; bounds last. */
export function problemsOf({ found, closed }: Inspection, wanted: Wanted): Problem[] {
  const attached = found.filter(({ kind, inside }) => kind === "part" && inside.length === 0);
  return [
    ...found.flatMap((one) => problemsWith(one, wanted)),
    ...closed.map(closedProblem),
    ...boundProblems(attached, wanted),
  ];
}

function problemsWith(found: Found, { extensions, types }: Wanted): Problem[] {
  const { names, type, magic } = found;
  const what = describe(found.inside, names[0] ?? type ?? "part");
  const problems: Problem[] = [];
  const claimed = names.map(extensionOf);
  const refused = [...claimed, ...(magic ? [magic.extension] : [])].find((one) => extensions.has(one));
  const refusedType = [type, magic?.type].find((one) =>
    one !== undefined && types.some((rule) => matches(one, rule))
  );
  if (refused !== undefined) {
    problems.push({ rule: "refused", text: `${what} is of a kind that isn't taken: ${ascii(refused)}` });
  } else if (refusedType) {
    problems.push({ rule: "refused", text: `${what} is of a type that isn't taken: ${ascii(refusedType)}` });
  }
  for (const name of names) {
    const how = disguise(name, extensions);
    if (how) problems.push({ rule: "disguised", text: `${what} is disguised: ${ascii(how)}` });
  }
  const lie = magic && mismatch(claimed[0] ?? "", type, magic.extension);
  if (lie) problems.push({ rule: "mismatch", text: `${what} isn't what it is called: ${ascii(lie)}` });
  return problems;
}

function matches(type: string, rule: string): boolean {
  return rule.endsWith("/*") ? type.startsWith(rule.slice(0, -1)) : type === rule;
}

const closedTexts = {
  "encrypted": "can't be looked into: it is encrypted",
  "damaged": "can't be looked into: it is damaged",
  "too deep": "can't be looked into: too much is inside of each other",
  "too much": "can't be looked into: it holds too much",
} as const;

function closedProblem({ inside, name, why }: Closed): Problem {
  const rule = why === "encrypted" ? "encrypted" : "unreadable";
  return { rule, text: `${describe(inside, name)} ${closedTexts[why]}` };
}

function boundProblems(attached: readonly Found[], { most, largest }: Wanted): Problem[] {
  const problems: Problem[] = [];
  if (most !== undefined && attached.length > most) {
    problems.push({ rule: "bounds", text: `It has ${attached.length} attachments, and ${most} are taken` });
  }
  const large = largest === undefined ? undefined : attached.find(({ size }) => size > largest);
  if (large) {
    const what = describe([], large.names[0] ?? large.type ?? "part");
    problems.push({ rule: "bounds", text: `${what} has ${large.size} octets, and ${largest} are taken` });
  }
  return problems;
}

function describe(inside: readonly string[], name: string): string {
  const around = inside.toReversed().map((one) => ` in "${ascii(one)}"`).join("");
  return `"${ascii(name)}"${around}`.slice(0, 200);
}

/** What names hold ends in a reply and a header. */
function ascii(text: string): string {
  return text.slice(0, 80).replace(/[^ !#-~]/gu, "?");
}
