/**
 * A disk that forgets. What was written and not synced is kept apart, as are names made or removed in a folder that was not
 * synced; `crash` gives the disk as a power cut could leave it: any part of all that, in any order, torn and with holes.
 */
import type { Disk, DiskLock, NewFile, NotesFile } from "../../server/spool/disk.ts";
import type { Random } from "./random.ts";

/** What is asked of the disk. */
export type Operation = keyof Disk | "write" | "sync" | "truncate" | "note";

/** The power is gone; nobody is there to see this. */
export class PowerCut extends Error {
  override readonly name = "PowerCut";
}

interface PendingWrite {
  /** Of a cut: where the file ends. */
  readonly offset: number;
  readonly bytes: Uint8Array | "cut";
  /** A sync failed: a later one that succeeds says nothing of it (Linux drops the pages). */
  isDoomed: boolean;
}

class Inode {
  bytes = new Uint8Array(0);
  durable = new Uint8Array(0);
  pending: PendingWrite[] = [];

  write(offset: number, bytes: Uint8Array): void {
    this.bytes = overlay(this.bytes, offset, bytes);
    this.pending.push({ offset, bytes: bytes.slice(), isDoomed: false });
  }

  truncate(size: number): void {
    this.bytes = this.bytes.slice(0, size);
    this.pending.push({ offset: size, bytes: "cut", isDoomed: false });
  }

  sync(): void {
    for (const { offset, bytes, isDoomed } of this.pending) {
      if (isDoomed) continue;
      this.durable = bytes === "cut" ? this.durable.slice(0, offset) : overlay(this.durable, offset, bytes);
    }
    this.pending = this.pending.filter(({ isDoomed }) => isDoomed);
  }
}

type NameChange =
  | { readonly change: "link"; readonly path: string; readonly inode: Inode }
  | { readonly change: "unlink"; readonly path: string }
  | { readonly change: "rename"; readonly from: string; readonly path: string; readonly inode: Inode };

/** An error as the platform throws it. */
export function diskError(code: "ENOSPC" | "EIO" | "EMFILE" | "EROFS" | "EDQUOT"): Error {
  return Object.assign(new Error(`${code}: simulated`), { code });
}

export class SimDisk implements Disk {
  /** How many operations were asked for. */
  operations = 0;
  /** Called before each operation; what it throws is what becomes of that. */
  before: (operation: Operation, path: string) => void = () => {};
  /** Octets of all files together. */
  capacity = Infinity;
  isDown = false;
  /** Hears of each operation, for who looks into a seed. */
  trace: (line: string) => void = () => {};
  readonly #random: Random;
  readonly #folders = new Set<string>();
  readonly #locks = new Set<string>();
  #names = new Map<string, Inode>();
  #durableNames = new Map<string, Inode>();
  #changes: NameChange[] = [];

  constructor(random: Random) {
    this.#random = random;
  }

