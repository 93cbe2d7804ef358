/** The trace field that each server puts on top (RFC 5321 §4.4), and the dates and identifiers that header fields hold. */
import type { HeaderSection } from "./header.ts";

/** What `Received` tells about a message's way here. */
export interface ReceivedOptions {
  /** The argument of EHLO, HELO or LHLO; `undefined` where there was no client: our own mail. */
  readonly helo: string | undefined;
  /** The client's IP address as canonical text; anything else (`"unix"`) is left out. */
  readonly address: string;
  /** Our own name. */
  readonly hostname: string;
  /** How it came in: LMTP, SMTP after EHLO, SMTP after HELO; `internal` is left out. */
  readonly protocol: "lmtp" | "esmtp" | "smtp" | "internal";
  /** Whether MAIL asked for SMTPUTF8. */
  readonly utf8: boolean;
  readonly tls: { readonly version: string; readonly cipher: string } | undefined;
  /** Whether the client has logged in. As whom is not told: it would be in every copy. */
  readonly authenticated: boolean;
  /** The queue id. */
  readonly id: string;
  /** The addresses as given. Shown where it is one: two would disclose blind copies (RFC 5321 §7.2). */
  readonly recipients: readonly string[];
  /** Milliseconds since 1970. */
  readonly now: number;
}

/** The trace field: raw lines, the last CRLF included. What the peer said can't break out of its place. */
export function received(options: ReceivedOptions): string {
  const { helo, hostname, tls, id, recipients } = options;
  const from = helo === undefined ? "" : `from ${safeHelo(helo)}${tcpInfo(options.address)}\r\n\t`;
  const kind = transmissionType(options);
  const how = `${kind && ` with ${kind}`}${
    tls ? ` (${safeText(tls.version)} cipher ${safeText(tls.cipher)})` : ""
  }`;
  const only = recipients.length === 1 ? recipients[0]! : "";
  const to = isShowable(only, options.utf8) ? ` for <${only}>` : "";
  return `Received: ${from}by ${hostname}${how}\r\n\tid ${id}${to};\r\n\t${rfc5322Date(options.now)}\r\n`;
}

/** The `with` of RFC 3848 and RFC 6531 §4.3; `""` of what has none. They have no word for TLS without EHLO. */
export function transmissionType(
  { protocol, utf8, tls, authenticated }: Pick<
    ReceivedOptions,
    "protocol" | "utf8" | "tls" | "authenticated"
  >,
): string {
  if (protocol === "internal") return "";
  if (protocol === "smtp") return "SMTP";
  const base = protocol === "lmtp" ? "LMTP" : utf8 ? "SMTP" : "ESMTP";
  return `${utf8 ? "UTF8" : ""}${base}${tls ? "S" : ""}${authenticated ? "A" : ""}`;
}

/** HELO may be any printable text (CASES C03); here it has to be a word, and may not hold a comment or a line's end. */
function safeHelo(helo: string): string {
  if (/^\[[A-Za-z0-9:.]{1,64}\]$/.test(helo)) return helo;
  return helo.slice(0, 255).replace(/[^A-Za-z0-9._-]/g, "?") || "unknown";
}

function safeText(text: string): string {
  return text.slice(0, 100).replace(/[^A-Za-z0-9._+-]/g, "?");
}

/** TCP-info of RFC 5321 §4.4: what we know, beside what the client claims. */
function tcpInfo(address: string): string {
  if (/^[0-9.]{7,15}$/.test(address)) return ` ([${address}])`;
  return /^[0-9A-Fa-f:.]{2,45}$/.test(address) ? ` ([IPv6:${address}])` : "";
}

function isShowable(address: string, utf8: boolean): boolean {
  return utf8 ? /^[ -~\u00a0-\uffff]+$/.test(address) : /^[ -~]+$/.test(address);
}

/**
 * A date as header fields hold it (RFC 5322 §3.3), in UTC.
 *
 * @param ms Milliseconds since 1970.
 * @throws {RangeError} when that is no time.
 */
export function rfc5322Date(ms: number): string {
  const date = new Date(ms);
  if (Number.isNaN(date.getTime())) throw new RangeError(`${ms} is not a time in milliseconds since 1970.`);
  return date.toUTCString().replace("GMT", "+0000");
}

/**
 * A new Message-ID (RFC 5322 §3.6.4), with its angle brackets.
 *
 * @param hostname The right side.
 * @param now Milliseconds since 1970.
 * @param random Fills the array with random octets.
 */
export function messageId(
  hostname: string,
  now: number,
  random: (octets: Uint8Array<ArrayBuffer>) => void = (octets) => crypto.getRandomValues(octets),
): string {
  const octets = new Uint8Array(12);
  random(octets);
  return `<${Math.trunc(now).toString(36)}.${octets.toHex()}@${hostname}>`;
}

/** How many servers it came through, for `limits.hops` (RFC 5321 §6.3, CASES D07). */
export function countReceived(header: HeaderSection): number {
  return header.find("received").length;
}
