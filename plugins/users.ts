/** Who has a mailbox. */
import { isMap, isScalar, isSeq, type Node } from "yaml";
import { domainToASCII } from "node:url";
import { type Address, type Host, path, z } from "../server/plugin.ts";
import { followYaml, type Problem } from "./yaml_file.ts";

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

/** The option `users`: a list, a file, or everybody. */
export const usersOption = z.union(
  [z.literal("any"), z.array(z.string()), path()],
  "neither a list of users, nor a file of them, nor `any`",
);

/**
 * The option, as a question.
 *
 * @throws {Error} when a file that is there can't be read.
 */
export async function followUsers(
  users: z.output<typeof usersOption>,
  host: Pick<Host, "clock" | "log">,
): Promise<(address: Pick<Address, "user" | "domain">) => boolean | Promise<boolean>> {
  if (users === "any") return () => true;
  if (typeof users !== "string") {
    const listed = new Users();
    for (const user of users) listed.add(user);
    return ({ user, domain }) => listed.has(user, domain);
  }
  const file = await followYaml(users, readUsers, host, new Users());
  return ({ user, domain }) => {
    const listed = file.current();
    if (listed instanceof Promise) return listed.then((listed) => listed.has(user, domain));
    return listed.has(user, domain);
  };
}
