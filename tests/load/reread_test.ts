import { deepStrictEqual as deepEqual, match, ok, rejects, strictEqual as equal } from "node:assert/strict";
import { dirname } from "node:path";
import type { LoadedGeneration } from "../../server/load.ts";
import { removeLinks } from "../../server/load/reread.ts";
import { asWritten } from "../../server/log/places.ts";
import { Folder, loadFrom } from "./fixture.ts";

/** A plugin whose verdict says what it has imported: beside it, above it, from JSON, and later, in a handler. */
const plugin = `import { defer, definePlugin } from "postrider";
import { deep } from "./lib/one.ts";
import words from "./words.json" with { type: "json" };
export default definePlugin({ name: "mine", setup(on) {
  on("mail", async () => {
    const { late } = await import("./late.ts");
    const file = (await Deno.readTextFile(new URL("file.txt", import.meta.url))).trim();
    return defer("4.0.0", [deep, words.word, late, file].join(" "));
  });
  on("helo", () => { throw new Error("at line 10"); });
} });
`;

async function files(word: string): Promise<Record<string, string>> {
  return await Promise.resolve({
    "postrider.yaml": "plugins: [{ use: ./in/mine.ts }]\n",
    "in/mine.ts": plugin,
    "in/lib/one.ts": 'export { deep } from "../../outside.ts";\n',
    "outside.ts": `export const deep: string = "${word}";\n`,
    "in/words.json": JSON.stringify({ word }),
    "in/late.ts": `export const late: string = "${word}";\n`,
    "in/file.txt": word,
  });
}

async function write(folder: Folder, all: Record<string, string>): Promise<void> {
  for (const [name, text] of Object.entries(all)) {
    await Deno.mkdir(dirname(`${folder.path}/${name}`), { recursive: true });
    await folder.write(name, text);
  }
}

async function load(folder: Folder): Promise<LoadedGeneration> {
  const result = await loadFrom(folder);
  ok("generation" in result, JSON.stringify(result));
  return result.generation;
}

async function says({ instances }: LoadedGeneration): Promise<string> {
  const handler = instances[0]!.handlers.mail as unknown as () => Promise<{ text: string }>;
  return (await handler()).text;
}

const links = async (folder: Folder) =>
  (await Array.fromAsync(Deno.readDir(`${folder.path}/code`)).catch(() => [])).length;

Deno.test("reread: a generation has all of its code anew, and those that run keep theirs", async () => {
  await using folder = await Folder.of({});
  await write(folder, await files("one"));
  const first = await load(folder);
  equal(await says(first), "one one one one");
  await write(folder, await files("two"));
  const second = await load(folder);
  await write(folder, await files("three"));
  const third = await load(folder);
  equal(await says(third), "three three three three");
  match(await says(second), /^two two/);
  match(await says(first), /^one one one /);
  for (const generation of [third, second, first]) await generation.dispose();
  equal(await links(folder), 0);
});

Deno.test("reread: an error in what a plugin imports is named as its author knows it, and is gone when it is mended", async () => {
  await using folder = await Folder.of({});
  await write(folder, await files("one"));
  await (await load(folder)).dispose();
  await folder.write("outside.ts", "export const deep = = 1;\n");
  const failed = await loadFrom(folder);
  ok("problems" in failed);
  deepEqual(failed.problems.map(({ message, line, column }) => [message, line, column]), [
    ["./in/mine.ts cannot be imported: Expression expected (./outside.ts:1:21)", 1, 18],
  ]);
  equal(await links(folder), 0, "a generation that fails leaves no link");
  await folder.write("in/lib/one.ts", 'export { deep } from "./nowhere.ts";\n');
  const missing = await loadFrom(folder);
  ok("problems" in missing);
  equal(
    missing.problems[0]!.message,
    "./in/mine.ts cannot be imported: it imports ./in/lib/nowhere.ts, which does not exist (./in/lib/one.ts:1:22)",
  );
  await write(folder, await files("mended"));
  const mended = await load(folder);
  equal(await says(mended), "mended mended mended mended");
  const helo = mended.instances[0]!.handlers.helo as unknown as () => void;
  await rejects(async () => await helo(), (error: Error) => {
    match(
      asWritten(error.stack!),
      new RegExp(`at file://${folder.path}/in/mine.ts:10:24|at .*${folder.path}/in/mine.ts:10:`),
    );
    return true;
  });
  await mended.dispose();
});

Deno.test("reread: links that a killed server has left are removed, and nothing through them", async () => {
  await using folder = await Folder.of({ "keep.txt": "here" });
  await Deno.mkdir(`${folder.path}/code`);
  await Deno.symlink(folder.path, `${folder.path}/code/root-0123abcd`);
  await Deno.symlink(folder.path, `${folder.path}/code/somebody-elses`);
  await removeLinks(folder.path);
  deepEqual((await Array.fromAsync(Deno.readDir(`${folder.path}/code`))).map(({ name }) => name), [
    "somebody-elses",
  ]);
  equal(await Deno.readTextFile(`${folder.path}/keep.txt`), "here");
  await removeLinks(`${folder.path}/nothing-there`);
});
