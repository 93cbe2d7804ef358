/** Who is on a list: a list in the configuration, a file, or a database. */
import { isMap, isScalar, isSeq, type Node } from "yaml";
import type { Host } from "../../server/plugin.ts";
import { fold, split } from "../addresses.ts";
import { Directory, type Keeping } from "../directory/directory.ts";
import { openSql } from "../directory/sql.ts";
import { followYaml, type Problem } from "../yaml_file.ts";
import { isAddress, type List, written } from "./list.ts";

/** The members of one list. */
export interface Members {
  /** Each once. @throws {Error} when they can't be asked for. */
  all(): Promise<readonly string[]>;
  close(): void;
}

/** @throws {Error} when what the list names can't be read. */
export async function openMembers(list: List, keep: Keeping, host: Host): Promise<Members> {
  const { members, file, sql } = list.option;
  if (file !== undefined) {
    const followed = await followYaml(file, readMembers, host);
    return { all: async () => await followed.current(), close() {} };
  }
  if (sql) {
    const source = await openSql(sql, host);
    const directory = new Directory(source, keep, host);
    return {
      async all() {
        const found = await directory.find(list) ?? [];
        const wrong = found.find((one) => !isAddress(one));
        if (wrong !== undefined) {
          throw new Error(`${source.about}: ${JSON.stringify(wrong)} is no member's address`);
        }
        return once(found);
      },
      close: () => directory.close(),
    };
  }
  const fixed = once(members!);
  return { all: () => Promise.resolve(fixed), close() {} };
}

/** Reads a file of members: a list, one a line, or addresses as keys. */
export function readMembers(root: Node | null, problem: Problem): readonly string[] {
  if (root === null || (isScalar(root) && root.value === null)) return [];
  const nodes = isMap<Node>(root)
    ? root.items.map(({ key }) => key)
    : isSeq<Node>(root)
    ? root.items
    : [root];
  return once(nodes.flatMap((node) => {
    if (!isScalar(node) || typeof node.value !== "string") {
      throw problem(node, "a member is an address, as text");
    }
    return node.value.trim().split(/\s*\n\s*|\s+/).map((text) => {
      if (!isAddress(text)) throw problem(node, `"${text}" is not an address such as alice@example.org`);
      return text;
    });
  }));
}

/** The same mailbox once, as it is written first. */
function once(addresses: readonly string[]): readonly string[] {
  const seen = new Map<string, string>();
  for (const text of addresses) {
    const { local, domain } = split(text);
    const key = `${fold(local)}@${domain}`;
    if (!seen.has(key)) seen.set(key, written(text));
  }
  return [...seen.values()];
}
