/** The disk as the maildir needs it: few operations, so that tests can fail and order each of them. */

/** A file that is being written. */
export interface NewFile {
  /** All of the bytes, however many calls it takes. */
  write(bytes: Uint8Array): Promise<void>;
  /** On the disk, not in its cache, with the size that finds it again (fdatasync). */
  sync(): Promise<void>;
  close(): void;
}

/** What is done to the file system. Each operation throws what the operating system says, as `Deno.errors` does. */
export interface Disk {
  /** Makes a file, mode 0600. @throws {Deno.errors.AlreadyExists} when there is one (O_EXCL). */
  create(path: string): Promise<NewFile>;
  /** Gives a file a second name. @throws {Deno.errors.AlreadyExists} when something has that name. */
  link(from: string, to: string): Promise<void>;
  remove(path: string): Promise<void>;
  /** Makes a directory, mode 0700; its parent must exist. */
  makeDirectory(path: string): Promise<void>;
  /** Names that were made in a directory stay (fsync of the directory). */
  syncDirectory(path: string): Promise<void>;
  /** Where a path leads, symbolic links followed. */
  realPath(path: string): Promise<string>;
}

/** The machine's own. */
export const machineDisk: Disk = {
  async create(path) {
    const file = await Deno.open(path, { write: true, createNew: true, mode: 0o600 });
    return {
      async write(bytes) {
        for (let at = 0; at < bytes.length;) at += await file.write(at === 0 ? bytes : bytes.subarray(at));
      },
      sync: () => file.syncData(),
      close: () => file.close(),
    };
  },
  link: (from, to) => Deno.link(from, to),
  remove: (path) => Deno.remove(path),
  makeDirectory: (path) => Deno.mkdir(path, { mode: 0o700 }),
  async syncDirectory(path) {
    using directory = await Deno.open(path);
    await directory.sync();
  },
  realPath: (path) => Deno.realPath(path),
};
