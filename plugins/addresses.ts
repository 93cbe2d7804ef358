/** Addresses as operators write them, for plugins that look them up. Pure. */
import { domainToASCII } from "node:url";
import { z } from "../server/plugin.ts";

/** Local parts are compared without case, as people write them. */
export const fold = (local: string): string => local.toLowerCase().normalize("NFC");

/** An address taken apart at its last `@`: what stands in quotes before it may hold others (CASES A02). */
export function split(text: string): { readonly local: string; readonly domain: string | undefined } {
  const at = text.lastIndexOf("@");
  const local = at < 0 ? text : text.slice(0, at);
  const quoted = local.length > 1 && local.startsWith('"') && local.endsWith('"');
  return {
    local: quoted ? local.slice(1, -1).replace(/\\(.)/gs, "$1") : local,
    domain: at < 0 ? undefined : domainToASCII(text.slice(at + 1)),
  };
}

const atoms = /^[^\s"(),.:;<>@[\\\]\p{Cc}]+(?:\.[^\s"(),.:;<>@[\\\]\p{Cc}]+)*$/u;

/** An address of an unquoted local part, quoted where it must be. */
export function join(local: string, domain: string): string {
  return `${atoms.test(local) ? local : `"${local.replaceAll(/["\\]/g, "\\$&")}"`}@${domain}`;
}

/** Whether both are the same mailbox: local parts without case, domains in any form. */
export function isSameAddress(one: string, other: string): boolean {
  if (one === other) return true;
  const [a, b] = [split(one), split(other)];
  return a.domain === b.domain && fold(a.local) === fold(b.local);
}

const domainName = /^(?:\[[0-9a-z:.]+\]|[a-z0-9_][a-z0-9_-]*(?:\.[a-z0-9_-]+)*)$/;
const quotedLocal = /^"(?:[^"\\\p{Cc}]|\\[^\p{Cc}])*"$/u;
const plainLocal = /^[^\s"(),:;<>@[\\\]\p{Cc}]+$/u;

/** Whether the text, in A-labels, can be a domain. */
export const isDomain = (text: string): boolean => domainName.test(text);

/** Whether the text can stand before an `@`. */
export const isLocal = (text: string): boolean => plainLocal.test(text) || quotedLocal.test(text);

/** Wildcards over one of these single labels stay inside a house (RFC 6761, RFC 6762, ICANN's .internal, and custom). */
const privateNames = new Set(
  "internal local localdomain lan corp home intranet private test example".split(" "),
);

/** Whether a wildcard below this domain would mean other people's domains. */
export const isWholeTopLevel = (domain: string): boolean =>
  !domain.includes(".") && !privateNames.has(domain);

/** Sender-specified routing in a local part: another server may take these apart and send on for a stranger (CASES R01). */
export const routed = /[%!@]/;

/** An option that is a domain, IDNs included; the handler sees it in A-labels, lower case. */
// By `refine`, not `regex`: the JSON Schema is of what operators write.
export const domain = z.string().overwrite((text) => domainToASCII(text) || text).refine(
  isDomain,
  "not a domain such as example.org",
);
