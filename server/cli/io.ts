/** What commands need of the world, so that tests can be it. */
import { systemIo } from "../prepare.ts";
import type { ExitCode, UserIo } from "./user.ts";

export type { ExitCode };

/** Files, environment, terminal and signals. */
export interface Cli extends UserIo {
  /** Calls back at a signal, until the returned function is called. */
  onSignal(signal: "SIGINT" | "SIGTERM" | "SIGHUP", callback: () => void): () => void;
}

const utf8 = new TextEncoder();

/** Writes all of the text, however little the pipe takes at once. */
function writer(stream: { writeSync(bytes: Uint8Array): number }): { write(text: string): void } {
  return {
    write(text) {
      const bytes = utf8.encode(text);
      for (let at = 0; at < bytes.length;) at += stream.writeSync(bytes.subarray(at));
    },
  };
}

/** The real world. */
export const systemCli: Cli = {
  ...systemIo,
  stdin: Deno.stdin,
  stdout: writer(Deno.stdout),
  stderr: writer(Deno.stderr),
  onSignal(signal, callback) {
    Deno.addSignalListener(signal, callback);
    return () => Deno.removeSignalListener(signal, callback);
  },
};
