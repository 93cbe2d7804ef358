/** An instance of Postfix of its own, beside whatever Postfix the machine has: own configuration, queue and data. */
import { join } from "node:path";

async function run(command: string, ...args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(command, { args }).output();
  const [out, err] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes).trim());
  if (!success) throw new Error(`${command} ${args.join(" ")}: ${err || out}`);
  return out!;
}

/** Its version. @throws {Deno.errors.NotFound} where it isn't installed. */
export function postfixVersion(): Promise<string> {
  return run("postconf", "-dh", "mail_version");
}

/** How it delivers: into a Maildir, or to a port of this machine. */
export type Deliver = "virtual" | { readonly relayTo: number };

/** Durable as it comes; without lookups, limits and delays, which would only slow it down here. */
const main = (folder: string) => `
compatibility_level = 3.6
queue_directory = ${folder}/queue
data_directory = ${folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file_prefixes = ${folder}
maillog_file = ${folder}/log/maillog
syslog_name = postrider-bench
myhostname = mx.example.test
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
alias_maps =
alias_database =
local_recipient_maps =
local_transport = error:no local delivery
smtp_dns_support_level = disabled
smtp_host_lookup = native
smtpd_peername_lookup = no
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_client_message_rate_limit = 0
smtpd_client_recipient_rate_limit = 0
smtpd_error_sleep_time = 0
in_flow_delay = 0
default_process_limit = 200
default_destination_concurrency_limit = 50
initial_destination_concurrency = 20
qmgr_message_active_limit = 50000
qmgr_message_recipient_limit = 50000
`;

const virtual = (folder: string, user: string, group: string) =>
  `virtual_mailbox_domains = example.test
virtual_mailbox_base = ${folder}/mail
virtual_mailbox_maps = static:b/
virtual_minimum_uid = 1
virtual_uid_maps = static:${user}
virtual_gid_maps = static:${group}
virtual_mailbox_limit = 0
`;

const master = (port: number) => `
127.0.0.1:${port} inet n - n - 200 smtpd
pickup    unix  n - n 60 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
verify    unix  - - n - 1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n - - proxymap
smtp      unix  - - n - 50 smtp
error     unix  - - n - - error
retry     unix  - - n - - error
virtual   unix  - n n - 50 virtual
anvil     unix  - - n - 1 anvil
scache    unix  - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
`;

/** Starts it. The folder must be one that every user may enter. */
export async function startPostfix(
  folder: string,
  port: number,
  deliver: Deliver,
): Promise<{ pid: number; stop(): Promise<void> }> {
  const config = join(folder, "etc");
  for (const name of ["etc", "queue", "data", "log", "mail/b/new", "mail/b/cur", "mail/b/tmp"]) {
    await Deno.mkdir(join(folder, name), { recursive: true });
  }
  await run("chown", "postfix", join(folder, "data"));
  await run("chown", "-R", "nobody:nogroup", join(folder, "mail"));
  for (const name of ["postfix-files", "postfix-files.d", "dynamicmaps.cf", "dynamicmaps.cf.d"]) {
    await Deno.symlink(`/etc/postfix/${name}`, join(config, name));
  }
  const delivery = deliver === "virtual"
    ? virtual(folder, await run("id", "-u", "nobody"), await run("id", "-g", "nobody"))
    : `relayhost = [127.0.0.1]:${deliver.relayTo}\n`;
  await Deno.writeTextFile(join(config, "main.cf"), main(folder) + delivery);
  await Deno.writeTextFile(join(config, "master.cf"), master(port));
  // Its daemons keep whatever they inherit open: with a pipe of ours the wait for its end would never be over.
  const { success } = await new Deno.Command("postfix", {
    args: ["-c", config, "start"],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).output();
  if (!success) throw new Error(`Postfix does not start: see ${folder}/log/maillog.`);
  const pid = Number((await Deno.readTextFile(join(folder, "queue/pid/master.pid"))).trim());
  return {
    pid,
    async stop() {
      await new Deno.Command("postfix", { args: ["-c", config, "stop"], stdout: "null", stderr: "null" })
        .output();
    },
  };
}
