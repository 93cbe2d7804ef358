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
 * Makes the directory where it is missing (0700), sees that nobody else could put mail into it or take it over, and locks it
 * against a second server (CASES Q06).
 *
 * @param user Who will own it, once privileges are dropped.
 * @throws {Error} that says what is wrong with the directory and what to do.
 */
export async function openState(folder: string, user?: string): Promise<State> {
  try {
    await Deno.mkdir(folder, { recursive: true, mode: 0o700 });
    const objection = objectionTo(await Deno.stat(folder), user);
    if (objection !== undefined) throw new Error(objection);
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

/** What is wrong with the folder's owner or mode, and what to do. Who can write there can put mail into the queue, or take it away. */
function objectionTo({ uid, mode }: Deno.FileInfo, user: string | undefined): string | undefined {
  const [us, isRoot] = [Deno.uid(), Deno.uid() === 0];
  const wanted = user !== undefined && isRoot ? lookUpUser(user).uid : us;
  const isGiven = uid === 0 && isRoot; // root's folder is given to the user below
  if (uid !== null && uid !== wanted && !isGiven) {
    const name = wanted === us ? `user ${wanted}, as whom the server runs` : `user ${user}`;
    return `it belongs to user ${uid} and must belong to ${name}: chown it, or take another folder`;
  }
  if (mode !== null && (mode & 0o022) !== 0) {
    return `others may write there (mode ${(mode & 0o7777).toString(8).padStart(4, "0")}): chmod 0700 it`;
  }
  return undefined;
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
