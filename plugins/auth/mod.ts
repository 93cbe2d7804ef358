/**
 * Logins from a file: PLAIN and LOGIN against `users.yaml`, who may send as whom, and relaying for those who have
 * logged in. See `docs/plugins/auth.md`.
 */
import {
  accept,
  because,
  defer,
  definePlugin,
  disconnect,
  type Host,
  path,
  reject,
  type Session,
  z,
} from "../../server/plugin.ts";
import { UsersFile } from "./file.ts";
import { readAuthors } from "./from.ts";
import { hashing, Passwords } from "./hash.ts";
import { type Login, Logins } from "./logins.ts";
import { accountName, maySendAs, meant } from "./senders.ts";

/** The failure on one connection that closes it. */
const lastFailure = 3;

export default definePlugin({
  name: "auth",
  mechanisms: ["PLAIN", "LOGIN", "EXTERNAL"],
  options: z.object({
    users: path("users.yaml").describe("The users file, written by the `user` commands"),
    relay: z.boolean().default(true).describe("Whether users who have logged in may send to any domain"),
    checkFrom: z.boolean().default(true).describe(
      "Whether a From: header must hold only the user's addresses",
    ),
  }),
  async setup(on, { users: file, relay, checkFrom }, host) {
    const users = await UsersFile.open(file, host);
    const { derive, close } = hashing();
    const logins = new Logins(users, new Passwords(derive), host);
    const failures = host.notes((_session: Session) => ({ count: 0 }));

    on("auth", async (session, credentials, { signal }) => {
      if (credentials.mechanism === "EXTERNAL") {
        const account = (await users.now()).get(accountName(credentials.user) ?? "");
        return account && accept({ user: account.name, sendAs: account.sendAs });
      }
      if (credentials.mechanism !== "PLAIN" && credentials.mechanism !== "LOGIN") return;
      const { user, password } = credentials;
      const { network } = session.remote;
      const login = await logins.attempt({ user, password: password.reveal(), network }, signal);
      if (login.outcome === "right") {
        failures(session).count = 0;
        return accept({ user: login.account.name, sendAs: login.account.sendAs });
      }
      noteRefusal(host, session, user, login);
      if (login.outcome === "busy") return defer("4.7.0", "Too many logins at once, please try again later");
      if (++failures(session).count >= lastFailure) return disconnect("4.7.0", "Too many failed logins");
      if (login.outcome === "wait") {
        return defer("4.7.0", `Too many failed logins, please wait ${login.seconds} seconds`);
      }
      return reject("5.7.8", "User name or password is wrong");
    });

    on("mail", ({ user }, { sender }) => {
      if (!user || sender.address === "") return;
      if (maySendAs(user, meant(sender.local, sender.domain))) return;
      const rule = `${sender} is neither the account's own address nor in its sendAs`;
      return because(rule, reject("5.7.1", `${printable(user.name)} may not send as this address`, 553));
    });

    if (relay) {
      const relayed = because("relay: true, for users who have logged in", accept());
      on("rcpt", async ({ user }) => {
        if (!user) return;
        const accounts = await users.now();
        if (accounts.get(user.name)) return relayed;
      });
    }

    on("data", ({ user }, message) => {
      if (!user || !checkFrom) return;
      for (const field of message.headers.all("From")) {
        const problem = foreign(user, field);
        if (problem) return reject("5.7.1", problem);
      }
    });

    return close;
  },
});

/** Why this `From:` field may not be the user's; `undefined`: it may. */
function foreign(user: NonNullable<Session["user"]>, field: string): string | undefined {
  const read = readAuthors(field);
  if ("unreadable" in read) return `The From: header can't be read: ${printable(read.unreadable)}`;
  if (read.authors.length === 0) return "The From: header holds no address";
  const other = read.authors.find((author) => !maySendAs(user, author));
  return other && `${printable(user.name)} may not send with ${printable(other.whole)} in the From: header`;
}

/** A reply holds one line of ASCII (RFC 5321 §4.2): all else is the client's to guess. */
function printable(text: string): string {
  return text.replace(/[^ -~]/g, "?").slice(0, 100);
}

function noteRefusal({ log }: Host, { id, remote }: Session, user: string, { outcome }: Login): void {
  const why = {
    wrong: "wrong name or password",
    wait: "too many failures",
    busy: "too many at once",
    right: "",
  }[outcome];
  // What is no address may be a password in the wrong field.
  log.info("login refused", {
    session: id,
    address: remote.address,
    user: accountName(user) ?? "(no address)",
    why,
  });
}
