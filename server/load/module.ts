/** From `use:` to a plugin: finds its module, imports it, and looks at what it exports. */
import { resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { bundled as ours } from "../bundled.ts";
import { whyUnreadable } from "../config/problem.ts";
import { closest } from "../config/sentence.ts";
import type { Plugin } from "../plugin.ts";
import { Reread } from "./reread.ts";
import { nameFile, type Naming, placeOf, textOf } from "./place.ts";
import { look, lookAt } from "./shape.ts";

/** A plugin and where it came from, or a sentence that says why there is none. */
export type Found = { readonly plugin: Plugin; readonly naming: Naming } | { readonly problem: string };

/** Where code is that is to be imported elsewhere, or a sentence that says why there is none. */
export type Located = { readonly url: string; readonly naming: Naming } | { readonly problem: string };

/** Whether this process has imported a plugin's file before: then Deno has it, or what it imports, and must be made to look again. */
let importedBefore = false;

/** The modules of one generation: a file that is used twice is imported once. */
export class Modules {
  readonly #folder: string;
  readonly #bundled: typeof ours;
  readonly #state: () => string;
  readonly #found = new Map<string, Promise<Found>>();
  #reread: Promise<Reread> | "first" | undefined;

  /**
   * @param folder Relative paths are relative to it; absolute.
   * @param state Where links to code are made, absolute; a function is asked when there is a first one to make.
   * @param bundled The plugins that have a name.
   */
  constructor(folder: string, state: string | (() => string), bundled: typeof ours = ours) {
    this.#folder = folder;
    this.#state = typeof state === "string" ? () => state : state;
    this.#bundled = bundled;
  }

  /** Once the generation is over. */
  async close(): Promise<void> {
    if (this.#reread instanceof Promise) await (await this.#reread).close();
  }

  /** Finds what `use:` names; never rejects. */
  find(use: string): Promise<Found> {
    const path = pathOf(use, this.#folder);
    const key = path ?? use;
    let found = this.#found.get(key);
    if (!found) {
      this.#found.set(key, found = path === undefined ? this.#fromName(use) : this.#fromFile(use, path));
    }
    return found;
  }

  async #fromName(use: string): Promise<Found> {
    const load = Object.hasOwn(this.#bundled, use) ? this.#bundled[use] : undefined;
    if (!load) return { problem: unknownName(use, Object.keys(this.#bundled)) };
    const naming: Naming = { use, url: undefined, folder: this.#folder };
    try {
      return await look((await load()).default, naming);
    } catch (error) {
      return { problem: `${use} cannot be imported: ${textOf(error)}` };
    }
  }

  /** Where the file is that `use:` names, for a Worker to import; nothing of it is run here. */
  async locate(use: string): Promise<Located> {
    const path = pathOf(use, this.#folder);
    if (path === undefined) {
      return { problem: `${use} is bundled, and can't be isolated: only a file of your own can` };
    }
    const problem = await whyNoFile(use, path);
    if (problem !== undefined) return { problem };
    const naming: Naming = { use, url: pathToFileURL(path).href, folder: this.#folder };
    return { url: await this.#urlOf(path), naming };
  }

  /** The file's URL in this generation: another than in those before, whose code Deno keeps. */
  async #urlOf(path: string): Promise<string> {
    this.#reread ??= importedBefore ? Reread.open(this.#state()) : "first";
    importedBefore = true;
    return this.#reread === "first" ? pathToFileURL(path).href : (await this.#reread).url(path);
  }

  async #fromFile(use: string, path: string): Promise<Found> {
    const problem = await whyNoFile(use, path);
    if (problem !== undefined) return { problem };
    const naming: Naming = { use, url: pathToFileURL(path).href, folder: this.#folder };
    let module: { readonly default?: unknown };
    try {
      module = await import(await this.#urlOf(path));
    } catch (error) {
      return { problem: `${use} cannot be imported: ${whyNotImported(error, naming)}` };
    }
    const found = await lookAt(module, naming);
    return "plugin" in found || /:\d+\)$/.test(found.problem) || !("default" in module)
      ? found
      : { problem: `${found.problem}${await placeOfExport(use, path)}` };
  }
}

async function whyNoFile(use: string, path: string): Promise<string | undefined> {
  try {
    return (await Deno.stat(path)).isFile ? undefined : `${use} is not a file`;
  } catch (error) {
    return `${use} ${whyUnreadable(error)} (${path})`;
  }
}

/** The absolute path that `use:` means; `undefined` where it is a name. */
export function pathOf(use: string, folder: string): string | undefined {
  if (/^\.{0,2}\//.test(use)) return resolve(folder, use);
  return use.startsWith("file:///") && !/%2f|%00/i.test(use) ? fileURLToPath(use) : undefined;
}

/** The sentence for a name that is no bundled plugin's. */
function unknownName(use: string, names: readonly string[]): string {
  if (/\.[cm]?[jt]sx?$/.test(use)) return `a plugin's file is named by its path: write ./${use}`;
  const meant = closest(use, names);
  const hint = meant
    ? `did you mean "${meant}"?`
    : `there are ${names.join(", ")}, and your own by path (./mine.ts)`;
  return `no plugin is called "${use}": ${hint}`;
}

/** Why a file could not be imported, in words. */
export function whyNotImported(error: unknown, naming: Naming): string {
  const place = placeOf(error, naming);
  const text = textOf(error);
  const missing = /^Module not found "(file:[^"]+)"/.exec(text)?.[1];
  const bare = /^Import "([^"]+)" not a dependency/.exec(text)?.[1];
  const why = missing
    ? `it imports ${nameFile(missing, naming)}, which does not exist`
    : bare
    ? `it imports "${bare}", which is neither a path nor a package: write npm:${bare}, or ./${bare}.ts`
    : text;
  return place ? `${why} (${place})` : why;
}

/** Where what is exported stands: a value that is no plugin has no stack to tell it. */
async function placeOfExport(use: string, path: string): Promise<string> {
  const text = await Deno.readTextFile(path).catch(() => "");
  const at = /^[ \t]*export\s+(?:default\b|\{[^}]*\bas\s+default\b)/m.exec(text);
  return at ? ` (${use}:${text.slice(0, at.index).split("\n").length}:1)` : "";
}
