/** From `use:` to a plugin: finds its module, imports it, and looks at what it exports. */
import { resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { bundled as ours } from "../bundled.ts";
import { whyUnreadable } from "../config/problem.ts";
import { closest } from "../config/sentence.ts";
import { properName } from "../host.ts";
import type { Api, Credentials, Plugin } from "../plugin.ts";
import * as api from "../plugin.ts";
import { Reread } from "./reread.ts";
import { nameFile, type Naming, placeOf, textOf } from "./place.ts";

/** A plugin and where it came from, or a sentence that says why there is none. */
export type Found = { readonly plugin: Plugin; readonly naming: Naming } | { readonly problem: string };

/** Whether this process has imported a plugin's file before: then Deno has it, or what it imports, and must be made to look again. */
let importedBefore = false;

/** The modules of one generation: a file that is used twice is imported once. */
export class Modules {
  readonly #folder: string;
  readonly #bundled: typeof ours;
  readonly #state: string;
  readonly #found = new Map<string, Promise<Found>>();
  #reread: Promise<Reread> | "first" | undefined;

  /**
   * @param folder Relative paths are relative to it; absolute.
   * @param state Where links to code are made; absolute.
   * @param bundled The plugins that have a name.
   */
  constructor(folder: string, state: string, bundled: typeof ours = ours) {
    this.#folder = folder;
    this.#state = state;
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

  async #fromFile(use: string, path: string): Promise<Found> {
    try {
      if (!(await Deno.stat(path)).isFile) return { problem: `${use} is not a file` };
    } catch (error) {
      return { problem: `${use} ${whyUnreadable(error)} (${path})` };
    }
    const { href } = pathToFileURL(path);
    const naming: Naming = { use, url: href, folder: this.#folder };
    let module: { readonly default?: unknown };
    try {
      this.#reread ??= importedBefore ? Reread.open(this.#state) : "first";
      importedBefore = true;
      module = await import(this.#reread === "first" ? href : (await this.#reread).url(path));
    } catch (error) {
      return { problem: `${use} cannot be imported: ${whyNotImported(error, naming)}` };
    }
    if (!("default" in module)) {
      const others = Object.keys(module);
      const instead = others.length > 0 ? `, only ${others.join(", ")}` : "";
      return {
        problem: `${use} has no default export${instead}: it needs export default definePlugin({ … })`,
      };
    }
    const found = await look(module.default, naming);
    return "plugin" in found || /:\d+\)$/.test(found.problem)
      ? found
      : { problem: `${found.problem}${await placeOfExport(use, path)}` };
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

function whyNotImported(error: unknown, naming: Naming): string {
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

/** Takes a plugin, or a function that makes one of the API. */
async function look(exported: unknown, naming: Naming): Promise<Found> {
  let made = exported;
  if (typeof exported === "function" && !isClass(exported)) {
    try {
      made = await (exported as (api: Api) => unknown)(api);
    } catch (error) {
      const place = placeOf(error, naming);
      return { problem: `${naming.use} throws: ${textOf(error)}${place ? ` (${place})` : ""}` };
    }
  }
  const problem = whatIsWrong(made);
  return problem ? { problem: `${naming.use} is no plugin: ${problem}` } : { plugin: made as Plugin, naming };
}

const fields = ["name", "after", "options", "roles", "mechanisms", "setup"] satisfies (keyof Plugin)[];

const saslMechanisms = [
  "PLAIN",
  "LOGIN",
  "XOAUTH2",
  "OAUTHBEARER",
  "SCRAM-SHA-256",
  "SCRAM-SHA-256-PLUS",
  "EXTERNAL",
] satisfies Credentials["mechanism"][];

const isClass = (made: unknown) => typeof made === "function" && /^class\b/.test(made.toString());

/** What types would have said; a plugin may be JavaScript, or never have been checked. */
function whatIsWrong(made: unknown): string | undefined {
  if (isClass(made)) return "its default export is a class, not what definePlugin returns";
  if (typeof made !== "object" || made === null || Array.isArray(made)) {
    return `its default export is ${kind(made)}, not what definePlugin returns`;
  }
  const { name, after, options, roles, mechanisms, setup }: Partial<Record<keyof Plugin, unknown>> = made;
  const strange = Object.keys(made).find((key) => !fields.some((one) => one === key));
  const meant = strange === undefined ? undefined : closest(strange, fields);
  if (meant) return `${strange} means nothing here: did you mean ${meant}?`; // rather than that `meant` is missing
  if (typeof name !== "string" || !properName.test(name)) {
    return `its name is ${kind(name)}, not a word of letters, digits, dots and dashes`;
  }
  if (typeof setup !== "function") return `setup is ${kind(setup)}, not a function`;
  if (after !== undefined && !(Array.isArray(after) && after.every((one) => typeof one === "string"))) {
    return "after is not a list of plugins' names";
  }
  if (
    roles !== undefined &&
    !(Array.isArray(roles) && roles.every((one) => one === "mx" || one === "submission"))
  ) {
    return "roles is not a list of mx and submission";
  }
  const known: readonly unknown[] = saslMechanisms;
  if (
    mechanisms !== undefined && typeof mechanisms !== "function" &&
    !(Array.isArray(mechanisms) && mechanisms.every((one) => known.includes(one)))
  ) {
    return `mechanisms is not a list of ${saslMechanisms.join(", ")}`;
  }
  if (options !== undefined && !(typeof options === "object" && options !== null && "_zod" in options)) {
    return "options is not a schema of the z that postrider exports";
  }
  return strange === undefined ? undefined : `${strange} means nothing here: there are ${fields.join(", ")}`;
}

/** A value in words. */
export function kind(value: unknown): string {
  if (typeof value === "string") return `"${value}"`;
  if (value === undefined || value === null) return "missing";
  if (Array.isArray(value)) return "a list";
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}
