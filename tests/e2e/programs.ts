/** Other people's programs: the clients, servers and tools that the end-to-end tests are made with. */

/** How a program ended. */
export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** How a program is run. */
export interface RunOptions {
  readonly stdin?: string | Uint8Array;
  readonly cwd?: string;
  readonly env?: Record<string, string>;
}

/** The Debian package that has a program, where it isn't called so itself. */
const packages: Record<string, string> = {
  "/usr/sbin/smtp-sink": "postfix",
  "/usr/sbin/smtp-source": "postfix",
  "/usr/sbin/postfix": "postfix",
  "/usr/lib/postfix/sbin/master": "postfix",
  "/usr/sbin/nsd": "nsd",
  "/usr/sbin/slapadd": "slapd",
  "/usr/sbin/opendkim": "opendkim",
  "/usr/sbin/clamd": "clamav-daemon",
  "/usr/sbin/clamav-milter": "clamav-milter",
  "/usr/sbin/spamd": "spamd",
  "/usr/bin/rspamd": "rspamd",
  "mount": "mount",
  "/usr/sbin/unbound": "unbound",
  "ldns-keygen": "ldnsutils",
  "ldns-signzone": "ldnsutils",
  "maildirmake.maildrop": "maildrop",
  "/usr/sbin/dovecot": "dovecot-imapd",
};

/** Runs a program to its end. @throws {Error} that names the package when it isn't there. */
export async function run(
  program: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<Ended> {
  const { stdin, ...rest } = options;
  const child = spawn(program, args, {
    ...rest,
    stdin: stdin === undefined ? "null" : "piped",
    stdout: "piped",
    stderr: "piped",
  });
  const typed = stdin === undefined ? undefined : type(child, stdin);
  const { code, stdout, stderr } = await child.output();
  await typed;
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** Starts a program. @throws {Error} that names the package when it isn't there. */
export function spawn(
  program: string,
  args: readonly string[],
  options: Deno.CommandOptions,
): Deno.ChildProcess {
  try {
    return new Deno.Command(program, { ...options, args: [...args] }).spawn();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    const name = packages[program] ?? program;
    throw new Error(`${program} is not there: apt-get install ${name}. The tests in tests/e2e need it.`);
  }
}

const decoder = new TextDecoder();

async function type(child: Deno.ChildProcess, text: string | Uint8Array): Promise<void> {
  const writer = child.stdin.getWriter();
  try {
    await writer.write(typeof text === "string" ? new TextEncoder().encode(text) : text);
    await writer.close();
  } catch {
    // It ended before it had read all: its exit code tells why.
  }
}
