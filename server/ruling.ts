/** From what a plugin said to what the client is told: verdicts are checked here, and become replies. */
import type { Ruling } from "./chain.ts";
import type { Hooks, Objection, Verdict } from "./plugin.ts";
import { parseAddress } from "./smtp/address.ts";
import { closing, replies, type Reply, reply } from "./smtp/reply.ts";

/** A verdict that no handler of this hook may give, or that would break the wire. */
export class MalformedVerdict extends Error {
  override readonly name = "MalformedVerdict";
}

/** Who says it: a hook, or the route of a relay. */
type Hook = keyof Hooks | "relay";

/** What each hook may claim with `accept`; a hook that is not here can claim nothing. */
const claims: { readonly [K in Hook]?: (claim: Record<string, unknown>) => boolean } = {
  auth: ({ user, sendAs, keys }) =>
    typeof user === "string" && user !== "" && (sendAs === undefined || isTexts(sendAs, 0)) &&
    (keys === undefined || isKeys(keys)),
  rcpt: () => true,
  resolve: ({ via, to, onward }) =>
    (isTransport(via) && to === undefined && onward === undefined) ||
    (via === undefined && isTexts(to) && (onward === undefined || isTransport(onward))) ||
    (via === undefined && to === undefined && isTransport(onward)),
  dataFor: ({ via }) => isTransport(via),
  queue: ({ id }) => typeof id === "string" && isLine(id),
  route: ({ hops }) => isHops(hops),
  relay: ({ hops, sender, headers }) =>
    (hops === undefined || isHops(hops)) &&
    (sender === undefined || (typeof sender === "string" && parseAddress(sender) !== undefined)) &&
    (headers === undefined || (Array.isArray(headers) && headers.every(isField))),
  vrfy: ({ reply }) => isAnswer(reply),
  expn: ({ reply }) => isAnswer(reply),
  command: ({ reply, code }) =>
    typeof reply === "string" && isLine(reply) && [211, 214, 250, 251, 252, 253].includes(code as number),
};

const isLine = (text: unknown): text is string =>
  typeof text === "string" && text !== "" && !/[\r\n\0]/.test(text);
const isTexts = (list: unknown, least = 1): list is string[] =>
  Array.isArray(list) && list.length >= least && list.every(isLine);
const isAnswer = (answer: unknown) => isLine(answer) || isTexts(answer);
const isTransport = (via: unknown) =>
  typeof (via as { transport?: unknown } | undefined)?.transport === "string";

function isKeys(keys: unknown): boolean {
  const { salt, iterations, storedKey, serverKey } = (keys ?? {}) as Record<string, unknown>;
  const isOctets = (octets: unknown) => octets instanceof Uint8Array && octets.length > 0;
  return isOctets(salt) && Number.isSafeInteger(iterations) && (iterations as number) >= 4096 &&
    [storedKey, serverKey].every((key) => isOctets(key) && (key as Uint8Array).length === 32);
}

const isField = (field: unknown) =>
  Array.isArray(field) && field.length === 2 && field.every((part) => typeof part === "string");
const isHops = (hops: unknown) => Array.isArray(hops) && hops.length > 0 && hops.every(isHop);

function isHop(hop: unknown): boolean {
  const { host, path, port, tls, auth, protocol } = (hop ?? {}) as Record<string, unknown>;
  if (path !== undefined && (tls !== undefined || port !== undefined)) return false;
  return isPlace(path === undefined ? host : path) && (path === undefined) !== (host === undefined) &&
    (port === undefined || isPort(port)) && isOneOf(tls, ["opportunistic", "required", "none", "implicit"]) &&
    isOneOf(protocol, ["smtp", "lmtp"]) && (auth === undefined || isAccount(auth));
}

const isPlace = (text: unknown) => isLine(text) && !text.includes("\t");
const isPort = (port: unknown) => Number.isInteger(port) && (port as number) > 0 && (port as number) < 65_536;
const isOneOf = (value: unknown, words: readonly string[]) =>
  value === undefined || words.includes(value as string);

function isAccount(auth: unknown): boolean {
  const { user, password, passwordFile } = (auth ?? {}) as Record<string, unknown>;
  return isLine(user) && (password === undefined) !== (passwordFile === undefined) &&
    isLine(password ?? passwordFile);
}

const enhanced = /^([245])\.[0-9]{1,3}\.[0-9]{1,3}$/;
const permanentCodes = new Set([501, 502, 503, 504, 521, 530, 535, 538, 550, 551, 552, 553, 554, 555, 556]);
const temporaryCodes = new Set([450, 451, 452, 454, 455, 458, 459]);

