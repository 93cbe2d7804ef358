/** Postfix, as a server that gets mail from us and sends mail to us: its own configuration and queue, nothing of the system's. */
import type { CertificateFiles } from "./certificate.ts";
import type { Folder } from "./folder.ts";
import { freePort, untilListening } from "./ports.ts";
import { run, spawn } from "./programs.ts";

/** How one of its ports speaks. */
export type Door = "clear" | Encrypted;

/** `right`: its certificate is for 127.0.0.1, from the authority; `impostor`: for another name; `stranger`: from nobody. */
export type Encrypted = "right" | "impostor" | "stranger";

/** One that runs. */
export interface Postfix extends AsyncDisposable {
  /** The Maildir of everybody at `<name>.remote.test`, one of `boxes`. */
  maildir(name: string): string;
  /** What it has logged so far. */
  log(): Promise<string>;
}

/** The ports it will listen on. */
export type Ports = Readonly<Record<Door, number>>;

/** Draws them, before there is a Postfix: whoever sends to it may be started first. */
export function drawPorts(): Ports {
  return { clear: freePort(), right: freePort(), impostor: freePort(), stranger: freePort() };
}

/** What it needs. */
export interface PostfixOptions {
  /** Readable by everybody; Postfix gets a folder in it. */
  readonly folder: Folder;
  readonly ports: Ports;
  readonly certificates: Readonly<Record<Encrypted, CertificateFiles>>;
  readonly boxes: readonly string[];
  /** A domain whose mail it takes and then returns, as a server does that finds out too late. */
  readonly returns?: string;
  /** The port that mail for example.test is sent to. */
  readonly ours: number;
  /** Lines of `main.cf` besides: the last one of a name counts. */
  readonly settings?: string;
}

const programs = `
pickup    unix  n - n 60 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
proxymap  unix  - - n - - proxymap
smtp      unix  - - n - - smtp
error     unix  - - n - - error
retry     unix  - - n - - error
virtual   unix  - n n - - virtual
nobody    unix  - n n - - pipe user=nobody argv=/bin/sh -c "exit 67"
anvil     unix  - - n - 1 anvil
postlog   unix-dgram n - n - 1 postlogd
`;

/** Starts one: it keeps the mail of `*.remote.test`, and sends example.test's to us. */
export async function startPostfix(
  { folder, ports, certificates, boxes, returns, ours, settings: more = "" }: PostfixOptions,
): Promise<Postfix> {
  const base = folder.at("postfix");
  const [etc, queue, data, mail] = ["etc", "queue", "data", "mail"].map((name) => `${base}/${name}`);
  for (const path of [etc, queue, data, mail]) await Deno.mkdir(path!, { recursive: true });
  await Deno.chmod(folder.path, 0o755); // its programs run as others than root
  await check("chown", ["postfix", data!]);
  // Now, so that they can be watched.
  for (const box of boxes) await Deno.mkdir(`${mail}/${box}/new`, { recursive: true });
  await check("chown", ["-R", "nobody:nogroup", mail!]);
  for (const name of ["postfix-files", "dynamicmaps.cf"]) {
    await Deno.symlink(`/etc/postfix/${name}`, `${etc}/${name}`);
  }
  const maps = boxes.map((box) => `@${box}.remote.test=${box}/`).join(", ");
  const routes = [`example.test=smtp:[127.0.0.1]:${ours}`, ...(returns ? [`${returns}=nobody:`] : [])];
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
myhostname = mx.remote.test
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
alias_maps =
alias_database =
local_recipient_maps =
local_transport = error:no local delivery
smtp_dns_support_level = disabled
smtpd_peername_lookup = no
smtpd_relay_restrictions = permit_mynetworks, reject
message_size_limit = 52428800
mailbox_size_limit = 0
virtual_mailbox_limit = 0
virtual_mailbox_domains = regexp:${etc}/domains
virtual_mailbox_base = ${mail}
virtual_mailbox_maps = inline:{ ${maps} }
virtual_minimum_uid = 1
virtual_uid_maps = static:${await idOf("-u", "nobody")}
virtual_gid_maps = static:${await idOf("-g", "nobody")}
transport_maps = inline:{ ${routes.join(", ")} }
default_transport = error:5.1.2 not from here
tls_random_source = dev:/dev/urandom
${more}`;
  const listeners = Object.entries(ports).map(([door, port]) => {
    const lines = [`127.0.0.1:${port} inet n - n - - smtpd`];
    if (door !== "clear") {
      const { cert, key } = certificates[door as Encrypted];
      lines.push(
        "  -o smtpd_tls_security_level=may",
        `  -o smtpd_tls_cert_file=${cert}`,
        `  -o smtpd_tls_key_file=${key}`,
        "  -o smtpd_tls_received_header=yes",
      );
    }
    return lines.join("\n");
  });
  await Deno.writeTextFile(`${etc}/domains`, "/^[^.@]+\\.remote\\.test$/ OK\n");
  await Deno.writeTextFile(`${etc}/main.cf`, settings);
  await Deno.writeTextFile(`${etc}/master.cf`, `${listeners.join("\n")}${programs}`);
  await check("/usr/sbin/postfix", ["-c", etc!, "check"]);
  const master = spawn("/usr/lib/postfix/sbin/master", ["-c", etc!, "-d"], {
    stdin: "null",
    stdout: "null",
    stderr: "null",
    env: { MAIL_CONFIG: etc! },
  });
  const log = () => Deno.readTextFile(`${base}/maillog`).catch(() => "");
  const stop = async () => {
    await run("/usr/sbin/postfix", ["-c", etc!, "stop"]); // it ends its programs, too
    await master.status;
  };
  try {
    for (const port of Object.values(ports)) await untilListening(master, "postfix", port);
  } catch (error) {
    const said = await log();
    await stop();
    throw new Error(`${error}:\n${said}`);
  }
  return { maildir: (name) => `${mail}/${name}`, log, [Symbol.asyncDispose]: stop };
}

async function check(program: string, args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await run(program, args);
  if (code !== 0) throw new Error(`${program} ${args.join(" ")}: ${stderr}${stdout}`);
  return stdout.trim();
}

const idOf = (which: "-u" | "-g", user: string) => check("id", [which, user]);
