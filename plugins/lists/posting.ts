/** What a list makes of a message: its header as members see it. The body stays as it is, octet by octet. */
import { decodeWords } from "postal-mime";
import type { Message } from "../../server/plugin.ts";
import { partsOf } from "../authentication/content.ts";
import { type List, mailto } from "./list.ts";

/** Fields that say what a list says itself, or that would have every member's program report to the author. */
const replaced = new Set([
  "list-id",
  "list-post",
  "list-help",
  "list-owner",
  "list-subscribe",
  "list-unsubscribe",
  "list-unsubscribe-post",
  "list-archive",
  "precedence",
  "sender",
  "errors-to",
  "return-path",
  "return-receipt-to",
  "disposition-notification-to",
]);

/** The fields of RFC 2369, RFC 2919 and RFC 8058, and those that programs look for. */
export function fieldsOf(list: List, recipient: string): string[] {
  const { name, post, replyTo, oneClick } = list.option;
  const fields = [
    `Delivered-To: ${list.address}`,
    `List-Id: ${name === undefined ? "" : `"${name}" `}<${list.id}>`,
    `List-Post: ${post === "owners" ? "NO" : `<${mailto(list.address)}>`}`,
    `List-Help: <${mailto(list.request)}?subject=help>`,
    `List-Owner: <${mailto(list.owner)}>`,
    `List-Unsubscribe: <${list.unsubscribeUrl(recipient)}>`,
  ];
  if (oneClick) fields.push("List-Unsubscribe-Post: List-Unsubscribe=One-Click");
  if (replyTo === "list") fields.push(`Reply-To: <${list.address}>`);
  return [...fields, "Precedence: list", `Sender: <${list.bounces}>`];
}

/** The message for a member; where the list isn't personal, for all of them. */
export async function posted(
  message: Message,
  list: List,
  recipient: string,
): Promise<ReadableStream<Uint8Array<ArrayBuffer>>> {
  const { rows, body } = await partsOf(message);
  const { prefix, replyTo } = list.option;
  const kept = rows.filter(({ key }) => !replaced.has(key) && !(key === "reply-to" && replyTo === "list"));
  const lines = kept.map(({ key, line }) => {
    const text = line.toString("latin1");
    return key === "subject" && prefix !== undefined ? subject(text, prefix) : text;
  });
  if (prefix !== undefined && !kept.some(({ key }) => key === "subject")) lines.push(`Subject: ${prefix}`);
  const ended = (lines: readonly string[]) => lines.map((line) => `${line}\r\n`).join("");
  const ours = new TextEncoder().encode(ended(fieldsOf(list, recipient)));
  const theirs = Uint8Array.from(`${ended(lines)}\r\n`, (octet) => octet.charCodeAt(0));
  return ReadableStream.from(inTurn(ours, theirs, body));
}

async function* inTurn(
  ours: Uint8Array<ArrayBuffer>,
  theirs: Uint8Array<ArrayBuffer>,
  body: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  yield ours;
  yield theirs;
  for await (const piece of body) yield piece as Uint8Array<ArrayBuffer>;
}

/** The subject with the prefix, once: answers have it already, perhaps within an encoded word. */
function subject(line: string, prefix: string): string {
  const value = line.slice(line.indexOf(":") + 1);
  const unfolded = value.replaceAll(/\r\n(?=[ \t])/g, "").trim();
  if (decodeWords(unfolded).toLowerCase().includes(prefix.toLowerCase())) return line;
  return `Subject: ${prefix}${value.length > 60 ? "\r\n" : ""} ${value.trimStart()}`;
}
