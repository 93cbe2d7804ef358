/**
 * Delivery status notifications (RFC 3464): what became of a message, in words for its sender, in fields for their mail
 * program, with the message or its header attached. Pure: octets in, octets out.
 */
import { makeField } from "./field.ts";
import { type DsnTexts, fillText, recipientText } from "./dsn_text.ts";
import { rfc5322Date } from "./received.ts";
import { concat } from "./render.ts";

/** What a notification is about. */
export type DsnKind = "failure" | "delay" | "success";

/** What became of one recipient. */
export interface DsnRecipient {
  /** The address as the sender gave it: where an alias leads is nobody's business. */
  readonly address: string;
  /** ORCPT, decoded (RFC 3461 §4.2). */
  readonly orcpt?: { readonly type: string; readonly address: string };
  /** RFC 3464 §2.3.3. */
  readonly action: "failed" | "delayed" | "delivered" | "relayed";
  /** RFC 3463. */
  readonly status: string;
  /** What was said, by the peer or by a transport of ours. Anything may stand in it: it is escaped and cut here. */
  readonly reply: string;
  /** The host that said it; absent where nobody else was asked. */
  readonly host?: string;
  /** Milliseconds since 1970. */
  readonly lastAttempt: number;
  /** Milliseconds since 1970; of delays. */
  readonly retryUntil?: number;
}

/** What a notification is made of. */
export interface DsnParts {
  readonly kind: DsnKind;
  readonly hostname: string;
  /** The sender of the message, who gets this. */
  readonly to: string;
  /** Milliseconds since 1970. */
  readonly now: number;
  /** With its angle brackets. */
  readonly messageId: string;
  /** Random enough not to stand in the attached message: 70 characters at most (RFC 2046 §5.1.1). */
  readonly boundary: string;
  /** Decoded (RFC 3461 §4.4). */
  readonly envid?: string;
  /** When the message was accepted, milliseconds since 1970. */
  readonly arrival: number;
  /** The message was sent under SMTPUTF8, so that its sender can read RFC 6533's forms. */
  readonly utf8: boolean;
  readonly recipients: readonly DsnRecipient[];
  /** Absent where the message can't be read any more. */
  readonly original?: { readonly part: "message" | "headers"; readonly octets: Uint8Array<ArrayBuffer> };
  readonly texts: DsnTexts;
}

/** UTF-16 units of a reply that are shown (CASES O08). */
const longestReply = 1024;
/** Longer words are broken: a folded line may have 998 octets (RFC 5322 §2.1.1), and a character has up to 4. */
const longWord = /[^ ]{240}(?=[^ ])/gu;
const encoder = new TextEncoder();

/** The whole message, header and all, with CRLF line ends. */
export function makeDsn(parts: DsnParts): Uint8Array<ArrayBuffer> {
  const status = statusFields(parts);
  const original = parts.original && originalPart(parts, parts.original.octets);
  const global = isGlobal(parts);
  const human = humanPart(parts);
  const eightBit = !isAscii(status) || (original !== undefined && !original.ascii);
  const { boundary } = parts;
  const open = (type: string, encoding: string) =>
    `--${boundary}\r\nContent-Type: ${type}\r\nContent-Transfer-Encoding: ${encoding}\r\n\r\n`;
  const pieces = [
    encoder.encode(
      header(parts, global, eightBit) +
        open("text/plain; charset=utf-8", human.encoding) + human.text + "\r\n" +
        open(`message/${global ? "global-" : ""}delivery-status`, isAscii(status) ? "7bit" : "8bit") +
        status +
        "\r\n" + (original ? open(original.type, original.ascii ? "7bit" : "8bit") : ""),
    ),
  ];
  if (parts.original) pieces.push(parts.original.octets);
  pieces.push(encoder.encode(`${original ? "\r\n" : ""}--${boundary}--\r\n`));
  return concat(pieces);
}

