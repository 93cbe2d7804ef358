/** What a filter says, read: its replies and what it wants changed. Pure. */
import { MilterProtocolError, type Packet } from "./frames.ts";

/** A reply that ends a command. */
export type Answer =
  | {
    readonly kind:
      | "continue"
      | "accept"
      | "discard"
      | "reject"
      | "tempfail"
      | "skip"
      | "shut down"
      | "fail connection";
  }
  | {
    readonly kind: "reply";
    readonly code: number;
    /** As it says; `undefined`: it says none. */
    readonly status: string | undefined;
    readonly text: string;
  };

/** What it wants done to the message, in the order in which it says so. */
export type Change =
  | { readonly kind: "add header"; readonly name: string; readonly value: string }
  | { readonly kind: "insert header"; readonly index: number; readonly name: string; readonly value: string }
  /** The `index`th of its name, from 1; an empty value removes it. */
  | { readonly kind: "change header"; readonly index: number; readonly name: string; readonly value: string }
  | { readonly kind: "add recipient"; readonly address: string }
  | { readonly kind: "remove recipient"; readonly address: string }
  | { readonly kind: "change sender"; readonly address: string }
  | { readonly kind: "quarantine"; readonly reason: string }
  /** A piece of the new body. */
  | { readonly kind: "replace body"; readonly octets: Uint8Array };

/** Anything a filter says after the negotiation. */
export type Said =
  | { readonly said: "answer"; readonly answer: Answer }
  | { readonly said: "change"; readonly change: Change }
  /** It is at work: whoever waits goes on waiting. */
  | { readonly said: "progress" };

const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

const plain: Readonly<Record<string, Answer>> = {
  c: { kind: "continue" },
  a: { kind: "accept" },
  d: { kind: "discard" },
  r: { kind: "reject" },
  t: { kind: "tempfail" },
  s: { kind: "skip" },
  "4": { kind: "shut down" },
  f: { kind: "fail connection" },
};

/** Reads what was said. @throws {MilterProtocolError} where it is nothing the protocol knows. */
export function readSaid({ code, data }: Packet): Said {
  const answer = Object.hasOwn(plain, code) ? plain[code] : undefined;
  if (answer) return { said: "answer", answer };
  if (code === "p") return { said: "progress" };
  if (code === "y") return { said: "answer", answer: readReply(texts(data, 1)[0]!) };
  return { said: "change", change: readChange(code, data) };
}

function readChange(code: string, data: Uint8Array): Change {
  switch (code) {
    case "h": {
      const [name, value] = texts(data, 2) as [string, string];
      return { kind: "add header", name, value };
    }
    case "i":
    case "m": {
      const index = number(data);
      const [name, value] = texts(data.subarray(4), 2) as [string, string];
      return { kind: code === "i" ? "insert header" : "change header", index, name, value };
    }
    case "+":
    case "2": // with parameters of RCPT, which nobody here takes: not offered in the negotiation
      if (code === "2") break;
      return { kind: "add recipient", address: bare(texts(data, 1)[0]!) };
    case "-":
      return { kind: "remove recipient", address: bare(texts(data, 1)[0]!) };
    case "e":
      return { kind: "change sender", address: bare(texts(data, 1)[0]!) }; // parameters of MAIL may follow: not ours
    case "q":
      return { kind: "quarantine", reason: texts(data, 1)[0]! };
    case "b":
      return { kind: "replace body", octets: data };
  }
  throw new MilterProtocolError(`a packet ${JSON.stringify(code)}, which is no reply of the milter protocol`);
}

/** The first `count` texts, each of which ends with NUL. */
function texts(data: Uint8Array, count: number): string[] {
  const found: string[] = [];
  let at = 0;
  while (found.length < count) {
    const end = data.indexOf(0, at);
    if (end === -1) throw new MilterProtocolError("a packet whose text has no end");
    found.push(utf8.decode(data.subarray(at, end)));
    at = end + 1;
  }
  return found;
}

function number(data: Uint8Array): number {
  if (data.length < 4) throw new MilterProtocolError("a packet whose number is cut off");
  return new DataView(data.buffer, data.byteOffset).getUint32(0);
}

/** Filters write addresses with and without brackets. */
function bare(address: string): string {
  return /^\s*<([^]*)>\s*$/.exec(address)?.[1] ?? address.trim();
}

/** `550 5.7.1 Text`, of several lines maybe (RFC 5321 §4.2.1); libmilter doubles each percent sign. */
function readReply(said: string): Answer {
  const lines = said.split(/\r\n|\n/).filter((line) => line !== "");
  const parsed = lines.map((line) =>
    /^([45][0-9]{2})(?:[ -](?:([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: |$))?(.*))?$/.exec(line)
  );
  const [first] = parsed;
  if (!first || parsed.includes(null)) {
    throw new MilterProtocolError(`the reply ${JSON.stringify(said.slice(0, 200))}, which is none of SMTP`);
  }
  const text = parsed.map((one) => one![3] ?? "").filter((part) => part !== "").join(" ")
    .replaceAll("%%", "%").replaceAll(/[^\x20-\x7e]/g, "?").slice(0, 400);
  return { kind: "reply", code: Number(first[1]), status: first[2], text };
}
