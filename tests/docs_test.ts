/**
 * The documentation is right: its tables are those of the schemas, its configurations are ones the server takes, its
 * links lead somewhere. (Its TypeScript is run by `deno test --doc`, which the task `test` asks for.)
 */
import { deepStrictEqual as deepEqual, ok, strictEqual as equal } from "node:assert/strict";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";
import { generate } from "../docs/generate.ts";
import { readTable } from "../plugins/aliases/table.ts";
import { readUsers } from "../plugins/auth/users.ts";
import { readTables } from "../plugins/rewrite/mod.ts";
import { readYaml } from "../plugins/yaml_file.ts";
import { bundled } from "../server/bundled.ts";
import { systemCli } from "../server/cli/io.ts";
import { main } from "../server/cli/main.ts";
import { config } from "../server/config/config.ts";
import { formatProblem, type Io, type Problem, readConfig, readValue } from "../server/config/read.ts";
import { hookNames } from "../server/generation.ts";
import type { Plugin } from "../server/plugin.ts";

const root = fileURLToPath(new URL("../", import.meta.url));

interface Block {
  readonly page: string;
  /** The line of its fence. */
  readonly line: number;
  readonly language: string;
  readonly text: string;
}

async function pages(folder = "docs"): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(join(root, folder))) {
    const path = `${folder}/${name}`;
    if (isDirectory) found.push(...await pages(path));
    else if (name.endsWith(".md")) found.push(path);
  }
  return found.sort();
}

const allPages = ["README.md", "SECURITY.md", ...await pages()];
const texts = new Map(
  await Promise.all(allPages.map(async (page) => [page, await Deno.readTextFile(join(root, page))] as const)),
);

function blocksOf(page: string, text: string): Block[] {
  return [...text.matchAll(/^( *)```([a-z]+)\n([^]*?)^\1```$/gm)].map((
    { index, 1: indent, 2: language, 3: inside },
  ) => ({
    page,
    line: text.slice(0, index).split("\n").length,
    language: language!,
    text: inside!.replaceAll(new RegExp(`^${indent}`, "gm"), ""),
  }));
}

const blocks = [...texts].flatMap(([page, text]) => blocksOf(page, text));

/** Any file is there, and holds what its name promises. */
const io: Io = {
  env: (name) => `value of ${name}`,
  readTextFile: (path) =>
    Promise.resolve(/key/.test(path) ? "-----BEGIN PRIVATE KEY-----\n" : "-----BEGIN CERTIFICATE-----\n"),
};

// ── Tables ─────────────────────────────────────────────────────────────────────────────────────────

const made = await generate();

for (const [page, text] of made) {
  Deno.test(`docs: the tables of ${page} are those of the schemas: if not, run \`deno task docs\``, () => {
    equal(texts.get(page), text);
  });
}

Deno.test("docs: every bundled plugin has a page, and the index leads to it", () => {
  for (const name of Object.keys(bundled)) {
    ok(texts.has(`docs/plugins/${name}.md`), name);
    ok(texts.get("docs/plugins.md")?.includes(`(plugins/${name}.md)`), `docs/plugins.md: ${name}`);
  }
});

Deno.test("docs: the guide for authors names every hook", () => {
  const guide = texts.get("docs/writing-plugins.md") ?? "";
  deepEqual(hookNames.filter((hook) => !guide.includes(`\`${hook}`)), []);
});

// ── Configurations ─────────────────────────────────────────────────────────────────────────────────

const rest: Record<string, string> = {
  hostname: "hostname: mx.example.org",
  state: "state: ./state",
  listen: "listen: [{ port: 2525 }]",
  plugins: "plugins: [discard]",
};

/** A fragment as a whole configuration: what it doesn't say is said behind it, so that its lines stay its lines. */
function whole(text: string): string | undefined {
  const value: unknown = parse(text);
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  const keys = Object.keys(value);
  if (!keys.some((key) => Object.hasOwn(config.shape, key))) return undefined;
  return [text, ...Object.keys(rest).filter((key) => !keys.includes(key)).map((key) => rest[key]!)].join(
    "\n",
  );
}

/** Everything that reading can tell: of the configuration, and of the options of bundled plugins. */
async function problemsOf({ page, line }: Block, text: string): Promise<string[]> {
  const { config: read, source, problems } = await readConfig("postrider.yaml", {
    ...io,
    readTextFile: (path) => path === "postrider.yaml" ? Promise.resolve(text) : io.readTextFile(path),
  });
  const found: Problem[] = problems.filter(({ severity }) => severity === "error");
  for (const [index, { use, with: options }] of (read?.plugins ?? []).entries()) {
    const load = bundled[use];
    ok(load || use.startsWith("./"), use);
    const schema = ((await load?.())?.default as Plugin | undefined)?.options;
    if (schema) found.push(...readValue(schema, source, ["plugins", index, "with"], options ?? {}).problems);
  }
  return found.map((problem) => formatProblem({ ...problem, file: page, line: problem.line + line }));
}

/** Files that configurations name: the first line says which. */
const files: Record<string, (text: string) => readonly string[]> = {
  "users.yaml": (text) => readUsers(text).problems.map(({ message }) => message),
  "aliases.yaml": (text) => {
    readYaml("aliases.yaml", text, (node, problem) => readTable(node, problem, ["example.org"]));
    return [];
  },
  "rewrite.yaml": (text) => {
    readYaml("rewrite.yaml", text, readTables);
    return [];
  },
};

