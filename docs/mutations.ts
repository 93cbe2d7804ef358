/** The page `docs/mutations.md`: which broken sources the tests have seen. */
import { mutations } from "../tests/mutations/list.ts";
import type { Results } from "../tests/mutations/main.ts";

/**
 * Makes the page.
 *
 * @param root The project's folder, with a slash at its end.
 */
export async function mutationsPage(root: URL): Promise<string> {
  const text = await Deno.readTextFile(new URL("tests/mutations/results.json", root));
  const { date, found } = JSON.parse(text) as Results;
  const by = new Map(found.map((one) => [one.breaks, one.by]));
  const rows = mutations.map(({ id, breaks, file }) => {
    const seen = by.get(breaks);
    const said = seen === undefined ? "not run yet" : seen === null ? "**nobody**" : seen;
    return `| [${id}](conformance.md#${id.toLowerCase()}) | ${escaped(breaks)} | [${
      name(file)
    }](../${file}) | ${escaped(said)} |`;
  });
  return [
    "<!-- deno-fmt-ignore-file -->", // rows that stand alone merge better than aligned ones
    "",
    "# Tests that can fail",
    "",
    "Made by `deno task mutate`: each row is an edit of the source that breaks a rule of the core, made in a copy of the project.",
    "The tests that carry the rule's [id](conformance.md) ran there, and the one named here failed. The edits are in",
    "[`tests/mutations/list.ts`](../tests/mutations/list.ts); `deno task mutate --only D02` tries those of one rule.",
    "",
    `${mutations.length} edits; the last run: ${date}.`,
    "",
    "| id | what is broken | in | seen by |",
    "| --- | --- | --- | --- |",
    ...rows,
    "",
  ].join("\n");
}

const name = (file: string) => file.replace(/^server\//, "").replaceAll("_", "\\_");

const escaped = (text: string) => text.replaceAll(/[\\`*_<|]/g, "\\$&");
