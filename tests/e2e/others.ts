/**
 * Other people's servers on loopback: they take mail for alice, bob, postmaster and abuse at example.org, and relay for nobody. Each
 * is Debian's, as its defaults have it, but that it may hear as many errors as a test makes. Postfix, Exim and OpenSMTPD can't be
 * installed beside each other: the latter two are unpacked in the folder that `MAIL_SERVERS` names.
 */
import { join } from "node:path";
import type { Folder } from "./folder.ts";
import { freePort, untilListening } from "./ports.ts";
import { run, spawn } from "./programs.ts";

/** One that runs. */
export interface Other extends AsyncDisposable {
  readonly name: string;
  readonly version: string;
  readonly port: number;
  /** Messages that it has taken so far. */
  accepted(): Promise<number>;
}

/** Who has a mailbox there. */
export const users = ["alice", "bob", "postmaster", "abuse"];

const unpacked = Deno.env.get("MAIL_SERVERS") ?? "/opt/mail-servers";

/** Starts one that logs to a file. */
function start(program: string, args: readonly string[], log: string): Deno.ChildProcess {
  const quoted = [program, ...args].map((arg) => `'${arg}'`).join(" ");
  return spawn("sh", ["-c", `exec ${quoted} >'${log}' 2>&1`], {
    stdin: "null",
    stdout: "null",
    stderr: "null",
  });
}

/**
 * Starts a program as the accounts and folders of its package would let it: in a mount namespace of its own, where they seem to be
 * there. Nothing of the machine is changed.
 *
 * @param prepare Lines of shell before it.
 */
async function startUnpacked(
  folder: Folder,
  name: string,
  accounts: readonly string[],
  prepare: string,
  args: string,
): Promise<Deno.ChildProcess> {
  const [passwd, group] = await Promise.all(
    ["passwd", "group"].map(async (kind) => {
      const lines = accounts.map((account, nth) =>
        kind === "passwd"
          ? `${account}:x:${64_300 + nth}:${64_300 + nth}::/nonexistent:/usr/sbin/nologin`
          : `${account}:x:${64_300 + nth}:`
      );
      const text = await Deno.readTextFile(`/etc/${kind}`);
      return await folder.write(`${name}.${kind}`, `${text.trimEnd()}\n${lines.join("\n")}\n`);
    }),
  );
  const script = `set -e
    mount --bind '${passwd}' /etc/passwd
    mount --bind '${group}' /etc/group
    ${prepare}
    exec ${args} >'${folder.at(`${name}.log`)}' 2>&1`;
  return spawn("unshare", ["--mount", "--propagation", "private", "sh", "-c", script], {
    stdin: "null",
    stdout: "null",
    stderr: "inherit",
  });
}

async function ended(child: Deno.ChildProcess): Promise<void> {
  try {
    child.kill("SIGTERM");
  } catch {
    // It has ended.
  }
  await child.status;
}

/** What a greeting tells. */
async function greetedBy(port: number, pattern: RegExp): Promise<string> {
  using connection = await Deno.connect({ hostname: "127.0.0.1", port });
  const bytes = new Uint8Array(512);
  const text = new TextDecoder().decode(bytes.subarray(0, await connection.read(bytes) ?? 0));
  return pattern.exec(text)?.[1] ?? text;
}

async function version(program: string, args: readonly string[], pattern: RegExp): Promise<string> {
  const { stdout, stderr } = await run(program, args);
  const found = pattern.exec(stdout + stderr);
  if (!found) throw new Error(`${program} ${args.join(" ")}: ${stdout}${stderr}`);
  return found[1]!;
}

/** A program of the folder of unpacked servers. @throws {Error} that says how it comes there. */
async function program(path: string, debian: string): Promise<string> {
  const found = join(unpacked, path);
  try {
    await Deno.stat(found);
    return found;
  } catch {
    throw new Error(
      `${found} is not there: apt-get download ${debian} && dpkg-deb -x ${debian}_*.deb ${unpacked}. The tests in tests/e2e need it.`,
    );
  }
}

async function names(folder: string): Promise<string[]> {
  return await Array.fromAsync(Deno.readDir(folder), ({ name }) => name).catch(() => []);
}

// ── Postfix ────────────────────────────────────────────────────────────────────────────────────────

