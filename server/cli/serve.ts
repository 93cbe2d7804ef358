/** `serve`: runs the server in the foreground until SIGTERM or SIGINT; SIGHUP reloads, and `--watch` does at each save. */
import { Server, StartRefused } from "../server.ts";
import type { Cli, ExitCode } from "./io.ts";

/**
 * @param file The configuration, as given.
 * @param watch Whether to reload when it, a plugin or what a plugin imports is saved.
 */
export async function serve(file: string, { watch }: { watch: boolean }, cli: Cli): Promise<ExitCode> {
  let server: Server | undefined;
  let end = () => {};
  const ended = new Promise<void>((resolve) => end = resolve);
  // Before anything else is open: with few descriptors left a signal listener could not be made (DESIGN §3).
  const off = [
    cli.onSignal("SIGTERM", end),
    cli.onSignal("SIGINT", end),
    cli.onSignal("SIGHUP", () => void server?.reload()),
    onStrayErrors((error) => server?.caught(error)),
  ];
  try {
    server = await Server.start(file);
    if (watch) await server.watch();
    await ended;
    await server.stop();
    return 0;
  } catch (error) {
    const refused = error instanceof StartRefused;
    cli.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    return refused ? 2 : 1;
  } finally {
    for (const stop of off) stop();
  }
}

/** Errors in plugins' timers and floating promises would end the process (DESIGN §3); they are logged, and mail goes on. */
function onStrayErrors(tell: (error: string) => void): () => void {
  const stray = (event: ErrorEvent | PromiseRejectionEvent) => {
    event.preventDefault();
    const error: unknown = event instanceof ErrorEvent ? event.error : event.reason;
    tell(error instanceof Error ? error.stack ?? error.message : String(error));
  };
  globalThis.addEventListener("error", stray);
  globalThis.addEventListener("unhandledrejection", stray);
  return () => {
    globalThis.removeEventListener("error", stray);
    globalThis.removeEventListener("unhandledrejection", stray);
  };
}
