/**
 * Golden dialogs: an SMTP session written down, played against a test server. Each is played three times: as it is cut in the
 * file, one octet at a time, and with all that the client says up to the next reply in one segment; the outcome is the same.
 * The format is described in `tests/dialogs/README.md`.
 */
import { setImmediate } from "node:timers";
import type { TestClient } from "./client.ts";
import type { TestServerOptions } from "./configuration.ts";
import { type Cut, glue, readDialog, type Step } from "./dialog_text.ts";
import { type TestServer, testServer } from "./server.ts";

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