const master = `
tlsmgr    unix  - - n 1000? 1 tlsmgr
trace     unix  - - n - 0 bounce
proxymap  unix  - - n - - proxymap
smtp      unix  - - n - - smtp
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
error     unix  - - n - - error
retry     unix  - - n - - error
virtual   unix  - n n - - virtual
anvil     unix  - - n - 1 anvil
postlog   unix-dgram n - n - 1 postlogd
`;

/** What it takes stays on hold. */
export async function startPostfix(folder: Folder): Promise<Other> {
  const port = freePort();
  const base = folder.at("postfix");
  const [etc, queue, data] = ["etc", "queue", "data"].map((name) => `${base}/${name}`);
  for (const path of [etc, queue, data]) await Deno.mkdir(path!, { recursive: true });
  await Deno.chmod(folder.path, 0o755); // its programs run as others than root
  await run("chown", ["postfix", data!]);
  for (const name of ["postfix-files", "dynamicmaps.cf"]) {
    await Deno.symlink(`/etc/postfix/${name}`, `${etc}/${name}`);
  }
  const settings = `
compatibility_level = 3.6
queue_directory = ${queue}
data_directory = ${data}
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file_prefixes = ${base}
maillog_file = ${base}/maillog
myhostname = mx.example.org
myorigin = example.org
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 192.0.2.1
alias_maps =
alias_database =
virtual_mailbox_domains = example.org
virtual_mailbox_base = ${base}
virtual_mailbox_maps = inline:{ ${users.map((user) => `${user}@example.org=${user}`).join(", ")} }
recipient_delimiter = +
smtpd_relay_restrictions = reject_unauth_destination
smtp_dns_support_level = disabled
smtpd_peername_lookup = no
smtpd_end_of_data_restrictions = check_client_access static:HOLD
smtpd_soft_error_limit = 1000
smtpd_hard_error_limit = 1001
smtpd_error_sleep_time = 0
`;
  await Deno.writeTextFile(`${etc}/main.cf`, settings);
  await Deno.writeTextFile(`${etc}/master.cf`, `127.0.0.1:${port} inet n - n - - smtpd\n${master}`);
  const { code, stderr } = await run("/usr/sbin/postfix", ["-c", etc!, "check"]);
  if (code !== 0) throw new Error(stderr);
  const child = spawn("/usr/lib/postfix/sbin/master", ["-c", etc!, "-d"], {
    stdin: "null",
    stdout: "null",
    stderr: "null",
    env: { MAIL_CONFIG: etc! },
  });
  await untilListening(child, "postfix", port);
  return {
    name: "Postfix",
    version: await version("/usr/sbin/postconf", ["-c", etc!, "mail_version"], /= (\S+)/),
    port,
    accepted: async () => (await names(`${queue}/hold`)).length,
    async [Symbol.asyncDispose]() {
      await run("/usr/sbin/postfix", ["-c", etc!, "stop"]); // it ends its programs, too
      await child.status;
    },
  };
}

// ── Exim ───────────────────────────────────────────────────────────────────────────────────────────

/** What it takes stays in its spool. */
export async function startExim(folder: Folder): Promise<Other> {
  const [port, binary] = [freePort(), await program("usr/sbin/exim4", "exim4-daemon-light")];
  const base = folder.at("exim");
  await Deno.mkdir(`${base}/log`, { recursive: true });
  await Deno.chmod(folder.path, 0o755);
  const config = await folder.write(
    "exim.conf",
    `
primary_hostname = mx.example.org
spool_directory = ${base}
log_file_path = ${base}/log/%slog
pid_file_path = ${base}/pid
exim_path = ${binary}
exim_user = Debian-exim
exim_group = Debian-exim
never_users = root
local_interfaces = 127.0.0.1
daemon_smtp_ports = ${port}
queue_only = true
host_lookup =
rfc1413_hosts =
smtp_max_synprot_errors = 1000
smtp_max_unknown_commands = 1000
smtp_accept_max_nonmail = 1000
smtputf8_advertise_hosts = *
acl_smtp_rcpt = recipient
acl_smtp_data = content
keep_environment =
begin acl
recipient:
  deny domains = !example.org
       message = relaying denied
  require verify = recipient
  accept
content:
  accept
begin routers
mailboxes:
  driver = accept
  domains = example.org
  local_parts = ${users.join(" : ")}
  local_part_suffix = +*
  local_part_suffix_optional
  transport = mailbox
begin transports
mailbox:
  driver = appendfile
  file = ${base}/mailbox
`,
  );
  const own = `chown -R Debian-exim:Debian-exim '${base}'`;
  const child = await startUnpacked(folder, "exim", ["Debian-exim"], own, `'${binary}' -C '${config}' -bdf`);
  await untilListening(child, "exim", port);
  return {
    name: "Exim",
    version: await greetedBy(port, /Exim (\S+)/),
    port,
    accepted: async () => (await names(`${base}/input`)).filter((name) => name.endsWith("-H")).length,
    [Symbol.asyncDispose]: () => ended(child),
  };
}

