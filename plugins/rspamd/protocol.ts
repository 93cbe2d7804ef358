/** rspamd's HTTP protocol (`POST /checkv2`): what it is told about a message, and what it says should become of it. */
import { isIP } from "node:net";
import { z } from "../../server/plugin.ts";

/** Who brings the message, as rspamd's rules want to know it. */
export interface Brought {
  /** An IP address; what is none came by a Unix socket. */
  readonly address: string;
  /** Its name, where name and address agree. */
  readonly name: string | undefined;
  readonly helo: string | undefined;
  /** `""` for bounces. */
  readonly sender: string;
  readonly recipients: readonly string[];
  /** Who logged in. */
  readonly user: string | undefined;
  readonly tls: { readonly version: string; readonly cipher: string } | undefined;
  readonly id: string;
}

/** What the operator adds to each request. */
export interface Asked {
  readonly password: string | undefined;
  /** The id of the settings to apply (`settings` of rspamd's configuration). */
  readonly settings: string | undefined;
}

/** The request's header. A field of several recipients holds them all: fetch joins them by commas, as rspamd reads them. */
export function requestHeaders(brought: Brought, { password, settings }: Asked): [string, string][] {
  const { address, name, helo, sender, recipients, user, tls, id } = brought;
  const [only, other] = recipients;
  const fields: [string, string | undefined][] = [
    ["IP", isIP(address) === 0 ? undefined : address],
    ["Hostname", name],
    ["Helo", helo],
    ["From", sender || "<>"],
    ...recipients.map((one) => ["Rcpt", one] as [string, string]),
    // Whose statistics and settings count, where it is one person's mail.
    ["Deliver-To", other === undefined ? only : undefined],
    ["User", user],
    ["TLS-Version", tls?.version],
    ["TLS-Cipher", tls?.cipher],
    ["Queue-Id", id],
    ["Settings-ID", settings],
    ["Password", password],
  ];
  return fields.flatMap(([field, value]) => value === undefined ? [] : [[field, fieldText(value)]]);
}

const utf8 = new TextEncoder();

/** A field holds octets, given as a letter each; a control character would end it, or be refused by fetch. */
function fieldText(text: string): string {
  // deno-lint-ignore no-control-regex -- those are meant
  const clean = text.slice(0, 2000).replace(/[\x00-\x1f\x7f]/g, "?");
  return Array.from(utf8.encode(clean), (octet) => String.fromCharCode(octet)).join("");
}

/** What rspamd wants done. `none` is its "no action"; a custom action is one that only its operator can mean something by. */
export type Action =
  | "none"
  | "greylist"
  | "add header"
  | "rewrite subject"
  | "quarantine"
  | "soft reject"
  | "reject"
  | "discard"
  | "custom";

/** What rspamd makes of a message. */
export interface Judged {
  readonly action: Action;
  /** The action as it was written. */
  readonly named: string;
  readonly score: number;
  /** The score from which rspamd refuses. */
  readonly required: number;
  /** The rules that matched, the weightiest first. */
  readonly symbols: readonly { readonly name: string; readonly score: number }[];
  /** What the client is to be told; one line of printable ASCII. */
  readonly reply: string | undefined;
  /** What the subject becomes. */
  readonly subject: string | undefined;
  readonly edits: readonly HeaderEdit[];
}

/**
 * One change of the header. `at`: before which field, counted from 0 on top; negative: below all; absent: nobody said. `nth`: which
 * of those of its name, see {@linkcode indexOf}; 0: all of them.
 */
export type HeaderEdit =
  | { readonly kind: "add"; readonly name: string; readonly value: string; readonly at: number | undefined }
  | { readonly kind: "remove"; readonly name: string; readonly nth: number };

// A value with more keys than these is no error: rspamd tells more from version to version.
const added = z.union([
  z.string(),
  z.object({ value: z.string(), order: z.number().int().optional() }),
]);
const answer = z.object({
  action: z.string(),
  score: z.number(),
  required_score: z.number().nullish(),
  symbols: z.record(z.string(), z.object({ score: z.number().optional() })).optional(),
  messages: z.unknown().optional(),
  subject: z.string().optional(),
  milter: z.object({
    add_headers: z.record(z.string(), z.union([added, z.array(added)])).optional(),
    remove_headers: z.record(z.string(), z.union([z.number().int(), z.array(z.number().int())])).optional(),
  }).optional(),
});

const actions: Readonly<Record<string, Action>> = {
  "no action": "none",
  "greylist": "greylist",
  "add header": "add header",
  "rewrite subject": "rewrite subject",
  "quarantine": "quarantine",
  "soft reject": "soft reject",
  "reject": "reject",
  "discard": "discard",
};

/** @throws {Error} with what rspamd said, where that is no judgement. */
export function readJudgement(text: string): Judged {
  let said: z.output<typeof answer>;
  try {
    said = answer.parse(JSON.parse(text));
  } catch {
    throw new Error(`rspamd could not judge: ${JSON.stringify(text.slice(0, 200))}`);
  }
  const symbols = Object.entries(said.symbols ?? {})
    .filter(([name]) => /^[!-~]{1,100}$/.test(name))
    .map(([name, { score = 0 }]) => ({ name, score }))
    .sort((a, b) => Math.abs(b.score) - Math.abs(a.score));
  return {
    action: Object.hasOwn(actions, said.action) ? actions[said.action]! : "custom",
    named: said.action.slice(0, 100),
    score: said.score,
    required: said.required_score ?? 0,
    symbols,
    reply: replyText(said.messages),
    subject: said.subject === undefined ? undefined : oneLine(said.subject),
    edits: headerEdits(said.milter ?? {}),
  };
}

function replyText(messages: unknown): string | undefined {
  const text = typeof messages === "object" && messages !== null && "smtp_message" in messages
    ? messages.smtp_message
    : undefined;
  return typeof text === "string" && /^[ -~]{1,400}$/.test(text) ? text : undefined;
}

/** rspamd folds what it writes; here each field is one line, which is folded anew. */
function oneLine(text: string): string {
  return text.replace(/\r?\n[ \t]*/g, " ").replace(/[\r\0]/g, " ").trim();
}

type Milter = NonNullable<z.output<typeof answer>["milter"]>;

/** Removals come first, as rspamd means it: what it adds under a name replaces what others wrote under it. */
function headerEdits({ add_headers = {}, remove_headers = {} }: Milter): HeaderEdit[] {
  const isName = ([name]: [string, unknown]) => /^[!-9;-~]{1,255}$/.test(name);
  const removed = Object.entries(remove_headers).filter(isName).flatMap(([name, places]) =>
    [places].flat().map((nth) => ({ kind: "remove", name, nth } as const))
  );
  // The highest index first, or each removal would move those below it.
  removed.sort((a, b) => b.nth - a.nth);
  const put = Object.entries(add_headers).filter(isName).flatMap(([name, values]) =>
    [values].flat().map((one) => {
      const { value, order } = typeof one === "string" ? { value: one } : one;
      return { kind: "add", name, value: oneLine(value), at: order } as const;
    })
  );
  return [...removed, ...put];
}

/** The index, from 0, of the `nth` of so many fields: rspamd counts from 1, and from the end where it is negative. */
export function indexOf(nth: number, count: number): number | undefined {
  const index = nth > 0 ? nth - 1 : count + nth;
  return index >= 0 && index < count ? index : undefined;
}
