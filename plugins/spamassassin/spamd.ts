/** SpamAssassin's protocol (spamd/PROTOCOL): the command SYMBOLS, which answers a score and what contributed to it. */
import { isIP } from "node:net";

/** What spamd makes of a message. */
export interface Judged {
  /** Whether SpamAssassin itself, with its `required_score`, calls it spam. */
  readonly isSpam: boolean;
  readonly score: number;
  readonly required: number;
  /** The rules that matched. */
  readonly tests: readonly string[];
}

/** Who brings the message, as SpamAssassin's rules about relays want to know it. */
export interface Brought {
  readonly sender: string;
  readonly helo: string | undefined;
  /** An IP address; what is none came by a Unix socket, from no relay. */
  readonly address: string;
  /** Its name, where name and address agree. */
  readonly name: string | undefined;
  /** What this machine is called. */
  readonly by: string;
  readonly id: string;
  /** Milliseconds since 1970. */
  readonly now: number;
}

const utf8 = new TextEncoder();

/**
 * What is said: the message below two fields that are only for spamd, as its own fields are written once it is taken. The form
 * of `Received` is Postfix', which SpamAssassin's parser knows.
 */
export async function* symbols(
  message: { readonly size: number; stream(): AsyncIterable<Uint8Array> },
  user: string | undefined,
  brought: Brought,
): AsyncGenerator<Uint8Array> {
  const { sender, helo, address, name, by, id, now } = brought;
  const date = new Date(now).toUTCString().replace("GMT", "+0000");
  const relay = isIP(address) === 0 ? "" : `Received: from ${word(helo)} (${word(name)} [${address}])\r\n` +
    `\tby ${word(by)} (Postfix) with ESMTP id ${word(id)};\r\n\t${date}\r\n`;
  const top = utf8.encode(`X-Envelope-From: <${sender}>\r\n${relay}`);
  yield utf8.encode(
    `SYMBOLS SPAMC/1.5\r\nContent-length: ${top.length + message.size}\r\n` +
      `${user === undefined ? "" : `User: ${user}\r\n`}\r\n`,
  );
  yield top;
  yield* message.stream();
}

/** HELO may be any printable text: here it may not hold a comment or a line's end. */
function word(text = "unknown"): string {
  return text.slice(0, 255).replace(/[^A-Za-z0-9._:[\]-]/g, "?") || "unknown";
}

/** A user's name as spamd may have it: it becomes part of paths and of queries. `undefined`: better none. */
export function userName(text: string): string | undefined {
  return /^[A-Za-z0-9_][A-Za-z0-9_.=+-]*(?:@[A-Za-z0-9][A-Za-z0-9.-]*)?$/.test(text) && text.length <= 254 &&
      !text.includes("..")
    ? text
    : undefined;
}

/** @throws {Error} with what spamd said, where that is no judgement. */
export function readJudgement(answer: string): Judged {
  const bad = () => new Error(`spamd could not judge: ${JSON.stringify(answer.slice(0, 200))}`);
  const end = answer.indexOf("\r\n\r\n");
  if (end < 0 || !/^SPAMD\/[0-9.]+ 0 /.test(answer)) throw bad();
  const header = answer.slice(0, end);
  const body = answer.slice(end + 4);
  const spam = /^Spam: *(True|False|Yes|No) *; *(-?[0-9.]+) *\/ *(-?[0-9.]+) *$/im.exec(header);
  const length = /^Content-length: *([0-9]+) *$/im.exec(header);
  const [score, required] = [Number(spam?.[2]), Number(spam?.[3])];
  // A back end that dies while it speaks must not pass for one that found little.
  if (!spam || !Number.isFinite(score) || !Number.isFinite(required)) throw bad();
  if (length && Number(length[1]) > utf8.encode(body).length) throw bad();
  return {
    isSpam: /^(?:True|Yes)$/i.test(spam[1]!),
    score,
    required,
    tests: body.split(",").map((name) => name.trim()).filter((name) => /^[A-Za-z0-9_]{1,100}$/.test(name)),
  };
}
