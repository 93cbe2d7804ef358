/** API keys: a YAML file of their hashes, and what each may do. */
import { isMap, isScalar, isSeq, type Node } from "yaml";
import { isDomain, isLocal, split } from "../addresses.ts";
import type { Problem } from "../yaml_file.ts";

/** What whoever has a key may do. */
export interface ApiKey {
  readonly name: string;
  /** SHA-256 of the key, hexadecimal. A key is random: a slow hash would protect nothing more. */
  readonly sha256: string;
  /** `x@d`, `*@d` or `*`. */
  readonly from: readonly string[];
  /** Messages an hour. */
  readonly hourly: number;
  /** Recipients of a message. */
  readonly recipients: number;
}

/** By hash. */
export type ApiKeys = ReadonlyMap<string, ApiKey>;

const standard = { hourly: 1000, recipients: 100 };

/**
 * Reads `NAME: { sha256: …, from: [shop@example.org], hourly: 1000, recipients: 100 }`.
 *
 * @throws {Error} that says where something is wrong.
 */
export function readKeys(root: Node | null, problem: Problem): ApiKeys {
  const keys = new Map<string, ApiKey>();
  if (root === null) return keys;
  if (!isMap<Node, Node | null>(root)) throw problem(root, "is not a mapping of names to keys");
  for (const { key: nameNode, value } of root.items) {
    const name = isScalar(nameNode) ? String(nameNode.value) : "";
    if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name)) {
      throw problem(nameNode, `"${name}" is no name for a key: letters, digits, . _ - only`);
    }
    const key = readKey(name, nameNode, value, problem);
    const same = keys.get(key.sha256);
    if (same) throw problem(nameNode, `${name} has the key of ${same.name}`);
    keys.set(key.sha256, key);
  }
  return keys;
}

function readKey(name: string, at: Node, value: Node | null, problem: Problem): ApiKey {
  if (!isMap<Node, Node | null>(value)) {
    throw problem(value ?? at, `${name}: is not { sha256: …, from: […] }`);
  }
  let sha256: string | undefined;
  let from: string[] | undefined;
  const numbers = { ...standard };
  for (const { key: keyNode, value: node } of value.items) {
    const key = isScalar(keyNode) ? String(keyNode.value) : "";
    const here = node ?? keyNode;
    switch (key) {
      case "sha256":
        sha256 = isScalar(node) ? String(node.value) : "";
        if (!/^[0-9a-f]{64}$/.test(sha256)) {
          throw problem(
            here,
            `${name}: sha256 is 64 hexadecimal digits in lower case: printf %s "$KEY" | sha256sum`,
          );
        }
        break;
      case "from":
        from = readFrom(name, node, here, problem);
        break;
      case "hourly":
      case "recipients": {
        const number = isScalar(node) ? node.value : undefined;
        if (typeof number !== "number" || !Number.isInteger(number) || number < 1) {
          throw problem(here, `${name}: ${key} is a number, 1 or more`);
        }
        numbers[key] = number;
        break;
      }
      default:
        throw problem(keyNode, `${name}: there is no "${key}": there are sha256, from, hourly, recipients`);
    }
  }
  if (sha256 === undefined) throw problem(at, `${name}: has no sha256: printf %s "$KEY" | sha256sum`);
  if (from === undefined) {
    throw problem(at, `${name}: has no from: whom it may send as, such as [shop@example.org]`);
  }
  return { name, sha256, from, ...numbers };
}

function readFrom(name: string, node: Node | null, here: Node, problem: Problem): string[] {
  const items = isSeq<Node>(node) ? node.items : [];
  if (items.length === 0) {
    throw problem(here, `${name}: from is a list such as [shop@example.org, "*@example.org"]`);
  }
  return items.map((item) => {
    const text = isScalar(item) ? String(item.value) : "";
    if (text === "*") return text;
    const { local, domain } = split(text);
    if (domain === undefined || !isDomain(domain) || !(local === "*" || isLocal(local))) {
      throw problem(item, `${name}: "${text}" is not an address, *@domain or *`);
    }
    return `${local.toLowerCase()}@${domain}`;
  });
}

/** Whether this key may write as this address. */
export function maySendAs({ from }: ApiKey, address: string): boolean {
  const { local, domain } = split(address);
  return from.some((one) =>
    one === "*" || one === `*@${domain}` || one === `${local.toLowerCase()}@${domain}`
  );
}

/** Finds a key. Its hash is looked up, not compared: how long that takes tells nothing of the key. */
export async function findKey(keys: ApiKeys, authorization: string | null): Promise<ApiKey | undefined> {
  const key = /^Bearer +([!-~]{1,512})$/i.exec(authorization ?? "")?.[1];
  if (key === undefined) return undefined;
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(key));
  return keys.get(new Uint8Array(hash).toHex());
}
