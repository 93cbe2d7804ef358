/**
 * Copies a state directory while its server runs (`backup`). The order makes it one moment: first the spool's files are kept, then
 * everything that is derived or beside the queue is copied, at last the queue is cut, so that nothing in the copy is ahead
 * of its queue. What a start finds in the copy is what it would find after a power cut at that moment.
 */
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { FrozenQueue } from "./control/operations.ts";

/** The copy can't be made: `message` is a sentence. */
export class BackupFailed extends Error {
  override readonly name = "BackupFailed";
}

/** A copy that was made. */
export interface Backup {
  /** Octets of all files. */
  readonly octets: number;
}

/** Says in a copy that it is one, until a server starts from it. */
export const marker = "backup.json";
/** Below the state directory: nothing that a copy could use. */
const leftOut = new Set(["spool", "lock", marker, "restored.json"]);
/** Octets read at once. */
const pieceSize = 1024 * 1024;

/**
 * Copies it.
 *
 * @param state The state directory.
 * @param queue Its queue's files, kept.
 * @param target Made here; it is whole, or not there.
 * @param made Milliseconds since 1970.
 * @throws {BackupFailed} and what the disk throws.
 */
export async function backUp(
  state: string,
  queue: FrozenQueue,
  target: string,
  made: number,
): Promise<Backup> {
  if (await exists(target)) {
    throw new BackupFailed(`${target} is there already: name a directory that isn't.`);
  }
  const partial = `${target}.partial`;
  if (await exists(partial)) {
    throw new BackupFailed(`${partial} is there: another backup is at work, or was cut off. Then remove it.`);
  }
  const copying = new Copying();
  await copying.folder(state, partial);
  try {
    await copying.tree(state, partial, (name) => !leftOut.has(name));
    await copySpool(copying, join(state, "spool"), join(partial, "spool"), queue);
    await copying.text(
      join(partial, marker),
      `${JSON.stringify({ made: new Date(made).toISOString() })}\n`,
      state,
    );
    await copying.finish();
    await Deno.rename(partial, target);
    await syncFolder(join(target, ".."));
    return { octets: copying.octets };
  } catch (error) {
    await Deno.remove(partial, { recursive: true }).catch(() => {});
    throw error;
  }
}

async function copySpool(copying: Copying, from: string, to: string, queue: FrozenQueue): Promise<void> {
  await copying.folder(from, to);
  await copying.folder(join(from, "body"), join(to, "body"));
  if (await exists(join(from, "corrupt"))) {
    await copying.tree(join(from, "corrupt"), join(to, "corrupt"), () => true);
  }
  for (const { name, octets, needed } of await queue.cut()) {
    const copied = await copying.file(join(from, name), join(to, name), octets);
    if (copied === "whole" || needed === "maybe") continue;
    throw new BackupFailed(`${join(from, name)} is ${copied === "gone" ? "gone" : "shorter than it was"}.`);
  }
  if (await queue.release() === "whole") return;
  throw new BackupFailed(
    "The disk of the state directory became full, or the server stopped: files were let go before they were copied. " +
      "Nothing of the backup was kept; free some space and begin again.",
  );
}

/** Copies files with mode and owner, and makes them durable. */
class Copying {
  octets = 0;
  readonly #folders: string[] = [];

  /** Makes a folder like another one. */
  async folder(like: string, path: string): Promise<void> {
    const info = await Deno.stat(like);
    await Deno.mkdir(path, { mode: 0o700 });
    await own(path, info);
    this.#folders.push(path);
  }

  /** What is in a folder, what isn't wanted aside. */
  async tree(from: string, to: string, wants: (name: string) => boolean): Promise<void> {
    if (!await exists(to)) await this.folder(from, to);
    for await (const { name, isDirectory, isFile } of Deno.readDir(from)) {
      if (!wants(name)) continue;
      const [source, target] = [join(from, name), join(to, name)];
      if (isDirectory) await this.tree(source, target, () => true);
      // A database's journals are in its copy; sockets and links are of no use.
      if (!isFile || /\.db-(wal|shm|journal)$/.test(name)) continue;
      if (name.endsWith(".db") && await isSqlite(source)) await this.#database(source, target);
      else await this.file(source, target);
    }
  }

  /** So much of a file, or all of it. */
  async file(from: string, to: string, octets = Infinity): Promise<"whole" | "short" | "gone"> {
    let source: Deno.FsFile;
    try {
      source = await Deno.open(from);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return "gone";
      throw error;
    }
    using _source = source;
    using target = await Deno.open(to, { write: true, createNew: true, mode: 0o600 });
    let left = octets;
    for (const piece = new Uint8Array(pieceSize); left > 0;) {
      const count = await source.read(piece.subarray(0, Math.min(left, pieceSize)));
      if (count === null) break;
      for (let at = 0; at < count;) at += await target.write(piece.subarray(at, count));
      left -= count;
      this.octets += count;
    }
    await target.sync();
    await own(to, await source.stat());
    return octets < Infinity && left > 0 ? "short" : "whole";
  }

  /** A database as it stands, by its own means: its file alone, copied while it is written, is none. */
  async #database(from: string, to: string): Promise<void> {
    const database = new DatabaseSync(from, { readOnly: true });
    try {
      database.prepare("VACUUM INTO ?").run(to);
    } finally {
      database.close();
    }
    await Deno.chmod(to, 0o600);
    const info = await Deno.stat(from);
    await own(to, info);
    using file = await Deno.open(to);
    await file.sync();
    this.octets += (await file.stat()).size;
  }

  async text(path: string, text: string, like: string): Promise<void> {
    using file = await Deno.open(path, { write: true, createNew: true, mode: 0o600 });
    await file.write(new TextEncoder().encode(text));
    await file.sync();
    await own(path, await Deno.stat(like));
  }

  /** Makes all entries durable. */
  async finish(): Promise<void> {
    for (const path of this.#folders) await syncFolder(path);
  }
}

/** What root copies, the server could not read when it starts from it. */
async function own(path: string, { uid, gid }: Deno.FileInfo): Promise<void> {
  if (Deno.uid() === 0 && uid !== null && uid !== 0) await Deno.chown(path, uid, gid);
}

async function isSqlite(path: string): Promise<boolean> {
  using file = await Deno.open(path);
  const head = new Uint8Array(16);
  await file.read(head);
  return new TextDecoder().decode(head) === "SQLite format 3\0";
}

async function syncFolder(path: string): Promise<void> {
  using folder = await Deno.open(path);
  await folder.sync();
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.lstat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/**
 * Whether this state directory is a copy that no server has started from yet; from now on it isn't.
 *
 * @returns When it was made, ISO 8601.
 */
export async function startedFrom(state: string): Promise<string | undefined> {
  const path = join(state, marker);
  try {
    const { made } = JSON.parse(await Deno.readTextFile(path)) as { made?: unknown };
    await Deno.rename(path, join(state, "restored.json"));
    return String(made);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
