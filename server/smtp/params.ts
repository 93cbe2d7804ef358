/**
 * The parameters of MAIL and RCPT: SIZE (RFC 1870), BODY (6152), SMTPUTF8 (6531), AUTH (4954 §5), and RET, ENVID, NOTIFY, ORCPT
 * (3461 §4). Keywords are matched as ASCII; a value is checked here, so that nothing behind this file has to.
 */

/** The EHLO keywords that bring parameters; only what was offered may be used. */
export type ParamExtension = "SIZE" | "8BITMIME" | "SMTPUTF8" | "DSN" | "AUTH";

/** A report's conditions: never, or those in the list (RFC 3461 §4.1). */
export type Notify = "NEVER" | readonly ("SUCCESS" | "FAILURE" | "DELAY")[];

/** The recipient's original address (RFC 3461 §4.2), `+XX` decoded: printable, without any line end. */
export interface OriginalRecipient {
  /** The address type, as given: mostly `rfc822`. */
  readonly type: string;
  readonly address: string;
}

/** MAIL's parameters, read. */
export interface MailParams {
  readonly kind: "params";
  /** Keyword in upper case → value as given, `""` where there is none. */
  readonly params: ReadonlyMap<string, string>;
  /** Octets of the message as the client estimates them. */
  readonly size?: number;
  readonly body?: "7BIT" | "8BITMIME";
  readonly smtputf8: boolean;
  readonly ret?: "FULL" | "HDRS";
  /** The envelope id, decoded: printable ASCII. */
  readonly envid?: string;
  /** Who submitted it, decoded; `<>` for unknown. It is a claim: worth nothing from a client that isn't trusted. */
  readonly auth?: string;
}

/** RCPT's parameters, read. */
export interface RcptParams {
  readonly kind: "params";
  /** Keyword in upper case → value as given, `""` where there is none. */
  readonly params: ReadonlyMap<string, string>;
  readonly notify?: Notify;
  readonly orcpt?: OriginalRecipient;
}

/**
 * Parameters that are refused: `unknown` is 555 5.5.4 (RFC 5321 §4.1.1.11), the others 501 5.5.4. `text` names the
 * parameter: its keyword or, where that is malformed, which one it is (`number 2`). Nothing else of the peer's is repeated.
 */
export interface BadParams {
  readonly kind: "bad";
  readonly problem: "syntax" | "unknown" | "repeated" | "value";
  readonly text: string;
}

const all: ReadonlySet<ParamExtension> = new Set(["SIZE", "8BITMIME", "SMTPUTF8", "DSN", "AUTH"]);

type Mail = Omit<MailParams, "kind" | "params">;
type Rcpt = Omit<RcptParams, "kind" | "params">;

/** What brings a keyword, and what its value says; `undefined` when the value is not valid. */
interface Reader<T> {
  readonly needs: ParamExtension;
  readonly read: (value: string) => Partial<T> | undefined;
}

// esmtp-keyword and esmtp-value of RFC 5321 §4.1.2; values may hold non-ASCII since RFC 6531 §3.3.
// The length is ours: the keyword goes into a reply.
const keywordSyntax = /^[A-Za-z0-9][A-Za-z0-9-]{0,63}$/;
const asciiValue = /^[!-<>-~]+$/;
const utf8Value = /^[!-<>-~\u00a0-\uffff]+$/;

const mailReaders = new Map<string, Reader<Mail>>([
  // Beyond 2^53 the number is inexact, and far over any limit.
  ["SIZE", {
    needs: "SIZE",
    read: (value) => /^[0-9]{1,20}$/.test(value) ? { size: Number(value) } : undefined,
  }],
  ["BODY", { needs: "8BITMIME", read: readBody }],
  ["SMTPUTF8", { needs: "SMTPUTF8", read: (value) => value === "" ? { smtputf8: true } : undefined }],
  ["RET", { needs: "DSN", read: readRet }],
  ["ENVID", { needs: "DSN", read: readEnvid }],
  ["AUTH", { needs: "AUTH", read: readAuth }],
]);

const rcptReaders = new Map<string, Reader<Rcpt>>([
  ["NOTIFY", { needs: "DSN", read: readNotify }],
  ["ORCPT", { needs: "DSN", read: readOriginalRecipient }],
]);

/**
 * Reads what follows MAIL's path.
 *
 * @param rest The text behind the path, as {@linkcode parsePath} leaves it.
 * @param offered What EHLO offered on this session, nothing after HELO; left out: all there are.
 */
export function parseMailParams(
  rest: string,
  offered: ReadonlySet<ParamExtension> = all,
): MailParams | BadParams {
  const params = new Map<string, string>();
  const found = read(rest, offered, mailReaders, params, { utf8: false });
  return "kind" in found ? found : { kind: "params", params, smtputf8: false, ...found };
}

/**
 * Reads what follows RCPT's path.
 *
 * @param rest The text behind the path, as {@linkcode parsePath} leaves it.
 * @param offered What EHLO offered on this session, nothing after HELO; left out: all there are.
 * @param how `utf8`: MAIL said SMTPUTF8, so that `ORCPT=utf-8;…` may be written as it is (RFC 6533 §3).
 */
export function parseRcptParams(
  rest: string,
  offered: ReadonlySet<ParamExtension> = all,
  how: { utf8: boolean } = { utf8: false },
): RcptParams | BadParams {
  const params = new Map<string, string>();
  const found = read(rest, offered, rcptReaders, params, how);
  return "kind" in found ? found : { kind: "params", params, ...found };
}

