/** The real server as its users run it: a process of its own, known by its log and its exit code. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Ended, run, type RunOptions } from "./programs.ts";

/** The project. */
export const root = fileURLToPath(new URL("../../", import.meta.url));

const sources = [Deno.execPath(), "run", "-A", join(root, "mod.ts")];

/** Runs one command of the command line to its end. */
export function postrider(args: readonly string[], options: RunOptions = {}): Promise<Ended> {
  const [program, ...before] = sources;
  return run(program!, [...before, ...args], { env: { NO_COLOR: "1" }, ...options });
}

/** A line of the log. */
export interface LogLine {
  readonly event: string;
  readonly level: string;
  readonly [field: string]: unknown;
}

/** How the server is started. */
export interface StartOptions {
  /** How many lines `listening` tell that it is up. */
  readonly listeners?: number;
  /** What is run; by default this project's sources. */
  readonly command?: readonly string[];
  readonly env?: Record<string, string>;
  /** Behind `serve --config FILE`. */
  readonly args?: readonly string[];
}

interface Waiter {
  matches(line: LogLine): boolean;
  resolve(line: LogLine): void;
  reject(error: Error): void;
}

/** After this a test has failed: what it waits for does not come. */
const patience = 60_000;

/** A server that runs. When it is disposed of, it is killed. */
export class ServerProcess implements AsyncDisposable {
  /** Every line so far that is an event. */
  readonly log: LogLine[] = [];
  /** The exit code, once it has ended. */
  readonly ended: Promise<number>;
  /** All it has said so far. */
  stderr = "";
  readonly #child: Deno.ChildProcess;
  readonly #waiters = new Set<Waiter>();
  readonly #listeners = new Set<() => void>();
  readonly #stdout: Promise<string>;

  private constructor(child: Deno.ChildProcess) {
    this.#child = child;
    this.#stdout = new Response(child.stdout).text();
    const read = this.#read();
    this.ended = child.status.then(async ({ code }) => {
      await read;
      for (const { reject } of this.#waiters) {
        reject(new Error(`the server ended with ${code}:\n${this.stderr}`));
      }
      return code;
    });
  }

  /**
   * Starts a server and waits until it takes mail. @throws {Error} with what it said when it ends before.
   *
   * @param config The file; it has to say `log: { format: json }`.
   */
  static async start(config: string, { listeners = 1, ...how }: StartOptions = {}): Promise<ServerProcess> {
    const server = ServerProcess.spawn(config, how);
    try {
      await server.logged("listening", () => server.open.length === listeners);
      return server;
    } catch (error) {
      await server[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Starts a server and does not wait. */
  static spawn(
    config: string,
    { command = sources, env = {}, args: more = [] }: StartOptions = {},
  ): ServerProcess {
    const [program, ...args] = command;
    const child = new Deno.Command(program!, {
      args: [...args, "serve", "--config", config, ...more],
      env: { NO_COLOR: "1", ...env },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    return new ServerProcess(child);
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** The listeners, in the configuration's order. */
  get open(): readonly LogLine[] {
    return this.log.filter(({ event }) => event === "listening");
  }

  /** The port of a listener, by its place in the configuration. */
  port(index = 0): number {
    return Number(this.open[index]!["port"]);
  }

  /** The line of this event, when it has come: maybe long ago. */
  logged(event: string, matches: (line: LogLine) => boolean = () => true): Promise<LogLine> {
    const wanted = (line: LogLine) => line.event === event && matches(line);
    const found = this.log.find(wanted);
    if (found) return Promise.resolve(found);
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        matches: wanted,
        resolve: (line) => settle(() => resolve(line)),
        reject: (error) => settle(() => reject(error)),
      };
      const late = () => waiter.reject(new Error(`"${event}" is not logged:\n${this.stderr}`));
      const timer = setTimeout(late, patience);
      const settle = (how: () => void) => {
        clearTimeout(timer);
        this.#waiters.delete(waiter);
        how();
      };
      this.#waiters.add(waiter);
    });
  }

  /** Resolves when it has said this, as no line of the log. */
  said(text: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`"${text}" is not said:\n${this.stderr}`)), patience);
      const look = () => {
        if (!this.stderr.includes(text)) return;
        clearTimeout(late);
        this.#listeners.delete(look);
        resolve();
      };
      this.#listeners.add(look);
      look();
    });
  }

  signal(signal: Deno.Signal): void {
    this.#child.kill(signal);
  }

  /** Asks it to stop, as a service manager does. @returns the exit code. */
  stop(): Promise<number> {
    this.signal("SIGTERM");
    return this.ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.signal("SIGKILL");
    } catch {
      // It has ended.
    }
    await this.ended;
    await this.#stdout;
  }

  async #read(): Promise<void> {
    let line = "";
    for await (const text of this.#child.stderr.pipeThrough(new TextDecoderStream())) {
      this.stderr += text;
      for (const look of [...this.#listeners]) look();
      const lines = (line + text).split("\n");
      line = lines.pop()!;
      for (const one of lines) this.#line(one);
    }
  }

  #line(text: string): void {
    if (!text.startsWith("{")) return; // written before there was a log
    const line: LogLine = JSON.parse(text);
    this.log.push(line);
    for (const waiter of [...this.#waiters]) if (waiter.matches(line)) waiter.resolve(line);
  }
}
