/** The table of aliases: how an operator writes it, and which entry an address falls under. Pure. */
import { domainToASCII } from "node:url";
import { isMap, isScalar, isSeq, type Node } from "yaml";
import { fold, isDomain, isLocal, split } from "../addresses.ts";
import type { Problem } from "../yaml_file.ts";

/** The parts of an address by which it is looked up; `Address` of the plugin API is one. */
export interface Asked {
  /** Unquoted, with its tag. */
  readonly local: string;
  /** Without its tag, lower case. */
  readonly user: string;
  /** Lower case, in A-labels; `""` where the address has none. */
  readonly domain: string;
}

/** One alias. */
export interface Entry {
  /** As an operator would write it, in lower case. */
  readonly key: string;
  /** Addresses, or local parts in the domain that was asked for. */
  readonly targets: readonly string[];
}

/** The alias that an address falls under. */
export interface Found {
  readonly key: string;
  /** Whole addresses. */
  readonly targets: readonly string[];
}

/** What is wrong with an address in the table, as a sentence; `undefined` where nothing is. */
function complaint(text: string): string | undefined {
  const at = text.lastIndexOf("@");
  const local = at < 0 ? text : text.slice(0, at);
  if (/^(?:[|/]|:include:)/i.test(text) && at < 0) {
    return `"${text}": mail is not given to programs or files, name an address`;
  }
  if (at >= 0 && !isDomain(domainToASCII(text.slice(at + 1)))) {
    return `"${text}" has no domain that can exist`;
  }
  if (!isLocal(local)) {
    return `"${text}" is not an address such as alice@example.org`;
  }
}

/** An alias as it is kept: its targets with domains in A-labels. */
function entry(key: string, targets: readonly string[]): Entry {
  return {
    key,
    targets: targets.map((target) => {
      const at = target.lastIndexOf("@");
      return at < 0 ? target : `${target.slice(0, at)}@${domainToASCII(target.slice(at + 1))}`;
    }),
  };
}

/** Aliases by what they match. Whole addresses, local parts and catch-alls never mix: a quoted local part holds anything. */
export class Table {
  readonly #addresses = new Map<string, Entry>();
  readonly #locals = new Map<string, Entry>();
  readonly #catchAlls = new Map<string, Entry>();
  readonly #domains: readonly string[];

  /** @param domains Where entries without a domain apply; the first one's is also the bare `postmaster`. */
  constructor(domains: readonly string[]) {
    this.#domains = domains;
  }

  /** How many there are. */
  get size(): number {
    return this.#addresses.size + this.#locals.size + this.#catchAlls.size;
  }

  /**
   * Adds an alias.
   *
   * @returns What is wrong with it, as a sentence, and it was not added; `undefined` where nothing is.
   */
  add(key: string, targets: readonly string[]): string | undefined {
    const catchAll = /^\*?@/.test(key);
    const wrong = catchAll
      ? complaint(`x${key.slice(key.indexOf("@"))}`) && `"${key}" has no domain that can exist`
      : complaint(key);
    if (wrong) return wrong;
    if (targets.length === 0) return `"${key}" goes to nobody: name an address, or remove it`;
    for (const target of targets) {
      const wrong = complaint(target);
      if (wrong) return wrong;
    }
    const { local, domain } = split(key);
    if (domain === undefined && this.#domains.length === 0) {
      return `"${key}" has no domain: write ${key}@example.org, or list the \`domains\` it is meant for`;
    }
    const [map, name] = catchAll
      ? [this.#catchAlls, domain!] as const
      : domain === undefined
      ? [this.#locals, fold(local)] as const
      : [this.#addresses, `${fold(local)}@${domain}`] as const;
    if (map.has(name)) return `"${key}" stands here twice`;
    map.set(name, entry(catchAll ? `@${domain}` : name, targets));
  }

  /** The entry an address falls under: with its tag, else without, else the domain's catch-all. */
  find({ local, user, domain }: Asked): Entry | undefined {
    const tagged = fold(local);
    const exact = this.#addresses.get(`${tagged}@${domain}`) ?? this.#addresses.get(`${user}@${domain}`);
    if (exact) return exact;
    if (this.#domains.includes(domain)) {
      const plain = this.#locals.get(tagged) ?? this.#locals.get(user);
      if (plain) return plain;
    }
    return this.#catchAlls.get(domain);
  }

  /** Where mail for an address goes, plain local parts put into its domain; `undefined` where the table says nothing. */
  found(asked: Asked): Found | undefined {
    // RFC 5321 §4.1.1.3: `<postmaster>` has no domain.
    const address = asked.domain === "" ? { ...asked, domain: this.#domains[0] ?? "" } : asked;
    const found = this.find(address);
    if (!found) return;
    const targets = found.targets.map((target) =>
      target.includes("@") ? target : `${target}@${address.domain}`
    );
    // Naming an address as its own target exempts it from a catch-all: whoever has the mailbox speaks next.
    if (asked.domain !== "" && targets.every((target) => isSame(target, address))) return;
    return { key: found.key, targets };
  }
}

function isSame(target: string, { local, user, domain }: Asked): boolean {
  const its = split(target);
  const name = fold(its.local);
  return its.domain === domain && (name === user || name === fold(local));
}

/** Reads a file of aliases: a mapping of address to address, or to a list of them. */
export function readTable(root: Node | null, problem: Problem, domains: readonly string[]): Table {
  const table = new Table(domains);
  if (root === null || (isScalar(root) && root.value === null)) return table;
  if (!isMap<Node, Node | null>(root)) {
    throw problem(root, "must be a mapping, one `alias: address` a line, or `alias: [address, address]`");
  }
  for (const { key, value } of root.items) {
    if (!isScalar(key) || typeof key.value !== "string") {
      {
        throw problem(key, "an alias is an address, as text (in quotes, where it begins with * or @)");
      }
    }
    const targets = isSeq<Node>(value) ? value.items : value ? [value] : [];
    const texts = targets.map((target) => {
      if (isScalar(target) && typeof target.value === "string") return target.value.trim();
      if (isScalar(target) && target.value === null) {
        throw problem(key, `"${key.value}" goes to nobody: name an address`);
      }
      throw problem(target, `"${key.value}" must go to an address or a list of them`);
    });
    const wrong = table.add(key.value.trim(), texts);
    if (wrong) throw problem(key, wrong);
  }
  return table;
}
