/** Which files of an author's own a plugin is made of: what it imports by path, and what that imports. For `serve --watch`. */
import type { ParserOptions } from "@babel/parser";
import { fileURLToPath, pathToFileURL } from "node:url";

/** Code, as opposed to data, in which there may be imports. */
const code = /\.[cm]?[jt]sx?$/;

/**
 * Follows the imports of some files.
 *
 * @param roots Absolute paths.
 * @returns Absolute paths, the roots among them; also of files that are missing or can't be parsed, since both can be mended.
 */
export async function sourcesOf(roots: readonly string[]): Promise<ReadonlySet<string>> {
  const found = new Set<string>();
  const next = [...roots];
  for (let path = next.pop(); path !== undefined; path = next.pop()) {
    if (found.has(path)) continue;
    found.add(path);
    if (!code.test(path)) continue;
    const text = await Deno.readTextFile(path).catch(() => "");
    for (const specifier of await importsOf(path, text)) {
      if (/^(\.{0,2}\/|file:)/.test(specifier)) {
        next.push(fileURLToPath(new URL(specifier, pathToFileURL(path))));
      }
    }
  }
  return found;
}

/** Every literal specifier: of `import`, `export … from`, `import()`, and of files beside it that `new URL("…", …)` names, a Worker's say. */
async function importsOf(path: string, text: string): Promise<string[]> {
  const { parse } = await import("@babel/parser"); // not needed to run a server
  const dialect: ParserOptions["plugins"] = /\.[cm]?ts$/.test(path)
    ? ["typescript"]
    : /tsx$/.test(path)
    ? ["typescript", "jsx"]
    : ["jsx"];
  const plugins: ParserOptions["plugins"] = [...dialect, "decorators", "decoratorAutoAccessors"];
  const found: string[] = [];
  try {
    const { program } = parse(text, { sourceType: "module", errorRecovery: true, plugins });
    visit(program as object as Node, (node) => {
      const named = node.type === "ImportExpression" || node.source !== undefined
        ? node.source
        : node.type === "NewExpression" && isNode(node.callee) && node.callee.name === "URL"
        ? (node.arguments as unknown[])[0]
        : undefined;
      if (isNode(named) && named.type === "StringLiteral") found.push(String(named.value));
    });
  } catch {
    // Deno says it better, with the place; what was found before the save that broke it is still watched.
  }
  return found;
}

interface Node {
  readonly type: string;
  readonly [key: string]: unknown;
}

function isNode(value: unknown): value is Node {
  return typeof value === "object" && value !== null &&
    typeof (value as { type?: unknown }).type === "string";
}

function visit(node: Node, tell: (node: Node) => void): void {
  tell(node);
  for (const value of Object.values(node)) {
    for (const inner of Array.isArray(value) ? value : [value]) if (isNode(inner)) visit(inner, tell);
  }
}
