/** `new plugin NAME`: writes a plugin that works, and its test, and says how to use it. What is there is never overwritten. */
import { dirname, join, resolve } from "node:path";
import { properName } from "../host.ts";
import type { Cli, ExitCode } from "./io.ts";
import { configurationOf, fileNames, importsText, pluginText, testText } from "./new_texts.ts";

/** What a plugin imports; whatever isn't TypeScript here (in a bundle, in a binary) has no types for an editor. */
const specifiers = ["postrider", "postrider/testing", "postrider/facts", "postrider/lint"] as const;

/**
 * @param name The plugin's.
 * @param folder Where its files go.
 */
export async function newPlugin(
  name: string,
  folder: string,
  cli: Pick<Cli, "stdout" | "stderr">,
): Promise<ExitCode> {
  const say = (text: string) => cli.stdout.write(`${text}\n`);
  const refuse = (text: string): ExitCode => {
    cli.stderr.write(`${text}\n`);
    return 2;
  };
  if (!properName.test(name)) {
    return refuse(
      `"${name}" is no name for a plugin: letters, digits, dots and dashes, such as no-strangers.`,
    );
  }
  const ours = filesOf(specifiers);
  const files = fileNames(name);
  const texts = new Map([[files.plugin, pluginText(name)]]);
  if (ours.has("postrider/testing")) texts.set(files.test, testText(name));
  for (const file of texts.keys()) {
    if (await exists(join(folder, file))) {
      return refuse(
        `${join(folder, file)} is there already, and stays as it is: choose another name or --dir.`,
      );
    }
  }
  const config = await configAbove(folder);
  if (config === undefined && ours.size > 0) texts.set("deno.json", importsText(ours));
  await Deno.mkdir(folder, { recursive: true });
  for (const [file, text] of texts) {
    await Deno.writeTextFile(join(folder, file), text, { createNew: true });
    say(`${join(folder, file)} written`);
  }
  if (config !== undefined && !config.knowsUs && ours.size > 0) {
    say(
      `\n${config.path} doesn't know what "postrider" means: put this into it.\n\n${importsText(ours)}`
        .trimEnd(),
    );
  }
  if (ours.size === 0) {
    say(`\nEditors, \`deno check\` and \`deno test\` need Postrider's sources: see docs/writing-plugins.md.`);
  }
  say(`\nInto your configuration:\n\n${configurationOf(name)}\nThen:\n`);
  if (texts.has(files.test)) say(`  deno test -A ${join(folder, files.test)}`);
  say(
    "  check --hooks --config FILE   says who is asked when\n  serve --watch --config FILE   takes each save as it comes",
  );
  return 0;
}

/** Those that are files of this installation, by what they are imported as. */
function filesOf(names: readonly string[]): Map<string, string> {
  const found = new Map<string, string>();
  for (const name of names) {
    try {
      const url = import.meta.resolve(name);
      if (/^file:.*\.ts$/.test(url)) found.set(name, url);
    } catch {
      // Not to be had here.
    }
  }
  return found;
}

/** The configuration that Deno takes for files in this folder. */
async function configAbove(
  folder: string,
): Promise<{ readonly path: string; readonly knowsUs: boolean } | undefined> {
  for (let at = resolve(folder);; at = dirname(at)) {
    for (const name of ["deno.json", "deno.jsonc"]) {
      const path = join(at, name);
      const text = await Deno.readTextFile(path).catch(() => undefined);
      if (text !== undefined) return { path, knowsUs: text.includes('"postrider"') };
    }
    if (dirname(at) === at) return undefined;
  }
}

function exists(path: string): Promise<boolean> {
  return Deno.lstat(path).then(() => true, () => false);
}
