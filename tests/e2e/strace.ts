/** strace, which shows a process's system calls and lets them fail. */
import { spawn } from "./programs.ts";

/** A command under strace; the process is the command's own, so that signals reach it. */
export function strace(options: readonly string[], command: readonly string[]): readonly string[] {
  return ["strace", "-D", "-f", "-qq", ...options, ...command];
}

/** One that was attached to a process that runs. */
export interface Tracer {
  /** Lets go of it. */
  detach(): Promise<void>;
}

/** Attaches to a process and all its threads; resolves when it has them. */
export async function attach(pid: number, options: readonly string[]): Promise<Tracer> {
  const child = spawn("strace", ["-f", "-o", "/dev/null", ...options, "-p", String(pid)], {
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  });
  const attached = Promise.withResolvers<void>();
  const reading = (async () => {
    let said = "";
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
      said += text;
      if (said.includes(" attached")) attached.resolve(); // said when it has all threads
    }
    attached.reject(new Error(`strace: ${said}`));
  })();
  await attached.promise;
  return {
    async detach() {
      child.kill("SIGINT");
      await child.status;
      await reading;
    },
  };
}
