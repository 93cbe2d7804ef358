/** Peers for the client's machine, without sockets. */
import type { ClientResult, ClientTransaction, SmtpClient } from "../../server/smtp/client.ts";

const encode = (text: string) => new TextEncoder().encode(text);
const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

/** What a peer is: what it offers, and what it says to each command in turn, the last word again and again. */
export interface Peer {
  readonly offers: readonly string[];
  readonly offersUnderTls?: readonly string[];
  /** `""`: none. */
  readonly greeting?: string;
  /** By verb; `content`: to the message, in LMTP for each accepted recipient, `response`: to what follows 334. */
  readonly replies?: { readonly [verb: string]: readonly (string | { readonly ends: "lost" })[] };
}

/** Something that answers; `[lost]` and `[timeout]` in what it says are its end. */
export interface Answering {
  greeting(): string;
  answer(written: string): string;
  encrypted(): void;
}

const usual: Record<string, string> = {
  MAIL: "250 sender ok",
  RCPT: "250 recipient ok",
  RSET: "250 forgotten",
  STARTTLS: "220 go on",
  AUTH: "235 welcome",
  content: "250 2.0.0 kept",
  HELO: "250 hello",
};

/** A server that knows the rules, and says what it is told to. */
export function model(peer: Peer): Answering {
  const turns = new Map<string, number>();
  let offers = peer.offers;
  let good = 0;
  let open = false;
  let mode: "commands" | "data" | "response" = "commands";
  let gone = false;
  let lmtp = false;

  const kept = (): string => {
    let said = "";
    for (let left = lmtp ? good : 1; left > 0 && !gone; left--) said += say("content", usual["content"]!);
    return said;
  };

  const say = (verb: string, otherwise: string): string => {
    const list = peer.replies?.[verb] ?? [];
    const turn = turns.get(verb) ?? 0;
    turns.set(verb, turn + 1);
    const reply = list[Math.min(turn, list.length - 1)] ?? otherwise;
    if (typeof reply !== "string") {
      gone = true;
      return "[lost]";
    }
    if (reply.startsWith("421")) gone = true;
    return reply.endsWith("\n") ? reply : `${reply}\r\n`;
  };

  const note = (reply: string): string => {
    open = reply.startsWith("2");
    return reply;
  };

  const command = (line: string): string => {
    if (mode === "response") {
      const reply = say("response", "235 welcome");
      if (!reply.startsWith("334")) mode = "commands";
      return reply;
    }
    const verb = line.split(" ")[0]!;
    switch (verb) {
      case "LHLO":
      case "EHLO": {
        lmtp = verb === "LHLO";
        const list = ["mx.example", ...offers];
        return say(
          verb,
          list.map((one, at) => `250${at === list.length - 1 ? " " : "-"}${one}`).join("\r\n"),
        );
      }
      case "MAIL":
        good = 0;
        return note(say(verb, usual[verb]!));
      case "RCPT": {
        if (!open) return "503 no sender\r\n";
        const reply = say(verb, usual[verb]!);
        if (reply.startsWith("2")) good++;
        return reply;
      }
      case "DATA": {
        const reply = say(verb, good > 0 ? "354 go on" : "503 no recipients");
        if (reply.startsWith("354")) mode = "data";
        return reply;
      }
      case "BDAT":
        return good > 0 ? kept() : "503 no recipients\r\n";
      case "AUTH": {
        const reply = say(verb, usual[verb]!);
        if (reply.startsWith("334")) mode = "response";
        return reply;
      }
      default:
        return say(verb, usual[verb] ?? "250 ok");
    }
  };

  return {
    greeting: () =>
      peer.greeting === undefined ? "220 mx.example\r\n" : peer.greeting && `${peer.greeting}\r\n`,
    answer(written) {
      let said = "";
      let rest = written;
      while (rest !== "" && !gone) {
        if (mode === "data") {
          if (!/(^|\r\n)\.\r\n$/.test(rest)) return said; // a piece; its lines are checked elsewhere
          mode = "commands";
          return said + kept();
        }
        const end = rest.indexOf("\r\n") + 2;
        const line = rest.slice(0, end - 2);
        rest = rest.slice(end);
        if (line.startsWith("BDAT")) rest = ""; // the content
        said += command(line);
      }
      return said;
    },
    encrypted() {
      offers = peer.offersUnderTls ?? [];
    },
  };
}

