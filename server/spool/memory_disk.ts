/** A disk in memory, for tests and for servers that keep nothing; it can be made to fail, or to wait. */
import type { Disk, DiskLock, NewFile, NotesFile } from "./disk.ts";

/** What is asked of a disk and of the files on it. */
export type DiskOperation = keyof Disk | "write" | "sync" | "truncate";

interface Stored {
  bytes: Uint8Array<ArrayBuffer>;
  size: number;
}

/** A {@linkcode Disk} without a disk. Names are paths; there are folders only where `makeFolder` made them. */
export class MemoryDisk implements Disk {
  /** Called before each operation: what it throws is the disk's failure, what it returns is waited for. */
  before: (operation: DiskOperation, path: string) => void | Promise<void> = () => {};
  /** How many files are open for writing. */
  open = 0;
  /** Octets of each `write`, in order. */
  readonly writes: number[] = [];
  readonly #files = new Map<string, Stored>();
  readonly #folders = new Set<string>();
  readonly #locks = new Set<string>();
  /** What `free` says. */
  octetsFree = 2 ** 40;

  /** What is in a file; `undefined` where there is none. */
  contents(path: string): Uint8Array<ArrayBuffer> | undefined {
    const file = this.#files.get(path);
    return file?.bytes.slice(0, file.size);
  }

  async openNew(path: string): Promise<NewFile> {
    await this.before("openNew", path);
    if (this.#files.has(path)) throw new Deno.errors.AlreadyExists(`File exists: ${path}`);
    if (!this.#folders.has(folderOf(path))) throw new Deno.errors.NotFound(`No such folder: ${path}`);
    const file: Stored = { bytes: new Uint8Array(0), size: 0 };
    this.#files.set(path, file);
    return this.#writing(path, file, 0);
  }

  async reopen(path: string, offset: number): Promise<NewFile> {
    await this.before("reopen", path);
    return this.#writing(path, this.#find(path), offset);
  }

  #writing(path: string, file: Stored, offset: number): NewFile {
    let at = offset;
    this.open++;
    let closed = false;
    return {
      write: async (bytes) => {
        this.writes.push(bytes.length);
        await this.before("write", path);
        if (closed) throw new Deno.errors.BadResource("Bad resource ID"); // as the platform does
        put(file, bytes, at);
        at += bytes.length;
      },
      sync: async () => await this.before("sync", path),
      truncate: async (octets) => {
        await this.before("truncate", path);
        file.bytes.fill(0, octets); // what is written behind the end leaves zeros between
        file.size = Math.min(file.size, octets);
      },
      close: () => {
        if (closed) throw new Deno.errors.BadResource("Bad resource ID");
        closed = true;
        this.open--;
      },
    };
  }

  async size(path: string): Promise<number> {
    await this.before("size", path);
    return this.#find(path).size;
  }

  #find(path: string): Stored {
    const file = this.#files.get(path);
    if (!file) throw new Deno.errors.NotFound(`No such file: ${path}`);
    return file;
  }

  async readRange(path: string, offset: number, into: Uint8Array): Promise<number> {
    await this.before("readRange", path);
    const file = this.#find(path);
    const some = file.bytes.subarray(offset, Math.min(offset + into.length, file.size));
    into.set(some);
    return some.length;
  }

  async unlink(path: string): Promise<void> {
    await this.before("unlink", path);
    if (!this.#files.delete(path)) throw new Deno.errors.NotFound(`No such file: ${path}`);
  }

  async rename(from: string, to: string): Promise<void> {
    await this.before("rename", from);
    this.#files.set(to, this.#find(from));
    this.#files.delete(from);
  }

  async list(folder: string): Promise<string[]> {
    await this.before("list", folder);
    const inside = [...this.#files.keys()].filter((path) => folderOf(path) === folder);
    return inside.map((path) => path.slice(folder.length + 1));
  }

  async makeFolder(folder: string): Promise<void> {
    await this.before("makeFolder", folder);
    for (let path = folder; path !== ""; path = folderOf(path)) this.#folders.add(path);
    this.#folders.add("/");
  }

  async syncFolder(folder: string): Promise<void> {
    await this.before("syncFolder", folder);
    if (!this.#folders.has(folder)) throw new Deno.errors.NotFound(`No such folder: ${folder}`);
  }

  async free(folder: string): Promise<number> {
    await this.before("free", folder);
    return this.octetsFree;
  }

  async lock(path: string): Promise<DiskLock | "taken"> {
    await this.before("lock", path);
    if (this.#locks.has(path)) return "taken";
    this.#locks.add(path);
    return { release: () => void this.#locks.delete(path) };
  }

  async openNotes(path: string): Promise<NotesFile> {
    await this.before("openNotes", path);
    const file = this.#files.get(path) ?? { bytes: new Uint8Array(0), size: 0 };
    this.#files.set(path, file);
    return {
      append: (bytes) => put(file, bytes, file.size),
      replace(bytes) {
        file.size = 0;
        put(file, bytes, 0);
      },
      close() {},
    };
  }
}

function folderOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/"));
}

function put(file: Stored, bytes: Uint8Array, at: number): void {
  const end = at + bytes.length;
  if (end > file.bytes.length) {
    const larger = new Uint8Array(Math.max(end, file.bytes.length * 2));
    larger.set(file.bytes.subarray(0, file.size));
    file.bytes = larger;
  }
  file.bytes.set(bytes, at);
  file.size = Math.max(file.size, end);
}
