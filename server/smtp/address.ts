/**
 * Mailboxes and paths (RFC 5321 §4.1.2, §4.1.3; RFC 6531 §3.3): text in, an {@linkcode Address} or a reason out.
 *
 * Every step is linear, and whatever could be slow (a pattern, an IDN) is only shown text of at most 256 octets.
 */

/** A mailbox of an envelope, read once and compared by meaning from then on. */
export interface Address {
  /** As given, without the angle brackets and without a source route; the null reverse-path `<>` is `""`. */
  readonly address: string;
  /** The local part, unquoted, with its tag; case as given. */
  readonly local: string;
  /** The local part without its tag, lower case, NFC. */
  readonly user: string;
  /** What follows the first `+` of the local part, if there is one. */
  readonly tag: string | undefined;
  /** Lower case, in A-labels; an address literal with its brackets; "" of the null sender. */
  readonly domain: string;
  /** `address`, so that it reads well in a template string. */
  toString(): string;
}

/** What became of the text behind `FROM:` or `TO:`. */
export type ParsedPath =
  /** `rest` is the text of the parameters, behind the space that separates them; "" when there are none. */
  | { readonly kind: "path"; readonly address: Address; readonly rest: string }
  | BadPath;

/** A path that is none. `text` says what is wrong, in a sentence part that never repeats what the peer sent. */
export interface BadPath {
  readonly kind: "bad";
  readonly problem: "syntax" | "too-long" | "needs-smtputf8" | "domain";
  readonly text: string;
}

/** The one implementation of {@linkcode Address}; its fields are plain data, so that it can be cloned to a Worker. */
export class EnvelopeAddress implements Address {
  readonly address: string;
  readonly local: string;
  readonly user: string;
  readonly tag: string | undefined;
  readonly domain: string;

  /** Trusts its arguments: `local` is unquoted, `domain` canonical, both read from `address`. */
  constructor(address: string, local: string, domain: string) {
    this.address = address;
    this.local = local;
    const plus = local.indexOf("+");
    const tagged = plus > 0; // a mailbox "+49301234" has no tag: its user would be empty
    this.user = fold(tagged ? local.slice(0, plus) : local);
    this.tag = tagged ? local.slice(plus + 1) : undefined;
    this.domain = domain;
  }

  toString(): string {
    return this.address;
  }
}

/** Octets of a path, brackets included (RFC 5321 §4.5.3.1.3). */
const longestPath = 256;
/** Octets of a domain (RFC 5321 §4.5.3.1.2). */
const longestDomain = 255;

// RFC 5321's Atom without its dots; a local part of more than 64 octets is SRS or VERP, and welcome.
const atext = "A-Za-z0-9!#$%&'*+\\-/=?^_`{|}~";
const dotString = new RegExp(`^[.${atext}\\u0080-\\uffff]+$`);
const nonAscii = /[^\0-\x7f]/;
const c1Control = /[\x80-\x9f]/;
const label = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?";
const asciiDomain = new RegExp(`^${label}(?:\\.${label})*$`);
/** How the URL standard tells a host that is an IPv4 address in some spelling. No real domain ends so (RFC 3696 §2). */
const endsInNumber = /(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)$/;
const octet = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])";
const ipv4 = new RegExp(`^${octet}(?:\\.${octet}){3}$`);

/** Which characters a local part may have unquoted, by code; those above ASCII are allowed as well. */
const unquoted = Uint8Array.from(
  { length: 128 },
  (_, code) => dotString.test(String.fromCharCode(code)) ? 1 : 0,
);

const [space, quote, less, greater, at, bracket, backslash, del] = [
  0x20,
  0x22,
  0x3c,
  0x3e,
  0x40,
  0x5b,
  0x5c,
  0x7f,
];

/** The null reverse-path `<>` (RFC 5321 §4.5.5). */
const nullAddress: Address = Object.freeze(new EnvelopeAddress("", "", ""));

const bad = (problem: BadPath["problem"], text: string): BadPath => ({ kind: "bad", problem, text });
const brackets = bad("syntax", "The angle brackets around the address do not match");
const notMailbox = bad("syntax", "This is not an address of the form <local-part@domain>");
const tooLong = bad("too-long", `The path is longer than ${longestPath} octets`);
const notDomain = bad("domain", "The domain of the address is not valid");
const notUtf8Sender = bad("needs-smtputf8", "A non-ASCII address needs the SMTPUTF8 parameter");

/**
 * Reads the path behind `FROM:` or `TO:`, leading spaces tolerated. Source routes are dropped (RFC 5321 §3.3), an
 * address of one token may lack its brackets, and `<postmaster>` as a forward path has the domain `""`, which
 * is the caller's to fill in.
 *
 * @param text The rest of the command line; already decoded, so it holds no broken UTF-8.
 * @param how `utf8`: SMTPUTF8 was asked for. `null`: `<>` is allowed, as it is for MAIL.
 */
