/**
 * From root, which low ports need, to the user that does the work (`user:`).
 */
import process from "node:process";

/** This process can't change to a user: `message` says why, and what to do. */
export class PrivilegeError extends Error {
  override readonly name = "PrivilegeError";
}

/** A user of this system. */
export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  /** The primary group, and those that list the user. */
  readonly groups: readonly number[];
}

/**
 * Becomes another user for good: all threads, all groups. Call it when the listeners are open; what is read again
 * later, such as keys, must be readable by that user. Does nothing where this process runs as that user already.
 *
 * @param user A name in `/etc/passwd`.
 * @throws {PrivilegeError} when that is not possible, or not complete: the process must not go on then.
 */
export function dropPrivileges(user: string): void {
  const account = lookUpUser(user);
  if (Deno.uid() === account.uid) return;
  if (Deno.uid() !== 0) {
    throw new PrivilegeError(
      `can't change to user ${user}: only root can. Start as root, or take out \`user:\`.`,
    );
  }
  // Groups first: without root's rights they can't be changed any more.
  setGroups(account);
  try {
    process.setgid!(account.gid);
    process.setuid!(account.uid);
  } catch (error) {
    throw new PrivilegeError(`can't change to user ${user}: ${(error as Error).message}.`, { cause: error });
  }
  verify(account);
}

/**
 * Checks, as the user that now is, that packages can be read from Deno's cache: plugins and Workers are loaded later,
 * and a cache in root's home would fail them one by one. A bundle or a binary has no cache to read.
 *
 * @throws {PrivilegeError} that says where the cache is and what to do.
 */
export function checkCache(user: string): void {
  if (!import.meta.url.endsWith("/server/privileges.ts")) return;
  const folder = Deno.env.get("DENO_DIR") ??
    `${Deno.env.get("XDG_CACHE_HOME") ?? `${Deno.env.get("HOME")}/.cache`}/deno`;
  try {
    Deno.readDirSync(`${folder}/npm`)[Symbol.iterator]().next();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    throw new PrivilegeError(
      `user ${user} can't read ${folder}, where Deno keeps packages: set DENO_DIR to a folder that user can read, ` +
        "or run the bundle (deno task bundle).",
      { cause: error },
    );
  }
}

/**
 * The user and its groups, from `/etc/passwd` and `/etc/group`.
 *
 * @throws {PrivilegeError} when there is none of this name.
 */
export function lookUpUser(user: string): Account {
  const lines = (path: string) => {
    try {
      return Deno.readTextFileSync(path).split("\n").map((line) => line.split(":"));
    } catch (error) {
      throw new PrivilegeError(`can't look up user ${user}: ${(error as Error).message}.`, { cause: error });
    }
  };
  const entry = lines("/etc/passwd").find(([name]) => name === user);
  const [uid, gid] = [readId(entry?.[2]), readId(entry?.[3])];
  if (uid === undefined || gid === undefined) {
    throw new PrivilegeError(
      `there is no user ${user} in /etc/passwd: make it (useradd --system ${user}), or correct \`user:\`.`,
    );
  }
  const others = lines("/etc/group")
    .filter((group) => group[3]?.split(",").includes(user))
    .map((group) => readId(group[2]))
    .filter((id) => id !== undefined);
  return { name: user, uid, gid, groups: [...new Set([gid, ...others])] };
}

function readId(text: string | undefined): number | undefined {
  return text !== undefined && /^[0-9]{1,10}$/.test(text) ? Number(text) : undefined;
}

/** The runtime has no `setgroups`; the C library's own changes all threads, as its `setuid` does. */
function setGroups({ name, groups }: Account): void {
  const file = Deno.build.os === "darwin" ? "/usr/lib/libSystem.B.dylib" : "libc.so.6";
  let library;
  try {
    library = Deno.dlopen(file, { setgroups: { parameters: ["usize", "buffer"], result: "i32" } });
  } catch (error) {
    throw new PrivilegeError(
      `can't change to user ${name}: ${file} can't be loaded (${(error as Error).message}).`,
      {
        cause: error,
      },
    );
  }
  try {
    if (library.symbols.setgroups(BigInt(groups.length), Uint32Array.from(groups)) !== 0) {
      throw new PrivilegeError(`can't change to user ${name}: the system refuses to set its groups.`);
    }
  } finally {
    library.close();
  }
}

function verify({ name, uid, gid, groups }: Account): void {
  const left = (what: string) => new PrivilegeError(`the change to user ${name} is not complete: ${what}.`);
  try {
    process.setuid!(0);
  } catch {
    checkThreads();
    return;
  }
  throw left("the way back to root is open");

  function checkThreads(): void {
    if (Deno.uid() !== uid || Deno.gid() !== gid) throw left("the process has other ids");
    if (Deno.build.os !== "linux") return;
    const wanted = [...groups].sort((a, b) => a - b).join(" ");
    for (const thread of Deno.readDirSync("/proc/self/task")) {
      let status;
      try {
        status = Deno.readTextFileSync(`/proc/self/task/${thread.name}/status`);
      } catch {
        continue; // the thread has ended
      }
      const ids = (key: string) =>
        new RegExp(`^${key}:\\s*(.*?)\\s*$`, "m").exec(status)?.[1]?.split(/\s+/) ?? [];
      const same = ids("Uid").every((id) => Number(id) === uid) && ids("Gid").every((id) =>
        Number(id) === gid
      ) &&
        ids("Groups").map(Number).sort((a, b) => a - b).join(" ") === wanted;
      if (!same) throw left(`thread ${thread.name} has other ids`);
    }
  }
}
