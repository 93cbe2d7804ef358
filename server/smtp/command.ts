/** Command lines (RFC 5321 §4.1.1): a verb and its argument. */

/** The verbs the core knows. */
export const verbs = [
  "EHLO",
  "HELO",
  "LHLO",
  "MAIL",
  "RCPT",
  "DATA",
  "BDAT",
  "RSET",
  "NOOP",
  "VRFY",
  "EXPN",
  "HELP",
  "QUIT",
  "STARTTLS",
  "AUTH",
  "XCLIENT",
] as const;
/** One of {@linkcode verbs}. */
export type Verb = typeof verbs[number];

/** Verbs that are known to be refused: RFC 5321 §F.1–F.6 obsoletes them. */
export const obsolete: ReadonlySet<string> = new Set(["TURN", "SEND", "SOML", "SAML"]);

/** A command line, taken apart. */
export type Command =
  | { readonly kind: "command"; readonly verb: string; readonly argument: string; readonly ascii: boolean }
  /** The verb is no ASCII word (`STARTTLſ`): 500. */
  | { readonly kind: "no-verb" }
  /** The argument holds control bytes, or is no UTF-8: 501. */
  | { readonly kind: "bad-argument" }
  /** Another protocol speaks: HTTP, a header line, a TLS ClientHello (CASES C07). */
  | { readonly kind: "foreign" };

const known: ReadonlySet<string> = new Set(verbs);
const foreign = /^(?:(?:GET|POST|PUT|HEAD|OPTIONS|CONNECT|DELETE|PATCH|TRACE|PRI) |[!-9;-~]+:)/i;
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Octets allowed in the line that begins with these bytes, CRLF included (RFC 5321 §4.5.3.1.4, RFC 4954 §4, CASES C04). */
export function lineLimit(bytes: Uint8Array): number {
  switch ((bytes[0] ?? 0) & 0xdf) {
    case 0x4d: // MAIL, RCPT: room for extensions' parameters
    case 0x52:
    case 0x58: // XCLIENT: eight attributes, each of 255 octets in xtext
      return 2048;
    case 0x41: // AUTH with an initial response
      return 12_288;
    default:
      return 512;
  }
}

/** Whether a line that starts so is a TLS record: there will be no CRLF to wait for. */
export const isClientHello = (bytes: Uint8Array): boolean => bytes[0] === 0x16;

/** Takes a line (without CRLF) apart. The verb comes back in upper case, trailing spaces of the argument cut (CASES C10). */
export function parseCommand(bytes: Uint8Array): Command {
  let text = "";
  let ascii = true, control = false;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i]!;
    if (byte > 126 || byte < 32) {
      if (byte > 127) ascii = false;
      else if (byte !== 9) control = true; // a TAB is white space to old clients
    }
  }
  try {
    // Calling the decoder costs more than all else here.
    text = ascii ? String.fromCharCode.apply(null, bytes as unknown as number[]) : utf8.decode(bytes);
  } catch { // the verb may still be one of ours: look at it byte by byte
    text = String.fromCharCode(...bytes.subarray(0, 16));
    control = true;
  }
  const found = /^([A-Za-z][A-Za-z0-9-]*)(?:[ \t]+|$)/.exec(text);
  const verb = found?.[1]?.toUpperCase() ?? "";
  if (!known.has(verb) && foreign.test(text)) return { kind: "foreign" };
  if (!found) return { kind: "no-verb" };
  if (control || (!ascii && /[\x80-\x9f\u2028\u2029]/.test(text))) return { kind: "bad-argument" };
  return {
    kind: "command",
    verb,
    argument: trimEnd(text.slice(found[0].length)),
    ascii,
  };
}

/** Without the spaces and TABs at the end; `String.trimEnd` takes Unicode's as well, which may belong to an address. */
function trimEnd(text: string): string {
  let end = text.length;
  while (end > 0 && (text[end - 1] === " " || text[end - 1] === "\t")) end--;
  return text.slice(0, end);
}
