/**
 * `deno task compile [PLUGIN…]`: the server as one executable, `dist/postrider`, for machines without Deno. Plugins of your own go
 * into it too; a configuration names them without folder and extension: `use: greylist`.
 *
 * Needs the runtime that executables are made of, which Deno downloads. Where that can't be done: one sentence, and exit code 1.
 */
import { pathToFileURL } from "node:url";
import { registerPlugins, root } from "./entry.ts";

const output = `${root}dist/postrider`;

/** Modules that no import names: what `new Worker(new URL(…))` runs. Bundled plugins are found by their literal imports. */
const workers = [
  "server/store_worker.ts",
  "server/tracking/tracking_worker.ts",
  "plugins/auth/hash_worker.ts",
  "plugins/directory/sql_worker.ts",
  "plugins/attachments/inspect_worker.ts",
  "plugins/http_submit/compose_worker.ts",
  "plugins/webhook/payload_worker.ts",
].map((path) => root + path);

/** What Deno says when it can't get the runtime; its next lines are which connection failed, and how. */
const noRuntime = "Setting up base binary";

async function compile(entry: string): Promise<{ success: boolean; said: string }> {
  const main = JSON.stringify(pathToFileURL(`${root}server/cli/main.ts`).href);
  const run = `import { main } from ${main};\nmain(Deno.args).then((code) => Deno.exit(code));\n`;
  await Deno.writeTextFile(entry, registerPlugins(Deno.args) + run);
  const options = ["--config", `${root}deno.json`, "--exclude-unused-npm", "--output", output];
  const include = workers.flatMap((path) => ["--include", path]);
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["compile", "-A", ...options, ...include, entry],
    stdout: "inherit",
    stderr: "piped",
  }).output();
  return { success, said: new TextDecoder().decode(stderr) };
}

await Deno.mkdir(`${root}dist`, { recursive: true });
const entry = `${root}dist/postrider.entry.ts`;
try {
  const { success, said } = await compile(entry);
  if (success) console.log(output);
  else if (!said.includes(noRuntime)) console.error(said.trimEnd());
  else console.error("The runtime for executables (denort) could not be downloaded from dl.deno.land.");
  Deno.exitCode = success ? 0 : 1;
} finally {
  await Deno.remove(entry);
}
