/** What a server's process holds at a moment: as the kernel counts it (Linux, /proc), and as its runtime does. */
import { RawClient } from "./client.ts";
import type { ServerProcess } from "./server.ts";

/** Memory and descriptors of a process. */
export interface Usage {
  /** Resident, in KiB: what was used and is free again is given back late. */
  readonly resident: number;
  /** Octets of objects that are in use. */
  readonly heap: number;
  readonly descriptors: number;
}

/** What a server is started with, so that its heap can be asked for; its configuration has {@linkcode weigh}. */
export const weighable = [
  ...[Deno.execPath(), "run", "--v8-flags=--expose-gc", "-A"],
  new URL("../../mod.ts", import.meta.url).pathname,
];

/** The plugin that tells, for a configuration. */
export const weigh = { use: new URL("weigh.ts", import.meta.url).pathname };

/** KiB of a process's memory that are resident. @throws {Deno.errors.NotFound} when it has ended. */
export async function residentMemory(pid: number): Promise<number> {
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  return Number(/^VmRSS:\s+([0-9]+) kB$/m.exec(status)![1]);
}

/** Descriptors that a process holds. @throws {Deno.errors.NotFound} when it has ended. */
export async function descriptorsOf(pid: number): Promise<number> {
  return (await Array.fromAsync(Deno.readDir(`/proc/${pid}/fd`))).length;
}

/** Of this moment, the client that asks included: it comes over the server's first port. */
export async function usageOf(server: ServerProcess): Promise<Usage> {
  using client = await RawClient.connect(server.port());
  const heap = Number((await client.say("XWEIGH")).lines[0]!.split(" ").at(-1));
  const usage = {
    heap,
    resident: await residentMemory(server.pid),
    descriptors: await descriptorsOf(server.pid),
  };
  await client.say("QUIT", 221);
  return usage;
}

/** Nobody tells when something was given back. */
const pause = 500;
/** What differs from one moment to the next, whoever comes. */
const slack = { descriptors: 2, heap: 512 * 1024 };

/**
 * The usage once a server holds no more than before, or after so many milliseconds, whatever it is then. Large buffers of
 * connections that are gone are given back some seconds later.
 */
export async function usageAtRest(server: ServerProcess, before: Usage, patience: number): Promise<Usage> {
  const late = performance.now() + patience;
  for (;;) {
    const usage = await usageOf(server);
    const isAtRest = usage.descriptors <= before.descriptors + slack.descriptors &&
      usage.heap <= before.heap + slack.heap;
    if (isAtRest || performance.now() > late) return usage;
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}
