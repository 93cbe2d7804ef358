/**
 * The words of reports to senders: templates that an operator can change. In braces stands what a report fills in; every
 * placeholder works in each text, `{recipients}` not in a subject.
 */
import type { DsnKind, DsnParts, DsnRecipient } from "./dsn.ts";

/** One report's words. */
export interface DsnText {
  /** One line. */
  readonly subject: string;
  /** Lines of any length and any language; LF or CRLF. */
  readonly text: string;
}

/** The words of each kind of report. */
export type DsnTexts = { readonly [K in DsnKind]: DsnText };

/** What an operator gives: what is left out stays as it is. */
export type DsnTextChanges = { readonly [K in DsnKind]?: Partial<DsnText> };

/** What a text may ask for. */
export const placeholders = {
  hostname: "the name of this server",
  sender: "the sender of the message, who gets the report",
  recipients: "each recipient's address, with what was said about it",
  arrived: "when the message came here",
  age: "how long it has been here, in words: 4 hours",
  until: "until when it is tried, of delays",
} as const;

/** The words as they come. */
export const dsnTexts: DsnTexts = {
  failure: {
    subject: "Your message could not be delivered",
    text: `This is the mail server {hostname}.

Your message of {arrived} could not be delivered to:

{recipients}

It will not be tried again. If the address is right and the reason tells you
nothing, please pass this report on to your postmaster.
`,
  },
  delay: {
    subject: "Your message is delayed",
    text: `This is the mail server {hostname}.

Your message of {arrived} has been here for {age}, and could not be delivered
yet to:

{recipients}

You need not send it again: it will be tried until {until}.
`,
  },
  success: {
    subject: "Your message was delivered",
    text: `This is the mail server {hostname}.

Your message of {arrived}, for which you asked to be told, was delivered to:

{recipients}
`,
  },
};

/**
 * The words with an operator's changes.
 *
 * @returns The texts, or a sentence that says which of them asks for something that there is not.
 */
export function changeTexts(changes: DsnTextChanges): DsnTexts | string {
  for (const [kind, { subject, text }] of Object.entries(changes)) {
    if (/[\r\n\0]/.test(subject ?? "")) return `the subject of "${kind}" must be one line`;
    for (const [, name] of `${subject ?? ""} ${text ?? ""}`.matchAll(/\{([A-Za-z-]+)\}/g)) {
      if (name! in placeholders) continue;
      const known = Object.keys(placeholders).map((one) => `{${one}}`).join(" ");
      return `"${kind}" asks for {${name}}, which there is not: the placeholders are ${known}`;
    }
    if (subject?.includes("{recipients}")) return `the subject of "${kind}" has no room for {recipients}`;
  }
  const { failure, delay, success } = changes;
  return {
    failure: { ...dsnTexts.failure, ...failure },
    delay: { ...dsnTexts.delay, ...delay },
    success: { ...dsnTexts.success, ...success },
  };
}

/** Fills in a text; one pass, so that nothing a peer said is taken for a placeholder. */
export function fillText(
  text: string,
  parts: DsnParts,
  show: (recipient: DsnRecipient, utf8: boolean) => string,
): string {
  const { hostname, to, recipients, arrival, now, utf8 } = parts;
  return text.replaceAll(/\{([a-z]+)\}/g, (whole, name: string) => {
    switch (name) {
      case "hostname":
        return hostname;
      case "sender":
        return to;
      case "recipients":
        return recipients.map((recipient) => show(recipient, utf8)).join("\r\n\r\n");
      case "arrived":
        return day(arrival);
      case "age":
        return lengthOf(now - arrival);
      case "until":
        return day(Math.max(...recipients.map(({ retryUntil }) => retryUntil ?? now)));
      default:
        return whole;
    }
  });
}

/** A recipient as people read it: `<bob@example.org>: mx.example.org said:` and the reply, indented. */
export function recipientText({ address, host, action }: DsnRecipient, reply: string): string {
  const done = action === "delivered" || action === "relayed";
  const note = action === "relayed" ? " (handed on to a server that sends no such reports)" : "";
  if (done || reply === "") return `  <${address}>${note}`;
  const who = host === undefined ? "" : ` ${host} said`;
  return `  <${address}>:${who}\r\n${wrap(reply, "    ")}`;
}

function wrap(text: string, indent: string): string {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + word.length >= 72) {
      lines.push(line);
      line = "";
    }
    line += line === "" ? word : ` ${word}`;
  }
  return [...lines, line].map((one) => indent + one).join("\r\n");
}

/** `21 Nov 2026, 22:00 UTC`. */
function day(ms: number): string {
  const date = new Date(ms).toUTCString(); // Sat, 21 Nov 2026 22:00:00 GMT
  return `${date.slice(5, 16).replace(/^0/, "")}, ${date.slice(17, 22)} UTC`;
}

function lengthOf(ms: number): string {
  const [most, unit] = ms >= 2 * 864e5 ? [864e5, "day"] : ms >= 36e5 ? [36e5, "hour"] : [6e4, "minute"];
  const count = Math.max(1, Math.floor(ms / most));
  return `${count} ${unit}${count === 1 ? "" : "s"}`;
}
