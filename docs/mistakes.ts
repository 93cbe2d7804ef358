/** Writes `docs/mistakes.md`: what plugin authors get wrong, and who says so. Every row is a test (`tests/api`). */
import { laterMistakes } from "../tests/api/later_mistakes.ts";

/** The page, not formatted yet. */
export async function mistakesPage(root: URL): Promise<string> {
  const typed = await Deno.readTextFile(new URL("tests/api/mistakes.ts", root));
  const compile = [...typed.matchAll(/^\/\/ @ts-expect-error \d\d (TS\d+) (.+)\n(.+)$/gm)]
    .map(([, error, name, code]) => [name!, code!, error!] as const);
  const later = (by: string) =>
    laterMistakes.filter((one) => one.by === by).map(({ name, code, says }) => [name, code, says] as const);
  const count = compile.length + laterMistakes.length;
  const lint = later("lint");
  return `# ${count} mistakes

What authors of plugins get wrong, and what says so: ${compile.length} don't compile, ${lint.length} are found by the lint rules, the rest by
the server, in words that name the file and the line. Made by \`deno task docs\` from the tests that make each of
these mistakes.

## Caught by \`deno check\`

${table("error", compile, (error) => error)}

## Caught by \`deno lint\`

With \`"lint": { "plugins": ["/opt/postrider/server/lint.ts"] }\` in \`deno.json\`, which \`new plugin\` writes. What can be
mended by machine is, by \`deno lint --fix\`.

${table("it says", lint, code)}

## Caught by \`check\`, and when the server starts or reloads

More of them, among those that concern several plugins, stand in [writing plugins](writing-plugins.md#what-you-may-read).

${table("it says", later("load"), code)}

## Caught when it happens

The mail is refused for now (\`451\`), and comes again; the log says \`plugin failed\` (of timers, \`a floating error was
caught\`), with the place.

${table("it says", later("run"), code)}

## Caught by nothing

${table("it", later("nothing"), (text) => text)}
`;
}

const code = (text: string) => `\`${text}\``;

function table(
  head: string,
  rows: readonly (readonly [name: string, code: string, says: string])[],
  show: (says: string) => string,
): string {
  const cells = rows.map(([name, text, says]) => [name, code(text.replaceAll(/\s+/g, " ")), show(says)]);
  const all = [["mistake", "written", head], ["---", "---", "---"], ...cells];
  return all.map((row) => `| ${row.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`).join("\n");
}
