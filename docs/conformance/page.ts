/** The page `docs/conformance.md`: from the cases, the RFCs, and what the last whole run of the tests came to. */
import { cases, chapters } from "./cases.ts";
import type { Carrier } from "./carriers.ts";
import { type Proof, type Rfc, rfcs, type Section } from "./rfcs.ts";

/** What the tests of one case came to. */
export interface CaseResult {
  readonly passed: number;
  readonly failed: number;
  /** Where they are written. */
  readonly files: readonly string[];
}

/** What a whole run of the tests came to. */
export interface Results {
  /** `2026-11-22`. */
  readonly date: string;
  readonly version: string;
  readonly deno: string;
  /** All tests, those without an id included. */
  readonly passed: number;
  readonly failed: number;
  /** How many of those that passed are end-to-end tests. */
  readonly endToEnd: number;
  /** By id. */
  readonly cases: Readonly<Record<string, CaseResult>>;
}

/** Where the results are kept. */
export const resultsFile = "docs/conformance/results.json";

/**
 * Makes the page.
 *
 * @param root The project's folder, with a slash at its end.
 */
export async function conformancePage(root: URL): Promise<string> {
  const results = JSON.parse(await Deno.readTextFile(new URL(resultsFile, root))) as Results;
  const { date, version, deno, passed, failed, endToEnd } = results;
  const count = (number: number) => number.toLocaleString("en");
  return [
    "<!-- deno-fmt-ignore-file -->", // rows that stand alone merge better than aligned ones
    "",
    "# What holds, and where",
    "",
    "`deno task conformance` runs the tests, the end-to-end tests included, and writes this page; CI sees in each of its runs that",
    "every row has a test that passed. Whether the tests can fail is shown by [mutations of the source](mutations.md), and what no",
    "list has is looked for by [fuzzing](fuzzing.md).",
    "",
    `The last run: ${date}, version ${version}, Deno ${deno}: ${count(passed)} tests passed, ${
      count(endToEnd)
    } of them end to end; ${count(failed)} failed.`,
    "",
    "## Hostile and strange input",
    "",
    "Each row is a rule; its id stands in the names of its tests, so that `deno test -A --filter D02 tests` runs those of one.",
    "",
    ...chapters.flatMap(({ title, cases: rows }) => [
      `### ${title}`,
      "",
      "| id | rule | tests | passed |",
      "| --- | --- | --- | --- |",
      ...rows.map(({ id, rule }) => {
        const files = results.cases[id]?.files ?? [];
        return `| <a id="${id.toLowerCase()}"></a>${id} | ${escaped(rule)} | ${
          files.map(link).join(" · ")
        } | ${said(results, id)} |`;
      }),
      "",
    ]),
    "## RFCs",
    "",
    "Sections that ask something of a server or a client: the file that does it, and the tests that hold it there. What isn't",
    "held says so, and why.",
    "",
    ...rfcs.flatMap(table),
  ].join("\n");
}

function said({ cases: all }: Results, id: string): string {
  const found = all[id];
  if (!found) return "not run yet";
  return found.failed > 0 ? `**${found.failed} failed**` : String(found.passed);
}

function table({ number, title, sections }: Rfc): string[] {
  return [
    `### ${/^\d/.test(number) ? `RFC ${number}` : number}: ${title}`,
    "",
    "| section | asks | held by | tests |",
    "| --- | --- | --- | --- |",
    ...sections.map(row),
    "",
  ];
}

function row({ section, asks, held }: Section): string {
  const cells = "not" in held
    ? ["**not held**", escaped(held.not)]
    : [link(held.by), held.tests.map(proof).join(" · ")];
  return `| ${section} | ${escaped(asks)} | ${cells.join(" | ")} |`;
}

function proof(one: Proof): string {
  return typeof one === "string" ? `[${one}](#${one.toLowerCase()})` : link(one.file);
}

/** The shortest that says which file it is. */
function link(file: string): string {
  const text = file.replace(/^tests\/dialogs\/(.*)\.smtp$/, "$1").replace(/^tests\/(.*)\.ts$/, "$1");
  return `[${text.replaceAll("_", "\\_")}](../${file})`;
}

const escaped = (text: string) => text.replaceAll("|", "\\|");

/** What is wrong with the cases: those that no test carries, and ids in tests that are no case's. */
export function misfits(carriers: readonly Carrier[]): string[] {
  const carried = new Set(carriers.map(({ id }) => id));
  const bare = [...cases.keys()].filter((id) => !carried.has(id));
  // A string that is nothing but an id is no test's name.
  const strange = carriers.filter(({ id, name }) => !cases.has(id) && name !== id);
  return [
    ...bare.map((id) => `no test carries ${id}`),
    ...strange.map(({ id, file, name }) => `${file}: there is no case ${id}, which "${name}" names`),
  ];
}

/** Tests that the page names and that are not there any more, or not of this case. */
export function gone({ cases: all }: Results, carriers: readonly Carrier[]): string[] {
  const carried = new Set(carriers.map(({ id, file }) => `${id} ${file}`));
  const named = Object.entries(all).flatMap(([id, { files }]) => files.map((file) => `${id} ${file}`));
  return named.filter((one) => !carried.has(one));
}

/** What is wrong with the RFCs' table: sources and proofs that are not where it says. */
export async function unproven(root: URL): Promise<string[]> {
  const wrong: string[] = [];
  const read = (file: string) => Deno.readTextFile(new URL(file, root)).catch(() => undefined);
  for (const { number, sections } of rfcs) {
    for (const { section, held } of sections) {
      if ("not" in held) continue;
      const place = `RFC ${number} ${section}`;
      if (await read(held.by) === undefined) wrong.push(`${place}: ${held.by} is not there`);
      for (const one of held.tests) {
        if (typeof one === "string") {
          if (!cases.has(one)) wrong.push(`${place}: there is no case ${one}`);
        } else if (!(await read(one.file))?.includes(one.name)) {
          wrong.push(`${place}: ${one.file} holds no "${one.name}"`);
        }
      }
    }
  }
  return wrong;
}
