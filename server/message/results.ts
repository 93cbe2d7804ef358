/** The `Authentication-Results` field (RFC 8601): what plugins found out about a message, in words that others can read. */
import type { AuthenticationResult } from "../plugin.ts";

/** Its name. */
export const resultsName = "Authentication-Results";

/** Keyword (RFC 5321 §4.1.2), which methods and results are. */
const keyword = /^[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?$/;
const property = /^[A-Za-z0-9-]+\.[A-Za-z0-9-]+$/;
/** RFC 2045 §5.1: printable ASCII without space and the tspecials. */
const token = /^[!#$%&'*+.^_`{|}~0-9A-Za-z-]+$/;
const dotAtom = /^[!#$%&'*+/=?^_`{|}~0-9A-Za-z-]+(?:\.[!#$%&'*+/=?^_`{|}~0-9A-Za-z-]+)*$/;
const domainName =
  /^[0-9A-Za-z](?:[0-9A-Za-z-]*[0-9A-Za-z])?(?:\.[0-9A-Za-z](?:[0-9A-Za-z-]*[0-9A-Za-z])?)*$/;

/** A value can't be folded, and a line has 998 octets (RFC 5322 §2.1.1): what is longer is left out, not cut to another's name. */
const longest = 800;

/**
 * The field's value, unfolded.
 *
 * @param authservId Who says it: our host name.
 * @param results In the order they were found; without any the value is `…; none`.
 */
export function formatResults(authservId: string, results: readonly AuthenticationResult[]): string {
  const said = results.length === 0 ? ["none"] : results.map(formatResult);
  return [valueText(authservId), ...said].join("; ");
}

/** @throws {TypeError} when the method, the result or a property's name is not one. */
export function checkResult({ method, result, properties = {} }: AuthenticationResult): void {
  for (const [what, text] of [["method", method], ["result", result]] as const) {
    if (typeof text === "string" && keyword.test(text)) continue;
    throw new TypeError(`addResult: ${JSON.stringify(text)} is no ${what}: use letters, digits and hyphens.`);
  }
  for (const name of Object.keys(properties)) {
    if (property.test(name)) continue;
    throw new TypeError(
      `addResult: ${JSON.stringify(name)} is no property such as smtp.mailfrom or header.d.`,
    );
  }
}

function formatResult({ method, result, comment, reason, properties = {} }: AuthenticationResult): string {
  const words = [`${method}=${result}`];
  if (comment) words.push(`(${clean(comment).slice(0, longest).replaceAll(/[\\()]/g, "\\$&")})`);
  if (reason) words.push(`reason=${quoted(clean(reason).slice(0, longest))}`);
  for (const [name, value] of Object.entries(properties)) {
    const text = valueText(value);
    if (text !== '""' && new TextEncoder().encode(text).length <= longest) words.push(`${name}=${text}`);
  }
  return words.join(" ");
}

/** A token or an address where it is one, else a quoted string (RFC 8601 §2.2, pvalue). */
function valueText(value: string): string {
  const text = clean(value);
  if (token.test(text)) return text;
  const at = text.lastIndexOf("@");
  const [local, domain] = [text.slice(0, Math.max(at, 0)), text.slice(at + 1)];
  if (at >= 0 && domainName.test(domain)) {
    return local === "" || dotAtom.test(local) ? text : `${quoted(unquoted(local))}@${domain}`;
  }
  return quoted(text);
}

/** One line: what comes from peers may hold anything. */
function clean(text: string): string {
  // deno-lint-ignore no-control-regex -- CTLs may not stand in a field, quoted or not
  return text.replaceAll(/[\x00-\x1f\x7f]+/g, " ").trim();
}

const quoted = (text: string) => `"${text.replaceAll(/["\\]/g, "\\$&")}"`;

function unquoted(local: string): string {
  return /^"(?:[^"\\]|\\.)*"$/s.test(local) ? local.slice(1, -1).replaceAll(/\\(.)/gs, "$1") : local;
}
