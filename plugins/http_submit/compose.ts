/** From JSON to a message. No header comes of what stands in a value: names and lines are checked before anything is written. */
import MailComposer from "nodemailer/lib/mail-composer/index.js";
import { Buffer } from "node:buffer";
import { z } from "../../server/plugin.ts";
import { isDomain, isLocal, split } from "../addresses.ts";

/** What came of it. */
export type Composed =
  | {
    readonly kind: "composed";
    /** The envelope's. */
    readonly sender: string;
    /** The author's address. */
    readonly author: string;
    readonly recipients: readonly string[];
    readonly content: Uint8Array<ArrayBuffer>;
  }
  | { readonly kind: "invalid"; readonly problems: readonly Problem[] };

/** What is wrong, and where. */
export interface Problem {
  /** `attachments.0.content`; empty: all of it. */
  readonly path: string;
  readonly message: string;
}

const line = z.string().max(10_000).refine(
  // deno-lint-ignore no-control-regex
  (text) => !/[\0-\x08\x0a-\x1f\x7f]/.test(text),
  "is one line, without control characters",
);

/** Whether it is an address that can stand in an envelope. */
export function isAddress(text: string): boolean {
  const { local, domain } = split(text);
  return text.length <= 320 && domain !== undefined && domain !== "" && isDomain(domain) &&
    isLocal(text.slice(0, text.lastIndexOf("@"))) && local !== "";
}

const address = z.string().refine(isAddress, "is not an address such as alice@example.org");

const mailbox = z.union([
  address.transform((address) => ({ name: "", address })),
  z.strictObject({ name: line.default(""), address }),
], "is neither an address nor { name, address }");

const mailboxes = z.union([z.array(mailbox), mailbox.transform((one) => [one])], {
  error: "is neither an address, { name, address }, nor a list of these",
}).default([]);

/** Fields that have a key of their own, or that are the server's. */
const ours =
  /^(?:from|sender|to|cc|bcc|subject|reply-to|date|message-id|mime-version|content-.*|received|return-path|delivered-to|dkim-signature|arc-.*|authentication-results|resent-.*)$/i;

const headers = z.record(z.string(), line).default({}).superRefine((given, context) => {
  for (const name of Object.keys(given)) {
    const problem = (message: string) => context.addIssue({ code: "custom", message, path: [name] });
    if (!/^[!-9;-~]{1,70}$/.test(name)) problem("is not the name of a header field");
    else if (ours.test(name)) problem("can't be set here: it has a key of its own, or is the server's");
  }
});

const base64 = z.string().transform((text, context) => {
  try {
    return Uint8Array.fromBase64(text);
  } catch {
    context.addIssue({ code: "custom", message: "is not base64" });
    return z.NEVER;
  }
});

const attachment = z.strictObject({
  filename: line.optional(),
  contentType: z.string().regex(
    /^[!-~]+\/[!-~]+(?:; ?[!-~]+)*$/,
    "is not a media type such as application/pdf",
  ).optional(),
  content: base64,
  contentId: z.string().regex(/^[!-;=?-~]{1,200}$/, "is not an id without < and >").optional(),
  disposition: z.enum(["attachment", "inline"]).optional(),
});

const message = z.strictObject({
  from: mailbox,
  to: mailboxes,
  cc: mailboxes,
  bcc: mailboxes,
  replyTo: mailboxes,
  subject: line.default(""),
  text: z.string().optional(),
  html: z.string().optional(),
  headers,
  attachments: z.array(attachment).max(1000).default([]),
  /** The envelope's sender, where it isn't `from`; `""` takes no reports. */
  envelopeFrom: z.union([z.literal(""), address]).optional(),
});

/** nodemailer looks at a Buffer as octets, at anything else as text. */
const toBuffer = ({ buffer, byteOffset, length }: Uint8Array<ArrayBuffer>) =>
  Buffer.from(buffer, byteOffset, length);

function build(mail: ConstructorParameters<typeof MailComposer>[0]): Promise<Uint8Array<ArrayBuffer>> {
  return new Promise((resolve, reject) => {
    new MailComposer(mail).compile().build((error, built) =>
      error || !built ? reject(error) : resolve(new Uint8Array(built))
    );
  });
}

/** Makes the message. Never rejects for what is sent in. */
export async function compose(body: Uint8Array<ArrayBuffer>): Promise<Composed> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
  } catch (error) {
    return invalid("", `is not JSON in UTF-8: ${error instanceof Error ? error.message : error}`);
  }
  const read = message.safeParse(value);
  if (!read.success) {
    const problems = read.error.issues.map(({ path, message }) => ({ path: path.join("."), message }));
    return { kind: "invalid", problems };
  }
  const { envelopeFrom, from, to, cc, bcc, text, html, attachments, ...rest } = read.data;
  const recipients = [...new Set([...to, ...cc, ...bcc].map(({ address }) => address))];
  if (recipients.length === 0) return invalid("to", "there is no recipient in `to`, `cc` or `bcc`");
  if (text === undefined && html === undefined && attachments.length === 0) {
    return invalid("text", "there is neither `text` nor `html` nor an attachment");
  }
  const content = await build({
    ...{ from, to, cc, replyTo: rest.replyTo, subject: rest.subject },
    ...(text !== undefined && { text }),
    ...(html !== undefined && { html }),
    headers: Object.entries(rest.headers).map(([key, value]) => ({ key, value })),
    attachments: attachments.map(({ filename, contentType, content, contentId, disposition }) => ({
      ...{ filename: filename ?? false, content: toBuffer(content) },
      ...(contentType !== undefined && { contentType }),
      ...(contentId !== undefined && { cid: contentId }),
      ...(disposition !== undefined && { contentDisposition: disposition }),
    })),
    // Nothing of what is sent in may name a file or a URL of ours.
    ...{ disableFileAccess: true, disableUrlAccess: true, newline: "\r\n" },
  });
  return {
    kind: "composed",
    sender: envelopeFrom ?? from.address,
    author: from.address,
    recipients,
    content,
  };
}

const invalid = (path: string, message: string): Composed => ({
  kind: "invalid",
  problems: [{ path, message }],
});
