/** Dovecot over a folder of Maildirs, with a configuration, a user and ports of its own. */
import { Buffer } from "node:buffer";
import { join } from "node:path";
import { type Folder, makeFolder } from "./folder.ts";
import { run, spawn } from "./programs.ts";
import { root } from "./server.ts";

/** An IMAP and LMTP server that runs. */
export interface Dovecot extends AsyncDisposable {
  /** Where it takes mail by LMTP. */
  readonly lmtp: { readonly path: string; readonly port: number };
  /** Where it is asked for passwords. */
  readonly auth: string;
  /** What it has logged so far. */
  readonly said: string;
  /** The messages in each user's INBOX, as an IMAP client gets them. */
  fetchAll(users: readonly string[]): Promise<ReadonlyMap<string, readonly Buffer[]>>;
}

/**
 * Starts Dovecot; when it is disposed of, it is ended.
 *
 * @param mail The folder of Maildirs, `{domain}/{user}`. It is given to the user that Dovecot runs as.
 * @param users Who is known to LMTP, with the octets that each may keep; absent: anybody, as many as they like.
 * @param passwords Who may log in, as a passwd-file has them; absent: anybody, with any password.
 */
export async function startDovecot(
  mail: string,
  users?: Readonly<Record<string, number>>,
  passwords?: Readonly<Record<string, string>>,
): Promise<Dovecot> {
  const folder = await makeFolder();
  const owner = await ownerOfMail();
  const port = freePort();
  const lmtp = { path: folder.at("lmtp.sock"), port: freePort() };
  await Deno.mkdir(mail, { recursive: true });
  if (users) {
    const lines = Object.entries(users).map(([user, octets]) =>
      `${user}:::::::userdb_quota_rule=*:bytes=${octets}\n`
    );
    await folder.write("users", lines.join(""));
  }
  if (passwords) {
    const lines = Object.entries(passwords).map(([user, password]) => `${user}:${password}\n`);
    await folder.write("passwords", lines.join(""));
  }
  const auth = folder.at("auth.sock");
  const passdb = passwords
    ? `driver = passwd-file\n  args = scheme=PLAIN username_format=%u ${folder.at("passwords")}`
    : "driver = static\n  args = nopassword=y";
  const settings = { mail, port, lmtp, auth, passdb, isAnybody: users === undefined };
  const config = await folder.write("dovecot.conf", configuration(folder, settings, owner));
  if (Deno.uid() === 0) await giveTo(owner, folder.path, mail);
  const child = spawn("/usr/sbin/dovecot", ["-F", "-c", config], {
    ...(Deno.uid() === 0 && { uid: owner.uid, gid: owner.gid }),
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  });
  const said = listen(child.stderr, /starting up/);
  let isOver = false;
  const dovecot: Dovecot = {
    lmtp,
    auth,
    get said() {
      return said.text;
    },
    async fetchAll(users) {
      const script = join(root, "tests/e2e/clients/imap.py");
      const read = await run("python3", [script, String(port), ...users]);
      if (read.code !== 0) throw new Error(read.stderr + said.text);
      const inboxes: Record<string, string[]> = JSON.parse(read.stdout);
      const decoded = (bodies: string[]) => bodies.map((body) => Buffer.from(body, "base64"));
      return new Map(Object.entries(inboxes).map(([user, bodies]) => [user, decoded(bodies)]));
    },
    async [Symbol.asyncDispose]() {
      if (isOver) return;
      isOver = true;
      try {
        child.kill("SIGTERM");
      } catch {
        // It has ended.
      }
      await child.status;
      await said.ended;
      await folder[Symbol.asyncDispose]();
    },
  };
  try {
    await said.found;
    return dovecot;
  } catch (error) {
    await dovecot[Symbol.asyncDispose]();
    throw error;
  }
}

interface Owner {
  readonly name: string;
  readonly group: string;
  readonly uid: number;
  readonly gid: number;
}

/** Dovecot refuses to read root's mail. */
async function ownerOfMail(): Promise<Owner> {
  const who = Deno.uid() === 0 ? "nobody" : String(Deno.uid());
  const id = async (option: string) => (await run("id", [option, who])).stdout.trim();
  return {
    name: await id("-un"),
    group: await id("-gn"),
    uid: Number(await id("-u")),
    gid: Number(await id("-g")),
  };
}

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

async function giveTo({ uid, gid }: Owner, ...folders: string[]): Promise<void> {
  const given = await run("chown", ["-R", `${uid}:${gid}`, ...folders]);
  if (given.code !== 0) throw new Error(given.stderr);
}

/** Everything as one user, nothing outside the folder. */
function configuration(
  { path }: Folder,
  { mail, port, lmtp, auth, passdb, isAnybody }: {
    readonly mail: string;
    readonly port: number;
    readonly lmtp: Dovecot["lmtp"];
    readonly auth: string;
    readonly passdb: string;
    readonly isAnybody: boolean;
  },
  { name, group, uid, gid }: Owner,
): string {
  const ids = `uid=${uid} gid=${gid} home=${path}/home`;
  const userdb = isAnybody
    ? `driver = static
  args = ${ids} allow_all_users=yes`
    : `driver = passwd-file
  args = ${path}/users
  override_fields = ${ids}`;
  return `
base_dir = ${path}/run
state_dir = ${path}/state
log_path = /dev/stderr
protocols = imap lmtp
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
default_internal_user = ${name}
default_internal_group = ${group}
default_login_user = ${name}
first_valid_uid = ${uid}
first_valid_gid = ${gid}
mail_location = maildir:${mail}/%d/%n:INDEX=${path}/index/%u:CONTROL=${path}/control/%u
passdb {
  ${passdb}
}
service auth {
  unix_listener ${auth} {
    mode = 0666
  }
}
userdb {
  ${userdb}
}
recipient_delimiter = +
quota_full_tempfail = yes
mail_plugins = quota
plugin {
  quota = count:User quota
  quota_vsizes = yes
}
service lmtp {
  unix_listener ${lmtp.path} {
    mode = 0666
  }
  inet_listener lmtp {
    address = 127.0.0.1
    port = ${lmtp.port}
  }
}
service imap-login {
  chroot =
  inet_listener imap {
    port = ${port}
  }
  inet_listener imaps {
    port = 0
  }
}
auth_failure_delay = 0
service anvil {
  chroot =
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
`;
}

/** Reads what it says, to its end. */
function listen(stream: ReadableStream<Uint8Array<ArrayBuffer>>, pattern: RegExp) {
  const { promise: found, resolve, reject } = Promise.withResolvers<void>();
  found.catch(() => {}); // whoever waits is told
  const said = { text: "", found, ended: read() };
  async function read(): Promise<void> {
    for await (const piece of stream.pipeThrough(new TextDecoderStream())) {
      said.text += piece;
      if (pattern.test(said.text)) resolve();
    }
    reject(new Error(`Dovecot ended:\n${said.text}`));
  }
  return said;
}
