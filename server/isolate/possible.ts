/** Whether this process can limit what a Worker may do. */
import { fork } from "node:child_process";

let known: Promise<string | undefined> | undefined;

/** Makes a Worker with permissions, in a process with the flags of this one. */
const probe =
  `const worker = new Worker("data:text/javascript,close()", { type: "module", deno: { permissions: "none" } });
worker.terminate();`;

/** Why a plugin can't be isolated here, and what to do; `undefined` where it can. */
export function whyNotPossible(): Promise<string | undefined> {
  // There the plugin's `postrider` would be another copy than the Worker's, and paths in options would be lost between them.
  if (Deno.build.standalone || !import.meta.url.endsWith("/isolate/possible.ts")) {
    return Promise.resolve(
      "isolate works only where the server runs from its sources: not in a bundle or executable",
    );
  }
  // Deno would ask there whether the plugin may do what isn't listed, and stand still until somebody answers.
  if (Deno.stdin.isTerminal() && Deno.stderr.isTerminal() && Deno.env.get("DENO_NO_PROMPT") === undefined) {
    return Promise.resolve(
      "isolate in a terminal needs DENO_NO_PROMPT=1 in the environment, else Deno asks you for what isn't listed",
    );
  }
  return known ??= ask();
}

/** Deno ends a process that lacks the flag, and says nowhere beforehand whether it is there: so another one is asked. */
function ask(): Promise<string | undefined> {
  return new Promise((resolve) => {
    const child = fork(`data:text/javascript,${encodeURIComponent(probe)}`, [], { silent: true });
    child.on(
      "error",
      (error) => resolve(`isolate: it could not be found out whether it works here: ${error.message}`),
    );
    child.on("exit", (code) =>
      resolve(
        code === 0
          ? undefined
          : "isolate needs Deno's flag --unstable-worker-options: write it behind `deno run`, before the file",
      ));
  });
}
