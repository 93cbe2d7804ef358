/** The arguments of commands, read: each gives what it says, or the reply that refuses it. */
import type { Address } from "./address.ts";
import { parsePath } from "./address.ts";
import {
  type BadParams,
  type MailParams,
  parseMailParams,
  parseRcptParams,
  type RcptParams,
} from "./params.ts";
import { replies, type Reply } from "./reply.ts";
import { type Mechanism, type SaslExchange, type SaslStep, startSasl } from "./sasl.ts";

/** What was read, or why not. */
export type ReadArgument<T> = { readonly kind: "read"; readonly value: T } | {
  readonly kind: "refused";
  readonly reply: Reply;
};

const read = <T>(value: T): ReadArgument<T> => ({ kind: "read", value });
const refused = (reply: Reply): ReadArgument<never> => ({ kind: "refused", reply });

/** EHLO's, HELO's and LHLO's: any printable text of at most 255 octets (CASES C03). */
export function readHello(name: string): ReadArgument<string> {
  return name.length <= 255 && /^[!-~]+(?: [!-~]+)*$/.test(name) ? read(name) : refused(replies.badHelo);
}

/** MAIL's (RFC 5321 §4.1.1.2). `ascii`: whether the whole line is. */
export function readMail(
  argument: string,
  ascii: boolean,
): ReadArgument<{ sender: Address; params: MailParams }> {
  const path = /^FROM:/i.test(argument)
    ? parsePath(argument.slice(5), { utf8: true, null: true })
    : undefined;
  if (!path) return refused(replies.badArgument);
  if (path.kind === "bad") return refused(replies.badSender);
  const params = parseMailParams(path.rest);
  if (params.kind === "bad") return refused(badParams(params));
  // SMTPUTF8 stands behind the path, so the path was read as if it were there.
  if (!ascii && !params.smtputf8) return refused(replies.needsSmtpUtf8);
  return read({ sender: path.address, params });
}

/** RCPT's (RFC 5321 §4.1.1.3). `utf8`: MAIL said SMTPUTF8. */
export function readRcpt(
  argument: string,
  { ascii, utf8 }: { ascii: boolean; utf8: boolean },
): ReadArgument<{ recipient: Address; params: RcptParams }> {
  const path = /^TO:/i.test(argument) ? parsePath(argument.slice(3), { utf8: true, null: false }) : undefined;
  if (!path) return refused(replies.badArgument);
  if (path.kind === "bad") return refused(replies.badRecipient);
  const params = parseRcptParams(path.rest, undefined, { utf8 });
  if (params.kind === "bad") return refused(badParams(params));
  if (!ascii && !utf8) return refused(replies.needsSmtpUtf8);
  return read({ recipient: path.address, params });
}

function badParams({ problem, text }: BadParams): Reply {
  if (problem === "unknown") return replies.unknownParameter(text);
  return problem === "repeated" ? replies.repeatedParameter(text) : replies.badParameter(text);
}

/** BDAT's (RFC 3030 §2); one that can't be read loses the place in the stream (CASES B02). */
export function readBdat(argument: string): ReadArgument<{ size: number; last: boolean }> {
  const found = /^([0-9]{1,20})(?: +(LAST))?$/i.exec(argument);
  return found ? read({ size: Number(found[1]), last: found[2] !== undefined }) : refused(replies.badChunk);
}

/** AUTH's (RFC 4954 §4): a mechanism that is offered, and maybe an initial response. */
export function readAuth(
  argument: string,
  offered: readonly Mechanism[],
): ReadArgument<{ exchange: SaslExchange; step: SaslStep }> {
  const [name = "", initial, ...rest] = argument.split(" ");
  const mechanism = offered.find((one) => one === name.toUpperCase());
  if (!mechanism) return refused(replies.unknownMechanism);
  if (rest.length > 0) return refused(replies.badArgument);
  const exchange = startSasl(mechanism);
  return read({ exchange, step: initial === undefined ? exchange.begin() : exchange.next(initial) });
}
