/** A server with every kind of listener, for clients to be tried on: users, aliases, Maildirs, a certificate. */
import { Buffer } from "node:buffer";
import { type CertificateFiles, makeCertificate } from "./certificate.ts";
import { type Delivered, onlyMessage, readMaildir } from "./mailbox.ts";
import { type Folder, makeFolder } from "./folder.ts";
import { root, ServerProcess } from "./server.ts";

/** The password of every account. */
export const password = "postrider";

/** How a client may come. */
export type Door = "mx" | "submission" | "implicit" | "lmtp";

/** A server that takes mail for example.test from everyone, and any mail from its users. */
export class Mailhost implements AsyncDisposable {
  private constructor(
    readonly folder: Folder,
    readonly server: ServerProcess,
    readonly certificate: CertificateFiles,
  ) {}

  /** @param users Who may log in, besides alice; mail is taken for any name. */
  static async open(...users: string[]): Promise<Mailhost> {
    await using undo = new AsyncDisposableStack();
    const folder = undo.use(await makeFolder());
    const certificate = await makeCertificate(folder, "mx.example.test");
    await folder.write("users.yaml", await accounts("alice", ...users));
    await folder.write("aliases.yaml", "sales@example.test: alice@example.test\n");
    const config = await folder.write("postrider.yaml", JSON.stringify(settings, null, 2));
    const server = await ServerProcess.start(config, { listeners: 4 });
    undo.move();
    return new Mailhost(folder, server, certificate);
  }

  /** The port of a door; `lmtp` has none. */
  port(door: Exclude<Door, "lmtp">): number {
    return this.server.port(["mx", "submission", "implicit"].indexOf(door));
  }

  /** The path of the LMTP socket. */
  get socket(): string {
    return this.folder.at("lmtp.sock");
  }

  /** The only message that a user has got. */
  message(user: string): Promise<Delivered> {
    return onlyMessage(this.maildir(user));
  }

  /** All messages that a user has got. */
  messages(user: string): Promise<Delivered[]> {
    return readMaildir(this.maildir(user));
  }

  maildir(user: string): string {
    return this.folder.at("mail", "example.test", user);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server[Symbol.asyncDispose]();
    await this.folder[Symbol.asyncDispose]();
  }
}

const address = "127.0.0.1";

const settings = {
  hostname: "mx.example.test",
  state: "./state",
  listen: [
    { port: 0, address },
    { port: 0, address, role: "submission" },
    { port: 0, address, role: "submission", tls: "implicit" },
    { path: "./lmtp.sock", protocol: "lmtp" },
  ],
  tls: { cert: "cert.pem", key: "key.pem" },
  log: { format: "json", level: "info" },
  plugins: [
    { use: "auth", with: { users: "users.yaml" } },
    { use: "aliases", with: { file: "aliases.yaml", domains: ["example.test"] } },
    {
      use: "maildir",
      with: { domains: ["example.test"], users: "any", path: "./mail/{domain}/{user}", lineEndings: "crlf" },
    },
  ],
};

/** A users file; the hash is the quick start's, so that none has to be computed for each test. */
export async function accounts(...users: string[]): Promise<string> {
  const quickstart = await Deno.readTextFile(`${root}/examples/quickstart/users.yaml`);
  const hash = /"(\$scrypt[^"]+)"/.exec(quickstart)![1];
  return users.map((user) => `${user}@example.test: { password: "${hash}" }\n`).join("");
}

/** Random octets, as many MiB of them. */
export function noise(mebibytes: number): Buffer {
  const all = Buffer.alloc(mebibytes * 2 ** 20);
  for (let at = 0; at < all.length; at += 65_536) crypto.getRandomValues(all.subarray(at, at + 65_536));
  return all;
}

/** The attachment of a message: its base64 lines, decoded. */
export function attachment({ content }: Delivered): Buffer {
  const begin = content.indexOf("\r\n\r\n", content.indexOf("Content-Disposition: attachment")) + 4;
  const end = content.indexOf("\r\n--", begin);
  return Buffer.from(content.subarray(begin, end).toString("latin1"), "base64");
}
