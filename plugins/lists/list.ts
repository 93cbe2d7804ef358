/** One mailing list: how an operator writes it, its addresses, and who may post to it. */
import { domainToASCII } from "node:url";
import { type Address, type Headers, path, type Reject, reject, z } from "../../server/plugin.ts";
import addressparser from "nodemailer/lib/addressparser/index.js";
import { fold, isDomain, isLocal, isSameAddress, join, split } from "../addresses.ts";
import { sqlOption } from "../directory/sql.ts";

/** Whether a text is a whole address. */
export function isAddress(text: string): boolean {
  const at = text.lastIndexOf("@");
  return at > 0 && isLocal(text.slice(0, at)) && isDomain(domainToASCII(text.slice(at + 1)));
}

/** An address with its domain in A-labels. */
export const written = (text: string): string =>
  `${text.slice(0, text.lastIndexOf("@"))}@${domainToASCII(text.slice(text.lastIndexOf("@") + 1))}`;

const address = z.string().refine(isAddress, "is not an address such as alice@example.org").transform(
  written,
);

/** `*@example.org`, too. */
const poster = z.string().refine((text) => isAddress(text.replace(/^\*@/, "x@")), {
  message: "is not an address such as alice@example.org, nor *@example.org",
}).transform(written);

const phrase = /^[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]+$/;

/** What stands in the URL for a member. */
const member = "{member}";

const unsubscribe = z.string().superRefine((text, context) => {
  const problem = (message: string) => context.addIssue({ code: "custom", message });
  const filled = text.replaceAll(member, "x");
  if (!/^(?:https?:\/\/[^/]|mailto:.)/.test(filled) || !URL.canParse(filled)) {
    problem("is neither a URL such as https://example.org/leave nor a mailto:");
  } else if (/[<>\s,\p{Cc}\P{ASCII}]/u.test(filled)) problem("has a character in it that belongs in no URL");
});

/** The option of one list. */
export const listOption = z.object({
  members: z.array(address).optional().describe("who gets what is posted: addresses"),
  file: path().optional().describe(
    "a YAML file of members, a list or one a line, instead; read again when it changes",
  ),
  sql: sqlOption.optional().describe(
    "an SQLite database with them: the first column of each row; `:address` is the list's",
  ),
  owners: z.array(address).min(1).describe("who is responsible: gets bounces, and mail for `-owner`"),
  post: z.enum(["members", "owners", "anyone"]).default("members").describe(
    "who may post: `members` and owners, `owners`, or `anyone`",
  ),
  allow: z.array(poster).default([]).describe("who may post besides: `alice@example.org`, `*@example.org`"),
  name: z.string().regex(phrase, "is not plain words, such as The team").optional().describe(
    "what people call it, in `List-Id`",
  ),
  prefix: z.string().regex(/^[\x21-\x7e](?:[\x20-\x7e]{0,60}[\x21-\x7e])?$/, "is not one short line of ASCII")
    .optional()
    .describe("stands before the subject, such as `[team]`; it breaks the authors' DKIM signatures"),
  replyTo: z.enum(["author", "list"]).default("author").describe("where answers go: `author`, or the `list`"),
  unsubscribe: unsubscribe.optional().describe(
    "how members leave: a URL or `mailto:`, with `{member}` in it, if wanted; default: mail to the owners",
  ),
  oneClick: z.boolean().default(false).describe(
    "`unsubscribe` takes a POST (RFC 8058); it has to be https:, and name the `{member}`",
  ),
  verp: z.boolean().default(false).describe(
    "each member's copy has a sender of its own, which names the member",
  ),
}).superRefine(({ members, file, sql, unsubscribe = "", oneClick }, context) => {
  const problem = (message: string, key?: string) =>
    context.addIssue({ code: "custom", message, path: key === undefined ? [] : [key] });
  const ways = [members, file, sql].filter((way) => way !== undefined).length;
  if (ways !== 1) problem("its members stand in one of members, file and sql");
  if (oneClick && !(unsubscribe.startsWith("https://") && unsubscribe.includes(member))) {
    problem(
      `needs an \`unsubscribe\` of https: with ${member} in it: one click has to say who leaves`,
      "oneClick",
    );
  }
});

/** The option, read. */
export type ListOption = z.output<typeof listOption>;

/** What an address of a list is for. */
export type Role = "post" | "owner" | "bounces" | "request";

const suffixes: readonly (readonly [string, Role])[] = [
  ["-owner", "owner"],
  ["-bounces", "bounces"],
  ["-request", "request"],
];

/** One list. */
export class List {
  readonly address: string;
  readonly local: string;
  readonly domain: string;
  readonly option: ListOption;

  constructor(text: string, option: ListOption) {
    this.address = written(text).toLowerCase();
    const { local, domain } = split(this.address);
    [this.local, this.domain] = [local, domain!];
    this.option = option;
  }

