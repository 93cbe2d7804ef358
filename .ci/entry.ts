/** What a build adds to the server: plugins of the user's own, which it finds by name, as it finds the bundled ones. */
import { basename, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

/** The repository, with a slash at its end. */
export const root: string = fileURLToPath(new URL("../", import.meta.url));

/**
 * Code that makes `use: greylist` mean the file `…/greylist.ts`, which a build carries inside: the path would lead nowhere. The
 * specifiers are literals, since only those are followed into a build.
 *
 * @param files The plugins, as given on the command line.
 */
export function registerPlugins(files: readonly string[]): string {
  const entries = files.map((file) => {
    const name = basename(file).replace(/\.[cm]?[jt]s$/, "");
    const specifier = pathToFileURL(resolve(file)).href;
    return `${JSON.stringify(name)}: () => import(${JSON.stringify(specifier)})`;
  });
  const table = JSON.stringify(pathToFileURL(`${root}server/bundled.ts`).href);
  return `import { bundled } from ${table};\nObject.assign(bundled, { ${entries.join(", ")} });\n`;
}
