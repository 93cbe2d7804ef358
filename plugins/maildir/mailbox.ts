/** Mailboxes on disk: made when first needed, checked to lie inside the root, remembered. */
import { posix } from "node:path";
import type { Disk } from "./disk.ts";
import { GroupSync } from "./group_sync.ts";

/** A Maildir that exists. */
export interface Mailbox {
  /** The folder that holds `tmp`, `new` and `cur`. */
  readonly path: string;
  /** Makes what was linked into `new` before this call durable. */
  sync(): Promise<void>;
}

/** A mailbox leads out of the folder that all are in. */
export class OutsideRoot extends Error {
  override readonly name = "OutsideRoot";
}

/** How many mailboxes are remembered as good. */
const remembered = 10_000;

/** All mailboxes under one root. */
export class Mailboxes {
  readonly #root: string;
  readonly #disk: Disk;
  readonly #limit: number;
  readonly #open = new Map<string, Promise<Mailbox>>();

  constructor(root: string, disk: Disk, limit = remembered) {
    this.#root = root;
    this.#disk = disk;
    this.#limit = limit;
  }

  /**
   * The mailbox in this folder, made if it isn't there. What was looked at once is taken to be good until `forget`.
   *
   * @throws {OutsideRoot} when symbolic links lead out of the root.
   * @throws what the operating system says.
   */
  open(path: string): Promise<Mailbox> {
    let mailbox = this.#open.get(path);
    if (mailbox) {
      this.#open.delete(path); // and in again below: the least recently used one is first
    } else {
      mailbox = this.#prepare(path);
      mailbox.catch(() => this.forget(path));
      if (this.#open.size >= this.#limit) this.#open.delete(this.#open.keys().next().value!);
    }
    this.#open.set(path, mailbox);
    return mailbox;
  }

  /** Looks at this one anew next time: it is gone, or could not be used. */
  forget(path: string): void {
    this.#open.delete(path);
  }

  async #prepare(path: string): Promise<Mailbox> {
    for (const name of ["tmp", "new", "cur"]) await this.#ensure(`${path}/${name}`);
    const fresh = `${path}/new`;
    const group = new GroupSync(() => this.#disk.syncDirectory(fresh));
    return { path, sync: () => group.done() };
  }

  /** A folder that exists and lies inside the root. Its missing parents are made, outermost first, each checked before. */
  async #ensure(path: string): Promise<void> {
    try {
      return await this.#check(path);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
    const parent = posix.dirname(path);
    if (parent !== path) await this.#ensure(parent);
    try {
      await this.#disk.makeDirectory(path);
    } catch (error) {
      if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
      // Another delivery was faster; or it is a symbolic link to nowhere, and stays that.
      return await this.#check(path);
    }
    try {
      await this.#disk.syncDirectory(parent);
    } catch (error) {
      // Left there, it would pass for one that is durable.
      await this.#disk.remove(path).catch(() => {});
      throw error;
    }
  }

  /** @throws {Deno.errors.NotFound} when there is nothing. @throws {OutsideRoot} when it is elsewhere. */
  async #check(path: string): Promise<void> {
    const real = await this.#disk.realPath(path);
    if (!isInside(path, this.#root)) return; // the root and what is above it are the operator's to link
    const root = await this.#disk.realPath(this.#root);
    if (!isInside(real, root)) throw new OutsideRoot(`${path} leads to ${real}, outside ${this.#root}`);
  }
}

function isInside(path: string, root: string): boolean {
  return root === "/" ? path !== "/" : path.startsWith(`${root}/`);
}
