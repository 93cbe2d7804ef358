/**
 * Writes `docs/plugin-api.md`: the plugin API on one page, from the sources themselves. Each export is there with its comment, each
 * interface with its members as a table, each function with its example.
 */
import { parse } from "@babel/parser";

/** A file of the API, and under which heading what it exports stands; `plugin.ts` has headings of its own. */
interface Source {
  readonly path: string;
  readonly heading?: string;
  /** What there is of the API; absent: all that is exported. */
  readonly only?: readonly string[];
}

const sources: readonly Source[] = [
  { path: "server/plugin.ts" },
  { path: "server/verdict.ts", heading: "Verdicts" },
  { path: "server/options.ts", heading: "Options" },
  { path: "server/smtp/address.ts", heading: "Addresses", only: ["Address"] },
  { path: "server/facts.ts", heading: "Facts, from `postrider/facts`" },
];

/** In `options.ts`, but of the server's own. */
const notOurs = new Set(["readDuration", "readSize", "readCidr", "parsingIn"]);

interface Node {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly leadingComments?: readonly {
    readonly type: string;
    readonly value: string;
    readonly start: number;
  }[];
  readonly declaration?: Declaration | null;
}

interface Declaration extends Node {
  readonly id?: { readonly name: string };
  readonly body?: { readonly start: number; readonly body: readonly Node[] };
  readonly declarations?: readonly {
    readonly id: Node & { readonly name: string; readonly typeAnnotation?: Node };
  }[];
}

interface Comment {
  readonly text: string;
  readonly tags: ReadonlyMap<string, readonly string[]>;
}

interface Entry {
  readonly name: string;
  readonly title: string;
  readonly comment: Comment;
  readonly section: string;
  /** Code, where it isn't told by a table. */
  readonly signature?: string;
  readonly members?: readonly { readonly signature: string; readonly comment: Comment }[];
}

/** The page, not formatted yet. */
export async function apiPage(root: URL): Promise<string> {
  const entries = (await Promise.all(sources.map((source) => entriesOf(root, source)))).flat();
  const known = new Map(entries.map(({ name, title }) => [name, anchorOf(title)]));
  const sections = [...new Set(entries.map(({ section }) => section))];
  const headingOf = (section: string) => `${sections.indexOf(section) + 1}. ${section}`; // an interface is called Hooks, too
  const contents = sections.map((section) => {
    const links = entries.filter((entry) => entry.section === section)
      .map(({ name, title }) =>
        `[\`${name}${title.startsWith("Function") ? "()" : ""}\`](#${anchorOf(title)})`
      );
    return `- **[${section}](#${anchorOf(headingOf(section))})**: ${links.join(" ")}`;
  });
  const parts = sections.map((section) =>
    [
      `## ${headingOf(section)}`,
      ...entries.filter((entry) => entry.section === section).map((entry) => shown(entry, known)),
    ]
      .join("\n\n")
  );
  return [
    "# The plugin API",
    "Everything that `postrider` exports for plugins, and `postrider/facts`, on one page, made from the sources by " +
    "`deno task docs`. [Writing plugins](writing-plugins.md) is the way around, " +
    "[mistakes](mistakes.md) is what catches which, [testing](testing-plugins.md) has a page of its own.",
    contents.join("\n"),
    ...parts,
  ].join("\n\n") + "\n";
}

// ── Reading ────────────────────────────────────────────────────────────────────────────────────────

async function entriesOf(root: URL, { path, heading, only }: Source): Promise<Entry[]> {
  const text = await Deno.readTextFile(new URL(path, root));
  const { program } = parse(text, { sourceType: "module", plugins: ["typescript"] });
  const bars = [...text.matchAll(/^\/\/ ── (.+?) ─+$/gm)];
  const found = new Map<string, Entry>();
  for (const statement of program.body as unknown as Node[]) {
    const declaration = statement.type === "ExportNamedDeclaration" ? statement.declaration : undefined;
    if (!declaration) continue;
    const section = heading ?? bars.findLast(({ index }) => index < statement.start)?.[1] ?? "";
    const entry = entryOf(text, statement, declaration, section);
    if (!entry || notOurs.has(entry.name) || found.has(entry.name) || (only && !only.includes(entry.name))) {
      continue;
    }
    found.set(entry.name, entry);
  }
  return [...found.values()];
}

