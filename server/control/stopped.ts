/** The queue of a server that doesn't run: the command opens the spool itself, under its lock. */
import { join } from "node:path";
import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";
import { dropPrivileges } from "../privileges.ts";
import { LogSpool, SpoolLocked } from "../spool/log.ts";
import { MemorySpool } from "../spool/memory.ts";
import { ControlRefused, findServer } from "./client.ts";
import { type Directions, LocalQueue, type QueueControl } from "./operations.ts";

/** What opening a queue needs. */
export interface QueueEdges {
  readonly clock: Clock;
  readonly log: Log;
  /** Where a stopped server's mail goes, as {@linkcode Directions} has it. */
  readonly nextHop?: Directions["nextHop"];
}

/** How the queue was found; `never`: no server has run with this state directory yet. */
export interface FoundQueue {
  readonly queue: QueueControl;
  readonly state: "running" | "stopped" | "never";
}

/**
 * Finds the queue of a state directory: the running server's, or the spool on the disk.
 *
 * @param state The state directory, absolute.
 * @throws {ControlRefused} when it can't be had: a server is there and doesn't answer, or this user may not.
 * @throws what the disk throws.
 */
export async function findQueue(state: string, edges: QueueEdges): Promise<FoundQueue> {
  const server = await findServer(state);
  if (server !== "nobody") return { queue: server, state: "running" };
  const folder = join(state, "spool");
  const there = await Deno.stat(folder).catch((error) => {
    if (error instanceof Deno.errors.NotFound) return undefined;
    if (!(error instanceof Deno.errors.PermissionDenied)) throw error;
    throw new ControlRefused(`You may not look into ${state}: run this as root, or as the server's user.`);
  });
  if (!there) return { queue: new LocalQueue(new MemorySpool(edges.clock), edges.clock), state: "never" };
  becomeOwner(folder, there);
  return { queue: new StoppedQueue(await open(folder, edges), edges), state: "stopped" };
}

class StoppedQueue extends LocalQueue {
  readonly #opened: LogSpool;

  constructor(spool: LogSpool, { clock, nextHop }: QueueEdges) {
    super(spool, clock, undefined, { freeze: () => spool.freeze(), ...(nextHop && { nextHop }) });
    this.#opened = spool;
  }

  override close(): Promise<void> {
    return this.#opened.close();
  }
}

async function open(folder: string, { clock, log }: QueueEdges): Promise<LogSpool> {
  try {
    return await LogSpool.open(folder, { clock, log });
  } catch (error) {
    if (error instanceof SpoolLocked) {
      throw new ControlRefused(
        `Somebody is using ${folder}, and no server answers: it is starting or stopping, or another \`queue\` ` +
          "command is at work. Try again in a moment.",
        { cause: error },
      );
    }
    if (error instanceof Deno.errors.PermissionDenied) {
      throw new ControlRefused(`You may not change ${folder}: run this as root, or as the server's user.`, {
        cause: error,
      });
    }
    throw error;
  }
}

/** What root writes here, the server could not read when it comes back as its own user. */
export function becomeOwner(folder: string, { uid }: Deno.FileInfo): void {
  if (Deno.uid() !== 0 || uid === null || uid === 0) return;
  const passwd = Deno.readTextFileSync("/etc/passwd").split("\n").map((line) => line.split(":"));
  const name = passwd.find((entry) => entry[2] === String(uid))?.[0];
  if (name === undefined) {
    throw new ControlRefused(
      `${folder} belongs to user ${uid}, who is not in /etc/passwd: run this as that user, so that the server can ` +
        "read what is written.",
    );
  }
  dropPrivileges(name);
}