  /** RFC 2919 §3. */
  get id(): string {
    return `${this.local.replaceAll(/[^a-z0-9-]+/g, "-")}.${this.domain}`;
  }

  /** The sender of what is posted: bounces go there. */
  get bounces(): string {
    return join(`${this.local}-bounces`, this.domain);
  }

  get owner(): string {
    return join(`${this.local}-owner`, this.domain);
  }

  get request(): string {
    return join(`${this.local}-request`, this.domain);
  }

  /** Whether each member's copy differs in its content, so that it is a message of its own. */
  get isPersonal(): boolean {
    return this.option.unsubscribe?.includes(member) ?? false;
  }

  /** The sender of one member's copy: whose mailbox a bounce is about stands in its address. */
  senderTo(recipient: string): string {
    if (!this.option.verp) return this.bounces;
    const at = recipient.lastIndexOf("@");
    const local = `${this.local}-bounces+${recipient.slice(0, at)}=${recipient.slice(at + 1)}`;
    const sender = join(local, this.domain);
    // RFC 5321 §4.5.3.1.1: a local part has at most 64 octets, and others may hold to that.
    return new TextEncoder().encode(sender).length - this.domain.length - 1 > 64 ? this.bounces : sender;
  }

  /** Where a member leaves. */
  unsubscribeUrl(recipient: string): string {
    const given = this.option.unsubscribe;
    return given?.replaceAll(member, encodeURIComponent(recipient)) ??
      `${mailto(this.owner)}?subject=unsubscribe`;
  }

  /** Why a message is not posted, whoever wrote it. */
  refusal(headers: Headers, sender: string): Reject | undefined {
    if (sender === "") return noBounces;
    const ids = headers.all("List-Id").join(" ").toLowerCase();
    const wasHere = ids.includes(`<${this.id}>`) ||
      headers.all("Delivered-To").some((value) => isSameAddress(bare(value), this.address));
    if (wasHere) return reject("5.4.6", "This message has been on the list before: mail loop");
    if (/^\s*auto-replied\b/i.test(headers.get("Auto-Submitted") ?? "")) { // RFC 3834 §4
      return reject("5.7.1", "Automatic replies are not posted to this list");
    }
  }

  /** Each author has to be one who may; a list that has posted it (`parent`) answers for its own. */
  whyNot(members: readonly string[], headers: Headers, parent: string | undefined): Reject | undefined {
    if (members.length === 0) return reject("5.2.4", "This list has no members");
    const { post } = this.option;
    if (post === "anyone" || (parent !== undefined && this.permits(parent, members))) return undefined;
    const authors = authorsOf(headers);
    if (authors.length > 0 && authors.every((one) => this.permits(one, members))) return undefined;
    return reject("5.7.1", `Only ${post} may post to this list`);
  }

  /** Whether this address may post. */
  permits(author: string, members: readonly string[]): boolean {
    const { post, allow, owners } = this.option;
    if (post === "anyone") return true;
    const { local, domain } = split(author);
    const plain = domain === undefined ? author : join(local.split("+", 1)[0]!, domain);
    const isOf = (listed: readonly string[]) =>
      listed.some((one) => isSameAddress(one, author) || isSameAddress(one, plain));
    return isOf(owners) || isOf(allow) || allow.includes(`*@${domain}`) ||
      (post === "members" && isOf(members));
  }
}

/** What the null sender is told (RFC 5321 §4.5.5): a report to all members helps nobody. */
export const noBounces = reject("5.7.1", "This list takes no bounces");

/** What a list of some has at an address: `team-owner@example.org` is the owner's of `team@example.org`. */
export class Lists {
  readonly #lists = new Map<string, List>();

  constructor(options: Readonly<Record<string, ListOption>>) {
    for (const [address, option] of Object.entries(options)) {
      const list = new List(address, option);
      this.#lists.set(`${fold(list.local)}@${list.domain}`, list);
    }
  }

  [Symbol.iterator](): Iterator<List> {
    return this.#lists.values();
  }

  find(
    { user, domain }: Pick<Address, "user" | "domain">,
  ): { readonly list: List; readonly role: Role } | undefined {
    const list = this.#lists.get(`${user}@${domain}`);
    if (list) return { list, role: "post" };
    for (const [suffix, role] of suffixes) {
      const of = user.endsWith(suffix) && this.#lists.get(`${user.slice(0, -suffix.length)}@${domain}`);
      if (of) return { list: of, role };
    }
    return undefined;
  }
}

/** The authors of a message. */
export function authorsOf(headers: Headers): string[] {
  return headers.all("From").flatMap((field) => addressparser(field, { flatten: true }))
    .map(({ address = "" }) => address).filter(isAddress);
}

/** Without angle brackets. */
export const bare = (text: string): string => text.trim().replace(/^<(.*)>$/s, "$1");

/** RFC 6068. */
export const mailto = (address: string): string => {
  const { local, domain } = split(address);
  return `mailto:${encodeURIComponent(local)}@${domain}`;
};
