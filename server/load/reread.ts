/**
 * Code that is read anew. Deno keeps a module for good, under its URL, and a query behind it (`…?v=2`) doesn't reach what the module
 * imports. So each generation after the first imports its plugins through a link of its own to the root of the file system: the whole
 * of what they import, wherever it lies, has new URLs and is read again, as are Workers and modules that are imported later on. Nothing
 * is copied or rewritten, so that `import.meta.url` leads to the files beside a plugin, and lines and columns are those of its author.
 * (`module.registerHooks` could put a query behind each import, but Deno looks at the old ones first, and stumbles over an error in
 * them that has been mended since.)
 */
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { linkPrefix } from "../log/places.ts";

/** The URLs of one generation. */
export class Reread {
  readonly #link: string;

  private constructor(link: string) {
    this.#link = link;
  }

  /**
   * Makes a link.
   *
   * @param state A directory of ours alone: it gets a folder `code`.
   */
  static async open(state: string): Promise<Reread> {
    const folder = join(state, "code");
    await Deno.mkdir(folder, { recursive: true, mode: 0o700 });
    const link = join(folder, linkPrefix + randomUUID().slice(0, 8));
    await Deno.symlink("/", link);
    return new Reread(link);
  }

  /** The URL of a file in this generation. */
  url(path: string): string {
    return pathToFileURL(`${this.#link}${path}`).href;
  }

  /** Once nothing of the generation runs any more: what it would import later is not found then. */
  async close(): Promise<void> {
    await Deno.remove(this.#link).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
  }
}

/** Removes the links that a server which was killed has left. Links are unlinked one by one: nothing is ever removed through them. */
export async function removeLinks(state: string): Promise<void> {
  const folder = join(state, "code");
  try {
    for await (const { name, isSymlink } of Deno.readDir(folder)) {
      if (isSymlink && name.startsWith(linkPrefix)) await Deno.remove(join(folder, name));
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
