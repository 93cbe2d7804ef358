/** `user add|passwd|remove|list`: the accounts of the `auth` plugin, in the users file that the configuration names. */
import auth from "../../plugins/auth/mod.ts";
import { type Changed, changeUsersFile, listUsersFile, UsersFile } from "../../plugins/auth/file.ts";
import { hashPassword } from "../../plugins/auth/hash.ts";
import { formatKeys, makeKeys } from "../../plugins/auth/scram.ts";
import { accountName } from "../../plugins/auth/senders.ts";
import { config } from "../config/config.ts";
import { formatProblem, type Io, readSource, readValue, type Source } from "../config/read.ts";
import { passwordFromPipe, passwordFromTerminal, type PasswordInput, type PromptOutput } from "./password.ts";

/** What is done with the users. */
export type UserAction = "add" | "passwd" | "remove" | "list";

/** What the command line says besides. */
export interface UserOptions {
  /** The configuration file, as given. */
  readonly config: string;
  /** The account; not with `list`. */
  readonly address?: string | undefined;
  /** Read the password from standard input, without asking. */
  readonly passwordStdin?: boolean | undefined;
  /** The instance (`as:`) of the plugin, where the configuration has several. */
  readonly as?: string | undefined;
}

/** What the command needs of the world. */
export interface UserIo extends Io {
  readonly stdin: PasswordInput;
  readonly stdout: PromptOutput;
  readonly stderr: PromptOutput;
}

/** 0: done. 1: it failed. 2: the command or the configuration is wrong. `explain` has 3: refused for now, and 4: refused for good. */
export type ExitCode = 0 | 1 | 2 | 3 | 4;

/**
 * Runs one `user` command.
 *
 * @returns the exit code; all that is to be said is on `io.stdout` and `io.stderr` by then.
 */
export async function userCommand(action: UserAction, options: UserOptions, io: UserIo): Promise<ExitCode> {
  const say = (text: string, code: ExitCode): ExitCode => {
    io.stderr.write(`${text}\n`);
    return code;
  };
  const name = options.address === undefined ? undefined : accountName(options.address);
  if (action === "list" && options.address !== undefined) return say("`user list` takes no address.", 2);
  if (action !== "list" && options.address === undefined) {
    return say(`\`user ${action}\` needs an address, such as alice@example.org.`, 2);
  }
  if (options.address !== undefined && name === undefined) {
    return say("The name of an account is an address, such as alice@example.org.", 2);
  }
  const place = await findUsersFile(options, io);
  if ("problem" in place) return say(place.problem, 2);
  try {
    if (name === undefined) return await list(place.file, io);
    return await change(action as Exclude<UserAction, "list">, name, place, options, io);
  } catch (error) {
    return say(error instanceof Error ? error.message : String(error), 1);
  }
}

/** An account, as the `auth` plugin of a configuration knows it. */
export type KnownAccount =
  | { readonly kind: "known"; readonly name: string; readonly sendAs: readonly string[] }
  | { readonly kind: "unknown"; readonly file: string }
  /** There is no `auth` to ask, or more than one. */
  | { readonly kind: "nobody-knows" };

/** Looks an account up, without its password. @throws {Error} when the users file can't be read. */
export async function accountOf(config: string, text: string, io: UserIo): Promise<KnownAccount> {
  const place = await findUsersFile({ config }, io);
  if ("problem" in place) return { kind: "nobody-knows" };
  const silent = { debug() {}, info() {}, warning() {}, error() {} };
  const clock = { now: () => 0, sleep: () => Promise.resolve() };
  const users = await UsersFile.open(place.file, { clock, log: silent });
  const account = (await users.now()).get(accountName(text) ?? text);
  return account
    ? { kind: "known", name: account.name, sendAs: account.sendAs }
    : { kind: "unknown", file: place.file };
}

async function list(file: string, io: UserIo): Promise<ExitCode> {
  for (const name of await listUsersFile(file)) io.stdout.write(`${name}\n`);
  return 0;
}

const done = {
  add: "was added to",
  passwd: "has a new password in",
  remove: "was removed from",
} as const;

