/** A client whose replies are timed one by one, which smtp-source doesn't. */

/** A client that keeps its connection and awaits each reply. */
export class Client {
  readonly #connection: Deno.Conn;
  readonly #buffer = new Uint8Array(4096);

  private constructor(connection: Deno.Conn) {
    this.#connection = connection;
  }

  /** Connects, and says EHLO. */
  static async open(port: number): Promise<Client> {
    const client = new Client(await Deno.connect({ hostname: "127.0.0.1", port }));
    await client.#replies("2", 1);
    await client.#say("EHLO client.example.test\r\n", "2", 1);
    return client;
  }

  /** A message; resolves at its 250. @param dotted Called when the final dot goes out. @throws {Error} at any other reply. */
  async send(to: string, content: string, dotted: () => void): Promise<void> {
    await this.#say(`MAIL FROM:<a@example.test>\r\nRCPT TO:<${to}>\r\nDATA\r\n`, "3", 3);
    dotted();
    await this.#say(`${content}\r\n.\r\n`, "2", 1);
  }

  close(): void {
    this.#connection.close();
  }

  async #say(text: string, wanted: string, count: number): Promise<void> {
    const bytes = new TextEncoder().encode(text);
    for (let at = 0; at < bytes.length;) at += await this.#connection.write(bytes.subarray(at));
    await this.#replies(wanted, count);
  }

  /** @param wanted How the last of the replies begins. */
  async #replies(wanted: string, count: number): Promise<void> {
    let text = "";
    for (;;) {
      const length = await this.#connection.read(this.#buffer);
      text += new TextDecoder().decode(this.#buffer.subarray(0, length ?? 0));
      const last = [...text.matchAll(/^[0-9]{3} .*\r\n/gm)];
      if (last.length >= count && last.at(-1)![0].startsWith(wanted)) return;
      if (length === null || last.length >= count) throw new Error(`postrider: ${text || "closed"}`);
    }
  }
}

/** @param part Of 1. */
export const percentile = (values: readonly number[], part: number) =>
  values.toSorted((a, b) => a - b)[Math.ceil(values.length * part) - 1]!;
