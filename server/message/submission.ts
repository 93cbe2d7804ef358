/** What the server itself does to the header of a message that arrives, before plugins see it. */
import { parseDomain } from "../smtp/address.ts";
import type { EditedHeader } from "./edits.ts";
import { asciiLower } from "./header.ts";
import { messageId, rfc5322Date } from "./received.ts";

/**
 * Makes a submitted message complete (RFC 6409 §8): adds `Date` and `Message-ID` where they are missing, and removes
 * `Bcc` (CASES D08), which is between the author and the server.
 *
 * @param header What is edited.
 * @param by Our name, the time in milliseconds since 1970, and where random octets come from.
 */
export function completeSubmission(
  header: EditedHeader,
  by: { hostname: string; now: number; random?: (octets: Uint8Array<ArrayBuffer>) => void },
): void {
  header.remove("Bcc");
  header.remove("Resent-Bcc");
  if (header.get("Date") === undefined) header.insert(Infinity, "Date", rfc5322Date(by.now));
  if (header.get("Message-ID") === undefined) {
    header.insert(Infinity, "Message-ID", messageId(by.hostname, by.now, by.random));
  }
}

/** Removes results of authentication that somebody else wrote in our name (RFC 8601 §5). Returns how many there were. */
export function removeForgedResults(header: EditedHeader, hostname: string): number {
  return header.remove("Authentication-Results", (value) => claimsOurName(value, hostname));
}

/**
 * Whether an `Authentication-Results` field claims to be this server's, by its authserv-id (RFC 8601 §2.2). One that can't be
 * read claims it when our name stands anywhere in it: its reader may be less strict than we are.
 *
 * @param value The field's value, unfolded.
 * @param hostname Our name, as a domain or an address literal.
 */
export function claimsOurName(value: string, hostname: string): boolean {
  const name = authservId(value);
  if (name === undefined) return asciiLower(value).includes(asciiLower(hostname));
  return canonical(name) === canonical(hostname);
}

function canonical(name: string): string {
  const domain = name.endsWith(".") ? name.slice(0, -1) : name;
  return parseDomain(domain) ?? asciiLower(domain);
}

/** The token or quoted string (RFC 2045 §5.1) behind comments and white space; `undefined` where there is none. */
function authservId(value: string): string | undefined {
  const start = skipComments(value);
  if (start === undefined) return undefined;
  if (value[start] === '"') return readQuoted(value, start + 1);
  const token = /[^\0- \x7f()<>@,;:\\"/[\]?=]+/y;
  token.lastIndex = start;
  return token.exec(value)?.[0];
}

/** Where the first thing stands that is neither white space nor in a comment (RFC 5322 §3.2.2). */
function skipComments(value: string): number | undefined {
  let depth = 0;
  for (let at = 0; at < value.length; at++) {
    const char = value[at];
    if (depth === 0 && char !== "(" && char !== " " && char !== "\t") return at;
    if (char === "(") depth++;
    if (char === ")") depth--;
    if (char === "\\") at++;
  }
  return undefined;
}

function readQuoted(value: string, start: number): string | undefined {
  let text = "";
  for (let at = start; at < value.length; at++) {
    if (value[at] === '"') return text;
    if (value[at] === "\\") at++;
    text += value[at] ?? "";
  }
  return undefined;
}
