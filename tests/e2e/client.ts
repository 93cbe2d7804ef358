/** An SMTP client that does exactly what it is told, for what real clients never do. */
import { Buffer } from "node:buffer";

/** What a server says to one command. */
export interface Reply {
  readonly code: number;
  /** Without codes. */
  readonly lines: readonly string[];
}

/** A connection to a server. */
export class RawClient implements Disposable {
  readonly #conn: Deno.Conn;
  #received = "";

  private constructor(conn: Deno.Conn) {
    this.#conn = conn;
  }

  /**
   * Connects and takes the greeting.
   *
   * @param first What is sent before it: a proxy's header, or what an impatient client says.
   */
  static async connect(to: number | string, first = ""): Promise<RawClient> {
    const conn = typeof to === "number"
      ? await Deno.connect({ hostname: "127.0.0.1", port: to })
      : await Deno.connect({ transport: "unix", path: to });
    if ("setNoDelay" in conn) conn.setNoDelay(true); // else a second write waits 40 ms for an acknowledgement
    return await RawClient.over(conn, first);
  }

  /** Takes the greeting on a connection that is there, which is its own from now on. */
  static async over(conn: Deno.Conn, first = ""): Promise<RawClient> {
    const client = new RawClient(conn);
    try {
      await client.send(first);
      await client.expect(220);
      return client;
    } catch (error) {
      client[Symbol.dispose]();
      throw error;
    }
  }

  /** The next reply. @throws {Error} when the server closes instead. */
  async reply(): Promise<Reply> {
    for (;;) {
      const found = /^(?:[0-9]{3}-[^\n]*\n)*[0-9]{3}(?: [^\n]*)?\r\n/.exec(this.#received);
      if (found) {
        this.#received = this.#received.slice(found[0].length);
        const lines = found[0].trimEnd().split("\r\n");
        return { code: Number(found[0].slice(0, 3)), lines: lines.map((line) => line.slice(4)) };
      }
      if (!await this.#read()) throw new Error(`closed after ${JSON.stringify(this.#received)}`);
    }
  }

  /** The next reply, with this code. @throws {Error} when it has another. */
  async expect(code: number): Promise<Reply> {
    const reply = await this.reply();
    if (reply.code !== code) throw new Error(`${reply.code} ${reply.lines.join(" / ")} instead of ${code}`);
    return reply;
  }

  /** Says a line; the reply has to have this code. */
  async say(line: string, code = 250): Promise<Reply> {
    await this.send(`${line}\r\n`);
    return await this.expect(code);
  }

  async send(bytes: string | Uint8Array): Promise<void> {
    const all = typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes;
    for (let at = 0; at < all.length;) at += await this.#conn.write(all.subarray(at));
  }

  /** A transaction up to the 354. */
  async envelope(from: string, ...to: readonly string[]): Promise<void> {
    await this.say(`MAIL FROM:<${from}>`);
    for (const address of to) await this.say(`RCPT TO:<${address}>`);
    await this.say("DATA", 354);
  }

  /** Whether the server closes, now or after what it still says. */
  async closed(): Promise<true> {
    while (await this.#read());
    return true;
  }

  async #read(): Promise<boolean> {
    const chunk = new Uint8Array(65_536);
    const count = await this.#conn.read(chunk).catch((error) => {
      if (error instanceof Deno.errors.ConnectionReset) return null;
      throw error;
    });
    if (count === null) return false;
    this.#received += Buffer.from(chunk.subarray(0, count)).toString("latin1");
    return true;
  }

  [Symbol.dispose](): void {
    this.#conn.close();
  }
}

/** Content as DATA carries it (RFC 5321 §4.5.2), with the end: lines begin behind CRLF only, whatever else is in it. */
export function stuffed(content: Uint8Array): Uint8Array {
  const text = Buffer.from(content).toString("latin1");
  const end = text === "" || text.endsWith("\r\n") ? ".\r\n" : "\r\n.\r\n";
  return Buffer.from(text.replace(/(^|\r\n)\./g, "$1..") + end, "latin1");
}

/** Each CRLF, lone CR and lone LF as CRLF: what the server makes of content. */
export function normalized(content: Uint8Array): Buffer {
  return Buffer.from(Buffer.from(content).toString("latin1").replace(/\r\n|\r|\n/g, "\r\n"), "latin1");
}
