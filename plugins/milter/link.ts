/** One connection to a filter: packets out, packets in. */
import { type BackEnd, readBackEnd } from "../back_end.ts";
import { type Packet, PacketReader } from "./frames.ts";

/** A filter is gone, or was never there. The text says which, for an operator. */
export class MilterGone extends Error {
  override readonly name = "MilterGone";
}

/** A connection. Whatever fails closes it, and every later use throws. */
export class Link {
  readonly #conn: Deno.Conn;
  readonly #address: string;
  readonly #reader = new PacketReader();
  readonly #waiting: Packet[] = [];
  readonly #buffer = new Uint8Array(64 * 1024);
  #state: "open" | "closed" = "open";
  /** Called once it is closed. */
  onClosed: () => void = () => {};

  private constructor(conn: Deno.Conn, address: string) {
    this.#conn = conn;
    this.#address = address;
  }

  /** @throws {MilterGone} when nobody is there. */
  static async open(address: string, signal: AbortSignal): Promise<Link> {
    signal.throwIfAborted();
    try {
      return new Link(await dial(readBackEnd(address)!, signal), address);
    } catch (error) {
      signal.throwIfAborted();
      throw new MilterGone(`the milter can't be reached at ${address}: ${wordsOf(error)}`, { cause: error });
    }
  }

  get isOpen(): boolean {
    return this.#state === "open";
  }

  /** Says these packets. @throws {MilterGone} when the other side has closed. */
  async say(packets: readonly Uint8Array[], signal: AbortSignal): Promise<void> {
    await this.#guarded(signal, async () => {
      for (const packet of packets) {
        for (let at = 0; at < packet.length;) at += await this.#conn.write(packet.subarray(at));
      }
    });
  }

  /** The next packet. @throws {MilterGone} when the other side has closed; what isn't the protocol throws, too. */
  async hear(signal: AbortSignal): Promise<Packet> {
    const waiting = this.#waiting.shift();
    if (waiting) return waiting;
    return await this.#guarded(signal, async () => {
      for (;;) {
        const count = await this.#conn.read(this.#buffer);
        if (count === null) throw new MilterGone(`the milter at ${this.#address} has closed the connection`);
        this.#waiting.push(...this.#reader.read(this.#buffer.subarray(0, count)));
        const first = this.#waiting.shift();
        if (first) return first;
      }
    });
  }

  async #guarded<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    if (!this.isOpen) throw new MilterGone(`the milter at ${this.#address} has closed the connection`);
    const stop = () => this.close();
    signal.addEventListener("abort", stop, { once: true });
    try {
      signal.throwIfAborted();
      return await work();
    } catch (error) {
      this.close();
      signal.throwIfAborted();
      if (error instanceof MilterGone) throw error;
      throw new MilterGone(`the milter at ${this.#address} said or did what can't be: ${wordsOf(error)}`, {
        cause: error,
      });
    } finally {
      signal.removeEventListener("abort", stop);
    }
  }

  close(): void {
    if (!this.isOpen) return;
    this.#state = "closed";
    this.#conn.close();
    this.onClosed();
  }
}

async function dial(to: BackEnd, signal: AbortSignal): Promise<Deno.Conn> {
  if ("path" in to) return await Deno.connect({ transport: "unix", path: to.path });
  const conn = await Deno.connect({ ...to, signal });
  conn.setNoDelay(true); // a question and an answer, again and again
  return conn;
}

const wordsOf = (error: unknown) => error instanceof Error ? error.message : String(error);