function entryOf(
  text: string,
  statement: Node,
  declaration: Declaration,
  section: string,
): Entry | undefined {
  const variable = declaration.declarations?.[0]?.id;
  const name = declaration.id?.name ?? variable?.name;
  if (name === undefined) return undefined;
  const comment = commentOf(statement);
  const code = (node: Node) => text.slice(node.start, node.end).trim();
  switch (declaration.type) {
    case "TSInterfaceDeclaration": {
      const members = declaration.body!.body.map((member) => ({
        signature: code(member).replace(/;$/, "").replaceAll(/\/\*\*[^]*?\*\//g, "").replaceAll(/\s+/g, " ")
          .replaceAll(/\( /g, "(").replaceAll(/,? \)/g, ")").replace(/^readonly /, ""),
        comment: commentOf(member),
      }));
      const head = text.slice(declaration.start, declaration.body!.start).trim();
      const bases = / extends ([\w, ]+)$/.exec(head)?.[1];
      const whole = bases === undefined
        ? comment
        : { ...comment, text: `${comment.text} Has all of ${linked(bases)}, and:` };
      return { name, title: name, comment: whole, section, members };
    }
    case "TSTypeAliasDeclaration":
      return { name, title: name, comment, section, signature: code(declaration) };
    case "FunctionDeclaration":
    case "TSDeclareFunction": {
      const whole = code(declaration);
      const signature = declaration.body
        ? text.slice(declaration.start, declaration.body.start).trim()
        : whole;
      return { name, title: `Function ${name}`, comment, section, signature };
    }
    case "VariableDeclaration": {
      const type = variable!.typeAnnotation ? code(variable!.typeAnnotation) : "";
      const callable = type.includes("OptionMaker");
      const title = callable ? `Function ${name}` : `Fact ${name}`;
      return { name, title, comment, section, signature: `const ${name}${type}` };
    }
    default:
      return undefined;
  }
}

const linked = (names: string) => names.split(", ").map((name) => `{@linkcode ${name}}`).join(" and ");

/** The JSDoc right before a node. */
function commentOf(node: Node): Comment {
  const comment = node.leadingComments?.findLast(({ type, value }) =>
    type === "CommentBlock" && value.startsWith("*")
  );
  const text = (comment?.value.slice(1) ?? "").split("\n").map((line) => line.replace(/^\s*\* ?/, "")).join(
    "\n",
  );
  const [first = "", ...rest] = text.split(/(?:^|(?<=\s))@(?=(?:param|returns|throws|example|module)\b)/m);
  const tags = new Map<string, string[]>();
  for (const tag of rest) {
    const [, kind, value] = /^(\w+)\s*([^]*)$/.exec(tag)!;
    tags.set(kind!, [...(tags.get(kind!) ?? []), value!.trim()]);
  }
  return { text: first.trim(), tags };
}

// ── Showing ────────────────────────────────────────────────────────────────────────────────────────

function shown({ title, comment, signature, members }: Entry, known: ReadonlyMap<string, string>): string {
  const parts = [`### ${title}`];
  if (comment.text) parts.push(prose(comment.text, known));
  if (signature) parts.push(`\`\`\`ts ignore\n${signature}\n\`\`\``);
  if (members) {
    const rows = members.map((member) => row(member.signature, told(member.comment, known)));
    parts.push(["| member | is |", "| --- | --- |", ...rows].join("\n"));
  }
  const parameters = comment.tags.get("param") ?? [];
  if (parameters.length > 0) {
    parts.push(
      parameters.map((text) => {
        const [, name, rest] = /^(\S+)\s+([^]*)$/.exec(text)!;
        return `- \`${name}\`: ${prose(rest!, known)}`;
      }).join("\n"),
    );
  }
  for (const text of comment.tags.get("throws") ?? []) parts.push(thrown(text, known));
  for (const text of comment.tags.get("example") ?? []) parts.push(text);
  return parts.join("\n\n");
}

function told({ text, tags }: Comment, known: ReadonlyMap<string, string>): string {
  const parts = [text, ...(tags.get("param") ?? []).map((one) => one.replace(/^(\S+)/, "`$1`:"))];
  const throws = (tags.get("throws") ?? []).map((one) => thrown(one, known));
  return [...parts.map((one) => prose(one, known)), ...throws].join(" ");
}

function thrown(text: string, known: ReadonlyMap<string, string>): string {
  const [, type, rest] = /^\{(\w+)\}\s*([^]*)$/.exec(text) ?? [];
  return type === undefined ? `Throws ${prose(text, known)}` : `Throws \`${type}\` ${prose(rest!, known)}`;
}

/** A table's row; in a cell a line can't end, and a `|` would begin the next one. */
function row(signature: string, text: string): string {
  return `| \`${signature.replaceAll("|", "\\|")}\` | ${
    text.replaceAll(/\s*\n\s*/g, " ").replaceAll("|", "\\|")
  } |`;
}

function prose(text: string, known: ReadonlyMap<string, string>): string {
  return text.replaceAll(/\{@linkcode (\w+)\}/g, (_, name: string) => {
    const anchor = known.get(name);
    return anchor === undefined ? `\`${name}\`` : `[\`${name}\`](#${anchor})`;
  }).replaceAll(/(?<!`)<(?=[a-z@])([^>\s]*)>(?!`)/g, "`<$1>`");
}

/** As the usual viewers make them of headings. */
function anchorOf(heading: string): string {
  return heading.toLowerCase().replaceAll(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-");
}
