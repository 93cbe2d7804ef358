/** The users file on disk: read again when it changes, and rewritten whole by the `user` commands. */
import { createHmac, randomBytes, randomUUID } from "node:crypto";
import { basename, dirname, join } from "node:path";
import type { Host, ScramKeys } from "../../server/plugin.ts";
import { unmatchable } from "./hash.ts";
import { standardIterations } from "./scram.ts";
import type { PasswordHash } from "./phc.ts";
import { type Account, type Edit, editUsers, largestFile, type Problem, readUsers } from "./users.ts";

/** All accounts of one state of the users file. */
export class Accounts {
  readonly #byName: ReadonlyMap<string, Account>;
  readonly #names: readonly string[];
  readonly #keyed: readonly ScramKeys[];

  constructor(byName: ReadonlyMap<string, Account>) {
    this.#byName = byName;
    this.#names = [...byName.keys()];
    this.#keyed = [...byName.values()].flatMap(({ keys }) => keys ?? []);
  }

  get size(): number {
    return this.#names.length;
  }

  /** Accounts whose password can't be proven by SCRAM. */
  get withoutKeys(): number {
    return this.size - this.#keyed.length;
  }

  /**
   * The keys for SCRAM that a client hears of where there are none: always the same for a name, and shaped like some account's.
   *
   * @param secret Only this server has it, and keeps it: else a restart would show who is nobody (CASES U03).
   */
  decoyKeys(name: string, secret: string): ScramKeys {
    const octets = createHmac("sha512", secret).update(name).digest();
    const like = this.#keyed[octets.readUInt32BE() % Math.max(1, this.#keyed.length)];
    const salt = createHmac("sha512", secret).update(`salt ${name}`).digest().subarray(
      0,
      like?.salt.length ?? 16,
    );
    return {
      iterations: like?.iterations ?? standardIterations,
      salt: Uint8Array.from(salt),
      storedKey: randomBytes(32),
      serverKey: randomBytes(32),
    };
  }

  get(name: string): Account | undefined {
    return this.#byName.get(name);
  }

