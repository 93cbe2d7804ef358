/**
 * Writes the tables of options in `docs/` (`deno task docs`), from the schemas that the server itself reads options with;
 * what each bundled plugin's JSDoc says it is for; the page of the plugin API (`api.ts`), and of the mistakes that can be made
 * with it (`mistakes.ts`); which test holds which case and which RFC's section (`conformance/`), and what became of broken sources
 * (`mutations.ts`). Tables and purposes stand between two comments, `<!-- options: NAME -->` or `<!-- about: NAME -->`
 * and `<!-- end -->`; what is between them is replaced, everything else on the page is left alone. A bundled plugin that has no
 * page gets one. `tests/docs_test.ts` fails where a page is not what this makes.
 */
import { bundled } from "../server/bundled.ts";
import { apiPage } from "./api.ts";
import { conformancePage } from "./conformance/page.ts";
import { mistakesPage } from "./mistakes.ts";
import { mutationsPage } from "./mutations.ts";
import { configSchema, type Described } from "../server/config/schema.ts";

/** A node of a JSON Schema, as far as tables tell it. */
interface Schema {
  readonly type?: string | readonly string[];
  readonly title?: string;
  /** Of a mapping with any keys: what they are called in the tables is its title. */
  readonly propertyNames?: Schema;
  readonly description?: string;
  readonly default?: unknown;
  readonly examples?: readonly unknown[];
  readonly enum?: readonly string[];
  readonly const?: unknown;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly items?: Schema;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: Schema | boolean;
  readonly required?: readonly string[];
  readonly anyOf?: readonly Schema[];
  readonly pattern?: string;
}

const root = new URL("../", import.meta.url);
const markers = /<!-- options: ([A-Za-z-]+) -->\n[^]*?<!-- end -->/g;
const abouts = /<!-- about: ([A-Za-z-]+) -->\n[^]*?<!-- end -->/g;

/**
 * Every page that holds tables, as it should be.
 *
 * @returns The page's path from the root of the project → its text.
 * @throws {Error} when a key of the configuration or a bundled plugin has no table on any page.
 */
export async function generate(): Promise<Map<string, string>> {
  const plugins = await describedPlugins();
  const schema: Schema & { readonly $defs?: Record<string, Schema> } = configSchema(plugins);
  const pages = new Map([["docs/configuration.md", sections(schema)]]);
  for (const { name } of plugins) {
    const options = rows("", schema.$defs?.[name] ?? {});
    pages.set(pageOf(name), new Map([[name, options.length > 0 ? table(options) : "It has no options."]]));
  }
  const about = new Map(
    await Promise.all(plugins.map(async ({ name }) => [name, await purpose(name)] as const)),
  );
  const made = await Promise.all([...pages].map(async ([path, tables]) => {
    const page = (await pageText(path, [...tables.keys()][0]!))
      .replaceAll(
        abouts,
        (_, name: string) => `<!-- about: ${name} -->\n\n${about.get(name)}\n\n<!-- end -->`,
      );
    const text = fill(path, page, tables);
    return [path, await formatted(text)] as const;
  }));
  return new Map([
    ...made,
    ["docs/plugin-api.md", await formatted(await apiPage(root))],
    [
      "docs/mistakes.md",
      await formatted(await mistakesPage(root)),
    ],
    ["docs/conformance.md", await conformancePage(root)],
    [
      "docs/mutations.md",
      await mutationsPage(root),
    ],
  ]);
}

const pageOf = (plugin: string) => `docs/plugins/${plugin}.md`;

/** The page as it is; where a plugin has none, one with what can be known of it. */
async function pageText(path: string, name: string): Promise<string> {
  try {
    return await Deno.readTextFile(new URL(path, root));
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound) || path !== pageOf(name)) throw error;
    const example = `\`\`\`yaml\nplugins:\n  - ${name}\n\`\`\``;
    const marked = ["about", "options"].map((kind) => `<!-- ${kind}: ${name} -->\n<!-- end -->`);
    return `# ${name}\n\n${marked[0]}\n\n${example}\n\n${marked[1]}\n`;
  }
}

/** What the first lines of a bundled plugin's file say it is for. */
async function purpose(name: string): Promise<string> {
  const [, specifier] = /import\("([^"]+)"\)/.exec(String(bundled[name])) ?? [];
  const text = await Deno.readTextFile(new URL(specifier!, new URL("server/", root)));
  const [, comment = ""] = /^\/\*\*([^]*?)\*\//.exec(text) ?? [];
  return comment.replaceAll(/\n \* ?/g, "\n").trim();
}

async function describedPlugins(): Promise<Described[]> {
  return await Promise.all(
    Object.entries(bundled).map(async ([name, load]) => {
      const { options } = (await load()).default as Omit<Described, "name">;
      return { name, ...(options && { options }) };
    }),
  );
}

/** What stands in `docs/configuration.md`: `top`, and one table for each key that has keys of its own. */
function sections({ properties = {}, required = [] }: Schema): Map<string, string> {
  const tables = new Map<string, string>();
  const top: string[][] = [];
  for (const [key, schema] of Object.entries(properties)) {
    const inside = mapping(schema);
    if (inside) tables.set(key, table(rows("", inside)));
    const type = inside ? `${outside(schema)}: [below](#${key})` : kind(schema);
    top.push(row(key, schema, required.includes(key), type));
  }
  return new Map([["top", table(top)], ...tables]);
}

/** What a key holds that has a table of its own. */
function outside({ properties, items, anyOf }: Schema): string {
  if (anyOf) return listed([...new Set(anyOf.map(outside))]);
  return items ? "list" : properties ? "mapping" : "text";
}

