/** Next hops in this process, so that what arrives is timed by the same clock as what is sent. */

/** One of them: takes mail, or accepts connections and says nothing. */
export class Destination {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #open = new Set<Deno.Conn>();
  #accepted = 0;

  private constructor(serve: ((connection: Deno.Conn) => Promise<void>) | undefined) {
    this.#accept(serve);
  }

  /** @param arrived Called with each message at its final dot. */
  static answering(arrived: (content: string) => void): Destination {
    return new Destination((connection) => converse(connection, arrived));
  }

  static silent(): Destination {
    return new Destination(undefined);
  }

  get port(): number {
    return (this.#listener.addr as Deno.NetAddr).port;
  }

  /** Accepted so far. */
  get connections(): number {
    return this.#accepted;
  }

  close(): void {
    for (const connection of this.#open) connection.close();
    this.#open.clear();
    try {
      this.#listener.close();
    } catch (error) {
      if (!(error instanceof Deno.errors.BadResource)) throw error; // it is closed already
    }
  }

  async #accept(serve: ((connection: Deno.Conn) => Promise<void>) | undefined): Promise<void> {
    for (;;) {
      let connection: Deno.Conn;
      try {
        connection = await this.#listener.accept();
      } catch (error) {
        if (error instanceof Deno.errors.BadResource) return;
        continue; // one that went away
      }
      this.#accepted++;
      this.#open.add(connection);
      serve?.(connection).catch(() => {}).finally(() => {
        if (this.#open.delete(connection)) connection.close();
      });
    }
  }
}

async function converse(connection: Deno.Conn, arrived: (content: string) => void): Promise<void> {
  const [encoder, decoder, buffer] = [new TextEncoder(), new TextDecoder("latin1"), new Uint8Array(16_384)];
  const say = async (text: string) => {
    const bytes = encoder.encode(text);
    for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
  };
  await say("220 sink.example.test ESMTP\r\n");
  let [text, state]: [string, "command" | "data"] = ["", "command"];
  for (;;) {
    const length = await connection.read(buffer);
    if (length === null) return;
    text += decoder.decode(buffer.subarray(0, length));
    let answer = "";
    for (;;) {
      const end = state === "data" ? "\r\n.\r\n" : "\r\n";
      const at = text.indexOf(end);
      if (at < 0) break;
      const part = text.slice(0, at + 2);
      text = text.slice(at + end.length);
      if (state === "data") {
        arrived(part);
        [state, answer] = ["command", `${answer}250 2.0.0 Ok\r\n`];
        continue;
      }
      const verb = part.slice(0, 4).toUpperCase();
      if (verb === "DATA") state = "data";
      answer += verb === "EHLO"
        ? "250-sink.example.test\r\n250-PIPELINING\r\n250 8BITMIME\r\n"
        : verb === "DATA"
        ? "354 Go on\r\n"
        : verb === "QUIT"
        ? "221 2.0.0 Bye\r\n"
        : "250 2.0.0 Ok\r\n";
    }
    if (answer !== "") await say(answer);
  }
}
