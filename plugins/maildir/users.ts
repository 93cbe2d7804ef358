/** Who has a mailbox. */
import { isMap, isScalar, isSeq, type Node } from "yaml";
import { domainToASCII } from "node:url";
import type { Problem } from "../yaml_file.ts";

/** Users by address, or by local part alone for those in every domain of ours. */
export class Users {
  readonly #names = new Set<string>();

  /** Adds an address or a local part. */
  add(text: string): void {
    const at = text.lastIndexOf("@");
    const local = (at < 0 ? text : text.slice(0, at)).replace(/^"(.*)"$/s, "$1").toLowerCase().normalize(
      "NFC",
    );
    this.#names.add(at < 0 ? local : `${local}@${domainToASCII(text.slice(at + 1))}`);
  }

  /** @param user Lower case, without its tag. @param domain In A-labels. */
  has(user: string, domain: string): boolean {
    // A quoted local part may hold an `@`, and is no address of another domain.
    return this.#names.has(`${user}@${domain}`) || (!user.includes("@") && this.#names.has(user));
  }
}

/**
 * Reads a file of users: a mapping with addresses as keys (as `auth` has it), a list, or one a line.
 * Entries of domains that are not ours may stand there, and have no mailbox.
 */
export function readUsers(root: Node | null, problem: Problem): Users {
  const users = new Users();
  const add = (node: Node | null) => {
    if (!isScalar(node) || typeof node.value !== "string") {
      throw problem(node, "a user is an address, as text");
    }
    users.add(node.value.trim());
  };
  if (root === null) return users;
  if (isMap<Node>(root)) root.items.forEach(({ key }) => add(key));
  else if (isSeq<Node>(root)) root.items.forEach(add);
  else if (isScalar(root) && typeof root.value === "string") {
    root.value.split(/\s+/).forEach((line) => users.add(line));
  } else if (!isScalar(root) || root.value !== null) {
    throw problem(root, "must list users: addresses as keys, or as a list");
  }
  return users;
}
