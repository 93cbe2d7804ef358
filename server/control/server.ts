/** The control socket of a running server: `state/control.sock`, for its own user and root alone. */
import { join } from "node:path";
import { acceptDeno, type Accepting } from "../listen/accept.ts";
import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";
import type { QueueControl } from "./operations.ts";
import {
  freeze,
  type Line,
  perform,
  readLines,
  type Request,
  request,
  type TrackControl,
  writeAll,
} from "./protocol.ts";

/** The control socket can't be had: `message` says why, and what to do. */
export class ControlFailed extends Error {
  override readonly name = "ControlFailed";
}

/** The socket's path in this state directory. */
export function controlPath(state: string): string {
  return join(state, "control.sock");
}

/** What a control server needs. */
export interface ControlOptions {
  /** The state directory, which has to be locked: then a socket in it is a dead one. */
  readonly state: string;
  readonly queue: QueueControl;
  /** Absent: messages are not tracked. */
  readonly tracking?: TrackControl | undefined;
  readonly clock: Clock;
  readonly log: Log;
}

/** Requests at a time; people and scripts don't need more, and each list costs reading. */
const mostAtOnce = 16;
/** Milliseconds in which a request has to come. */
const patience = 10_000;
/** Characters that are written at once. */
const batch = 32 * 1024;

/** Answers requests on the control socket. */
export class ControlServer {
  readonly path: string;
  readonly #options: ControlOptions;
  readonly #inode: number | null;
  readonly #open = new Map<Deno.Conn, Promise<void>>();
  #accepting: Accepting | undefined;

  private constructor(path: string, inode: number | null, options: ControlOptions) {
    this.path = path;
    this.#inode = inode;
    this.#options = options;
  }

  /**
   * Opens the socket.
   *
   * @throws {ControlFailed} when another server answers there, or the socket can't be made.
   */
  static async open(options: ControlOptions): Promise<ControlServer> {
    const path = controlPath(options.state);
    if (await isAlive(path)) {
      throw new ControlFailed(
        `Another server answers on ${path}. Stop it, or give this one its own \`state\`.`,
      );
    }
    let listener: Deno.Listener | undefined;
    try {
      // Made under another name, so that nobody can connect before its mode is right, and the old one goes at once.
      const fresh = `${path}.new`;
      await Deno.remove(fresh).catch(() => {});
      listener = Deno.listen({ transport: "unix", path: fresh });
      await Deno.chmod(fresh, 0o600);
      await Deno.rename(fresh, path);
      const { ino } = await Deno.lstat(path);
      const server = new ControlServer(path, ino, options);
      server.#accept(listener);
      return server;
    } catch (error) {
      listener?.close();
      throw new ControlFailed(`The control socket ${path} can't be made: ${why(error)}`, { cause: error });
    }
  }

  /** Answers nobody any more, and removes the socket, if it is still this server's. */
  async close(): Promise<void> {
    this.#accepting?.stop();
    for (const conn of this.#open.keys()) close(conn);
    await Promise.all(this.#open.values());
    const there = await Deno.lstat(this.path).catch(() => undefined);
    if (there && there.ino === this.#inode) await Deno.remove(this.path).catch(() => {});
  }

  #accept(listener: Deno.Listener): void {
    const { clock, log } = this.#options;
    this.#accepting = acceptDeno(listener, (conn) => {
      const served = this.#serve(conn).catch((error) => {
        log.debug("control connection lost", { error: String(error) });
      }).finally(() => {
        close(conn);
        this.#open.delete(conn);
      });
      this.#open.set(conn, served);
    }, {
      clock,
      failed: (error) => log.error("control connections can't be accepted", { error: error.message }),
    });
  }

  async #serve(conn: Deno.Conn): Promise<void> {
    if (this.#open.size >= mostAtOnce) {
      return await writeAll(
        conn,
        lineOf({ error: "The server is busy with other commands: try again." }),
      );
    }
    const cancel = this.#options.clock.after(patience, () => close(conn));
    const lines = readLines(conn);
    const { value: asked, done } = await lines.next();
    cancel();
    if (done === true) return;
    const { queue, tracking } = this.#options;
    let text = "";
    try {
      const wanted = readRequest(asked);
      const isAwaited = wanted.do === "freeze"; // each item at once: the other side goes on from it
      const items = wanted.do === "freeze" ? freeze(queue, lines) : perform(wanted, queue, tracking);
      for await (const item of items) {
        text += lineOf({ item });
        if (text.length < batch && !isAwaited) continue;
        await writeAll(conn, text);
        text = "";
      }
      text += lineOf({ end: true });
    } catch (error) {
      if (isGone(error)) throw error;
      this.#options.log.warning("a command failed", { error: String(error) });
      text += lineOf({ error: error instanceof Error ? error.message : String(error) });
    }
    await writeAll(conn, text);
  }
}

function readRequest(line: string): Request {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw new Error("The request is not JSON.");
  }
  const read = request.safeParse(value);
  if (read.success) return read.data;
  throw new Error(
    "The server doesn't know this request: it is of another version than the command. Restart it.",
  );
}

function lineOf(line: Line): string {
  return `${JSON.stringify(line)}\n`;
}

/** Whether somebody listens there. */
async function isAlive(path: string): Promise<boolean> {
  try {
    (await Deno.connect({ transport: "unix", path })).close();
    return true;
  } catch {
    return false;
  }
}

function close(conn: Deno.Conn): void {
  try {
    conn.close();
  } catch { /* it is closed */ }
}

function isGone(error: unknown): boolean {
  const { BrokenPipe, ConnectionReset, BadResource, Interrupted } = Deno.errors;
  return [BrokenPipe, ConnectionReset, BadResource, Interrupted].some((kind) => error instanceof kind);
}

function why(error: unknown): string {
  const { message } = error as Error;
  if (!/SUN_LEN/.test(message)) return message;
  return "its path is too long for the system, which takes 107 octets. Choose a shorter `state`.";
}
