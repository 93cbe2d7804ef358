/** A server that mail is sent on to: it keeps book of what it got, and answers as a test wants it to. */
import { Buffer } from "node:buffer";

/** A message at its final dot. */
export interface Arrival {
  readonly sender: string;
  /** Those that were accepted. */
  readonly recipients: readonly string[];
  /** The lines of MAIL and RCPT, as they came. */
  readonly commands: readonly string[];
  /** As it was sent, dots taken off. */
  readonly content: Buffer;
}

/** What it answers; where it says nothing, 250. */
export interface Rules {
  readonly hostname?: string;
  /** 0, by default: any. */
  readonly port?: number;
  /** To RCPT. */
  readonly rcpt?: (address: string) => string | undefined;
  /** To the final dot, which waits for it; a message with another answer than 2xx is not kept. */
  readonly dot?: (arrival: Arrival) => string | undefined | Promise<string | undefined>;
  /** Called when the answer to a message was handed to the network. */
  readonly answered?: (arrival: Arrival) => void;
}

interface Waiter {
  readonly count: number;
  resolve(): void;
}

/** After this a test has failed: what it waits for does not come. */
const patience = 60_000;

/** Listens until it is disposed of. */
export class NextHop implements AsyncDisposable {
  /** What it said 2xx to. */
  readonly arrivals: Arrival[] = [];
  readonly port: number;
  readonly #listener: Deno.TcpListener;
  readonly #rules: Rules;
  readonly #conns = new Set<Deno.Conn>();
  readonly #serving: Promise<void>;
  readonly #waiters = new Set<Waiter>();

  constructor(rules: Rules = {}) {
    const { hostname = "127.0.0.1", port = 0 } = rules;
    this.#rules = rules;
    this.#listener = Deno.listen({ hostname, port });
    this.port = this.#listener.addr.port;
    this.#serving = this.#accept();
  }

  /** The messages, once there are so many. @throws {Error} when they don't come. */
  async untilCount(count: number): Promise<readonly Arrival[]> {
    if (this.arrivals.length >= count) return this.arrivals;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiter: Waiter = { count, resolve };
    this.#waiters.add(waiter);
    const late = () => reject(new Error(`${this.arrivals.length} messages have come instead of ${count}`));
    const timer = setTimeout(late, patience);
    try {
      await promise;
      return this.arrivals;
    } finally {
      clearTimeout(timer);
      this.#waiters.delete(waiter);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const conn of [...this.#conns]) close(conn);
    await this.#serving;
  }

  async #accept(): Promise<void> {
    const sessions = new Set<Promise<void>>();
    for (;;) {
      let conn: Deno.TcpConn;
      try {
        conn = await this.#listener.accept();
      } catch (error) {
        if (error instanceof Deno.errors.BadResource || error instanceof Deno.errors.Interrupted) break;
        continue;
      }
      conn.setNoDelay(true);
      this.#conns.add(conn);
      const session = this.#serve(conn).catch(() => {}).finally(() => {
        sessions.delete(session);
        this.#conns.delete(conn);
        close(conn);
      });
      sessions.add(session);
    }
    await Promise.all(sessions);
  }

  /** One session; rejects when the client is gone. */
  async #serve(conn: Deno.Conn): Promise<void> {
    const input = new Input(conn);
    const say = (text: string) => conn.write(Buffer.from(`${text}\r\n`));
    let [sender, recipients, commands]: [string, string[], string[]] = ["", [], []];
    await say("220 next-hop.test ESMTP");
    for (;;) {
      const line = await input.until("\r\n");
      const address = /<([^>]*)>/.exec(line)?.[1] ?? "";
      const verb = line.slice(0, 4).toUpperCase();
      if (verb === "EHLO") await say("250-next-hop.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 0");
      else if (verb === "MAIL") {
        [sender, recipients, commands] = [address, [], [line]];
        await say("250 2.1.0 OK");
      } else if (verb === "RCPT") {
        const refusal = this.#rules.rcpt?.(address);
        commands.push(line);
        if (refusal === undefined) recipients.push(address);
        await say(refusal ?? "250 2.1.5 OK");
      } else if (verb === "DATA") {
        await say(recipients.length > 0 ? "354 Go on" : "503 5.5.1 No recipients");
        if (recipients.length === 0) continue;
        const content = await input.until("\r\n.\r\n");
        const bytes = Buffer.from(`${content}\r\n`.replace(/(^|\r\n)\./g, "$1"), "latin1");
        await this.#take(say, { sender, recipients, commands, content: bytes });
      } else if (verb === "QUIT") return void await say("221 2.0.0 Bye");
      else await say("250 2.0.0 OK");
    }
  }

  async #take(say: (text: string) => Promise<unknown>, arrival: Arrival): Promise<void> {
    const answer = await this.#rules.dot?.(arrival) ?? "250 2.0.0 Kept";
    // Before the answer: it counts, too, where the client is gone meanwhile.
    if (answer.startsWith("2")) this.arrivals.push(arrival);
    for (const { count, resolve } of this.#waiters) if (this.arrivals.length >= count) resolve();
    await say(answer);
    this.#rules.answered?.(arrival);
  }
}

/** Bytes as latin1, read up to a mark. */
class Input {
  #text = "";

  constructor(readonly conn: Deno.Conn) {}

  /** What stands before the mark; it and the mark are taken. @throws {Error} at the end. */
  async until(mark: string): Promise<string> {
    const chunk = new Uint8Array(65_536);
    for (let from = 0;;) {
      const at = this.#text.indexOf(mark, from);
      if (at >= 0) {
        const taken = this.#text.slice(0, at);
        this.#text = this.#text.slice(at + mark.length);
        return taken;
      }
      from = Math.max(0, this.#text.length - mark.length);
      const count = await this.conn.read(chunk);
      if (count === null) throw new Error("the client is gone");
      this.#text += Buffer.from(chunk.subarray(0, count)).toString("latin1");
    }
  }
}

function close(conn: Deno.Conn): void {
  try {
    conn.close();
  } catch {
    // It is closed.
  }
}
