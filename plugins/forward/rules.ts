/** The table of forwards: how an operator writes it, and which entry an address falls under. Pure. */
import { domainToASCII } from "node:url";
import { type HostHop, z } from "../../server/plugin.ts";
import { fold, isDomain, isLocal, isSameAddress, isWholeTopLevel, join, split } from "../addresses.ts";
import { hopsOf, nextHop } from "../next_hop.ts";

/** What becomes of an address. */
export type Rule = Others | Hosts;

/** A rule, and what it stands for, as an operator wrote it. */
export type Listed = Rule & { readonly key: string };

/** Its mail goes to other addresses. */
export interface Others {
  readonly kind: "others";
  /** Addresses; `*@domain` is the same local part there. */
  readonly to: readonly string[];
  /** Whoever has the mailbox gets a copy. */
  readonly keep: boolean;
}

/** Its mail goes to other hosts, the address stays. */
export interface Hosts {
  readonly kind: "hosts";
  /** At least one. */
  readonly hosts: readonly HostHop[];
  /** `failover`: the first that takes it; `roundRobin`: each message begins with the next one. */
  readonly order: "failover" | "roundRobin";
  /** The sender is rewritten. */
  readonly srs: boolean;
}

/** The parts of an address by which it is looked up; `Address` of the plugin API is one. */
export interface Asked {
  /** Unquoted, with its tag. */
  readonly local: string;
  /** Without its tag, lower case. */
  readonly user: string;
  /** Lower case, in A-labels. */
  readonly domain: string;
}

const mapping = z.object({
  to: z.union([z.string(), z.array(z.string()).min(1)]).optional(),
  keep: z.boolean().default(false),
  ...nextHop,
  order: z.enum(["failover", "roundRobin"]).default("failover"),
  srs: z.boolean().default(false),
}).superRefine((given, context) => {
  const problem = (message: string, ...path: string[]) => context.addIssue({ code: "custom", message, path });
  const { to, host, hosts } = given;
  const ways = [to, host, hosts].filter((way) => way !== undefined).length;
  if (ways === 0) problem("leads nowhere: name addresses by `to`, or a `host`, or `hosts`");
  if (ways > 1) problem("needs one of `to`, `host` and `hosts`, not several");
  if (ways !== 1) return;
  if (to === undefined && given.keep) {
    problem("a copy can only be kept where mail goes `to` other addresses", "keep");
  }
  if (to !== undefined) {
    for (const key of ["port", "tls", "auth"] as const) {
      if (given[key] !== undefined) {
        problem("belongs beside a `host`: these addresses' hosts say it themselves", key);
      }
    }
    if (given.srs) problem("is for hosts: mail that goes `to` other addresses is rewritten anyway", "srs");
  }
  if (hosts === undefined && given.order !== "failover") problem("needs several `hosts`", "order");
});

/** An entry's value: an address, a list of them, or a mapping. */
export const ruleOption = z.union([z.string(), z.array(z.string()).min(1), mapping]);

/** A checked value as a rule. */
export function ruleOf(given: z.output<typeof ruleOption>): Rule {
  if (typeof given === "string" || Array.isArray(given)) {
    return { kind: "others", to: [given].flat().map(normal), keep: false };
  }
  const { to, keep, order, srs, ...where } = given;
  if (to !== undefined) return { kind: "others", to: [to].flat().map(normal), keep };
  return { kind: "hosts", hosts: hopsOf(where), order, srs };
}

/** Addresses with domains in A-labels. */
function normal(address: string): string {
  const at = address.lastIndexOf("@");
  return `${address.slice(0, at)}@${domainToASCII(address.slice(at + 1))}`;
}

/** What is wrong with a target, as a sentence. */
export function whyNoTarget(text: string): string | undefined {
  const at = text.lastIndexOf("@");
  const local = text.slice(0, at);
  if (at < 0 || !(local === "*" || isLocal(local)) || !isDomain(domainToASCII(text.slice(at + 1)))) {
    return `"${text}" is not an address such as bob@example.net, nor *@example.net for the same name there`;
  }
}

/** What an entry is for. */
type Key =
  | { readonly kind: "address" | "domain" | "below"; readonly text: string }
  | { readonly kind: "pattern"; readonly local: string; readonly domain: string };

