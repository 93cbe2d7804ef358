/** What became of messages, of a server that doesn't run: the command reads the rest of the log itself, under the spool's lock. */
import { join } from "node:path";
import { systemDisk } from "../spool/disk.ts";
import { extentOf } from "../spool/follower.ts";
import { findSegments } from "../spool/replay.ts";
import { databaseOf } from "../tracking/place.ts";
import { Tracking } from "../tracking/tracking.ts";
import { ControlRefused, findServer } from "./client.ts";
import type { TrackControl } from "./protocol.ts";
import { becomeOwner, type QueueEdges } from "./stopped.ts";

/** Who was found to ask; `never`: no server has run with this state directory yet. */
export type FoundTracking =
  | { readonly tracking: TrackControl; close(): Promise<void> }
  | "never";

/**
 * Finds who knows what became of messages: the running server, or the database and the log on the disk.
 *
 * @param state The state directory, absolute.
 * @param keep Milliseconds after which messages are forgotten.
 * @throws {ControlRefused} when it can't be had: a server is there and doesn't answer, or this user may not.
 * @throws what the disk throws.
 */
export async function findTracking(state: string, keep: number, edges: QueueEdges): Promise<FoundTracking> {
  const server = await findServer(state);
  if (server !== "nobody") return { tracking: server, close: () => Promise.resolve() };
  const folder = join(state, "spool");
  const there = await Deno.stat(folder).catch((error) => {
    if (error instanceof Deno.errors.NotFound) return undefined;
    if (error instanceof Deno.errors.PermissionDenied) throw forbidden(state, error);
    throw error;
  });
  if (!there) return "never";
  becomeOwner(folder, there);
  try {
    return await openStopped(state, folder, keep, edges);
  } catch (error) {
    throw error instanceof Deno.errors.PermissionDenied ? forbidden(folder, error) : error;
  }
}

async function openStopped(
  state: string,
  folder: string,
  keep: number,
  edges: QueueEdges,
): Promise<FoundTracking> {
  const lock = await systemDisk.lock(`${folder}/lock`);
  if (lock === "taken") {
    throw new ControlRefused(
      `Somebody is using ${folder}, and no server answers: it is starting or stopping, or a \`queue\` or \`track\` ` +
        "command is at work. Try again in a moment.",
    );
  }
  try {
    const found = await findSegments({ disk: systemDisk, folder, log: edges.log });
    const extents = found.map(({ segment, end }) => ({ ...extentOf(segment), end }));
    const tracking = new Tracking({ path: databaseOf(state), keep, ...edges });
    tracking.follow({ extents: () => extents, flush: () => Promise.resolve(), followed() {} });
    return {
      tracking,
      async close() {
        await tracking.close();
        lock.release();
      },
    };
  } catch (error) {
    lock.release();
    throw error;
  }
}

function forbidden(path: string, cause: unknown): ControlRefused {
  return new ControlRefused(`You may not look into ${path}: run this as root, or as the server's user.`, {
    cause,
  });
}