export function parsePath(text: string, how: { utf8: boolean; null: boolean }): ParsedPath {
  let start = 0;
  while (text.charCodeAt(start) === space) start++;
  const bracketed = text.charCodeAt(start) === less;
  let from = bracketed ? start + 1 : start;
  if (bracketed && text.charCodeAt(from) === greater) {
    return how.null
      ? finish(text, from, bracketed, nullAddress)
      : bad("syntax", "A recipient may not be empty");
  }
  if (bracketed && text.charCodeAt(from) === at) {
    const mailbox = skipRoute(text, from, how.utf8);
    if (typeof mailbox !== "number") return mailbox;
    from = mailbox;
  }

  const endOfLocal = skipLocal(text, from);
  if (endOfLocal === undefined) return notMailbox;
  if (text.charCodeAt(endOfLocal) !== at) {
    const name = endOfLocal - from === 10 ? text.slice(from, endOfLocal) : "";
    const closed = bracketed ? text.charCodeAt(endOfLocal) === greater : endsAt(text, endOfLocal);
    if (how.null || !closed || !/^[Pp][Oo][Ss][Tt][Mm][Aa][Ss][Tt][Ee][Rr]$/.test(name)) return notMailbox;
    return finish(text, endOfLocal, bracketed, new EnvelopeAddress(name, name, ""));
  }

  let end = text.indexOf(bracketed ? ">" : " ", endOfLocal);
  if (end < 0) {
    if (bracketed) return text.length - start > longestPath ? tooLong : brackets;
    end = text.length;
  }
  if (end - start + (bracketed ? 1 : 2) > longestPath) return tooLong;
  const address = text.slice(from, end);
  if (nonAscii.test(address)) {
    if (!how.utf8) return notUtf8Sender;
    if (!address.isWellFormed() || c1Control.test(address)) return notMailbox;
    if (octets(text.slice(start, end)) + (bracketed ? 1 : 2) > longestPath) return tooLong;
  }
  const domain = readDomain(text.slice(endOfLocal + 1, end));
  if (typeof domain !== "string") return !bracketed && address.endsWith(">") ? brackets : domain;
  const local = text.slice(from, endOfLocal);
  return finish(text, end, bracketed, new EnvelopeAddress(address, unquote(local), domain));
}

/**
 * Reads one bare mailbox, without brackets, route or parameters, non-ASCII allowed; `""` is the null sender. For what people write:
 * configuration, targets of aliases, `submit`.
 *
 * @returns `undefined` when the text is no address.
 */
export function parseAddress(text: string): Address | undefined {
  if (text === "") return nullAddress;
  const path = parsePath(`<${text}>`, { utf8: true, null: false });
  // Equality rules out the route, the missing domain and everything behind a ">" of the text's own.
  if (path.kind !== "path" || path.address.address !== text || path.address.domain === "") return undefined;
  return path.address;
}

/**
 * Makes an address of an unquoted local part and a domain, and quotes where it must be: the way from `<postmaster>`
 * to a mailbox, and from a user's name to an address.
 *
 * @returns `undefined` when no address can be made of them (control characters, an invalid domain, over-long).
 */
export function makeAddress(local: string, domain: string): Address | undefined {
  const written = dotString.test(local) ? local : `"${local.replaceAll(/["\\]/g, "\\$&")}"`;
  return parseAddress(`${written}@${domain}`);
}

/**
 * Reads a domain or an address literal as it stands behind the `@`, for what is compared with {@linkcode Address.domain}.
 *
 * @returns Lower case, in A-labels; `undefined` when it is none.
 */
export function parseDomain(text: string): string | undefined {
  if (text.length > longestDomain) return undefined;
  const domain = readDomain(text);
  return typeof domain === "string" ? domain : undefined;
}

/**
 * What two addresses of one mailbox have in common, for sets and maps. RFC 5321 §2.4 leaves the case of a local part
 * to its host; no host in use gives two mailboxes that differ in it, so it is folded (and made NFC), tag included.
 */
export function mailboxKey(address: Address): string {
  return `${fold(address.local)}@${address.domain}`;
}

/** Whether both are the same mailbox with the same tag, by meaning: see {@linkcode mailboxKey}. */
export function sameMailbox(a: Address, b: Address): boolean {
  return a.domain === b.domain && mailboxKey(a) === mailboxKey(b);
}

/** Whether it is the null reverse-path `<>`. `""@example.org` is no address, so nothing else is empty. */
export function isNull(address: Address): boolean {
  return address.address === "";
}

/** Whether the address can only be sent under SMTPUTF8 (RFC 6531 §3.2): it has something other than ASCII in it. */
export function needsSmtpUtf8(address: Address): boolean {
  return nonAscii.test(address.address);
}

/** The path ends at `end`, which is its ">" where it is bracketed: only parameters may follow. */
function finish(text: string, end: number, bracketed: boolean, address: Address): ParsedPath {
  if (bracketed) end++;
  if (!endsAt(text, end)) return brackets;
  return { kind: "path", address, rest: text.slice(end + 1) };
}

function endsAt(text: string, index: number): boolean {
  return index === text.length || text.charCodeAt(index) === space;
}