/** `undefined`: it is none. */
function readKey(text: string): Key | undefined {
  const at = text.lastIndexOf("@");
  const given = text.slice(at + 1);
  const below = given.startsWith("*.");
  const domain = domainToASCII(below ? given.slice(2) : given);
  if (!isDomain(domain)) return undefined;
  const local = at < 0 ? "*" : text.slice(0, at);
  if (below) return local === "*" ? { kind: "below", text: domain } : undefined;
  if (local === "*" || local === "") return { kind: "domain", text: domain };
  if (!isLocal(local)) return undefined;
  if (!local.startsWith('"') && local.includes("*")) return { kind: "pattern", local: fold(local), domain };
  return { kind: "address", text: `${fold(split(text).local)}@${domain}` };
}

interface Pattern {
  readonly parts: readonly string[];
  readonly letters: number;
  readonly rule: Listed;
}

/** Rules by what they are for. */
export class Rules {
  readonly #addresses = new Map<string, Listed>();
  /** By domain; those with most letters first. */
  readonly #patterns = new Map<string, Pattern[]>();
  readonly #domains = new Map<string, Listed>();
  readonly #below = new Map<string, Listed>();
  readonly #keys = new Set<string>();

  /**
   * Adds one.
   *
   * @returns What is wrong with its key, as a sentence, and it was not added; `undefined` where nothing is.
   */
  add(text: string, given: Rule): string | undefined {
    if (text === "*" || text === "@*" || text === "*@*") {
      return "mail for everybody else is not this plugin's: `outbound.route` sends it through a host, for those who may";
    }
    const key = readKey(text);
    if (key?.kind === "below" && isWholeTopLevel(key.text)) {
      return `"${text}" is a whole top-level domain: name the domains below it that are yours to take mail for`;
    }
    if (key === undefined) {
      return `"${text}" is neither an address (alice@example.org, sales-*@example.org) nor a domain (example.org, *.example.org)`;
    }
    const name = key.kind === "pattern" ? `pattern ${key.local}@${key.domain}` : `${key.kind} ${key.text}`;
    if (this.#keys.has(name)) return `"${text}" stands here twice`;
    this.#keys.add(name);
    const rule: Listed = { ...given, key: text };
    if (key.kind === "pattern") this.#addPattern(key.local, key.domain, rule);
    else if (key.kind === "address") this.#addresses.set(key.text, rule);
    else if (key.kind === "domain") this.#domains.set(key.text, rule);
    else this.#below.set(key.text, rule);
  }

  #addPattern(local: string, domain: string, rule: Listed): void {
    const parts = local.split("*");
    const letters = parts.join("").length;
    const all = [...this.#patterns.get(domain) ?? [], { parts, letters, rule }];
    this.#patterns.set(domain, all.sort((one, other) => other.letters - one.letters));
  }

  /** The one that fits best: the address with its tag, without, a pattern, the domain, the nearest domain above. */
  find({ local, user, domain }: Asked): Listed | undefined {
    const whole = fold(local);
    const exact = this.#addresses.get(`${whole}@${domain}`) ?? this.#addresses.get(`${user}@${domain}`);
    if (exact) return exact;
    const pattern = this.#patterns.get(domain)?.find(({ parts }) => fits(parts, whole));
    if (pattern) return pattern.rule;
    const own = this.#domains.get(domain);
    if (own || this.#below.size === 0) return own;
    for (let dot = domain.indexOf("."); dot >= 0; dot = domain.indexOf(".", dot + 1)) {
      const above = this.#below.get(domain.slice(dot + 1));
      if (above) return above;
    }
  }
}

/** Whether the parts stand in the text in their order, the first at its start and the last at its end. Linear, whatever the text. */
function fits(parts: readonly string[], text: string): boolean {
  const first = parts[0]!;
  const last = parts.at(-1)!;
  if (text.length < first.length + last.length || !text.startsWith(first) || !text.endsWith(last)) {
    return false;
  }
  let at = first.length;
  const end = text.length - last.length;
  for (const part of parts.slice(1, -1)) {
    const found = text.indexOf(part, at);
    if (found < 0 || found + part.length > end) return false;
    at = found + part.length;
  }
  return true;
}

/** Whether the next server gets the local part as a stranger wrote it. */
export const keepsLocalPart = (rule: Rule): boolean =>
  rule.kind === "hosts" || rule.to.some((target) => target.startsWith("*@"));

/** Where mail for an address goes by this rule; its own address first, where a copy is kept. */
export function targetsOf(
  { to, keep }: Others,
  asked: Asked & { readonly address: string },
): readonly string[] {
  const targets = to.map((target) => target.startsWith("*@") ? join(asked.local, target.slice(2)) : target);
  const others = targets.filter((target) => !isSameAddress(target, asked.address));
  // Naming an address as its own target keeps a copy, too.
  return keep || others.length < targets.length ? [asked.address, ...others] : others;
}