/** A transaction of one short message. */
export function mail(
  more: Partial<ClientTransaction> & { readonly to?: readonly string[] } = {},
): ClientTransaction {
  const { to = ["b@example.org"], content = encode(message), ...rest } = more;
  return {
    sender: "a@example.com",
    recipients: to.map((address) => ({ address })),
    content,
    size: content?.length ?? 0,
    eightBit: "no",
    utf8Header: false,
    ...rest,
  };
}

/** What `mail` sends. */
export const message = "Subject: x\r\n\r\nhello\r\n";

/** A short form of results: `delivered`, `rcpt 550`, `5.3.4`, `lost`, `unknown`. */
export function short(results: readonly (ClientResult | undefined)[]): string[] {
  return results.map((result) => {
    switch (result?.kind) {
      case undefined:
        return "none";
      case "delivered":
        return "delivered";
      case "refused":
        return `${result.phase} ${result.reply.code}`;
      case "impossible":
        return result.status;
      case "lost":
        return result.unknown ? "unknown" : "lost";
    }
  });
}

/** How what a peer says is cut into pieces. */
export type Cut = (bytes: Uint8Array) => Uint8Array[];
export const whole: Cut = (bytes) => bytes.length > 0 ? [bytes] : [];
export const byteByByte: Cut = (bytes) => [...bytes].map((octet) => Uint8Array.of(octet));

/** What came of a conversation. */
export interface Conversation {
  /** Each write; `[TLS]` for the handshake. */
  readonly writes: string[];
  /** Of each transaction that was begun. */
  readonly results: (readonly (ClientResult | undefined)[])[];
  /** `ready`, or the failure and its phase. */
  readonly end: string;
  readonly steps: number;
}

/** Lets both talk, over these transactions. A piece `give up` abandons the message. */
export function converse(
  client: SmtpClient,
  peer: Answering,
  transactions: readonly ClientTransaction[],
  cut: Cut,
  pieces: readonly string[] = [],
): Conversation {
  const writes: string[] = [];
  const results: (readonly (ClientResult | undefined)[])[] = [];
  const waiting = [...transactions];
  let begun = false;
  let arriving: Uint8Array[] = [];
  let end: "lost" | "timeout" | undefined;

  const hear = (said: string) => {
    const at = said.search(/\[(lost|timeout)\]/);
    if (at >= 0) end ??= said.slice(at).startsWith("[lost]") ? "lost" : "timeout";
    arriving.push(...cut(encode(at < 0 ? said : said.slice(0, at))));
  };
  const write = (text: string) => {
    writes.push(text);
    if (end === undefined) hear(peer.answer(text));
  };

  hear(peer.greeting());
  for (let steps = 0; steps < 10_000; steps++) {
    const step = client.next();
    if ((step.kind === "ready" || step.kind === "over") && begun) {
      results.push([...client.results]);
      begun = false;
    }
    switch (step.kind) {
      case "write":
        write(decode(step.bytes));
        break;
      case "read": {
        const next = arriving.shift();
        if (next !== undefined) client.receive(next);
        else if (end === "lost") client.lost();
        else client.timedOut();
        break;
      }
      case "encrypt":
        arriving = [];
        writes.push("[TLS]");
        peer.encrypted();
        client.encrypted();
        break;
      case "content":
        for (const piece of pieces) {
          if (piece === "give up") client.abandon();
          else write(decode(client.encode(encode(piece))));
        }
        if (client.next().kind === "content") write(decode(client.endContent()));
        break;
      case "ready": {
        const next = waiting.shift();
        if (next === undefined) return { writes, results, end: "ready", steps };
        client.begin(next);
        begun = true;
        break;
      }
      case "over": {
        const { failure } = step;
        return { writes, results, end: failure ? `${failure.kind} at ${failure.phase}` : "quit", steps };
      }
    }
  }
  throw new Error("the conversation has no end");
}
