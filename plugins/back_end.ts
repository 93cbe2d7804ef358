/** What plugins share that ask a program beside the server: where it listens, and one question with one answer. */
import { isIPv6 } from "node:net";
import { z } from "../server/plugin.ts";

/** Where it listens. */
export type BackEnd = { readonly path: string } | { readonly hostname: string; readonly port: number };

/** `127.0.0.1:783`, `[::1]:783`, `name:783` or the absolute path of a Unix socket; `undefined`: none of these. */
export function readBackEnd(text: string): BackEnd | undefined {
  if (text.startsWith("/")) return text.includes("\0") ? undefined : { path: text };
  const found = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)):([0-9]{1,5})$/.exec(
    text,
  );
  if (!found || (found[1] !== undefined && !isIPv6(found[1]))) return undefined;
  const port = Number(found[3]);
  return port >= 1 && port <= 65_535 ? { hostname: found[1] ?? found[2]!, port } : undefined;
}

/** The option; what it was written as is kept, for errors. Its default stands in the plugin. */
export const backEnd = z.string().refine(
  (text) => readBackEnd(text) !== undefined,
  "is not a host and a port such as 127.0.0.1:783 or [::1]:783, or the absolute path of a Unix socket",
);

/** How a back end is asked. */
export interface Asking {
  /** What it is called in errors: `clamd`. */
  readonly name: string;
  /** A checked {@linkcode backEnd}. */
  readonly address: string;
  /** Ends it, whatever it waits for. */
  readonly signal: AbortSignal;
  /** Octets of the longest answer that makes sense. */
  readonly most: number;
}

/**
 * Says `pieces` on a connection of its own and answers what is said until the other side closes. Both at a time: a back end that
 * has heard enough answers and closes in the middle.
 *
 * @throws {Error} in an operator's words, when there is no answer.
 */
export async function ask(
  { name, address, signal, most }: Asking,
  pieces: AsyncIterable<Uint8Array>,
): Promise<string> {
  const conn = await connect(readBackEnd(address)!, signal).catch((error: unknown) => {
    signal.throwIfAborted();
    throw new Error(`${name} can't be reached at ${address}: ${wordsOf(error)}`, { cause: error });
  });
  let isOpen = true;
  const close = () => {
    if (isOpen) conn.close();
    isOpen = false;
  };
  signal.addEventListener("abort", close, { once: true });
  if (signal.aborted) close();
  const said = say(conn, pieces).then(() => undefined, (error: unknown) => {
    if (!isGone(error)) close(); // the message can't be read: nothing will be answered
    return error;
  });
  try {
    const answer = await hear(conn, most);
    if (answer === "") throw new Error("it has closed the connection");
    return answer;
  } catch (error) {
    signal.throwIfAborted();
    const why = isOpen ? error : await said ?? error;
    throw new Error(`${name} at ${address} does not answer: ${wordsOf(why)}`, { cause: why });
  } finally {
    signal.removeEventListener("abort", close);
    close();
    await said; // whoever reads the message reads it no more
  }
}

/** Connects. @throws {Error} as the system says it. */
export async function connect(to: BackEnd, signal: AbortSignal): Promise<Deno.Conn> {
  signal.throwIfAborted();
  // Not given the signal: that option is TCP's only. A Unix socket answers at once, or its queue is full.
  if ("path" in to) return await Deno.connect({ transport: "unix", path: to.path });
  const conn = await Deno.connect({ ...to, signal });
  conn.setNoDelay(true);
  return conn;
}

async function say(conn: Deno.Conn, pieces: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const piece of pieces) {
    for (let at = 0; at < piece.length;) at += await conn.write(piece.subarray(at));
  }
}

async function hear(conn: Deno.Conn, most: number): Promise<string> {
  const answer = new Uint8Array(most);
  for (let length = 0;;) {
    const count = await conn.read(answer.subarray(length)).catch((error: unknown) => {
      // Closed with some of the message unread: what was said before is the answer, and whoever reads it sees if it isn't whole.
      if (length > 0 && isGone(error)) return null;
      throw error;
    });
    if (count === null) return new TextDecoder().decode(answer.subarray(0, length));
    length += count;
    if (length === most) throw new Error(`more than ${most} octets came`);
  }
}

const isGone = (error: unknown) =>
  error instanceof Deno.errors.BrokenPipe || error instanceof Deno.errors.ConnectionReset;

const wordsOf = (error: unknown) => error instanceof Error ? error.message : String(error);
