/** A folder of a test's own, gone when the test is over. */
import { join } from "node:path";

/** Made by {@linkcode makeFolder}. */
export interface Folder extends AsyncDisposable {
  readonly path: string;
  /** The path of something in it. */
  at(...names: string[]): string;
  /** Writes a file in it; its path. */
  write(name: string, content: string | Uint8Array): Promise<string>;
}

/** Makes a folder that is removed with all it holds. */
export async function makeFolder(): Promise<Folder> {
  const path = await Deno.makeTempDir({ prefix: "postrider-e2e-" });
  const at = (...names: string[]) => join(path, ...names);
  return {
    path,
    at,
    async write(name, content) {
      if (typeof content === "string") await Deno.writeTextFile(at(name), content);
      else await Deno.writeFile(at(name), content);
      return at(name);
    },
    async [Symbol.asyncDispose]() {
      await Deno.remove(path, { recursive: true });
    },
  };
}