  /** The disk after a power cut now; this one stays as it is. */
  crash(random: Random): SimDisk {
    const after = new SimDisk(random);
    after.trace = this.trace;
    for (const folder of this.#folders) after.#folders.add(folder);
    after.capacity = this.capacity;
    const names = new Map(this.#durableNames);
    const kept = random.pick([0, 0.5, 1]);
    for (const change of this.#changes) if (random.chance(kept)) apply(names, change);
    const inodes = new Map<Inode, Inode>();
    const chance = random.pick([0, 0.3, 0.7, 1]);
    for (const [path, inode] of names) {
      const copy = inodes.get(inode) ?? torn(inode, random, chance);
      inodes.set(inode, copy);
      after.#names.set(path, copy);
      after.#durableNames.set(path, copy);
    }
    return after;
  }

  /** The disk after the process was killed: all that was written is there, synced or not. */
  kill(): SimDisk {
    const after = new SimDisk(this.#random);
    after.trace = this.trace;
    for (const folder of this.#folders) after.#folders.add(folder);
    after.capacity = this.capacity;
    const inodes = new Map<Inode, Inode>();
    const copy = (inode: Inode): Inode => {
      const known = inodes.get(inode);
      if (known) return known;
      const made = Object.assign(new Inode(), inode, { pending: inode.pending.map((one) => ({ ...one })) });
      inodes.set(inode, made);
      return made;
    };
    for (const [path, inode] of this.#names) after.#names.set(path, copy(inode));
    for (const [path, inode] of this.#durableNames) after.#durableNames.set(path, copy(inode));
    after.#changes = this.#changes.map((one) => "inode" in one ? { ...one, inode: copy(one.inode) } : one);
    return after;
  }

  /** The paths of all files. */
  get paths(): string[] {
    return [...this.#names.keys()].sort();
  }

  contents(path: string): Uint8Array<ArrayBuffer> {
    return this.#find(path).bytes.slice();
  }

  /** Damages a file, durably. */
  tamper(path: string, change: (bytes: Uint8Array<ArrayBuffer>) => Uint8Array<ArrayBuffer>): void {
    const inode = this.#find(path);
    inode.bytes = change(inode.bytes.slice());
    inode.durable = inode.bytes.slice();
    inode.pending = [];
  }

  async openNew(path: string): Promise<NewFile> {
    await this.#step("openNew", path);
    if (this.#names.has(path)) throw new Deno.errors.AlreadyExists(path);
    this.#inFolder(path);
    const inode = new Inode();
    this.#change({ change: "link", path, inode });
    return this.#file(path, inode, 0);
  }

  async reopen(path: string, offset: number): Promise<NewFile> {
    await this.#step("reopen", path);
    return this.#file(path, this.#find(path), offset);
  }

  #file(path: string, inode: Inode, offset: number): NewFile {
    let at = offset;
    return {
      write: async (bytes) => {
        const copy = bytes.slice();
        try {
          await this.#step("write", path);
        } catch (error) { // of a write that fails, some may have been written
          if (!this.isDown) inode.write(at, copy.subarray(0, this.#random.below(copy.length + 1)));
          throw error;
        }
        const growth = Math.max(at + copy.length - inode.bytes.length, 0);
        if (growth > this.#free()) throw diskError("ENOSPC");
        inode.write(at, copy);
        at += copy.length;
      },
      sync: async () => {
        try {
          await this.#step("sync", path);
        } catch (error) {
          for (const write of inode.pending) write.isDoomed = true;
          throw error;
        }
        inode.sync();
      },
      truncate: async (octets) => {
        await this.#step("truncate", path);
        inode.truncate(octets);
      },
      close() {},
    };
  }

  async size(path: string): Promise<number> {
    await this.#step("size", path);
    return this.#find(path).bytes.length;
  }

  async readRange(path: string, offset: number, into: Uint8Array): Promise<number> {
    await this.#step("readRange", path);
    const some = this.#find(path).bytes.subarray(offset, offset + into.length);
    into.set(some);
    return some.length;
  }

  async unlink(path: string): Promise<void> {
    await this.#step("unlink", path);
    this.#find(path);
    this.#change({ change: "unlink", path });
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#step("rename", from);
    this.#change({ change: "rename", from, path: to, inode: this.#find(from) });
  }

  async list(folder: string): Promise<string[]> {
    await this.#step("list", folder);
    return this.paths.filter((path) => folderOf(path) === folder).map((path) =>
      path.slice(folder.length + 1)
    );
  }

  async makeFolder(folder: string): Promise<void> {
    await this.#step("makeFolder", folder);
    for (let path = folder; path !== ""; path = folderOf(path)) this.#folders.add(path);
  }

  async syncFolder(folder: string): Promise<void> {
    await this.#step("syncFolder", folder);
    if (!this.#folders.has(folder)) throw new Deno.errors.NotFound(folder);
    this.#changes = this.#changes.filter((change) => {
      if (folderOf(change.path) !== folder) return true;
      apply(this.#durableNames, change);
      return false;
    });
  }

  async free(folder: string): Promise<number> {
    await this.#step("free", folder);
    return this.#free();
  }

  async lock(path: string): Promise<DiskLock | "taken"> {
    await this.#step("lock", path);
    if (this.#locks.has(path)) return "taken";
    this.#locks.add(path);
    return { release: () => void this.#locks.delete(path) };
  }

  async openNotes(path: string): Promise<NotesFile> {
    await this.#step("openNotes", path);
    let inode = this.#names.get(path);
    if (!inode) this.#change({ change: "link", path, inode: inode = new Inode() });
    const file = inode;
    return {
      append: (bytes) => {
        this.#stepNow("note", path);
        file.write(file.bytes.length, bytes);
      },
      replace: (bytes) => {
        this.#stepNow("note", path);
        [file.bytes, file.durable, file.pending] = [new Uint8Array(0), new Uint8Array(0), []];
        file.write(0, bytes);
      },
      close() {},
    };
  }

  /** Each operation takes a turn, so that others come between. */
  async #step(operation: Operation, path: string): Promise<void> {
    await undefined;
    this.#stepNow(operation, path);
  }

  #stepNow(operation: Operation, path: string): void {
    if (this.isDown) throw new PowerCut();
    this.operations++;
    try {
      this.before(operation, path);
    } catch (error) {
      this.trace(`${this.operations} ${operation} ${path} ${error}`);
      throw error;
    }
    this.trace(`${this.operations} ${operation} ${path} ${this.#names.get(path)?.bytes.length ?? ""}`);
    if (this.isDown) throw new PowerCut();
  }

  #find(path: string): Inode {
    const inode = this.#names.get(path);
    if (!inode) throw new Deno.errors.NotFound(path);
    return inode;
  }

  #inFolder(path: string): void {
    if (!this.#folders.has(folderOf(path))) throw new Deno.errors.NotFound(folderOf(path));
  }

  #change(change: NameChange): void {
    apply(this.#names, change);
    this.#changes.push(change);
  }

  #free(): number {
    let used = 0;
    for (const inode of new Set(this.#names.values())) used += inode.bytes.length;
    return Math.max(this.capacity - used, 0);
  }
}

function apply(names: Map<string, Inode>, change: NameChange): void {
  if (change.change === "rename") names.delete(change.from);
  if (change.change === "unlink") names.delete(change.path);
  else names.set(change.path, change.inode);
}

function overlay(bytes: Uint8Array, offset: number, more: Uint8Array): Uint8Array<ArrayBuffer> {
  const result = new Uint8Array(Math.max(bytes.length, offset + more.length));
  result.set(bytes);
  result.set(more, offset);
  return result;
}

/** What is left of a file: each sector of what was not synced is there or not, by chance; where it isn't, zeros or rubbish. */
function torn(inode: Inode, random: Random, chance: number): Inode {
  let bytes = inode.durable;
  const sector = random.pick([16, 64, 512]);
  for (const { bytes: written, offset } of inode.pending) {
    if (written === "cut") {
      if (random.chance(chance)) bytes = bytes.slice(0, offset);
      continue;
    }
    for (let at = 0; at < written.length; at += sector) {
      if (!random.chance(chance)) continue;
      bytes = overlay(bytes, offset + at, written.subarray(at, at + sector));
    }
  }
  if (bytes.length < inode.bytes.length && random.chance(0.3)) { // the size was recorded, the octets were not
    const rubbish = inode.bytes.subarray(0, inode.bytes.length - bytes.length).slice();
    if (random.chance(0.5)) rubbish.fill(0);
    bytes = overlay(bytes, bytes.length, rubbish);
  }
  return Object.assign(new Inode(), { bytes, durable: bytes.slice() });
}

function folderOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/"));
}