/** Where the mailbox behind `@one,@two:` begins. What the route says is read, to be sure it is one, and forgotten. */
function skipRoute(text: string, from: number, utf8: boolean): number | BadPath {
  const colon = text.indexOf(":", from);
  if (colon < 0) return notMailbox;
  if (colon - from > longestPath) return tooLong;
  for (const hop of text.slice(from, colon).split(",")) {
    if (hop.charCodeAt(0) !== at || hop.charCodeAt(1) === bracket) return notMailbox;
    if (!utf8 && nonAscii.test(hop)) return notUtf8Sender;
    const domain = readDomain(hop.slice(1));
    if (typeof domain !== "string") return domain;
  }
  return colon + 1;
}

/** Where the local part ends; `undefined` when there is none. An empty one, `""` too, names no mailbox. */
function skipLocal(text: string, from: number): number | undefined {
  let index = from;
  if (text.charCodeAt(from) !== quote) {
    for (; index < text.length; index++) {
      const code = text.charCodeAt(index);
      if (code < 128 && unquoted[code] === 0) break;
    }
    return index === from ? undefined : index;
  }
  for (index++; index < text.length; index++) {
    let code = text.charCodeAt(index);
    if (code === quote) return index === from + 1 ? undefined : index + 1;
    if (code === backslash) {
      code = text.charCodeAt(++index);
      if (code > del) return undefined; // quoted-pairSMTP is ASCII, also in RFC 6531
    }
    if (!(code >= space) || code === del) return undefined; // NaN, past the end, as well
  }
  return undefined;
}

function unquote(local: string): string {
  if (local.charCodeAt(0) !== quote) return local;
  const inside = local.slice(1, -1);
  return inside.includes("\\") ? inside.replaceAll(/\\(.)/g, "$1") : inside;
}

function fold(text: string): string {
  const lower = text.toLowerCase();
  return nonAscii.test(lower) ? lower.normalize("NFC") : lower;
}

function octets(text: string): number {
  return new TextEncoder().encode(text).length;
}

/** The domain in its canonical form, or why it is none. The text is at most 256 UTF-16 units long. */
function readDomain(text: string): string | BadPath {
  if (text.charCodeAt(0) === bracket) return readLiteral(text);
  const ascii = nonAscii.test(text) ? toALabels(text) : text;
  if (ascii === undefined) return bad("domain", "The internationalized domain is not valid");
  if (ascii.length > longestDomain) {
    return bad("too-long", `The domain is longer than ${longestDomain} octets`);
  }
  if (!asciiDomain.test(ascii)) {
    const overlong = ascii.split(".").some((label) => label.length > 63);
    return overlong ? bad("too-long", "A label of the domain is longer than 63 octets") : notDomain;
  }
  const domain = ascii.toLowerCase(); // only now that it is ASCII: the Kelvin sign's lower case is "k"
  // `a@127.0.0.1` would be a name here, and an IP address to whatever connects to it later. Postfix refuses it too.
  if (endsInNumber.test(domain)) {
    return bad("domain", "A domain does not end in a number: an IP address stands in [ ]");
  }
  return domain;
}

/**
 * U-labels to A-labels by UTS 46, as the URL parser does it. That parser reads more than domains: "%", "@", "/", ":" and tabs
 * are kept from it. Where the last label is a number it would give an IPv4 address, which the caller refuses.
 */
function toALabels(domain: string): string | undefined {
  if (!/^[A-Za-z0-9_.\-\u00a0-\uffff]+$/.test(domain)) return undefined;
  // RFC 5891 §4.2.3.1; once encoded the hyphen would stand inside. The other three are UTS 46's full stops.
  if (/(?:^|[.\u3002\uff0e\uff61])-|-(?:$|[.\u3002\uff0e\uff61])/.test(domain)) return undefined;
  return URL.parse(`http://${domain}`)?.host;
}

/** An address literal (RFC 5321 §4.1.3), lower case and, for IPv6, in the one spelling of RFC 5952. */
function readLiteral(text: string): string | BadPath {
  const invalid = bad("domain", "The address literal is not valid");
  if (!text.endsWith("]")) return invalid;
  const inside = text.slice(1, -1);
  if (ipv4.test(inside)) return text;
  if (!/^[Ii][Pp][Vv]6:/.test(inside)) return invalid;
  const address = inside.slice(5);
  return isIpv6(address) ? `[ipv6:${new URL(`http://[${address}]`).host.slice(1)}` : invalid;
}

/** IPv6-addr of RFC 5321 §4.1.3, where "::" stands for two groups or more. */
function isIpv6(text: string): boolean {
  const halves = text.split("::");
  if (halves.length > 2) return false;
  let groups = 0;
  for (const [which, half] of halves.entries()) {
    if (half === "" && halves.length === 2) continue;
    const parts = half.split(":");
    const last = parts.at(-1) ?? "";
    const isTail = which === halves.length - 1;
    if (isTail && last.includes(".")) {
      if (!ipv4.test(last)) return false;
      parts.pop();
      groups += 2;
    }
    if (!parts.every((group) => /^[0-9A-Fa-f]{1,4}$/.test(group))) return false;
    groups += parts.length;
  }
  return halves.length === 2 ? groups <= 6 : groups === 8;
}
