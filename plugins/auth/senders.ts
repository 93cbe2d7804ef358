/** Account names and who may send as whom (CASES U06). */
import { domainToASCII } from "node:url";

/** An address by its meaning: case folded, unquoted. */
export interface Meant {
  /** With its tag. */
  readonly whole: string;
  /** Without the tag of a sub-address (`user+tag`). */
  readonly account: string;
  /** In A-labels. */
  readonly domain: string;
}

/** What an address means; `undefined` where the text is no address. */
export function meaning(text: string): Meant | undefined {
  const at = text.lastIndexOf("@");
  const domain = readDomain(text.slice(at + 1));
  const local = at > 0 ? readLocal(text.slice(0, at)) : undefined;
  return local === undefined || domain === undefined ? undefined : meant(local, domain);
}

/** The same for an address that is parsed already: unquoted local part, domain in A-labels. */
export function meant(local: string, domain: string): Meant {
  const folded = local.normalize("NFC").toLowerCase();
  const plus = folded.indexOf("+");
  return {
    whole: `${folded}@${domain}`,
    account: `${plus > 0 ? folded.slice(0, plus) : folded}@${domain}`,
    domain,
  };
}

/** An account's name in the form names are compared in; `undefined` where the text can't be one. */
export function accountName(text: string): string | undefined {
  if (text.length > 320 || text.includes('"')) return undefined;
  return meaning(text)?.whole;
}

/** A `sendAs` entry (`x@d`, `*@d`, `*`) in the form it is compared in; `undefined` where it is none. */
export function readSendAs(text: string): string | undefined {
  if (text === "*") return text;
  if (!text.startsWith("*@")) return accountName(text);
  const domain = readDomain(text.slice(2));
  return domain && `*@${domain}`;
}

/** Whether this account may send as this address. Its own sub-addresses are its own. */
export function maySendAs(
  user: { readonly name: string; readonly sendAs: readonly string[] },
  address: Meant,
): boolean {
  if (address.whole === user.name || address.account === user.name) return true;
  return user.sendAs.some((entry) =>
    entry === "*" || entry === address.whole || entry === `*@${address.domain}`
  );
}

/** An atom's octets, UTF-8 and stray dots included (CASES A06), or a quoted string without its quotes. */
function readLocal(text: string): string | undefined {
  if (text.startsWith('"')) {
    // deno-lint-ignore no-control-regex -- RFC 5321 §4.1.2, qtextSMTP and quoted-pairSMTP
    return /^"(?:[^"\\\x00-\x1f\x7f]|\\[ -~])*"$/.test(text)
      ? text.slice(1, -1).replace(/\\(.)/gs, "$1")
      : undefined;
  }
  // deno-lint-ignore no-control-regex -- all that is neither a control nor a special
  return /^[^\x00-\x20\x7f()<>[\]:;@\\,"]+$/.test(text) ? text : undefined;
}

function readDomain(text: string): string | undefined {
  const ascii = /^[!-~]*$/.test(text) ? text.toLowerCase() : domainToASCII(text.normalize("NFC"));
  if (ascii.length > 255) return undefined;
  if (/^\[[a-z0-9.:-]+\]$/.test(ascii)) return ascii;
  const label = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;
  return ascii.split(".").every((part) => label.test(part)) ? ascii : undefined;
}