// ── OpenSMTPD ──────────────────────────────────────────────────────────────────────────────────────

/** It delivers what it takes, and its log says so before. Its folders are compiled in. */
export async function startOpenSmtpd(folder: Folder): Promise<Other> {
  const [port, binary] = [freePort(), await program("usr/sbin/smtpd", "opensmtpd")];
  const mail = folder.at("opensmtpd");
  await Deno.mkdir(mail);
  await Deno.chmod(folder.path, 0o755);
  await run("chown", ["nobody:nogroup", mail]);
  const config = await folder.write(
    "smtpd.conf",
    `table mailboxes { ${users.map((user) => `"${user}@example.org" = "nobody"`).join(", ")} }
listen on 127.0.0.1 port ${port} hostname mx.example.org
action "keep" maildir "${mail}" virtual <mailboxes>
match from any for domain "example.org" action "keep"
`,
  );
  const prepare = `
    mount -t tmpfs -o mode=755 none /usr/libexec
    mkdir /usr/libexec/opensmtpd
    mount --bind '${join(unpacked, "usr/libexec/opensmtpd")}' /usr/libexec/opensmtpd
    mount -t tmpfs -o mode=755 none /run
    mount -t tmpfs -o mode=755 none /var/lib
    mount -t tmpfs -o mode=755 none /var/spool
    mkdir -p /var/lib/opensmtpd/empty
    mkdir -m 711 /var/spool/smtpd`;
  const accounts = ["opensmtpd", "opensmtpq"];
  const child = await startUnpacked(folder, "opensmtpd", accounts, prepare, `'${binary}' -d -f '${config}'`);
  await untilListening(child, "opensmtpd", port);
  return {
    name: "OpenSMTPD",
    version: await version(binary, ["-h"], /OpenSMTPD ([0-9.p]+)/),
    port,
    async accepted() {
      const log = await Deno.readTextFile(folder.at("opensmtpd.log"));
      return new Set([...log.matchAll(/smtp message msgid=([0-9a-f]+)/g)].map(([, id]) => id)).size;
    },
    [Symbol.asyncDispose]: () => ended(child),
  };
}

// ── aiosmtpd ───────────────────────────────────────────────────────────────────────────────────────

const handler = `
import asyncio, sys
from aiosmtpd.smtp import SMTP

class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        local, _, domain = address.rpartition("@")
        if address.lower() != "postmaster":
            if domain.lower() != "example.org":
                return "550 relaying denied"
            if local.strip('"').split("+")[0].lower() not in ${JSON.stringify(users)}:
                return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        with open(sys.argv[2], "a") as log:
            log.write("message\\n")
        return "250 OK"

async def main():
    loop = asyncio.get_running_loop()
    make = lambda: SMTP(Handler(), hostname="mx.example.org", enable_SMTPUTF8=True, loop=loop)
    server = await loop.create_server(make, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()

asyncio.run(main())
`;

/** What is written most of by hand: the library's protocol, and a handler that asks for the recipient. */
export async function startAiosmtpd(folder: Folder): Promise<Other> {
  const port = freePort();
  const [log, script] = [await folder.write("aiosmtpd.taken", ""), await folder.write("handler.py", handler)];
  const child = start("/usr/bin/python3", [script, String(port), log], folder.at("aiosmtpd.log"));
  await untilListening(child, "aiosmtpd (python3-aiosmtpd)", port);
  return {
    name: "aiosmtpd",
    version: await version(
      "/usr/bin/python3",
      ["-c", "import aiosmtpd; print(aiosmtpd.__version__)"],
      /(\S+)/,
    ),
    port,
    accepted: async () => (await Deno.readTextFile(log)).split("\n").length - 1,
    [Symbol.asyncDispose]: () => ended(child),
  };
}
