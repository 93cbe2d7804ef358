/** A client of a test server: speaks over a channel in memory, one command or a few raw octets at a time. */
import type { MemoryClient } from "../channel/memory.ts";
import { DotStuffer } from "../smtp/data.ts";
import { turn } from "./clock.ts";
import { octetsOf, type TestContent } from "./mail.ts";

/** A server's reply. */
export interface TestReply {
  /** Three digits. */
  readonly code: number;
  /** The enhanced status code, where there is one. */
  readonly status: string | undefined;
  /** The text of each line, without code and status. */
  readonly lines: readonly string[];
  /** The lines joined by spaces. */
  readonly text: string;
}

/**
 * A client's connection to a test server, as `server.connect()` makes it.
 *
 * @example
 * ```ts
 * import { mailboxes, testServer } from "postrider/testing";
 * import { strictEqual as equal } from "node:assert/strict";
 * await using server = await testServer({ plugins: [mailboxes(["example.org"])] });
 * const client = server.connect({ ip: "198.51.100.7" });
 * equal((await client.reply()).code, 220);
 * equal((await client.command("HELO client.example")).code, 250);
 * equal((await client.command("MAIL FROM:<a@example.net>")).status, "2.1.0");
 * client.abort();
 * await client.closed;
 * ```
 */
export class TestClient {
  /** Resolves when the server is done with this connection: it is closed, and reported as such. */
  readonly closed: Promise<void>;
  readonly #end: MemoryClient;
  readonly #cut: number;
  #said = 0;
  #greeted = false;

  /** For `server.connect()`. */
  constructor(end: MemoryClient, closed: Promise<void>, cut: number = Infinity) {
    this.#end = end;
    this.closed = closed;
    this.#cut = cut;
  }

  /** Whether TLS is running. */
  get encrypted(): boolean {
    return this.#end.tls !== undefined;
  }

  /** Whether it went in the middle of what it had to say, as `cut` wants it. */
  get isCut(): boolean {
    return this.#said >= this.#cut;
  }

  /** Sends octets, or text as UTF-8, just as they are; each argument arrives as a segment of its own. */
  async send(...segments: readonly (string | Uint8Array)[]): Promise<void> {
    for (const segment of segments) {
      const bytes = typeof segment === "string" ? new TextEncoder().encode(segment) : segment;
      const left = this.#cut - this.#said;
      this.#said += bytes.length;
      if (bytes.length < left) await this.#end.write(bytes);
      else {
        await this.#end.write(bytes.subarray(0, left));
        await turn(); // it arrives; a reset would throw it away
        this.abort();
      }
    }
  }

  /** The next reply, the greeting being the first. @throws {Error} when the server has closed instead. */
  async reply(): Promise<TestReply> {
    this.#greeted = true;
    const wire = await this.#end.readReply();
    if (wire === undefined) throw new Error("the server has closed the connection without a reply");
    return parseReply(wire);
  }

  /** The next line the server says, without its CRLF; `undefined` once it has closed. */
  line(): Promise<string | undefined> {
    this.#greeted = true;
    return this.#end.readLine();
  }

  /** What the server wrote at once, as text; `undefined` once it has closed. */
  async segment(): Promise<string | undefined> {
    this.#greeted = true;
    const bytes = await this.#end.read();
    return bytes && new TextDecoder().decode(bytes);
  }

  /** Says a command line, and reads its reply; the greeting is read before, where nobody has. */
  async command(line: string): Promise<TestReply> {
    if (!this.#greeted) await this.reply();
    await this.send(`${line}\r\n`);
    return await this.reply();
  }

  /** What follows the reply to DATA: the content, dot-stuffed, and the final dot; reads one reply. */
  async content(content: TestContent): Promise<TestReply> {
    const stuffer = new DotStuffer();
    await this.send(stuffer.encode(await octetsOf(content)).slice(), stuffer.finish());
    return await this.reply();
  }

  /** Says STARTTLS and, when the server is ready, does the handshake. */
  async startTls(): Promise<TestReply> {
    const reply = await this.command("STARTTLS");
    if (reply.code === 220) await this.handshake();
    return reply;
  }

  /** The client's half of the handshake alone. */
  async handshake(): Promise<void> {
    await this.#end.startTls();
  }

  /** Logs in by AUTH PLAIN, whose reply it is. */
  async login(user: string, password: string): Promise<TestReply> {
    const response = new TextEncoder().encode(`\0${user}\0${password}`).toBase64();
    return await this.command(`AUTH PLAIN ${response}`);
  }

  /** Sends no more (a FIN); replies can still be read. */
  end(): void {
    this.#end.end();
  }

  /** Closes, and reads no more. */
  close(): void {
    this.#end.close();
  }

  /** Resets the connection. */
  abort(): void {
    this.#end.abort();
  }
}

function parseReply(wire: string): TestReply {
  const lines = wire.split("\n");
  const status = /^[0-9]{3}[ -]([245]\.[0-9]{1,3}\.[0-9]{1,3}) /.exec(lines[0]!)?.[1];
  const cut = status === undefined ? 4 : 4 + status.length + 1;
  const texts = lines.map((line) => line.slice(cut));
  return { code: Number(lines[0]!.slice(0, 3)), status, lines: texts, text: texts.join(" ") };
}
