/** Which tests carry the id of which case: read from the strings in the tests' sources, and the names of the dialogs. */

/** A place where a test with an id is written. */
export interface Carrier {
  readonly id: string;
  /** From the root of the project. */
  readonly file: string;
  /** What of the test's name stands there, up to where something is filled in. */
  readonly name: string;
}

const idPattern = /\b[A-Z][0-9]{2}\b/g;
/** Strings on one line; what is in a template's `${}` may hold none. */
const literals = /"((?:[^"\\]|\\.)*)"|`((?:[^`\\]|\\.)*)`/g;
/** No tests of cases: the fuzzers and the list of mutations name them, and so does what tests this file. */
const others = /^tests\/(?:(?:fuzz|mutations)\/|conformance_test\.ts$)/;

/**
 * Finds them all, in the order of files and lines.
 *
 * @param root The project's folder, with a slash at its end.
 */
export async function findCarriers(root: URL): Promise<Carrier[]> {
  const found: Carrier[] = [];
  for (const file of (await filesOf(root, "tests")).sort()) {
    if (others.test(file)) continue;
    if (file.endsWith(".smtp")) {
      const name = file.slice(file.lastIndexOf("/") + 1, -5);
      for (const [id] of name.matchAll(idPattern)) found.push({ id, file, name: `dialog ${name}` });
    } else if (file.endsWith(".ts")) {
      const text = await Deno.readTextFile(new URL(file, root));
      for (const line of text.split("\n")) found.push(...ofLine(file, line));
    }
  }
  return found;
}

function* ofLine(file: string, line: string): Generator<Carrier> {
  if (/^\s*(?:\/\/|\/?\*)/.test(line)) return; // comments name cases as well
  for (const [, double, template] of line.matchAll(literals)) {
    const text = double ?? template ?? "";
    for (const { 0: id, index } of text.matchAll(idPattern)) yield { id, file, name: around(text, index) };
  }
}

/** The part of a template around an id that is as it will be. */
function around(text: string, at: number): string {
  const begin = text.lastIndexOf("}", at) + 1;
  const end = text.indexOf("${", at);
  return text.slice(begin, end < 0 ? undefined : end).replaceAll(/\\(.)/g, "$1");
}

async function filesOf(root: URL, folder: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(new URL(`${folder}/`, root))) {
    const path = `${folder}/${name}`;
    if (isDirectory) found.push(...await filesOf(root, path));
    else found.push(path);
  }
  return found;
}