for (const block of blocks.filter(({ language, text }) => language === "yaml" && !/mistakes/.test(text))) {
  const { page, line, text } = block;
  Deno.test(`docs: the YAML at ${page}:${line} is right`, async () => {
    const configuration = whole(text);
    if (configuration !== undefined) return deepEqual(await problemsOf(block, configuration), []);
    const file = /^# ([a-z]+\.yaml)/.exec(text)?.[1] ?? "";
    ok(files[file], "neither a configuration nor a file whose name stands in its first line");
    deepEqual(files[file](text), []);
  });
}

Deno.test("docs: check says of the mistakes what the page says it does", async () => {
  const [mistakes, ...others] = blocks.filter(({ text }) => text.includes("with three mistakes"));
  equal(others.length, 0);
  const told = blocks[blocks.indexOf(mistakes!) + 2];
  let said = "";
  const code = await main(["check", "--config", "postrider.yaml"], {
    ...systemCli,
    readTextFile: () => Promise.resolve(mistakes!.text),
    stdout: { write: (text) => said += text },
  });
  equal(code, 2);
  equal(told?.text, said);
});

// ── From Haraka ────────────────────────────────────────────────────────────────────────────────────

Deno.test("docs: the lengths of what was rewritten from Haraka are those of the files, and the one that is shown is the file", async () => {
  const page = texts.get("docs/coming-from-haraka.md") ?? "";
  const rows = [...page.matchAll(/\]\(\.\.\/(examples\/from-haraka\/\w+\.ts)\) *\| *(\d+) *\|/g)];
  equal(rows.length, 5);
  for (const [, file, lines] of rows) {
    const code = (await Deno.readTextFile(join(root, file!))).replaceAll(/\/\*\*[^]*?\*\//g, "");
    equal(
      code.split("\n").filter((line) => line.trim() !== "" && !/^\s*\/\//.test(line)).length,
      Number(lines),
      file,
    );
  }
  const shown = blocks.find(({ page, language }) =>
    page === "docs/coming-from-haraka.md" && language === "ts"
  );
  const tarpit = await Deno.readTextFile(join(root, "examples/from-haraka/tarpit.ts"));
  ok(tarpit.endsWith(shown!.text));
});

// ── Plugins elsewhere ──────────────────────────────────────────────────────────────────────────────

Deno.test("docs: with the deno.json of the guide, a plugin in a folder of its own is checked and linted", async () => {
  const ofGuide = blocks.filter(({ page }) => page === "docs/writing-plugins.md");
  const configuration = ofGuide.find(({ language }) => language === "json")!;
  const plugin = ofGuide.find(({ language }) => language === "ts")!;
  const folder = await Deno.makeTempDir();
  try {
    const write = (name: string, text: string) => Deno.writeTextFile(join(folder, name), text);
    await write("deno.json", configuration.text.replaceAll("/opt/postrider/", root));
    await write("greylist.ts", plugin.text);
    await write("forgetful.ts", plugin.text.replace("return defer", "defer"));
    equal(await deno(folder, "check", "greylist.ts", "forgetful.ts"), "");
    equal(await deno(folder, "lint", "greylist.ts"), "");
    ok((await deno(folder, "lint", "forgetful.ts")).includes("decides nothing unless it is returned"));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

/** What it complains about; empty where all is well. */
async function deno(folder: string, ...args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args, cwd: folder }).output();
  return success ? "" : new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
}

// ── Links ──────────────────────────────────────────────────────────────────────────────────────────

Deno.test("docs: links lead to files that are there, and to headings that are", async () => {
  const broken: string[] = [];
  for (const [page, text] of texts) {
    for (const [, target, anchor] of text.matchAll(/\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)/g)) {
      const path = target === "" ? page : join(dirname(page), target!);
      const there = await Deno.stat(join(root, path)).then(() => true, () => false);
      const known = anchor === undefined || anchorsOf(texts.get(path) ?? "").includes(anchor);
      if (!there || !known) broken.push(`${page}: ${target}${anchor ? `#${anchor}` : ""}`);
    }
  }
  deepEqual(broken, []);
});

/** As the usual viewers make them of headings, and those that stand there by themselves. */
function anchorsOf(markdown: string): string[] {
  const headings = [...markdown.matchAll(/^#+ (.+)$/gm)].map(([, heading]) =>
    heading!.toLowerCase().replaceAll(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-")
  );
  return [...headings, ...[...markdown.matchAll(/<a id="([^"]+)"><\/a>/g)].map(([, id]) => id!)];
}

async function* filesOf(folder: string): AsyncGenerator<string> {
  for await (const { name, isDirectory } of Deno.readDir(join(root, folder))) {
    const path = `${folder}/${name}`;
    if (isDirectory) yield* filesOf(path);
    else if (name.endsWith(".ts")) yield path;
  }
}

Deno.test("SECURITY.md: each promise's test is there", async () => {
  const page = await Deno.readTextFile(join(root, "SECURITY.md"));
  const [, promised] = page.split("## What is promised");
  const named = [...promised!.matchAll(/"([^"]{12,})"/g)].map(([, name]) => name!);
  ok(named.length > 20);
  const tests = await Array.fromAsync(filesOf("tests"), (path) => Deno.readTextFile(join(root, path)));
  deepEqual(named.filter((name) => !tests.some((text) => text.includes(name))), []);
});
