/** How often a server syncs its disk for a message, by strace; which slows everything, so nothing is timed meanwhile. */
import { run, type Shape } from "./load.ts";
import type { Peer } from "./peers.ts";
import { processes } from "./process.ts";

/** Every call by which a write is made durable. Files opened with O_SYNC or O_DSYNC none of the peers has. */
const calls = "fsync,fdatasync,syncfs,sync,sync_file_range,msync";

/** Calls of each kind for one message: `fdatasync 1.04`. */
export interface Syncs {
  readonly all: number;
  readonly text: string;
}

/** Attaches to a peer's processes, sends, and counts until everything is delivered. @throws {Deno.errors.NotFound} without strace. */
export async function countSyncs(peer: Peer, shape: Shape, log: string): Promise<Syncs> {
  const pids = (await processes(peer.pid)).flatMap((pid) => ["-p", String(pid)]);
  const args = ["-f", "-o", log, "-e", `trace=${calls}`, ...pids];
  const child = new Deno.Command("strace", { args, stdin: "null", stdout: "null", stderr: "piped" }).spawn();
  const attached = Promise.withResolvers<void>();
  const reading = (async () => {
    let said = "";
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
      said += text;
      if (said.split(" attached").length > pids.length / 2) attached.resolve();
    }
    attached.reject(new Error(`strace: ${said}`));
  })();
  try {
    await attached.promise;
    await run(peer, shape);
  } finally {
    try {
      child.kill("SIGINT");
    } catch { /* it has ended */ }
    await child.status;
    await reading;
  }
  return summarize(await Deno.readTextFile(log), shape.messages);
}

function summarize(trace: string, messages: number): Syncs {
  const counts = new Map<string, number>();
  // One that another thread interrupts is shown as begun, `fsync(7 <unfinished ...>`, and as resumed: it counts once.
  for (const [, call] of trace.matchAll(/^[0-9]+ +([a-z_]+)\(/gm)) {
    counts.set(call!, (counts.get(call!) ?? 0) + 1);
  }
  const each = (count: number) => (count / messages).toFixed(2);
  const all = [...counts.values()].reduce((sum, count) => sum + count, 0) / messages;
  const text = [...counts].map(([call, count]) => `${each(count)} ${call}`).join(", ");
  return { all, text: text === "" ? "none" : text };
}
