/** The text of golden dialogs (`tests/dialogs/README.md`), read: what is played is another's business. */
import { type Duration, readDuration } from "../options.ts";
import type { TestServerOptions } from "./configuration.ts";
import type { ConnectOptions } from "./send.ts";

/** How the client's octets are cut into segments. */
export type Cut = "as written" | "one octet at a time" | "joined";

/** One line of it, or several that belong together. */
export type Step =
  & { readonly line: number }
  & (
    | { readonly does: "send"; readonly segments: readonly Uint8Array[] }
    | { readonly does: "handshake" | "end" | "close" | "abort" }
    | { readonly does: "expect"; readonly reply: string }
    | { readonly does: "expect-closed" }
    | { readonly does: "advance"; readonly ms: number }
    | { readonly does: "count"; readonly kept: number; readonly recipients: readonly string[] }
    | { readonly does: "content"; readonly content: Uint8Array }
  );

/** A dialog, read. */
export interface Dialog {
  readonly steps: readonly Step[];
  readonly connect: ConnectOptions;
  readonly server: Omit<TestServerOptions, "plugins">;
  readonly cuts: readonly Cut[];
}

/** Octets, one behind the other. */
export function glue(pieces: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

const words = ["handshake", "end", "close", "abort"] as const;

/** Reads a dialog. @throws {Error} that names the line. */
export function readDialog(text: string): Dialog {
  const steps: Step[] = [];
  const connect: Record<string, unknown> = {};
  const server: Record<string, Record<string, unknown> | unknown> = {};
  let cuts: readonly Cut[] = ["as written", "one octet at a time", "joined"];
  for (const [i, whole] of text.split("\n").entries()) {
    const line = i + 1;
    const bad = (why: string) => new Error(`line ${line}: ${why}: ${whole}`);
    if (whole.trim() === "" || whole.startsWith("#")) continue;
    const [, sign, rest = ""] = /^([A-Z@][:>!]?)(?: (.*))?$/.exec(whole) ?? [];
    if (sign === "@") {
      if (rest === "split fixed") cuts = ["as written"];
      else if (!set(rest, connect, server)) throw bad("there is no such setting");
    } else steps.push(...readStep(sign ?? "", rest, line, bad));
  }
  return { steps: merged(steps), connect, server, cuts };
}

/** Lines of `M:` and `M>` that follow each other are one content. */
function merged(steps: readonly Step[]): Step[] {
  const out: Step[] = [];
  for (const step of steps) {
    const last = out.at(-1);
    if (step.does === "content" && last?.does === "content") {
      out[out.length - 1] = { ...last, content: glue([last.content, step.content]) };
    } else out.push(step);
  }
  return out;
}

function readStep(sign: string, rest: string, line: number, bad: (why: string) => Error): Step[] {
  switch (sign) {
    case "C:":
      return [{ line, does: "send", segments: [new TextEncoder().encode(`${rest}\r\n`)] }];
    case "C>":
      return [{ line, does: "send", segments: readStrings(rest, bad) }];
    case "C!": {
      const word = words.find((one) => one === rest);
      if (!word) throw bad(`the client can ${words.join(", ")}`);
      return [{ line, does: word }];
    }
    case "S:":
      return [rest === "closed" ? { line, does: "expect-closed" } : { line, does: "expect", reply: rest }];
    case "T:": {
      const ms = readDuration(rest as Duration);
      if (ms === undefined) throw bad("that is no duration such as 5m");
      return [{ line, does: "advance", ms }];
    }
    case "Q:": {
      const [count = "", ...recipients] = rest.split(" ");
      if (!/^[0-9]+$/.test(count)) throw bad("that is no number of messages");
      return [{ line, does: "count", kept: Number(count), recipients }];
    }
    case "M:":
      return [{ line, does: "content", content: new TextEncoder().encode(`${rest}\r\n`) }];
    case "M>":
      return [{ line, does: "content", content: glue(readStrings(rest, bad)) }];
    default:
      throw bad("a line begins with C: C> C! S: T: Q: M: M> @ or #");
  }
}

/** `"text" "more"*100`: strings with escapes, each maybe repeated. */
function readStrings(text: string, bad: (why: string) => Error): Uint8Array[] {
  const out: Uint8Array[] = [];
  const one = /\s*"((?:[^"\\]|\\.)*)"(?:\*([0-9]+))?/y;
  while (one.lastIndex < text.length) {
    const found = one.exec(text);
    if (!found) throw bad('strings stand in quotes, as "a\\r\\n" or "x"*100');
    const bytes = unescape(found[1]!, bad);
    out.push(glue(Array<Uint8Array>(Number(found[2] ?? 1)).fill(bytes)));
  }
  return out;
}

function unescape(text: string, bad: (why: string) => Error): Uint8Array {
  const known: Record<string, number> = { r: 13, n: 10, t: 9, "0": 0, "\\": 92, '"': 34 };
  const pieces = text.split(/(\\x[0-9a-fA-F]{2}|\\.)/).map((piece) => {
    if (!piece.startsWith("\\")) return new TextEncoder().encode(piece);
    const byte = piece.length === 4 ? parseInt(piece.slice(2), 16) : known[piece[1]!];
    if (byte === undefined) throw bad(`${piece} is no escape: there are \\r \\n \\t \\0 \\\\ \\" \\xHH`);
    return Uint8Array.of(byte);
  });
  return glue(pieces);
}

/** A setting of the connection, or of the server; false where there is none of the name. */
function set(
  text: string,
  connect: Record<string, unknown>,
  server: Record<string, unknown>,
): boolean {
  const [key = "", value = ""] = text.split(/\s+/, 2);
  const typed = /^[0-9]+$/.test(value) ? Number(value) : value === "yes" ? true : value;
  const [group = "", inner] = key.split(".");
  if (["ip", "role", "protocol", "tls", "auth", "allowPlain"].includes(key)) connect[key] = typed;
  else if (key === "trustedNetworks") server[key] = value.split(",");
  else if ((group === "limits" || group === "timeouts") && inner !== undefined) {
    server[group] = { ...(server[group] as Record<string, unknown>), [inner]: typed };
  } else return false;
  return true;
}
