/** The commands a client sends, and what the peer said to EHLO about them. Nothing here lets a CR or LF through (CASES O08). */
import { parseAddress } from "./address.ts";
import { encodeXtext, type Notify, type OriginalRecipient } from "./params.ts";

/** What the peer offers (RFC 5321 §4.1.1.1): nothing after HELO. */
export interface Offered {
  readonly pipelining: boolean;
  readonly eightBit: boolean;
  readonly utf8: boolean;
  readonly dsn: boolean;
  readonly chunking: boolean;
  readonly startTls: boolean;
  /** Octets a message may have; 0: it names no limit; `undefined`: SIZE isn't offered. */
  readonly size: number | undefined;
  /** SASL mechanisms, in upper case. */
  readonly auth: ReadonlySet<string>;
  /** The attributes of XCLIENT that it takes from us, in upper case; none: it isn't offered. */
  readonly xclient: ReadonlySet<string>;
  /** XFORWARD's likewise. */
  readonly xforward: ReadonlySet<string>;
}

/** What a peer offers that doesn't know EHLO. */
export const nothingOffered: Offered = {
  pipelining: false,
  eightBit: false,
  utf8: false,
  dsn: false,
  chunking: false,
  startTls: false,
  size: undefined,
  auth: new Set(),
  xclient: new Set(),
  xforward: new Set(),
};

/** Reads the reply to EHLO; its first line greets. Keywords in any case; lines that are none are passed over. */
export function readOffered(lines: readonly string[]): Offered {
  const found = new Map<string, string>();
  for (const line of lines.slice(1)) {
    // Old servers write "AUTH=LOGIN", also beside "AUTH LOGIN".
    const [, keyword, rest = ""] = /^([A-Za-z0-9][A-Za-z0-9-]*)(?:[ =](.*))?$/.exec(line.trimEnd()) ?? [];
    if (keyword === undefined) continue;
    const name = keyword.toUpperCase();
    found.set(name, `${found.get(name) ?? ""} ${rest}`);
  }
  const size = found.get("SIZE")?.trim();
  return {
    pipelining: found.has("PIPELINING"),
    eightBit: found.has("8BITMIME"),
    utf8: found.has("SMTPUTF8"),
    dsn: found.has("DSN"),
    chunking: found.has("CHUNKING"),
    startTls: found.has("STARTTLS"),
    size: size === undefined ? undefined : /^[0-9]{1,20}$/.test(size) ? Number(size) : 0,
    auth: wordsOf(found.get("AUTH")),
    xclient: wordsOf(found.get("XCLIENT")),
    xforward: wordsOf(found.get("XFORWARD")),
  };
}

const noWords: ReadonlySet<string> = new Set();

function wordsOf(text: string | undefined): ReadonlySet<string> {
  if (text === undefined) return noWords; // as of most keywords: readOffered runs for each connection
  return new Set(text.toUpperCase().split(" ").filter((word) => word !== ""));
}

/** One recipient of a transaction, with RCPT's parameters, decoded. */
export interface ClientRecipient {
  readonly address: string;
  /** The address the message was sent to, where it is another: the sender is told of that one (RFC 3461 §5.2.1). */
  readonly original?: string;
  readonly notify?: Notify | undefined;
  readonly orcpt?: OriginalRecipient | undefined;
}

/** What MAIL says besides the sender. */
export interface MailSays {
  /** Octets of the message; `undefined`: nobody knows yet. */
  readonly size: number | undefined;
  readonly eightBit: boolean;
  readonly utf8: boolean;
  readonly ret?: "FULL" | "HDRS" | undefined;
  readonly envid?: string | undefined;
}

/** MAIL with the parameters that the peer offered; `sender` is {@linkcode wireAddress}'s. */
export function mailCommand(sender: string, says: MailSays, offered: Offered): string {
  let command = `MAIL FROM:<${sender}>`;
  if (offered.size !== undefined && says.size !== undefined) command += ` SIZE=${says.size}`;
  // 8BITMIME may be said of content that needs it not, so nobody has to look whether it does.
  if (says.eightBit && offered.eightBit) command += " BODY=8BITMIME";
  if (says.utf8) command += " SMTPUTF8";
  if (offered.dsn && says.ret !== undefined) command += ` RET=${says.ret}`;
  if (offered.dsn && says.envid !== undefined) command += ` ENVID=${encodeXtext(says.envid)}`;
  return command + "\r\n";
}

/** RCPT likewise; `address` is {@linkcode wireAddress}'s. */
export function rcptCommand(
  address: string,
  { notify, orcpt, original }: ClientRecipient,
  offered: Offered,
): string {
  let command = `RCPT TO:<${address}>`;
  if (offered.dsn) {
    if (notify !== undefined) command += ` NOTIFY=${typeof notify === "string" ? notify : notify.join(",")}`;
    if (orcpt !== undefined) command += ` ORCPT=${orcptValue(orcpt)}`;
    else if (original !== undefined && original !== "" && original !== address) {
      command += ` ORCPT=${orcptValue({ type: isAscii(original) ? "rfc822" : "utf-8", address: original })}`;
    }
  }
  return command + "\r\n";
}

/** ORCPT in ASCII, whatever the address: of type `utf-8` the rest as `\x{…}` (RFC 6533 §3). */
function orcptValue({ type, address }: OriginalRecipient): string {
  if (!isAscii(address) && /^[Uu][Tt][Ff]-8$/.test(type)) {
    address = address.replaceAll(
      /[^\0-\x7f]/gu,
      (one) => `\\x{${one.codePointAt(0)!.toString(16).toUpperCase()}}`,
    );
  }
  return `${encodeXtext(type)};${encodeXtext(address)}`;
}

/** What becomes of an address on the wire. */
export type WireAddress =
  | { readonly kind: "sendable"; readonly text: string; readonly needsUtf8: boolean }
  /** It is none, or would break the command that it stands in. */
  | { readonly kind: "unsendable" };

/** The addresses nearly all are: no quotes, nothing that ends a path or a line. */
const plain = /^[!#-;=?-[\]-~]*$/;

/** An address as it is sent. A domain goes as A-labels, so that only a local part can need SMTPUTF8 (RFC 6531 §3.2). */
export function wireAddress(address: string): WireAddress {
  if (plain.test(address)) return { kind: "sendable", text: address, needsUtf8: false };
  const parsed = parseAddress(address);
  if (parsed === undefined) return { kind: "unsendable" };
  if (isAscii(address)) return { kind: "sendable", text: address, needsUtf8: false };
  const local = address.slice(0, address.lastIndexOf("@"));
  const needsUtf8 = !isAscii(local);
  return { kind: "sendable", text: needsUtf8 ? address : `${local}@${parsed.domain}`, needsUtf8 };
}

export function isAscii(text: string): boolean {
  return !/[^\0-\x7f]/.test(text);
}

/** The initial response of AUTH PLAIN (RFC 4616). */
export function plainResponse(user: string, password: string): string {
  return base64(`\0${user}\0${password}`);
}

/** UTF-8 in base64, as SASL's responses are. */
export function base64(text: string): string {
  return new TextEncoder().encode(text).toBase64();
}
