/** The disk as the spool sees it: small enough that a simulated one can fail at each step. */
import { statfs } from "node:fs/promises";

/** What is asked of a disk. Each method rejects with what the platform throws. */
export interface Disk {
  /** Makes a file that may not exist yet (`O_EXCL`), for its owner only (0600). */
  openNew(path: string): Promise<NewFile>;
  /** Opens a file that is there, to be overwritten from `offset` on; what is not overwritten stays as it is. */
  reopen(path: string, offset: number): Promise<NewFile>;
  /** Octets of a file. */
  size(path: string): Promise<number>;
  /**
   * Fills `into` with the file's octets from `offset` on; says how many there were, less than asked for only at the end.
   * It leaves nothing open, so that a reader who stops half-way costs no descriptor.
   */
  readRange(path: string, offset: number, into: Uint8Array): Promise<number>;
  unlink(path: string): Promise<void>;
  /** Gives a file another name in the same folder. What had that name is gone: see first that there is nothing. */
  rename(from: string, to: string): Promise<void>;
  /** The names in a folder, unsorted. */
  list(folder: string): Promise<string[]>;
  /** Makes a folder and those above it, for their owner only (0700); one that is there stays as it is. */
  makeFolder(folder: string): Promise<void>;
  /** Makes the folder's entries durable: that a file is there is not the file's own property. */
  syncFolder(folder: string): Promise<void>;
  /** Octets that are free for us where this folder is. */
  free(folder: string): Promise<number>;
  /** Locks a file, made where it is missing, against every other process and against ourselves; gone when the process is. */
  lock(path: string): Promise<DiskLock | "taken">;
  /** Opens a file for notes, made where it is missing. */
  openNotes(path: string): Promise<NotesFile>;
}

/** A lock that is held. */
export interface DiskLock {
  release(): void;
}

/**
 * A small file that outlives the process but not the power: nothing is ever synced. Its methods don't wait, because what is
 * noted has to be there before the next line of the program runs. They throw what the platform throws.
 */
export interface NotesFile {
  append(bytes: Uint8Array): void;
  /** Replaces all of it. */
  replace(bytes: Uint8Array): void;
  close(): void;
}

/** A file being written, from its beginning to its end. */
export interface NewFile {
  /** Writes all of the bytes; they may be reused once it has resolved. */
  write(bytes: Uint8Array): Promise<void>;
  /** Makes what was written durable (fdatasync). */
  sync(): Promise<void>;
  /** Cuts the file off after so many octets, where the next write goes; durable with the next sync. */
  truncate(octets: number): Promise<void>;
  close(): void;
}

/** The machine's own disk. */
export const systemDisk: Disk = {
  async openNew(path) {
    return writing(await Deno.open(path, { write: true, createNew: true, mode: 0o600 }));
  },
  async reopen(path, offset) {
    const file = await Deno.open(path, { write: true });
    file.seekSync(offset, Deno.SeekMode.Start);
    return writing(file);
  },
  size: async (path) => (await Deno.stat(path)).size,
  async readRange(path, offset, into) {
    using file = await Deno.open(path);
    if (offset > 0) file.seekSync(offset, Deno.SeekMode.Start); // moves a number in the kernel, touches no disk
    let fill = 0;
    while (fill < into.length) {
      const octets = await file.read(into.subarray(fill));
      if (octets === null) break;
      fill += octets;
    }
    return fill;
  },
  unlink: (path) => Deno.remove(path),
  rename: (from, to) => Deno.rename(from, to),
  list: (folder) => Array.fromAsync(Deno.readDir(folder), (entry) => entry.name),
  makeFolder: (folder) => Deno.mkdir(folder, { recursive: true, mode: 0o700 }),
  async syncFolder(folder) {
    using directory = await Deno.open(folder);
    await directory.sync();
  },
  async free(folder) {
    const { bavail, bsize } = await statfs(folder);
    return bavail * bsize;
  },
  async lock(path) {
    const file = await Deno.open(path, { read: true, write: true, create: true, mode: 0o600 });
    // Waits for nothing: a blocking lock could not be given up, and would keep the process from ending.
    const isOurs = await file.tryLock(true).catch((error) => {
      file.close();
      throw error;
    });
    if (isOurs) return { release: () => file.close() };
    file.close();
    return "taken";
  },
  async openNotes(path) {
    const file = await Deno.open(path, { write: true, create: true, mode: 0o600 });
    file.seekSync(0, Deno.SeekMode.End);
    const append = (bytes: Uint8Array) => {
      for (let at = 0; at < bytes.length;) at += file.writeSync(bytes.subarray(at));
    };
    return {
      append,
      replace(bytes) {
        file.truncateSync();
        file.seekSync(0, Deno.SeekMode.Start);
        append(bytes);
      },
      close: () => file.close(),
    };
  },
};

function writing(file: Deno.FsFile): NewFile {
  return {
    async write(bytes) {
      for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
    },
    sync: () => file.syncData(),
    truncate: (octets) => file.truncate(octets),
    close: () => file.close(),
  };
}