function header(parts: DsnParts, global: boolean, eightBit: boolean): string {
  const { hostname, to, now, messageId, boundary, kind, texts } = parts;
  const type = global ? "global-delivery-status" : "delivery-status"; // the second part's subtype (RFC 6522 §3)
  return makeField("Date", rfc5322Date(now)) +
    makeField("From", `Mail Delivery System <MAILER-DAEMON@${hostname}>`) +
    makeField("To", `<${to}>`) +
    makeField("Message-ID", messageId) +
    makeField("Subject", encodeWords(fillText(texts[kind].subject, parts, shownReply))) +
    makeField("Auto-Submitted", "auto-replied") + // RFC 3834 §5
    makeField("MIME-Version", "1.0") +
    `Content-Type: multipart/report; report-type=${type};\r\n boundary="${boundary}"\r\n` +
    (eightBit ? "Content-Transfer-Encoding: 8bit\r\n" : "") +
    "\r\nThis is a report in MIME format (RFC 3464).\r\n\r\n";
}

function humanPart(parts: DsnParts): { text: string; encoding: string } {
  const text = fillText(parts.texts[parts.kind].text, parts, shownReply).replaceAll(/\r?\n/g, "\r\n");
  const whole = text.endsWith("\r\n") ? text : `${text}\r\n`;
  if (isAscii(whole) && whole.split("\r\n").every((line) => line.length < 900)) {
    return { text: whole, encoding: "7bit" };
  }
  return { text: quotedPrintable(whole), encoding: "quoted-printable" };
}

// ── The fields ─────────────────────────────────────────────────────────────────────────────────────

/** The body of message/delivery-status (RFC 3464 §2), or of its UTF-8 twin (RFC 6533 §3). */
function statusFields(parts: DsnParts): string {
  const { envid, hostname, arrival, recipients } = parts;
  const global = isGlobal(parts);
  let fields = envid === undefined ? "" : makeField("Original-Envelope-Id", printable(envid, false));
  fields += makeField("Reporting-MTA", `dns; ${hostname}`);
  fields += makeField("Arrival-Date", rfc5322Date(arrival));
  for (const recipient of recipients) fields += `\r\n${recipientFields(recipient, global)}`;
  return fields;
}

function recipientFields(recipient: DsnRecipient, global: boolean): string {
  const { address, orcpt, action, status, host, reply, lastAttempt, retryUntil } = recipient;
  let fields = "";
  if (orcpt) fields += makeField("Original-Recipient", typed(orcpt.type, orcpt.address, global));
  fields += makeField("Final-Recipient", typed("rfc822", address, global));
  fields += makeField("Action", action);
  fields += makeField("Status", status);
  if (host !== undefined) fields += makeField("Remote-MTA", `dns; ${printable(nameOf(host), false)}`);
  if (reply !== "") {
    // A peer's words are SMTP's (RFC 3464 §2.3.6); what we say ourselves is not.
    const type = host !== undefined && /^[245][0-9]{2}(?:[ -]|$)/.test(reply) ? "smtp" : "x-postrider";
    fields += makeField("Diagnostic-Code", `${type}; ${printable(reply, global)}`);
  }
  fields += makeField("Last-Attempt-Date", rfc5322Date(lastAttempt));
  if (retryUntil !== undefined) fields += makeField("Will-Retry-Until", rfc5322Date(retryUntil));
  return fields;
}

/** `mx.example.org[192.0.2.1]:25` → its name, where it has one; else the address as RFC 3464 wants it, without the port. */
function nameOf(host: string): string {
  const bracket = host.indexOf("[");
  return bracket > 0 ? host.slice(0, bracket) : host.replace(/\]:[0-9]+$/, "]");
}

/** RFC 6533's forms are for who sent under SMTPUTF8, and only where something has no other form. */
function isGlobal({ utf8, recipients }: DsnParts): boolean {
  return utf8 &&
    recipients.some(({ address, orcpt, reply }) =>
      !isAscii(address) || !isAscii(reply) || (orcpt !== undefined && !isAscii(orcpt.address))
    );
}