  /**
   * What the password for a name that is no account is compared with. It costs what some account's hash costs, the
   * same one for the same name: where the file mixes parameters, unknown names take the times that known ones take.
   */
  decoy(name: string): PasswordHash {
    const at = createHmac("sha256", decoyKey).update(name).digest().readUInt32BE() %
      Math.max(1, this.#names.length);
    return unmatchable(this.#byName.get(this.#names[at] ?? "")?.hash);
  }
}

const decoyKey = randomBytes(32);

/** Whatever identifies one state of a file. */
type Stamp = { readonly mtime: number; readonly size: number; readonly inode: number | null };

/** At most this often the disk is asked whether the file has changed, in milliseconds. */
const interval = 1000;

/** The users file of a running server. A broken or vanished file never takes the accounts away at once. */
export class UsersFile {
  readonly #file: string;
  readonly #host: Pick<Host, "clock" | "log">;
  #accounts = new Accounts(new Map());
  #stamp: Stamp | undefined;
  #checked: number;
  #reading: Promise<Accounts> | undefined;
  #missing: "no" | "once" | "known" = "no";

  private constructor(file: string, host: Pick<Host, "clock" | "log">) {
    this.#file = file;
    this.#host = host;
    this.#checked = host.clock.now();
  }

  /**
   * Reads the file; a missing one is a warning, and no one can log in until there is one.
   *
   * @throws {Error} with a line `FILE:LINE:COLUMN: message` for each problem in it.
   */
  static async open(file: string, host: Pick<Host, "clock" | "log">): Promise<UsersFile> {
    const users = new UsersFile(file, host);
    const found = await users.#look();
    if (found.state === "missing") {
      users.#missing = "known";
      host.log.warning("the users file does not exist: no one can log in; `user add` makes it", { file });
    } else if (found.state === "broken") {
      throw new Error(found.problems.join("\n"));
    } else if (found.state === "read") {
      users.#accounts = found.accounts;
    }
    return users;
  }

  /** The accounts as they are now, give or take a second. A Promise only where the disk is asked. */
  now(): Accounts | Promise<Accounts> {
    if (this.#reading) return this.#reading;
    const now = this.#host.clock.now();
    if (Math.abs(now - this.#checked) < interval) return this.#accounts; // abs: a clock set back must not stop this
    this.#checked = now;
    this.#reading = this.#refresh().finally(() => this.#reading = undefined);
    return this.#reading;
  }

  async #refresh(): Promise<Accounts> {
    const { log } = this.#host;
    const found = await this.#look();
    if (found.state === "missing") return this.#gone();
    this.#missing = "no";
    if (found.state === "read") {
      this.#accounts = found.accounts;
      log.info("the users file was read again", { file: this.#file, accounts: found.accounts.size });
    } else if (found.state === "broken") {
      for (const problem of found.problems.slice(0, 10)) log.error(problem);
      log.error("the users file is broken: the accounts stay as they were", { file: this.#file });
    }
    return this.#accounts;
  }

  /** Editors that write in two steps leave a moment without a file: only the second look counts. */
  #gone(): Accounts {
    if (this.#missing === "no") {
      this.#missing = "once";
    } else if (this.#missing === "once") {
      this.#missing = "known";
      this.#stamp = undefined;
      this.#accounts = new Accounts(new Map());
      this.#host.log.warning("the users file is gone: no one can log in", { file: this.#file });
    }
    return this.#accounts;
  }

  async #look(): Promise<Look> {
    try {
      const { mtime, size, ino, mode } = await Deno.stat(this.#file);
      const stamp = { mtime: mtime?.getTime() ?? 0, size, inode: ino };
      const same = this.#stamp?.mtime === stamp.mtime && this.#stamp.size === size &&
        this.#stamp.inode === ino;
      if (same) return { state: "same" };
      this.#stamp = stamp; // before reading: what is written meanwhile shows as a change next time
      const { accounts, problems } = readUsers(await readSmall(this.#file, size));
      if ((mode ?? 0) & 0o007) {
        this.#host.log.warning("everybody on this machine may open the users file; chmod 600 it", {
          file: this.#file,
        });
      }
      if (problems.length > 0) return { state: "broken", problems: problemLines(this.#file, problems) };
      return { state: "read", accounts: new Accounts(accounts) };
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return { state: "missing" };
      return {
        state: "broken",
        problems: [`${this.#file}: ${error instanceof Error ? error.message : error}`],
      };
    }
  }
}

type Look =
  | { readonly state: "missing" | "same" }
  | { readonly state: "read"; readonly accounts: Accounts }
  | { readonly state: "broken"; readonly problems: readonly string[] };

/** `FILE:LINE:COLUMN: message` for each. */
export function problemLines(file: string, problems: readonly Problem[]): string[] {
  return problems.map(({ line, column, message }) => `${file}:${line}:${column}: ${message}`);
}

async function readSmall(file: string, size: number): Promise<string> {
  if (size > largestFile) {
    throw new Error("a users file holds at most 4 MiB; keep that many accounts in a database");
  }
  return new TextDecoder("utf-8", { fatal: true }).decode(await Deno.readFile(file));
}

/** What came of a change on disk. */
export type Changed =
  | { readonly outcome: "edited" | "exists" | "unknown" | "locked" }
  | { readonly outcome: "broken"; readonly problems: readonly string[] };

/** How a change is made. */
export interface ChangeOptions {
  /** Who owns a file that did not exist. Default: who runs this. */
  readonly owner?: { readonly uid: number; readonly gid: number };
  /** How long to wait for another command that changes the file, in milliseconds. Default: 10 s. */
  readonly patience?: number;
}

/**
 * Changes one entry of the users file, which is made (mode 0600) if there is none. A reader sees the old file or the
 * new one, whole; two commands at the same time wait for each other.
 *
 * @throws {Error} what the file system says.
 */
export async function changeUsersFile(
  path: string,
  edit: Edit,
  options: ChangeOptions = {},
): Promise<Changed> {
  const file = await Deno.realPath(path).catch(() => path); // rename would replace a symbolic link by a file
  // The kernel lets go of this lock when a process dies, and on the directory it leaves no file behind.
  using directory = await Deno.open(dirname(file), { read: true });
  if (await lockWithin(directory, options.patience ?? 10_000) === "locked") return { outcome: "locked" };
  const found = await Deno.stat(file).catch(absent);
  const edited = editUsers(found ? await readSmall(file, found.size) : "", edit);
  if (edited.outcome === "broken") {
    return { outcome: "broken", problems: problemLines(path, edited.problems) };
  }
  if (edited.outcome !== "edited") return edited;
  const like = found ?? (options.owner && { mode: 0o600, ...options.owner });
  await replaceFile(file, edited.text, like);
  await directory.sync();
  return { outcome: "edited" };
}

async function lockWithin(directory: Deno.FsFile, patience: number): Promise<"ours" | "locked"> {
  for (const start = performance.now();;) {
    if (await directory.tryLock(true)) return "ours";
    if (performance.now() - start > patience) return "locked";
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function absent(error: unknown): undefined {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}

interface Ownership {
  readonly mode: number | null;
  readonly uid: number | null;
  readonly gid: number | null;
}

/** Writes beside the file, makes that durable, and renames. */
async function replaceFile(file: string, text: string, like: Ownership | undefined): Promise<void> {
  const temporary = join(dirname(file), `.${basename(file)}.${randomUUID()}.tmp`);
  try {
    using out = await Deno.open(temporary, { write: true, createNew: true, mode: 0o600 });
    const bytes = new TextEncoder().encode(text);
    for (let at = 0; at < bytes.length;) at += await out.write(bytes.subarray(at));
    if (like) await take(temporary, like);
    await out.sync();
    await Deno.rename(temporary, file);
  } catch (error) {
    await Deno.remove(temporary).catch(() => {});
    throw error;
  }
}

/** The server may run as another user than who calls this: the owner stays, or else it could not read the file. */
async function take(file: string, { mode, uid, gid }: Ownership): Promise<void> {
  if (mode !== null) await Deno.chmod(file, mode & 0o777);
  const ours = uid === Deno.uid() && gid === Deno.gid();
  if (!ours && uid !== null && gid !== null) await Deno.chown(file, uid, gid);
}

/**
 * The names in a users file, in its order; none where there is no file.
 *
 * @throws {Error} with a line `FILE:LINE:COLUMN: message` for each problem in it.
 */
export async function listUsersFile(file: string): Promise<readonly string[]> {
  const found = await Deno.stat(file).catch(absent);
  if (!found) return [];
  const { accounts, problems } = readUsers(await readSmall(file, found.size));
  if (problems.length > 0) throw new Error(problemLines(file, problems).join("\n"));
  return [...accounts.keys()];
}
