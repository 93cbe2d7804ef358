import { deepStrictEqual as deepEqual, match, strictEqual as equal } from "node:assert/strict";
import { newPlugin } from "../../server/cli/new.ts";
import { makeFolder } from "../e2e/folder.ts";

async function run(name: string, folder: string) {
  let [out, err] = ["", ""];
  const code = await newPlugin(name, folder, {
    stdout: { write: (text) => out += text },
    stderr: { write: (text) => err += text },
  });
  return { code, out, err };
}

const filesIn = async (path: string) =>
  (await Array.fromAsync(Deno.readDir(path), ({ name }) => name)).sort();

async function deno(cwd: string, ...args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args,
    cwd,
    env: { NO_COLOR: "1" },
  })
    .output();
  const decoder = new TextDecoder();
  return success ? "" : decoder.decode(stdout) + decoder.decode(stderr);
}

Deno.test("new plugin: what it writes is checked, linted, formatted and tested", async () => {
  await using folder = await makeFolder();
  const { code, out, err } = await run("no-strangers", folder.path);
  deepEqual([code, err], [0, ""]);
  match(out, /^plugins:\n {2}- use: \.\/no-strangers\.ts\n {4}with: \{ domains: \[spam\.example\] \}$/m);
  deepEqual(await filesIn(folder.path), ["deno.json", "no-strangers.ts", "no-strangers_test.ts"]);
  for (const args of [["check", "."], ["lint"], ["fmt", "--check", "--line-width=110"], ["test", "-A"]]) {
    equal(await deno(folder.path, ...args), "", args.join(" "));
  }
});

Deno.test("new plugin: nothing that is there is written over, and half a plugin isn't written beside it", async () => {
  await using folder = await makeFolder();
  await folder.write("mine_test.ts", "// precious\n");
  const { code, err } = await run("mine", folder.path);
  equal(code, 2);
  equal(
    err,
    `${folder.at("mine_test.ts")} is there already, and stays as it is: choose another name or --dir.\n`,
  );
  deepEqual(await filesIn(folder.path), ["mine_test.ts"]);
  equal(await Deno.readTextFile(folder.at("mine_test.ts")), "// precious\n");
});

Deno.test("new plugin: a deno.json that is there stays, and is told what it lacks", async () => {
  await using folder = await makeFolder();
  await folder.write("deno.jsonc", '{ "fmt": {} }\n');
  const { code, out } = await run("mine", `${folder.path}/plugins`);
  equal(code, 0);
  match(out, /deno\.jsonc doesn't know what "postrider" means: put this into it\./);
  match(out, /"postrider\/testing": "file:.*server\/testing\/mod\.ts"/);
  deepEqual(await filesIn(folder.at("plugins")), ["mine.ts", "mine_test.ts"]);
  await folder.write("deno.jsonc", '{ "imports": { "postrider": "./x.ts" } }\n');
  const second = await run("second", `${folder.path}/plugins`);
  equal(second.out.includes("doesn't know"), false);
});

Deno.test("new plugin: a name that can't stand in a configuration, a log line and a file name is refused", async () => {
  await using folder = await makeFolder();
  for (const name of ["../up", "", "a b", "-a", "ä"]) {
    const { code, err } = await run(name, folder.path);
    equal(code, 2, name);
    match(err, /is no name for a plugin/);
  }
  deepEqual(await filesIn(folder.path), []);
});