/** `rfc822; a@example.org`; what isn't ASCII is `utf-8`, escaped as RFC 6533 §3 has it where the report is ASCII. */
function typed(type: string, address: string, global: boolean): string {
  if (isAscii(address)) return `${type}; ${printable(address, false)}`;
  return `utf-8; ${global ? printable(address, true) : escapeNonAscii(printable(address, true))}`;
}

function shownReply(recipient: DsnRecipient, utf8: boolean): string {
  const { host, reply } = recipient;
  const shown = host === undefined ? recipient : { ...recipient, host: printable(host, utf8) };
  return recipientText(shown, printable(reply, utf8));
}

/**
 * Text of a stranger's as one line that can't break out of its place: control characters escaped, cut at 1,024, no word so long
 * that a line could not be folded.
 */
export function printable(text: string, utf8: boolean): string {
  const cut = text.length > longestReply
    ? `${text.slice(0, longestReply).toWellFormed()}...`
    : text.toWellFormed();
  const oneLine = cut.replaceAll(/[ \t]*\r?\n[ \t]*/g, " ").replaceAll(
    /[\p{Cc}\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/gu,
    (control) => `\\x${control.charCodeAt(0).toString(16).padStart(2, "0")}`,
  );
  const shown = utf8 ? oneLine : escapeNonAscii(oneLine);
  // A folded line begins with all the blanks in front of its first word.
  return shown.replaceAll(/ {9,}/g, " ").replaceAll(longWord, "$& ");
}

/** `\x{E9}` (RFC 6533 §3, utf-8-addr-xtext). */
function escapeNonAscii(text: string): string {
  return text.replaceAll(/[^\0-\x7f]/gu, (one) => `\\x{${one.codePointAt(0)!.toString(16).toUpperCase()}}`);
}

// ── The message that is returned ───────────────────────────────────────────────────────────────────

function originalPart({ original, utf8 }: DsnParts, octets: Uint8Array): { type: string; ascii: boolean } {
  const ascii = !octets.some((octet) => octet > 0x7f || octet === 0);
  const global = utf8 && !ascii;
  if (original!.part === "message") return { type: global ? "message/global" : "message/rfc822", ascii };
  return { type: global ? "message/global-headers" : "text/rfc822-headers", ascii };
}

// ── Encodings ──────────────────────────────────────────────────────────────────────────────────────

function isAscii(text: string): boolean {
  return /^[\0-\x7f]*$/.test(text);
}

/** A header's value as RFC 2047 §2 has it, where it isn't ASCII: encoded words of at most 75 characters. */
function encodeWords(text: string): string {
  if (isAscii(text)) return text;
  const words: string[] = [];
  let word = "";
  for (const character of text) {
    if (encoder.encode(word + character).length > 45) {
      words.push(word);
      word = "";
    }
    word += character;
  }
  return [...words, word].map((part) => `=?utf-8?B?${encoder.encode(part).toBase64()}?=`).join(" ");
}

/** RFC 2045 §6.7. */
function quotedPrintable(text: string): string {
  return text.split("\r\n").map((line) => {
    let out = "";
    let column = 0;
    const octets = encoder.encode(line);
    for (const [i, octet] of octets.entries()) {
      const blankAtEnd = (octet === 0x20 || octet === 0x09) && i === octets.length - 1;
      const plain = octet >= 0x20 && octet < 0x7f && octet !== 0x3d && !blankAtEnd;
      const piece = plain
        ? String.fromCharCode(octet)
        : `=${octet.toString(16).toUpperCase().padStart(2, "0")}`;
      if (column + piece.length > 75) {
        out += "=\r\n";
        column = 0;
      }
      out += piece;
      column += piece.length;
    }
    return out;
  }).join("\r\n");
}
