/**
 * Whether the tests can fail: `deno task mutate [--only ID]… [--jobs N] [--check]`. Each mutation of `list.ts` is made in a copy of the
 * project, and the tests that it names run there, those with the mutation's id only. A mutation is found where such a test fails; where
 * all pass, the tests need a better one. The results are written beside this file, and to `docs/mutations.md`; with `--check` nothing
 * is written.
 */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { type Mutation, mutations } from "./list.ts";

/** What became of each mutation, in the order of the list. */
export interface Results {
  readonly date: string;
  /** The name of the first test that failed; `null`: none did. */
  readonly found: readonly { readonly breaks: string; readonly by: string | null }[];
}

const root = fileURLToPath(new URL("../../", import.meta.url));
/** Milliseconds; a mutation that makes a test hang is found, too. */
const patience = 120_000;

const { values } = parseArgs({
  options: {
    only: { type: "string", multiple: true },
    jobs: { type: "string", default: String(Math.max(1, navigator.hardwareConcurrency)) },
    check: { type: "boolean", default: false },
  },
});

/** What of the project its tests need. */
const parts = ["deno.json", "deno.lock", "mod.ts", "server", "plugins", "tests"];

async function copy(from: string, to: string): Promise<void> {
  if (!(await Deno.stat(from)).isDirectory) return await Deno.copyFile(from, to);
  await Deno.mkdir(to, { recursive: true });
  for await (const { name } of Deno.readDir(from)) await copy(join(from, name), join(to, name));
}

/** Runs the tests with this id in a copy; gives the names of those that passed and of those that failed. */
async function test(folder: string, { id, tests }: Pick<Mutation, "id" | "tests">): Promise<Ran> {
  const report = join(folder, "report.xml");
  await Deno.remove(report).catch(() => {});
  const process = new Deno.Command(Deno.execPath(), {
    args: ["test", "-A", "--no-check", `--junit-path=${report}`, `--filter=/\\b${id}\\b/`]
      .concat(tests.map((name) => `tests/${name}_test.ts`)),
    cwd: folder,
    env: { NO_COLOR: "1" },
    stdout: "null",
    stderr: "null",
  }).spawn();
  let hung = false;
  const timer = setTimeout(() => {
    hung = true;
    process.kill("SIGKILL");
  }, patience);
  await process.status;
  clearTimeout(timer);
  if (hung) return { passed: [], failed: [`no end in ${patience / 1000} s`] };
  const xml = await Deno.readTextFile(report).catch(() => "");
  const all = [...xml.matchAll(/<testcase name="([^"]*)"[^>]*?(?:\/>|>([^]*?)<\/testcase>)/g)];
  const failing = (inside = "") => /<(?:failure|error)\b/.test(inside);
  const names = (those: typeof all) =>
    those.map(([, name]) => name!.replaceAll("&quot;", '"').replaceAll("&amp;", "&"));
  return {
    passed: names(all.filter(([, , inside]) => !failing(inside))),
    failed: names(all.filter(([, , inside]) => failing(inside))),
  };
}

interface Ran {
  readonly passed: readonly string[];
  readonly failed: readonly string[];
}

/** Makes the edit in a copy, has it tested, and takes it back. */
async function tryOne(folder: string, mutation: Mutation): Promise<string | null> {
  const path = join(folder, mutation.file);
  const source = await Deno.readTextFile(path);
  if (source.split(mutation.find).length !== 2) {
    throw new Error(
      `${mutation.file} holds ${JSON.stringify(mutation.find)} not exactly once ("${mutation.breaks}")`,
    );
  }
  await Deno.writeTextFile(path, source.replace(mutation.find, () => mutation.put));
  try {
    const { passed, failed } = await test(folder, mutation);
    if (passed.length + failed.length === 0) {
      throw new Error(`"${mutation.breaks}": no test ran: is its source still one?`);
    }
    return failed[0] ?? null;
  } finally {
    await Deno.writeTextFile(path, source);
  }
}

async function main(): Promise<number> {
  const chosen = values.only ? mutations.filter(({ id }) => values.only!.includes(id)) : mutations;
  const scratch = await Deno.makeTempDir({ prefix: "mutations-" });
  try {
    const found = new Map<Mutation, string | null>();
    const waiting = [...chosen];
    const work = async (folder: string) => {
      await Deno.mkdir(folder);
      for (const part of parts) await copy(join(root, part), join(folder, part));
      for (let next = waiting.shift(); next; next = waiting.shift()) {
        const by = await tryOne(folder, next);
        found.set(next, by);
        console.log(
          `${by === null ? "SURVIVES" : "found"} ${next.id} ${next.breaks}${by === null ? "" : `: ${by}`}`,
        );
      }
    };
    const jobs = Array.from({ length: Number(values.jobs) }, (_, n) => work(join(scratch, String(n))));
    await Promise.all(jobs);
    const results = chosen.map((one) => ({ breaks: one.breaks, by: found.get(one)! }));
    const alive = results.filter(({ by }) => by === null).length;
    if (!values.check) {
      await write(new Map(results.map(({ breaks, by }) => [breaks, by])));
    }
    console.log(`${alive === 0 ? "ok" : "FAILED"} | ${results.length - alive} passed | ${alive} failed`);
    return alive === 0 ? 0 : 1;
  } finally {
    await Deno.remove(scratch, { recursive: true });
  }
}

/** Puts the new results among those there were; what the list has no more is left out. */
async function write(results: ReadonlyMap<string, string | null>): Promise<void> {
  const file = new URL("results.json", import.meta.url);
  const before = (JSON.parse(await Deno.readTextFile(file)) as Results).found;
  const all = new Map([...before.map(({ breaks, by }) => [breaks, by] as const), ...results]);
  const found = mutations.flatMap(({ breaks }) => all.has(breaks) ? [{ breaks, by: all.get(breaks)! }] : []);
  const written: Results = { date: new Date().toISOString().slice(0, 10), found };
  await Deno.writeTextFile(file, `${JSON.stringify(written, null, 2)}\n`);
  const { success } = await new Deno.Command(Deno.execPath(), { args: ["task", "docs"], cwd: root }).output();
  if (!success) throw new Error("deno task docs failed");
}

if (import.meta.main) Deno.exit(await main());
