/** Runs a command with a message on its standard input, and ends it with all it has started when its time is over. */
import type { Host } from "../../server/plugin.ts";
import type { Ended } from "./exits.ts";

/** A command, ready to run. */
export interface Command {
  /** Absolute path. */
  readonly path: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  /** Absent: as the server itself. */
  readonly as?: { readonly uid: number; readonly gid: number };
}

/** How it is watched. */
export interface Watch {
  readonly clock: Host["clock"];
  readonly signal: AbortSignal;
  /** Milliseconds. */
  readonly timeLimit: number;
  /** Octets of its output that are kept. */
  readonly output: number;
}

/** What it came to. */
export interface Ran {
  readonly ended: Ended;
  /** Standard output and error together, as far as it is kept. */
  readonly printed: string;
}

/** Milliseconds between SIGTERM and SIGKILL, and that output is waited for which somebody else still holds open. */
const grace = 2000;

/** Runs it to its end. Never rejects. */
export async function run(command: Command, input: AsyncIterable<Uint8Array>, watch: Watch): Promise<Ran> {
  if (watch.signal.aborted) return { ended: { kind: "called-off" }, printed: "" };
  let child: Deno.ChildProcess;
  try {
    child = new Deno.Command(command.path, {
      args: [...command.args],
      env: { ...command.env },
      clearEnv: true,
      cwd: command.cwd,
      ...command.as,
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
      detached: true, // a session of its own: all of it can be signalled together
    }).spawn();
  } catch (error) {
    return { ended: { kind: "not-started", why: messageOf(error) }, printed: "" };
  }
  return await new Run(child, input, watch).result();
}

class Run {
  readonly #child: Deno.ChildProcess;
  readonly #watch: Watch;
  readonly #over = new AbortController();
  /** Why it was ended, if it didn't end by itself. */
  #cut: Ended | undefined;
  readonly #fed: Promise<void>;
  readonly #outputs: readonly Promise<void>[];
  readonly #readers: ReadableStreamDefaultReader<Uint8Array>[] = [];
  readonly #kept: Uint8Array[] = [];
  #room: number;
  #ending: Promise<void> | undefined;

  constructor(child: Deno.ChildProcess, input: AsyncIterable<Uint8Array>, watch: Watch) {
    this.#child = child;
    this.#watch = watch;
    this.#room = watch.output;
    this.#outputs = [child.stdout, child.stderr].map((stream) => this.#read(stream));
    this.#fed = this.#feed(input);
  }

  async result(): Promise<Ran> {
    const { signal, timeLimit, clock } = this.#watch;
    const calledOff = () => this.#end({ kind: "called-off" });
    signal.addEventListener("abort", calledOff, { once: true });
    clock.sleep(timeLimit, this.#over.signal).then(() => this.#end({ kind: "late" }), () => {});
    try {
      const status = await this.#child.status;
      const ended: Ended = this.#cut ??
        (status.signal === null
          ? { kind: "exited", code: status.code }
          : { kind: "killed", signal: status.signal });
      await this.#restOfOutput();
      await this.#ending;
      return { ended, printed: new TextDecoder().decode(joined(this.#kept)) };
    } finally {
      signal.removeEventListener("abort", calledOff);
      this.#over.abort();
      await this.#fed;
    }
  }

  /** Gives it the message. One that doesn't want all of it is free not to read it: its exit code tells. */
  async #feed(input: AsyncIterable<Uint8Array>): Promise<void> {
    const writer = this.#child.stdin.getWriter();
    writer.closed.catch(() => {});
    const pieces = input[Symbol.asyncIterator]();
    try {
      for (;;) {
        let next;
        try {
          next = await pieces.next();
        } catch (error) {
          // An end of file now would pass for the message's end: what is not whole must not be delivered.
          this.#end({ kind: "unfed", why: messageOf(error) }, "SIGKILL");
          await this.#child.status;
          break;
        }
        if (next.done) break;
        await writer.write(next.value);
      }
      await writer.close();
    } catch {
      await writer.abort().catch(() => {}); // it reads no more
    } finally {
      await pieces.return?.().catch(() => {});
    }
  }

  /** Reads to the end, so that it never waits for us, and keeps the beginning. */
  async #read(stream: ReadableStream<Uint8Array>): Promise<void> {
    const reader = stream.getReader();
    this.#readers.push(reader);
    try {
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        if (this.#room <= 0) continue;
        const piece = value.subarray(0, this.#room);
        this.#room -= piece.length;
        this.#kept.push(piece);
      }
    } catch {
      // Nobody will say more.
    }
  }

  /** What it left running in the background may hold its output open: that is not waited for. */
  async #restOfOutput(): Promise<void> {
    const all = Promise.all(this.#outputs).then(() => {});
    const waited = new AbortController();
    await Promise.race([all, this.#watch.clock.sleep(grace, waited.signal).catch(() => {})]);
    waited.abort();
    for (const reader of this.#readers) reader.cancel().catch(() => {});
  }

  /** Ends the whole group: the command, and what it has started. */
  #end(why: Ended, signal: "SIGTERM" | "SIGKILL" = "SIGTERM"): void {
    if (this.#cut) return;
    this.#cut = why;
    this.#ending = this.#kill(signal);
  }

  async #kill(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    signalGroup(this.#child.pid, signal);
    if (signal === "SIGKILL") return;
    const waited = new AbortController();
    const late = this.#watch.clock.sleep(grace, waited.signal).catch(() => {});
    await Promise.race([this.#child.status, late]);
    waited.abort();
    signalGroup(this.#child.pid, "SIGKILL"); // the group may outlive its first process
  }
}

function signalGroup(pid: number, signal: Deno.Signal): void {
  try {
    Deno.kill(-pid, signal);
  } catch {
    // Nothing of it is left; or it has become another user's, and must end by itself.
  }
}

function joined(pieces: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