async function change(
  action: keyof typeof done,
  name: string,
  { file, owner }: UsersPlace,
  { passwordStdin = false }: UserOptions,
  io: UserIo,
): Promise<ExitCode> {
  const say = (text: string, code: ExitCode): ExitCode => {
    io.stderr.write(`${text}\n`);
    return code;
  };
  const known = (await listUsersFile(file)).includes(name);
  // Before asking for a password that would be for nothing; the change itself looks again, under its lock.
  if (known === (action === "add")) return say(refusal(known ? "exists" : "unknown", name, file), 1);
  let changed: Changed;
  if (action === "remove") {
    changed = await changeUsersFile(file, { action, name });
  } else {
    if (!passwordStdin && !io.stdin.isTerminal()) {
      return say("Standard input is no terminal to ask for a password on. Give it with --password-stdin.", 2);
    }
    const given =
      await (passwordStdin ? passwordFromPipe(io.stdin) : passwordFromTerminal(io.stdin, io.stderr));
    if ("refused" in given) return say(given.refused, 1);
    const [hash, made] = [await hashPassword(given.password), await makeKeys(given.password)];
    const keys = made && formatKeys(made);
    changed = await changeUsersFile(file, { action, name, hash, keys }, { ...(owner && { owner }) });
  }
  if (changed.outcome === "broken") return say(changed.problems.join("\n"), 1);
  if (changed.outcome !== "edited") return say(refusal(changed.outcome, name, file), 1);
  io.stdout.write(`${name} ${done[action]} ${file}.\n`);
  return 0;
}

function refusal(outcome: "exists" | "unknown" | "locked", name: string, file: string): string {
  if (outcome === "exists") return `${name} is in ${file} already. \`user passwd\` changes its password.`;
  if (outcome === "unknown") return `${name} is not in ${file}. \`user list\` shows who is.`;
  return `${file} is being changed by another command. Nothing was changed; try again.`;
}

interface UsersPlace {
  readonly file: string;
  /** Who is to own a new file: the server reads it after it has given up its privileges. */
  readonly owner?: { readonly uid: number; readonly gid: number };
}

/** Only what concerns the users is read: they can be made before certificates are there. */
async function findUsersFile(options: UserOptions, io: UserIo): Promise<UsersPlace | { problem: string }> {
  const { source, problems } = await readSource(options.config, io);
  const errors = problems.filter(({ severity }) => severity === "error");
  const plugins = readValue(config.shape.plugins, source, ["plugins"]);
  if (errors.length > 0 || !plugins.value) {
    const all = errors.length > 0 ? errors : plugins.problems;
    return { problem: all.map(formatProblem).join("\n") };
  }
  const entries = plugins.value.map(({ use, as = use }, index) => ({ use, as, index })).filter(({ use }) =>
    use === "auth"
  );
  const chosen = options.as === undefined ? entries : entries.filter(({ as }) => as === options.as);
  const [entry, another] = chosen;
  if (!entry) return { problem: none(options, entries.map(({ as }) => as)) };
  if (another) {
    const names = chosen.map(({ as }) => as).join(", ");
    return {
      problem: `${options.config} has the plugin \`auth\` more than once. Say which one with --as: ${names}.`,
    };
  }
  const given = source.get(["plugins", entry.index, "with"]);
  const base = given === undefined ? ["plugins", entry.index] : ["plugins", entry.index, "with"];
  const read = readValue(auth.options!, source, base, given ?? {});
  if (!read.value) return { problem: read.problems.map(formatProblem).join("\n") };
  const elsewhere = (["dovecot", "http", "sql"] as const).find((one) => read.value![one] !== undefined);
  if (elsewhere) {
    return { problem: `${options.config} has its accounts elsewhere (\`${elsewhere}\`): change them there.` };
  }
  const owner = await ownerFor(source, io);
  return { file: read.value.users, ...(owner && { owner }) };
}

function none({ config, as }: UserOptions, others: readonly string[]): string {
  if (as === undefined) return `${config} has no plugin \`auth\`. Add it to \`plugins:\` as \`- auth\`.`;
  const known = others.length > 0 ? `It has ${others.join(", ")}.` : "It has none.";
  return `${config} has no plugin \`auth\` with the name ${as}. ${known}`;
}

/** Who is to own files that the server reads: the configuration's `user`, where root runs the command. */
export async function ownerFor(source: Source, io: UserIo): Promise<UsersPlace["owner"]> {
  const user = source.get(["user"]);
  if (typeof user !== "string" || Deno.uid() !== 0) return undefined;
  const passwd = await io.readTextFile("/etc/passwd").catch(() => "");
  const line = passwd.split("\n").find((candidate) => candidate.startsWith(`${user}:`));
  const [, , uid, gid] = line?.split(":") ?? [];
  return /^[0-9]+$/.test(uid ?? "") && /^[0-9]+$/.test(gid ?? "")
    ? { uid: Number(uid), gid: Number(gid) }
    : undefined;
}
