/**
 * Golden dialogs: an SMTP session written down, played against a test server. Each is played three times: as it is cut in the
 * file, one octet at a time, and with all that the client says up to the next reply in one segment; the outcome is the same.
 * The format is described in `tests/dialogs/README.md`.
 */
import { setImmediate } from "node:timers";
import { type Duration, readDuration } from "../options.ts";
import type { TestClient } from "./client.ts";
import type { ConnectOptions } from "./send.ts";
import type { TestServerOptions } from "./configuration.ts";
import { type TestServer, testServer } from "./server.ts";

/** How the client's octets are cut into segments. */
type Cut = "as written" | "one octet at a time" | "joined";

type Step =
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
interface Dialog {
  readonly steps: readonly Step[];
  readonly connect: ConnectOptions;
  readonly server: Omit<TestServerOptions, "plugins">;
  readonly cuts: readonly Cut[];
}

/**
 * Plays a dialog, each time against a server of its own.
 *
 * @param text The dialog.
 * @param options The server; what the dialog's settings say goes above it.
 * @throws {Error} that names the line of the dialog, what was expected and what was said.
 *
 * @example
 * ```ts
 * import { mailboxes, runDialog } from "postrider/testing";
 * const dialog = `
 * S: 220 mx.example.org ESMTP ready
 * C: EHLO client.example
 * S: 250 HELP
 * C: MAIL FROM:<a@example.net>
 * C: RCPT TO:<nobody@elsewhere.example>
 * S: 250 2.1.0 *
 * S: 550 5.7.1 *
 * `;
 * await runDialog(dialog, { plugins: [mailboxes(["example.org"])] });
 * ```
 */
export async function runDialog(text: string, options: TestServerOptions): Promise<void> {
  const dialog = readDialog(text);
  for (const cut of dialog.cuts) {
    const { limits, timeouts, ...rest } = dialog.server;
    await using server = await testServer({
      ...options,
      ...rest,
      limits: { ...options.limits, ...limits },
      timeouts: { ...options.timeouts, ...timeouts },
    });
    const player = new Player(server, server.connect(dialog.connect), cut);
    try {
      for (const step of cut === "joined" ? joined(dialog.steps) : dialog.steps) await player.play(step);
      await player.finish();
    } catch (error) {
      throw new Error(`${(error as Error).message}\n(sent ${cut})\n${player.transcript}`);
    }
  }
}

// ── Playing ────────────────────────────────────────────────────────────────────────────────────────

class Player {
  readonly #server: TestServer;
  readonly #client: TestClient;
  readonly #cut: Cut;
  /** Lines the server has said and no step has read. */
  readonly #said: string[] = [];
  readonly #past: string[] = [];
  #closed = false;

  constructor(server: TestServer, client: TestClient, cut: Cut) {
    this.#server = server;
    this.#client = client;
    this.#cut = cut;
    this.#listen();
  }

  /** All that was said on the wire, for the error's reader. */
  get transcript(): string {
    return this.#past.join("\n");
  }

  async play(step: Step): Promise<void> {
    switch (step.does) {
      case "send":
        return await this.#send(step.segments);
      case "expect":
        return await this.#expect(step.line, step.reply);
      case "expect-closed":
        await settle(() => this.#closed);
        if (!this.#closed || this.#said.length > 0) throw this.#wrong(step.line, "closed", this.#said[0]);
        return;
      case "handshake":
        this.#past.push("C! handshake");
        return await this.#client.handshake();
      case "end":
      case "close":
      case "abort":
        this.#client[step.does]();
        return await settle();
      case "advance":
        return await this.#server.clock.advance(step.ms);
      case "count":
        return await this.#count(step);
      case "content":
        return this.#content(step);
    }
  }

  /** The server may not have said more than the dialog tells. */
  async finish(): Promise<void> {
    await settle();
    if (this.#said.length > 0) throw this.#wrong(0, "nothing more", this.#said[0]);
  }

  async #listen(): Promise<void> {
    try {
      for (;;) {
        const line = await this.#client.line();
        if (line === undefined) break;
        this.#said.push(line);
        this.#past.push(`S: ${line}`);
      }
    } catch { // reset: closed all the same
    }
    this.#closed = true;
  }

  async #send(segments: readonly Uint8Array[]): Promise<void> {
    const pieces = this.#cut === "one octet at a time"
      ? segments.flatMap((segment) => Array.from(segment, (_, i) => segment.subarray(i, i + 1)))
      : segments;
    for (const segment of segments) this.#past.push(`C: ${shown(segment)}`);
    await settle(); // what came before has had its effect
    for (const piece of pieces) {
      // A server that has closed hears the rest no more; that it has is for the next step to see.
      await this.#client.send(piece).catch(() => {});
      await settle(() => true);
    }
  }

  async #expect(number: number, wanted: string): Promise<void> {
    const whole = () => this.#closed || this.#said.some((line) => !/^[0-9]{3}-/.test(line));
    await settle(whole);
    const line = this.#said.shift();
    if (line === undefined) throw this.#wrong(number, wanted, this.#closed ? "(closed)" : "(silence)");
    if (matches(wanted, line)) return;
    // Of a long reply the last line may stand for all.
    if (/^[0-9]{3}-/.test(line) && !/^[0-9]{3}-/.test(wanted)) return await this.#expect(number, wanted);
    throw this.#wrong(number, wanted, line);
  }