/** The mapping a key holds, or whose list it holds: what has a table of its own. */
function mapping(schema: Schema): Schema | undefined {
  if (schema.properties) return schema;
  const inner = [...schema.anyOf ?? [], ...schema.items ? [schema.items] : []];
  return inner.map(mapping).find((one) => one !== undefined);
}

function rows(prefix: string, { properties = {}, required = [] }: Schema): string[][] {
  return Object.entries(properties).flatMap(([key, schema]) => {
    const name = prefix + key;
    const own = row(name, schema, required.includes(key));
    if (schema.properties) return rows(`${name}.`, schema);
    if (schema.items?.properties) return [own, ...rows(`${name}[].`, schema.items)];
    const values = schema.additionalProperties;
    if (typeof values !== "object" || !values.properties) return [own];
    return [own, ...rows(`${name}.${schema.propertyNames?.title ?? "DOMAIN"}.`, values)];
  });
}

/** Columns: key, what may stand there, default, meaning. */
function row(name: string, schema: Schema, isRequired: boolean, type = kind(schema)): string[] {
  const { description = "" } = schema;
  // What holds where nothing is written is often no value, so the description says it.
  const [, meaning = description, otherwise] = /^(.*); (?:default|absent): (.+)$/.exec(description) ?? [];
  const fallback = isRequired ? "**required**" : otherwise ?? preset(schema);
  return [`\`${name}\``, type, fallback, sentence(meaning)];
}

function preset({ default: value, properties }: Schema): string {
  if (value === undefined || JSON.stringify(value) === "[]" || properties) return properties ? "" : "none";
  return code(typeof value === "string" ? value : JSON.stringify(value).replaceAll(",", ", "));
}

/** In words, what may stand there. `${env:NAME}` may stand for any scalar, which the page says once. */
function kind(schema: Schema): string {
  if (schema.const !== undefined) return code(schema.const);
  if (schema.enum) return schema.title ?? listed(schema.enum.map(code));
  if (schema.anyOf) {
    const kinds = schema.anyOf.filter(({ type, pattern }) => type !== "string" || !pattern?.includes("env:"))
      .map(kind);
    return listed([...new Set(kinds)]);
  }
  const types = [schema.type ?? []].flat();
  if (types.includes("boolean")) return "`true` or `false`";
  if (types.includes("integer") || types.includes("number")) return number(schema);
  if (types.includes("array")) return schema.items ? `list of ${plural(schema.items)}` : "list";
  if (types.includes("object")) return "mapping";
  if (!types.includes("string")) return "any";
  if (schema.title !== undefined) return schema.title;
  const [example] = schema.examples ?? [];
  return example === undefined ? "text" : `text such as ${code(example)}`;
}

function number({ minimum, maximum }: Schema): string {
  if (minimum === undefined) return "number";
  return maximum === undefined || maximum >= 1e9
    ? `number, ${minimum} or more`
    : `number, ${minimum} to ${maximum}`;
}

function plural(schema: Schema): string {
  if (schema.title !== undefined) return `${schema.title}s`;
  const one = kind(schema);
  return one === "mapping" ? "mappings" : one;
}

const code = (value: unknown) => `\`${value}\``;

function listed(words: readonly string[]): string {
  return words.length < 2 ? words[0] ?? "any" : `${words.slice(0, -1).join(", ")} or ${words.at(-1)}`;
}

function sentence(text: string): string {
  if (text === "") return "";
  const [first] = text;
  // A word of the configuration stays as it is written there.
  const begin = /^(smtp|lmtp|mx|starttls|implicit|none|true|false|text|json)\b/.test(text)
    ? first!
    : first!.toUpperCase();
  return `${begin}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`.replaceAll(/<[^>\s]+>/g, "`$&`");
}

function table(cells: readonly (readonly string[])[]): string {
  const escaped = cells.map((row) => row.map((cell) => cell.replaceAll("|", "\\|")));
  const all = [["key", "value", "default", "meaning"], ["---", "---", "---", "---"], ...escaped];
  return all.map((row) => `| ${row.join(" | ")} |`).join("\n");
}

/** Puts the tables where the page has their markers; a table without a place is an error, and a place without one. */
function fill(path: string, page: string, tables: ReadonlyMap<string, string>): string {
  const placed = new Set<string>();
  const text = page.replaceAll(markers, (_, name: string) => {
    const made = tables.get(name);
    if (made === undefined) throw new Error(`${path}: there are no options called "${name}"`);
    placed.add(name);
    return `<!-- options: ${name} -->\n\n${made}\n\n<!-- end -->`;
  });
  const missing = [...tables.keys()].filter((name) => !placed.has(name));
  if (missing.length === 0) return text;
  const lines = missing.map((name) => `<!-- options: ${name} -->\n<!-- end -->`).join("\n");
  throw new Error(`${path} has no table for ${missing.join(", ")}. Put these where it belongs:\n${lines}`);
}

/** As `deno fmt` wants it, which aligns tables. */
async function formatted(markdown: string): Promise<string> {
  const process = new Deno.Command(Deno.execPath(), {
    args: ["fmt", "--ext=md", "-"],
    cwd: root,
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const writer = process.stdin.getWriter();
  writer.write(new TextEncoder().encode(markdown)).then(() => writer.close());
  const { success, stdout } = await process.output();
  if (!success) throw new Error("deno fmt failed");
  return new TextDecoder().decode(stdout);
}

if (import.meta.main) {
  for (const [path, text] of await generate()) {
    const url = new URL(path, root);
    if (await Deno.readTextFile(url).catch(() => "") === text) continue;
    await Deno.writeTextFile(url, text);
    console.log(`${path} written`);
  }
}
