/** A receiver in a process of its own, that says on its output what came, a line of JSON each. */
import { fileURLToPath } from "node:url";
import { spawn } from "../programs.ts";

type Line = Record<string, unknown>;

/** A receiver that runs; it is killed when it is disposed of. */
export class ReceiverProcess implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #lines: AsyncIterator<string>;
  /** Where it listens. */
  port = 0;

  private constructor(child: Deno.ChildProcess) {
    this.#child = child;
    this.#lines = linesOf(child.stdout);
  }

  /** @param script A file beside this one, run by Node. */
  static async start(script: string, ...args: string[]): Promise<ReceiverProcess> {
    const file = fileURLToPath(new URL(script, import.meta.url));
    const child = spawn("node", [file, ...args], { stdin: "null", stdout: "piped", stderr: "inherit" });
    const receiver = new ReceiverProcess(child);
    receiver.port = Number((await receiver.next())["port"]);
    return receiver;
  }

  /** The next of what came. @throws {Error} when the process has ended. */
  async next(): Promise<Line> {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error("the receiver has ended");
    return JSON.parse(value);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    while (!(await this.#lines.next()).done);
    await this.#child.status;
  }
}

async function* linesOf(stdout: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string> {
  let line = "";
  for await (const text of stdout.pipeThrough(new TextDecoderStream())) {
    const lines = (line + text).split("\n");
    line = lines.pop()!;
    yield* lines;
  }
}
