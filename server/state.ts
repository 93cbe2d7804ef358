/** The state directory: ours alone, in mode and in use. */
import { join } from "node:path";
import { lookUpUser } from "./privileges.ts";

/** The directory, as long as it is ours. */
export interface State {
  /** Absolute. */
  readonly folder: string;
  /** Lets another server have it. */
  close(): Promise<void>;
}

/**
 * Makes the directory where it is missing (0700), and locks it against a second server (CASES Q06).
 *
 * @param user Who will own it, once privileges are dropped.
 * @throws {Error} that says what is wrong with the directory and what to do.
 */
export async function openState(folder: string, user?: string): Promise<State> {
  try {
    await Deno.mkdir(folder, { recursive: true, mode: 0o700 });
    const file = await Deno.open(join(folder, "lock"), { create: true, write: true, mode: 0o600 });
    if (user !== undefined && Deno.uid() === 0) await giveTo(folder, user);
    if (!await file.tryLock(true)) {
      file.close();
      throw new Error("another server is using it: stop that one, or give this one a `state` of its own");
    }
    return {
      folder,
      async close() {
        await file.unlock();
        file.close();
      },
    };
  } catch (error) {
    throw new Error(`The state directory ${folder} can't be used: ${(error as Error).message}.`, {
      cause: error,
    });
  }
}

/** A server that was root before may have left files of root's; others are not ours to give away. */
async function giveTo(folder: string, user: string): Promise<void> {
  const { uid, gid } = lookUpUser(user);
  const isRoots = (info: Deno.FileInfo) => info.uid === 0;
  if (isRoots(await Deno.lstat(folder))) await Deno.chown(folder, uid, gid);
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    const path = join(folder, name);
    if (isDirectory) {
      await giveTo(path, user);
      continue;
    }
    // Whoever owns the folder could have put another's file here by a hard link, or by a symbolic one.
    const info = await Deno.lstat(path);
    if (info.isFile && info.nlink === 1 && isRoots(info)) await Deno.chown(path, uid, gid);
  }
}
