/**
 * Contents while they arrive and until their message is decided: small ones wait in memory, whatever is larger than that, or than what
 * all of them may take together, goes to a file. So memory is bounded by configuration, not by the peer (DESIGN §8, Bodies).
 */
import { type Body, type Content, longestHead, memoryContent, type Pieces } from "../message/content.ts";
import { readHeader } from "../message/header.ts";
import { checksum } from "./checksum.ts";
import { type Disk, type NewFile, systemDisk } from "./disk.ts";

/** How much waits in memory, and what does the writing. */
export interface BodyStoreOptions {
  /** Default: the machine's own. */
  readonly disk?: Disk;
  /** Octets one body may have in memory; default 256 KiB. */
  readonly each?: number;
  /** Octets all of them may have in memory; default 64 MiB. */
  readonly together?: number;
  /** Ids whose files a queue still needs: `open` leaves them. */
  readonly kept?: ReadonlySet<string>;
}

/** The disk failed; `cause` is what it said. Nothing half-written is left, as far as the disk lets us. Temporary: 452 or 451. */
export class BodyFailed extends Error {
  override readonly name = "BodyFailed";
}

/** The least that is written at once, the end aside: each write is a system call on another thread. */
const batch = 64 * 1024;
/** Octets of a piece that is read. */
const pieceSize = 128 * 1024;
/** The first buffer: most messages fit. */
const firstBuffer = 8 * 1024;
/** What ids look like: they are names of files. */
const idPattern = /^[A-Za-z0-9][A-Za-z0-9.-]{0,99}$/;

/** Makes {@linkcode StoredBody} objects that share a folder and a bound of memory. */
export class BodyStore {
  readonly folder: string;
  /** For bodies. */
  readonly disk: Disk;
  /** For bodies: octets one of them may have in memory. */
  readonly each: number;
  readonly #together: number;
  #used = 0;

  private constructor(folder: string, { disk, each, together }: BodyStoreOptions) {
    this.folder = folder;
    this.disk = disk ?? systemDisk;
    this.each = each ?? longestHead;
    this.#together = together ?? 64 * 1024 * 1024;
  }

  /**
   * Opens the folder, makes it where it is missing, and removes what an earlier process left behind. Only after the state's lock
   * is taken: another server's bodies would be taken for orphans.
   *
   * @throws what the disk throws.
   */
  static async open(folder: string, options: BodyStoreOptions = {}): Promise<BodyStore> {
    const store = new BodyStore(folder, options);
    await store.disk.makeFolder(folder);
    for (const name of await store.disk.list(folder)) {
      if (idPattern.test(name) && !options.kept?.has(name)) await store.disk.unlink(`${folder}/${name}`);
    }
    return store;
  }

  /** Octets of memory in use by bodies. */
  get memoryUsed(): number {
    return this.#used;
  }

  /** A new, empty body. @param id Unique; the name of its file, if it comes to that. */
  create(id: string): StoredBody {
    if (!idPattern.test(id)) throw new TypeError(`${JSON.stringify(id)} can't be the name of a file.`);
    return new StoredBody(this, id);
  }

  /** For bodies: says whether so much more may be used, and then counts it. */
  reserve(octets: number): boolean {
    if (this.#used + octets > this.#together) return false;
    this.#used += octets;
    return true;
  }

  /** For bodies. */
  release(octets: number): void {
    this.#used -= octets;
  }
}

const nothing = new Uint8Array(0);

/** A body of a {@linkcode BodyStore}. Whoever made it calls `discard` in the end, whatever became of the message. */
export class StoredBody implements Body {
  readonly #store: BodyStore;
  readonly #id: string;
  /** All that was written, or what waits for the next write to the file. */
  #buffer: Uint8Array<ArrayBuffer> = nothing;
  #fill = 0;
  #size = 0;
  #reserved = 0;
  #file: NewFile | undefined;
  /** Of what is in the file. */
  #crc = 0;
  #head: Uint8Array<ArrayBuffer> | undefined;
  #content: Content | undefined;
  #state: "open" | "finished" | "discarded" | BodyFailed = "open";
  /** The operation under way; never rejects. */
  #pending: Promise<void> | undefined;

  /** See {@linkcode BodyStore.create}. */
  constructor(store: BodyStore, id: string) {
    this.#store = store;
    this.#id = id;
  }

  get size(): number {
    return this.#size;
  }

