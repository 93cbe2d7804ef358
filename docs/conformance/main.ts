/**
 * `deno task conformance`: runs all tests, and writes what they came to, and the page. With the reports of a run that was (JUnit's
 * XML, as `deno test --junit-path` writes it) it reads those; with `--check` it writes nothing, and says whether each case has a test
 * that passed in them and none that failed; with `--lists` it runs nothing, and writes anew only where the tests of each case are.
 */
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import own from "../../deno.json" with { type: "json" };
import { cases } from "./cases.ts";
import { type Carrier, findCarriers } from "./carriers.ts";
import { type Results, resultsFile } from "./page.ts";

const root = new URL("../../", import.meta.url);

/** A test that ran. */
interface Ran {
  readonly file: string;
  readonly name: string;
  readonly failed: boolean;
}

/** Reads a report; only what Deno's own reporter writes. */
export function readReport(xml: string): Ran[] {
  return [...xml.matchAll(/<testcase name="([^"]*)" classname="([^"]*)"[^>]*?(?:\/>|>([^]*?)<\/testcase>)/g)]
    .filter(([, , , inside = ""]) => !inside.includes("<skipped"))
    .map(([, name, file, inside = ""]) => ({
      file: file!,
      name: unescaped(name!),
      failed: /<(?:failure|error)\b/.test(inside),
    }));
}

const entities: Readonly<Record<string, string>> = { lt: "<", gt: ">", quot: '"', apos: "'", amp: "&" };

function unescaped(text: string): string {
  return text.replaceAll(/&(?:#x([0-9a-fA-F]+)|#(\d+)|([a-z]+));/g, (whole, hex, decimal, name) => {
    if (name) return entities[name] ?? whole;
    return String.fromCodePoint(hex ? parseInt(hex, 16) : Number(decimal));
  });
}

/** Adds the tests up, by case. */
export function count(ran: readonly Ran[]): Record<string, { passed: number; failed: number }> {
  const found: Record<string, { passed: number; failed: number }> = {};
  for (const { name, failed } of ran) {
    for (const id of new Set(name.match(/\b[A-Z][0-9]{2}\b/g))) {
      if (!cases.has(id)) continue;
      const one = found[id] ??= { passed: 0, failed: 0 };
      one[failed ? "failed" : "passed"]++;
    }
  }
  return Object.fromEntries(Object.entries(found).sort(([one], [other]) => one < other ? -1 : 1));
}

/** What isn't as it should be: cases without a test that passed, failed ones, ids in strings that no test's name came of. */
async function complaints(ran: readonly Ran[]): Promise<string[]> {
  const found = count(ran);
  const wrong: string[] = [];
  for (const id of cases.keys()) {
    if (!found[id]?.passed) wrong.push(`${id}: no test of it has passed`);
    if (found[id]?.failed) wrong.push(`${id}: ${found[id].failed} tests of it have failed`);
  }
  const names = ran.map(({ name }) => name).join("\n");
  // A file may hold an id in other strings, too, beside the name of a test.
  const carriers = (await findCarriers(root)).filter(({ id }) => cases.has(id));
  const place = ({ id, file }: Carrier) => `${id}: no test that ${file} names after it has run`;
  const named = new Set(carriers.filter(({ name }) => names.includes(name)).map(place));
  wrong.push(...new Set(carriers.map(place).filter((one) => !named.has(one))));
  return wrong;
}

async function run(task: string, report: string): Promise<void> {
  console.log(`deno task ${task}`);
  await new Deno.Command(Deno.execPath(), {
    args: ["task", task, `--junit-path=${report}`],
    cwd: root,
    env: { NO_COLOR: "1" },
    stdout: "null",
    stderr: "inherit",
  }).output();
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    args: Deno.args,
    options: { check: { type: "boolean", default: false }, lists: { type: "boolean", default: false } },
    allowPositionals: true,
  });
  if (values.lists) {
    const last = JSON.parse(await Deno.readTextFile(new URL(resultsFile, root))) as Results;
    await write({ ...last, cases: listed(last.cases, await findCarriers(root)) });
    return 0;
  }
  let reports = positionals;
  const folder = await Deno.makeTempDir();
  try {
    if (reports.length === 0) {
      reports = [`${folder}/test.xml`, `${folder}/e2e.xml`];
      await run("test", reports[0]!);
      await run("e2e", reports[1]!);
    }
    const ran = (await Promise.all(reports.map((file) => Deno.readTextFile(file)))).flatMap(readReport);
    const wrong = await complaints(ran);
    for (const line of wrong) console.error(line);
    const failed = ran.filter((one) => one.failed).length;
    console.log(
      `${ran.length} tests in the reports, ${failed} failed; ${cases.size} cases, ${wrong.length} complaints`,
    );
    if (!values.check) await write(await resultsOf(ran, failed));
    return wrong.length === 0 ? 0 : 1;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function resultsOf(ran: readonly Ran[], failed: number): Promise<Results> {
  return {
    date: new Date().toISOString().slice(0, 10),
    version: own.version,
    deno: Deno.version.deno,
    passed: ran.length - failed,
    failed,
    endToEnd: ran.filter((one) => !one.failed && one.file.includes("tests/e2e/")).length,
    cases: listed(count(ran), await findCarriers(root)),
  };
}

/** With the files that carry each case. */
function listed(counted: ReturnType<typeof count>, carriers: readonly Carrier[]): Results["cases"] {
  return Object.fromEntries(
    Object.entries(counted).map(([id, { passed, failed }]) => {
      const files = carriers.filter((one) => one.id === id).map(({ file }) => file);
      return [id, { passed, failed, files: [...new Set(files)] }];
    }),
  );
}

async function write(results: Results): Promise<void> {
  const text = `${JSON.stringify(results, null, 2)}\n`;
  await Deno.writeTextFile(new URL(resultsFile, root), text);
  const { success } = await new Deno.Command(Deno.execPath(), {
    args: ["fmt", "--quiet", fileURLToPath(new URL(resultsFile, root))],
  }).output();
  if (!success) throw new Error("deno fmt failed");
  const docs = new Deno.Command(Deno.execPath(), { args: ["task", "docs"], cwd: root });
  if (!(await docs.output()).success) throw new Error("deno task docs failed");
}

if (import.meta.main) Deno.exit(await main());
