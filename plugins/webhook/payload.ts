/** A message as JSON. Whatever is sent in, something comes out: what can't be read as MIME is told without its parts. */
import PostalMime, { type Address, type Attachment, type Email } from "postal-mime";

/** What is made into JSON. */
export interface Source {
  /** The message; absent: it is not taken apart. */
  readonly content?: Uint8Array<ArrayBuffer>;
  /** Why not; default: it is too large. */
  readonly unread?: string;
  /** What stands in front of the message's own parts. */
  readonly top: Readonly<Record<string, unknown>>;
  /** Octets of all attachments together that stand in it; those beyond are told without their content. */
  readonly inline: number;
}

interface Person {
  readonly name: string;
  readonly address: string;
}

/** Makes the body of a post. Never rejects. */
export async function makePayload(
  { content, unread = "too large", top, inline }: Source,
): Promise<Uint8Array<ArrayBuffer>> {
  const parts = content ? await partsOf(content, inline) : { parsed: unread };
  return new TextEncoder().encode(JSON.stringify({ ...top, ...parts }));
}

async function partsOf(content: Uint8Array<ArrayBuffer>, inline: number): Promise<Record<string, unknown>> {
  let email: Email;
  try {
    // An attached message is a part like any other: what is in it is its reader's.
    email = await PostalMime.parse(content, {
      attachmentEncoding: "arraybuffer",
      forceRfc822Attachments: true,
    });
  } catch (error) { // nested too deep, say
    return { parsed: `not readable: ${error instanceof Error ? error.message : error}` };
  }
  let left = inline;
  const attachments = email.attachments.map((part) => {
    const octets = octetsOf(part);
    const fits = octets.length <= left;
    if (fits) left -= octets.length;
    return {
      filename: part.filename,
      contentType: part.mimeType,
      disposition: part.disposition,
      contentId: part.contentId ?? null,
      size: octets.length,
      content: fits ? octets.toBase64() : null,
    };
  });
  return {
    parsed: "whole",
    subject: email.subject ?? null,
    messageId: email.messageId ?? null,
    inReplyTo: email.inReplyTo ?? null,
    references: email.references ?? null,
    date: email.date ?? null,
    from: people(email.from ? [email.from] : []),
    replyTo: people(email.replyTo ?? []),
    to: people(email.to ?? []),
    cc: people(email.cc ?? []),
    text: email.text ?? null,
    html: email.html ?? null,
    attachments,
  };
}

function octetsOf({ content }: Attachment): Uint8Array<ArrayBuffer> {
  if (typeof content === "string") return new TextEncoder().encode(content);
  return content instanceof ArrayBuffer ? new Uint8Array(content) : new Uint8Array(content);
}

/** Groups (RFC 5322 §3.4) are their members. */
const people = (addresses: readonly Address[]): Person[] =>
  addresses.flatMap(({ name, address, group }) =>
    group ? group.map(({ name, address }) => ({ name, address })) : [{ name, address: address ?? "" }]
  );