  get #path(): string {
    return `${this.#store.folder}/${this.#id}`;
  }

  /** @throws {BodyFailed} when the disk does, now or earlier. */
  write(bytes: Uint8Array): void | Promise<void> {
    this.#checkOpen();
    if (this.#file ? this.#fill + bytes.length <= batch : this.#makeRoom(this.#size + bytes.length)) {
      this.#append(bytes);
      this.#size += bytes.length;
      return;
    }
    return this.#run(async () => {
      this.#file ?? await this.#spill();
      await this.#writeThrough(bytes);
      this.#size += bytes.length;
    });
  }

  /** @throws {BodyFailed} when the disk does, now or earlier. */
  async finish(): Promise<Content> {
    this.#checkOpen();
    if (this.#file) await this.#run(() => this.#finishFile(this.#file!));
    else this.#content = memoryContent(this.#buffer.subarray(0, this.#size));
    this.#checkOpen(); // discarded meanwhile
    this.#state = "finished";
    return this.#content!;
  }

  async discard(): Promise<void> {
    if (this.#state === "discarded") return await this.#pending;
    this.#state = "discarded";
    const before = this.#pending;
    this.#pending = (async () => {
      if (before) await before; // memory is given back before this returns
      await this.#forget();
    })();
    await this.#pending;
  }

  #checkOpen(): void {
    if (this.#state instanceof BodyFailed) throw this.#state;
    if (this.#state !== "open") {
      throw new TypeError(`The body is ${this.#state}: nothing can be written any more.`);
    }
    if (this.#pending) throw new TypeError("The last write is still under way: await it first.");
  }

  /** Says whether a body of this size may be in memory, and then there is room for it. */
  #makeRoom(size: number): boolean {
    if (size <= this.#buffer.length) return true;
    if (size > this.#store.each) return false;
    const capacity = Math.min(Math.max(this.#buffer.length * 2, size, firstBuffer), this.#store.each);
    if (!this.#store.reserve(capacity - this.#reserved)) return false;
    this.#reserved = capacity;
    this.#enlarge(capacity);
    return true;
  }

  #enlarge(capacity: number): void {
    const larger = new Uint8Array(capacity);
    larger.set(this.#buffer.subarray(0, this.#fill));
    this.#buffer = larger;
  }

  #append(bytes: Uint8Array): void {
    const fill = this.#fill + bytes.length;
    // Only a batch: it begins small, for the small messages that had no room in memory any more.
    if (fill > this.#buffer.length) {
      this.#enlarge(Math.min(Math.max(this.#buffer.length * 2, fill, firstBuffer), batch));
    }
    this.#buffer.set(bytes, this.#fill);
    this.#fill = fill;
  }

  /** One operation on the disk at a time; its failure is the body's, and removes the file. */
  async #run(work: () => Promise<void>): Promise<void> {
    const running = work().catch(async (cause) => {
      const failure = cause instanceof BodyFailed ? cause : failed("write", this.#path, cause);
      if (this.#state === "open") this.#state = failure;
      await this.#forget();
      throw failure;
    });
    this.#pending = running.catch(() => {});
    await running.finally(() => {
      if (this.#state !== "discarded") this.#pending = undefined;
    });
  }

  /** From memory to a file. */
  async #spill(): Promise<void> {
    this.#file = await this.#store.disk.openNew(this.#path);
    const received = this.#buffer.subarray(0, this.#fill);
    const header = readHeader(received, Infinity);
    // Only an empty line is a sure end as long as more may come; for the rest `finish` reads it again.
    if (header.end > header.fieldsEnd) this.#head = received.slice(0, header.end);
    this.#buffer = nothing;
    this.#fill = 0;
    await this.#writeThrough(received);
    this.#store.release(this.#reserved);
    this.#reserved = 0;
  }

  /** Fills the batch and writes it; what is left is written, or begins the next batch. */
  async #writeThrough(bytes: Uint8Array): Promise<void> {
    let rest = bytes;
    if (this.#fill > 0) {
      rest = bytes.subarray(batch - this.#fill);
      this.#append(bytes.subarray(0, batch - this.#fill));
      if (this.#fill < batch) return;
      await this.#toFile(this.#buffer);
      this.#fill = 0;
    }
    if (rest.length >= batch) await this.#toFile(rest);
    else this.#append(rest);
  }

  #toFile(bytes: Uint8Array): Promise<void> {
    this.#crc = checksum(bytes, this.#crc);
    return this.#file!.write(bytes);
  }

  async #finishFile(file: NewFile): Promise<void> {
    if (this.#fill > 0) await this.#toFile(this.#buffer.subarray(0, this.#fill));
    this.#buffer = nothing;
    this.#fill = 0;
    const head = this.#head ?? await readHead(this.#store.disk, this.#path, this.#size);
    this.#content = new FileContent(this.#store, this.#id, file, this.#size, head, this.#crc);
  }

  /** Gives back memory, descriptor and file. What fails here leaves an orphan, which the next start removes. */
  async #forget(): Promise<void> {
    this.#store.release(this.#reserved);
    this.#reserved = 0;
    this.#buffer = nothing;
    const file = this.#file;
    this.#file = undefined; // and a file that was there before us is never unlinked
    if (!file) return;
    file.close();
    if (this.#content instanceof FileContent && this.#content.isKept) return;
    await this.#store.disk.unlink(this.#path).catch(() => {});
  }
}

/** A content that is in a file of a {@linkcode BodyStore}. */
export class FileContent implements Content {
  readonly memory = undefined;
  /** The file's name in the store's folder. */
  readonly id: string;
  readonly size: number;
  readonly head: Uint8Array<ArrayBuffer>;
  /** Of all its octets, taken while they arrived; see `checksum`. */
  readonly crc: number;
  readonly #store: BodyStore;
  readonly #file: NewFile;
  #kept = false;

  /** See {@linkcode StoredBody.finish}. */
  constructor(
    store: BodyStore,
    id: string,
    file: NewFile,
    size: number,
    head: Uint8Array<ArrayBuffer>,
    crc = 0,
  ) {
    this.#store = store;
    this.#file = file;
    this.id = id;
    this.size = size;
    this.head = head;
    this.crc = crc;
  }

  /** Whether its file is in this store's folder. */
  isIn(store: BodyStore): boolean {
    return this.#store === store;
  }

  /** Whether the file stays when the body is discarded. */
  get isKept(): boolean {
    return this.#kept;
  }

  /**
   * Makes the file and its name durable. Before the body is discarded.
   *
   * @throws {BodyFailed} when the disk does: after that nobody knows what it holds.
   */
  async sync(): Promise<void> {
    try {
      await this.#file.sync();
      await this.#store.disk.syncFolder(this.#store.folder);
    } catch (cause) {
      throw failed("make durable", this.#path, cause);
    }
  }

  /** From now on the file is the caller's: discarding the body leaves it. */
  keep(): void {
    this.#kept = true;
  }

  /** @throws {BodyFailed} when the disk does, or the file is shorter than it was. */
  read(offset = 0, pieces?: Pieces): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    return readFile(this.#store.disk, this.#path, offset, this.size, pieces);
  }

  get #path(): string {
    return `${this.#store.folder}/${this.id}`;
  }
}

/** The header section of a file, with one octet more where no empty line ends it: the one that shows that it has ended. */
export async function readHead(disk: Disk, path: string, size: number): Promise<Uint8Array<ArrayBuffer>> {
  const head = new Uint8Array(Math.min(size, longestHead));
  let at = 0;
  for await (const piece of readFile(disk, path, 0, head.length)) {
    head.set(piece, at);
    at += piece.length;
  }
  const { fieldsEnd, end } = readHeader(head, size);
  return head.slice(0, end > fieldsEnd ? end : end + 1);
}

/** Octets `[offset, end)` of a file. @throws {BodyFailed} when the disk does, or the file is shorter. */
export async function* readFile(
  disk: Disk,
  path: string,
  offset: number,
  end: number,
  pieces: Pieces = "given",
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const lent = pieces === "lent" ? new Uint8Array(Math.min(pieceSize, end - offset)) : undefined;
  for (let at = offset; at < end;) {
    const size = Math.min(pieceSize, end - at);
    const piece = lent?.subarray(0, size) ?? new Uint8Array(size);
    const octets = await disk.readRange(path, at, piece).catch((cause) => {
      throw failed("read", path, cause);
    });
    at += octets;
    if (octets < piece.length) throw new BodyFailed(`The file ${path} ends at ${at} of ${end} octets.`);
    yield piece;
  }
}

function failed(what: string, path: string, cause: unknown): BodyFailed {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new BodyFailed(`Could not ${what} the file ${path}: ${why}`, { cause });
}
