/** A filter for tests: says what it is told to say, over a real socket. */
import { Buffer } from "node:buffer";
import { type Packet, packet, PacketReader } from "../../../plugins/milter/frames.ts";
import { Action, Step } from "../../../plugins/milter/negotiation.ts";

const text = (value: string) => new TextEncoder().encode(`${value}\0`);
const number = (value: number) => {
  const octets = new Uint8Array(4);
  new DataView(octets.buffer).setUint32(0, value);
  return octets;
};

/** What a filter may say. */
export const say = {
  continue: packet("c"),
  accept: packet("a"),
  discard: packet("d"),
  reject: packet("r"),
  tempfail: packet("t"),
  skip: packet("s"),
  garbage: packet("z"),
  progress: packet("p"),
  reply: (line: string) => packet("y", text(line)),
  addHeader: (name: string, value: string) => packet("h", text(name), text(value)),
  insertHeader: (index: number, name: string, value: string) =>
    packet("i", number(index), text(name), text(value)),
  changeHeader: (index: number, name: string, value: string) =>
    packet("m", number(index), text(name), text(value)),
  addRecipient: (address: string) => packet("+", text(address)),
  removeRecipient: (address: string) => packet("-", text(address)),
  changeSender: (address: string) => packet("e", text(address)),
  quarantine: (reason: string) => packet("q", text(reason)),
  replaceBody: (octets: string) => packet("b", new TextEncoder().encode(octets)),
  agree: (version: number, actions: number, steps: number, more: readonly Uint8Array[] = []) =>
    packet("O", number(version), number(actions), number(steps), ...more),
  macros: (stage: number, names: string) => [number(stage), text(names)],
};

/** What it answers: packets, or `close`; nothing for a command it is silent about. */
export type Answers = (
  command: Packet,
  heard: readonly string[],
) => readonly Uint8Array[] | Uint8Array | "close" | "hang" | undefined;

/** All it can do. */
export const everyAction = Object.values(Action).reduce((sum, one) => sum | one, 0) & ~Action.setMacros;

/** A filter that listens. */
export class Filter implements AsyncDisposable {
  /** What was heard on each connection, in words: `M <a@b.example>`. */
  readonly heard: string[][] = [];
  readonly #listener: Deno.TcpListener;
  readonly #connections = new Set<Deno.Conn>();
  readonly #running: Promise<void>;
  readonly #serving: Promise<void>[] = [];
  #answers: Answers;

  constructor(answers: Answers = () => undefined) {
    this.#answers = answers;
    this.#listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    this.#running = this.#run();
  }

  get address(): string {
    return `127.0.0.1:${this.#listener.addr.port}`;
  }

  /** Its words on all connections. */
  get all(): string[] {
    return this.heard.flat();
  }

  /** Resolves when nobody is connected any more: what was said last has been heard. */
  async left(): Promise<void> {
    await Promise.all(this.#serving);
  }

  /** Says something that nobody has asked for, on all connections. */
  async tell(bytes: Uint8Array): Promise<void> {
    for (const conn of this.#connections) await conn.write(bytes);
  }

  set answers(answers: Answers) {
    this.#answers = answers;
  }

  async #run(): Promise<void> {
    for (;;) {
      let conn: Deno.Conn;
      try {
        conn = await this.#listener.accept();
      } catch {
        break; // closed
      }
      this.#connections.add(conn);
      this.#serving.push(this.#serve(conn).catch(() => {}).finally(() => this.#connections.delete(conn)));
    }
    await Promise.all(this.#serving);
  }

  async #serve(conn: Deno.Conn): Promise<void> {
    const heard: string[] = [];
    this.heard.push(heard);
    const reader = new PacketReader();
    const buffer = new Uint8Array(64 * 1024);
    for (;;) {
      const count = await conn.read(buffer);
      if (count === null) return conn.close();
      for (const command of reader.read(buffer.subarray(0, count))) {
        const words = command.code === "O"
          ? "O"
          : `${command.code} ${Buffer.from(command.data).toString("latin1").replaceAll("\0", "|")}`
            .trimEnd();
        heard.push(words);
        const answer = this.#answers(command, heard) ?? usual(command);
        if (answer === "hang") continue;
        if (answer === "close") return conn.close();
        for (const one of answer instanceof Uint8Array ? [answer] : answer) await conn.write(one);
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const conn of this.#connections) conn.close();
    await this.#running;
  }
}

function usual({ code }: Packet): Uint8Array | readonly Uint8Array[] {
  if (code === "O") return say.agree(6, everyAction, 0);
  return "DAQ".includes(code) ? [] : say.continue;
}

export { Action, Step };