/** Splits, checks and reads each parameter; runs of spaces count as one, tabs are no separators. */
function read<T extends object>(
  rest: string,
  offered: ReadonlySet<ParamExtension>,
  readers: ReadonlyMap<string, Reader<T>>,
  params: Map<string, string>,
  how: { utf8: boolean },
): Partial<T> | BadParams {
  const found: Partial<T> = {};
  for (let start = 0, end; start < rest.length; start = end + 1) {
    end = rest.indexOf(" ", start);
    if (end < 0) end = rest.length;
    if (end === start) continue;
    const word = rest.slice(start, end);
    const equals = word.indexOf("=");
    const name = equals < 0 ? word : word.slice(0, equals);
    const value = equals < 0 ? "" : word.slice(equals + 1);
    // Tested before the change of case: "ſ".toUpperCase() is "S".
    if (!keywordSyntax.test(name)) {
      return { kind: "bad", problem: "syntax", text: `number ${params.size + 1}` };
    }
    const keyword = name.toUpperCase();
    const bad = (problem: BadParams["problem"]): BadParams => ({ kind: "bad", problem, text: keyword });
    if (equals >= 0 && !(how.utf8 ? utf8Value : asciiValue).test(value)) return bad("syntax");
    if (params.has(keyword)) return bad("repeated");
    const reader = readers.get(keyword);
    if (reader === undefined || !offered.has(reader.needs)) return bad("unknown");
    const what = reader.read(value);
    if (what === undefined) return bad("value");
    Object.assign(found, what);
    params.set(keyword, value);
  }
  return found;
}

/** Upper case of ASCII text; anything else stays what it is, and so matches nothing. */
function upper(text: string): string {
  return /^[!-~]*$/.test(text) ? text.toUpperCase() : text;
}

function readBody(value: string): Partial<Mail> | undefined {
  const body = upper(value);
  return body === "7BIT" || body === "8BITMIME" ? { body } : undefined; // BINARYMIME (RFC 3030) is not offered
}

function readRet(value: string): Partial<Mail> | undefined {
  const ret = upper(value);
  return ret === "FULL" || ret === "HDRS" ? { ret } : undefined;
}

function readEnvid(value: string): Partial<Mail> | undefined {
  const envid = value.length <= 100 ? decodeXtext(value) : undefined; // RFC 3461 §4.4
  return envid ? { envid } : undefined;
}

function readAuth(value: string): Partial<Mail> | undefined {
  const auth = value.length <= 500 ? decodeXtext(value) : undefined; // RFC 4954 §5
  return auth ? { auth } : undefined;
}

function readNotify(value: string): Partial<Rcpt> | undefined {
  const list = upper(value).split(",");
  if (list.length === 1 && list[0] === "NEVER") return { notify: "NEVER" };
  const notify: ("SUCCESS" | "FAILURE" | "DELAY")[] = [];
  for (const word of list) {
    if (word !== "SUCCESS" && word !== "FAILURE" && word !== "DELAY") return undefined;
    if (notify.includes(word)) return undefined;
    notify.push(word);
  }
  return { notify };
}

/** `addr-type ";" xtext` (RFC 3461 §4.2); of type `utf-8` also as unitext (RFC 6533 §3), which is kept as it is. */
function readOriginalRecipient(value: string): Partial<Rcpt> | undefined {
  const [type = ""] = value.split(";", 1);
  if (!/^[A-Za-z0-9!#$%&'*+\-/?^_`{|}~]+$/.test(type) || type === value) return undefined;
  if (new TextEncoder().encode(value).length > 500) return undefined;
  const text = value.slice(type.length + 1);
  const address = /^[Uu][Tt][Ff]-8$/.test(type) ? decodeUnitext(text) : decodeXtext(text);
  return address ? { orcpt: { type, address } } : undefined;
}

const xtext = /^(?:[!-*,-<>-~]|\+[0-9A-F]{2})*$/;
const unitext = /^(?:[!-*,-<>-~\u00a0-\uffff]|\+[0-9A-F]{2})*$/;

/**
 * Decodes xtext (RFC 3461 §4): "+" and two upper-case digits are one octet.
 *
 * @returns `undefined` when it is malformed, or would hold anything but printable ASCII: what is decoded here ends up
 *   in headers of bounces, and may never begin a line there (CASES N01).
 */
export function decodeXtext(text: string): string | undefined {
  return xtext.test(text) ? decodeHex(text) : undefined;
}

/** Encodes printable ASCII as xtext, for what is sent on; anything else becomes "?". */
export function encodeXtext(text: string): string {
  return text.replaceAll(/[^!-*,-<>-~]/gu, (char) => {
    const code = char.charCodeAt(0);
    return code >= 0x20 && code < 0x7f ? `+${code.toString(16).toUpperCase()}` : "?";
  });
}

function decodeUnitext(text: string): string | undefined {
  return unitext.test(text) && text.isWellFormed() ? decodeHex(text) : undefined;
}

function decodeHex(text: string): string | undefined {
  if (!text.includes("+")) return text;
  let printable = true;
  const decoded = text.replaceAll(/\+(..)/g, (_, hex: string) => {
    const code = parseInt(hex, 16);
    if (code < 0x20 || code > 0x7e) printable = false;
    return String.fromCharCode(code);
  });
  return printable ? decoded : undefined;
}