/** Checks what a handler returned. @throws {MalformedVerdict} that says what is wrong with it. */
export function readVerdict(hook: Hook, said: unknown): Verdict | undefined {
  if (said === undefined) return undefined;
  const { verdict, status, text, code, claim } = (said ?? {}) as Record<string, unknown>;
  switch (verdict) {
    case "accept": {
      const fits = claims[hook];
      if (!fits) throw new MalformedVerdict(`${hook} cannot accept: return nothing to go on`);
      if (typeof claim !== "object" || claim === null || !fits(claim as Record<string, unknown>)) {
        throw new MalformedVerdict(`${hook} cannot accept with ${describeClaim(claim)}`);
      }
      return said as Verdict;
    }
    case "disconnect":
      if (hook === "resolve" || hook === "dataFor" || hook === "route" || hook === "relay") {
        throw new MalformedVerdict(`${hook} cannot disconnect: there may be no connection`);
      }
      break;
    case "reject":
    case "defer":
      break;
    default:
      throw new MalformedVerdict(`${hook} returned ${describe(said)}, which is no verdict`);
  }
  if (!isLine(text)) {
    throw new MalformedVerdict(`the text of a ${verdict} is one line, without CR, LF or NUL`);
  }
  const kind = typeof status === "string" ? enhanced.exec(status)?.[1] : undefined;
  const wanted = verdict === "reject" ? ["5"] : verdict === "defer" ? ["4"] : ["4", "5"];
  if (!kind || !wanted.includes(kind)) {
    throw new MalformedVerdict(`${describe(status)} is no status for a ${verdict}`);
  }
  const codes = verdict === "reject" ? permanentCodes : temporaryCodes;
  if (code !== undefined && !codes.has(code as number)) {
    throw new MalformedVerdict(`${describe(code)} is no reply code for a ${verdict}`);
  }
  return said as Verdict;
}

function describe(value: unknown): string {
  if (typeof value === "function") return `the function ${value.name}`;
  try {
    return JSON.stringify(value)?.slice(0, 200) ?? typeof value;
  } catch {
    return typeof value;
  }
}

/** A claim as the log may show it: a hop's password is nobody's to read there. */
function describeClaim(claim: unknown): string {
  return JSON.stringify(claim, (key, value) => key === "password" ? "…" : value) ?? String(claim);
}

/** The codes of hooks whose refusals are not 550 and 451 (DESIGN §7, default codes). */
const defaults: { readonly [K in Hook]?: { reject?: number; defer?: number } } = {
  connect: { reject: 554, defer: 421 },
  auth: { reject: 535, defer: 454 },
};

/** A plugin's words as they may stand in a reply: it is ASCII (RFC 5321 §4.2), and a TAB or ESC is no text. */
export function printable(text: string): string {
  return text.replaceAll(/[^\x20-\x7e]/g, "?");
}

/** The reply an objection becomes. At `connect` every one closes; there and at `helo` no status is said (RFC 2034 §4). */
export function toReply(hook: Hook, objection: Objection): Reply {
  const text = printable(objection.text);
  const { verdict } = objection;
  const status = hook === "connect" || hook === "helo" ? undefined : objection.status;
  if (verdict === "disconnect") return closing(objection.status.startsWith("4") ? 421 : 554, status, text);
  const code = objection.code ?? defaults[hook]?.[verdict] ?? (verdict === "reject" ? 550 : 451);
  return hook === "connect" ? closing(code, undefined, text) : reply(code, status, text);
}

/** An objection of the core's own, in the shape reports and outcomes take. */
export function toObjection({ code, status, lines, closes }: Reply): Objection {
  const text = lines.join(" ");
  if (code < 500) {
    const temporary = (status ?? "4.0.0") as `4.${number}.${number}`;
    return closes
      ? { verdict: "disconnect", status: temporary, text }
      : { verdict: "defer", status: temporary, text };
  }
  const permanent = (status ?? "5.0.0") as `5.${number}.${number}`;
  return closes
    ? { verdict: "disconnect", status: permanent, text }
    : { verdict: "reject", status: permanent, text };
}

/** What a client is told of an objection or a failure, by whom, and the verdict for reports. */
export interface Objected {
  readonly by: string;
  readonly reply: Reply;
  readonly verdict: Objection;
}

/** The objection in a ruling about a message, if there is one; a plugin's failure is a temporary one. */
export function objected(hook: "data" | "dataFor" | "queue", ruling: Ruling): Objected | undefined {
  switch (ruling.kind) {
    case "objection":
      return { by: ruling.by, reply: toReply(hook, ruling.verdict), verdict: ruling.verdict };
    case "failure":
      return { by: ruling.by, reply: replies.pluginFailed, verdict: toObjection(replies.pluginFailed) };
    default:
      return undefined;
  }
}
