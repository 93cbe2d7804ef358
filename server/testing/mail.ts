/** Messages as tests give them and look at them. */
import { readHeader } from "../message/header.ts";
import type { Headers } from "../plugin.ts";

/**
 * What a message can be given as: text or lines, which are UTF-8, octets, or the URL of a file, such as
 * `new URL("spam.eml", import.meta.url)`. Line ends become CRLF.
 */
export type TestContent = string | Uint8Array | readonly string[] | URL;

/** A message as it arrived somewhere. */
export interface ReadMail {
  /** The whole of it, read as UTF-8; line ends are CRLF. */
  readonly content: string;
  /** The same as octets. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Its header section, as plugins see one. */
  readonly headers: Headers;
  /** What follows the header, read as UTF-8; line ends are CRLF. */
  readonly text: string;
}

/** Takes a message apart. */
export function readMail(bytes: Uint8Array<ArrayBuffer>): ReadMail {
  const headers = readHeader(bytes);
  const decoder = new TextDecoder();
  return {
    content: decoder.decode(bytes),
    bytes,
    headers,
    text: decoder.decode(bytes.subarray(headers.end)),
  };
}

/** Content as octets. @throws {Deno.errors.NotFound} when there is no such file. */
export async function octetsOf(content: TestContent): Promise<Uint8Array> {
  if (content instanceof URL) return await Deno.readFile(content);
  if (content instanceof Uint8Array) return content;
  const text = typeof content === "string" ? content : content.map((line) => `${line}\r\n`).join("");
  return new TextEncoder().encode(text);
}

/** What stands in a message that says nothing else. */
const usual: TestContent = "Subject: test\r\n\r\nHello.\r\n";

/** A message made of header fields and text, or of a content with fields on top of it. */
export async function compose(
  { headers = {}, text, content }: {
    readonly headers?: Readonly<Record<string, string | readonly string[]>> | undefined;
    readonly text?: string | undefined;
    readonly content?: TestContent | undefined;
  },
): Promise<Uint8Array> {
  const fields = Object.entries(headers).flatMap(([name, values]) =>
    [values].flat().map((value) => `${name}: ${value}\r\n`)
  ).join("");
  if (content !== undefined && text !== undefined) {
    throw new TypeError("a message has `content`, or `text` with `headers`, not both");
  }
  const made = text !== undefined || (content === undefined && fields !== "");
  const rest = await octetsOf(made ? `\r\n${text ?? "Hello.\r\n"}` : content ?? usual);
  const top = new TextEncoder().encode(fields);
  const whole = new Uint8Array(top.length + rest.length);
  whole.set(top);
  whole.set(rest, top.length);
  return whole;
}