  async #count({ line, kept, recipients }: Step & { does: "count" }): Promise<void> {
    await settle();
    const copies = await this.#copies();
    const ids = new Set(copies.map(({ id }) => id));
    if (ids.size !== kept) throw this.#wrong(line, `${kept} messages kept`, `${ids.size}`);
    if (recipients.length === 0) return;
    const last = [...ids].sort().at(-1); // they count
    const to = copies.filter(({ id }) => id === last).flatMap((copy) => copy.to).join(" ");
    if (to !== recipients.join(" ")) throw this.#wrong(line, recipients.join(" "), to);
  }

  /** All that was kept: in mailboxes, gone out by `smtp`, in the queue. */
  async #copies(): Promise<{ readonly id: string; readonly to: readonly string[] }[]> {
    const { delivered, sent } = this.#server;
    const waiting = (await this.#server.queue()).map(({ id, recipients }) => ({
      id,
      to: recipients.filter(({ state }) => state === "due").map(({ to }) => to),
    }));
    return [...delivered.map(({ id, to }) => ({ id, to: [to] })), ...sent, ...waiting];
  }

  /** The last message without the field that the server itself has put on top. */
  #content({ line, content }: Step & { does: "content" }): void {
    const { delivered, sent } = this.#server;
    const last = [...delivered, ...sent].sort((a, b) => a.id < b.id ? -1 : 1).at(-1);
    const text = latin1(last?.bytes ?? new Uint8Array()).replace(/^Received: [^\n]*\n(?:\t[^\n]*\n)*/, "");
    if (text !== latin1(content)) {
      throw this.#wrong(line, JSON.stringify(latin1(content)), JSON.stringify(text));
    }
  }

  #wrong(line: number, wanted: string, got: string | undefined): Error {
    return new Error(
      `line ${line}: expected ${wanted}\n${" ".repeat(`line ${line}`.length)}  but it was ${got}`,
    );
  }
}

/**
 * Lets everything happen that needs no time: as many turns of the event loop as it takes, or a few where nobody can say
 * what is waited for.
 */
async function settle(isDone?: () => boolean): Promise<void> {
  for (let turn = 0; turn < (isDone ? 200 : 5); turn++) {
    await new Promise<void>((resolve) => setImmediate(() => resolve()));
    if (isDone?.()) return;
  }
}

/** `*` stands for any text. */
function matches(pattern: string, line: string): boolean {
  const parts = pattern.split("*").map((part) => part.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"));
  return new RegExp(`^${parts.join(".*")}$`).test(line);
}

const latin1 = (bytes: Uint8Array) => {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
};

function shown(bytes: Uint8Array): string {
  const text = JSON.stringify(latin1(bytes));
  return text.length <= 200 ? text : `${text.slice(0, 100)}… (${bytes.length} octets)`;
}

/** All that is sent between two other steps, in one segment. */
function joined(steps: readonly Step[]): Step[] {
  const out: Step[] = [];
  for (const step of steps) {
    const last = out.at(-1);
    if (step.does !== "send" || last?.does !== "send") {
      out.push(step.does === "send" ? { ...step, segments: [glue(step.segments)] } : step);
    } else {
      out[out.length - 1] = { ...last, segments: [glue([...last.segments, ...step.segments])] };
    }
  }
  return out;
}

function glue(pieces: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

// ── Reading ────────────────────────────────────────────────────────────────────────────────────────

const words = ["handshake", "end", "close", "abort"] as const;

function readDialog(text: string): Dialog {
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
