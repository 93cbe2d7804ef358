/** Whom a command runs as. Root lends its rights to nobody: what a command is fed with, strangers have written. */

/** A user of this system, and where it is at home. */
export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
  readonly shell: string;
}

/** What the machine says of users and of this process. */
export interface Machine {
  readonly uid: number | null;
  readTextFile(path: string): string;
}

const systemMachine: Machine = { uid: Deno.uid(), readTextFile: Deno.readTextFileSync };

/**
 * The account a command runs as.
 *
 * @param user Absent: whoever the server runs as, which must not be root.
 * @param group Absent: the user's own.
 * @throws {Error} that says what to do, where the server can't run it so.
 */
export function accountFor(
  user: string | undefined,
  group: string | undefined,
  machine: Machine = systemMachine,
): Account {
  const users = table(machine, "/etc/passwd");
  if (user === undefined) {
    if (machine.uid === 0) {
      throw new Error("the server runs as root, the command must not: name a `user` for it");
    }
    if (group !== undefined) {
      throw new Error("`group` wants a `user` beside it, and the server to run as root: take it out");
    }
    const own = users.find(([, , uid]) => readId(uid) === machine.uid);
    if (own) return accountOf(own);
    return {
      name: String(machine.uid),
      uid: machine.uid ?? -1,
      gid: Deno.gid() ?? -1,
      home: "/",
      shell: "/bin/sh",
    };
  }
  const found = users.find(([name]) => name === user);
  if (!found) throw new Error(`there is no user ${user} in /etc/passwd: make it, or correct \`user\``);
  const account = accountOf(found);
  const gid = group === undefined ? account.gid : groupId(machine, group);
  if (account.uid === 0 || gid === 0) {
    throw new Error(
      "a command that strangers' mail is fed to does not run as root: name another `user` or `group`",
    );
  }
  const same = account.uid === machine.uid && gid === account.gid;
  if (machine.uid !== 0 && !same) {
    throw new Error(
      `only root can run a command as ${user}: start the server as root and without its own \`user:\`, or take \`user\` out here`,
    );
  }
  return { ...account, gid };
}

function accountOf([name, , uid, gid, , home, shell]: readonly string[]): Account {
  return {
    name: name!,
    uid: readId(uid)!,
    gid: readId(gid)!,
    home: home || "/",
    shell: shell || "/bin/sh",
  };
}

function groupId(machine: Machine, group: string): number {
  const id = readId(table(machine, "/etc/group").find(([name]) => name === group)?.[2]);
  if (id === undefined) {
    throw new Error(`there is no group ${group} in /etc/group: make it, or correct \`group\``);
  }
  return id;
}

/** Lines whose ids are numbers. */
function table(machine: Machine, path: string): string[][] {
  return machine.readTextFile(path).split("\n").map((line) => line.split(":")).filter(([, , id]) =>
    readId(id) !== undefined
  );
}

const readId = (text: string | undefined): number | undefined =>
  text !== undefined && /^[0-9]{1,10}$/.test(text) ? Number(text) : undefined;
