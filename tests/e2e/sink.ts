/** Postfix' smtp-sink: a server that takes all mail, for what is sent on. */
import { join } from "node:path";
import { freePort, untilListening } from "./ports.ts";
import { spawn } from "./programs.ts";

/** A sink that runs. */
export interface Sink extends AsyncDisposable {
  readonly port: number;
  /** The messages so far: fields that tell the envelope (`X-Rcpt-Args` and such), then the content, with LF line ends. */
  taken(): Promise<string[]>;
}

/**
 * Starts a sink; when it is disposed of, it is ended.
 *
 * @param folder Where it puts messages; made here.
 * @param options Further options of smtp-sink, such as `-r rcpt`.
 */
export async function startSink(folder: string, options: readonly string[] = []): Promise<Sink> {
  await Deno.mkdir(folder);
  const port = freePort();
  const asRoot = Deno.uid() === 0 ? ["-u", "root"] : [];
  const args = [...asRoot, ...options, "-d", join(folder, "message."), `127.0.0.1:${port}`, "10"];
  const child = spawn("/usr/sbin/smtp-sink", args, { stdin: "null", stdout: "null", stderr: "inherit" });
  const { status } = child;
  await untilListening(child, "smtp-sink", port);
  return {
    port,
    async taken() {
      const found: string[] = [];
      for await (const { name } of Deno.readDir(folder)) {
        const text = await Deno.readTextFile(join(folder, name));
        if (text.includes("X-Rcpt-Args: ")) found.push(text);
      }
      return found;
    },
    async [Symbol.asyncDispose]() {
      try {
        child.kill("SIGTERM");
      } catch {
        // It has ended.
      }
      await status;
    },
  };
}
