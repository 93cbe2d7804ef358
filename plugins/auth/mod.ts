/**
 * Logins: PLAIN, LOGIN and SCRAM against `users.yaml`, or PLAIN and LOGIN against accounts elsewhere; who may send as whom, and
 * relaying for those who have logged in. See `docs/plugins/auth.md`.
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
import { randomBytes } from "node:crypto";
import { dovecot, dovecotOption } from "./dovecot.ts";
import { LoginsElsewhere } from "./elsewhere.ts";
import { Accounts, UsersFile } from "./file.ts";
import { readAuthors } from "./from.ts";
import { http, httpOption } from "./http.ts";
import { hashing, Passwords } from "./hash.ts";
import { type Login, Logins } from "./logins.ts";
import { accountName, maySendAs, meant } from "./senders.ts";
import { sql, sqlOption } from "./sql.ts";

/** The failure on one connection that closes it. */
const lastFailure = 3;

export default definePlugin({
  name: "auth",
  mechanisms: ({ scram }) => [
    ...(scram === "plus" ? ["SCRAM-SHA-256-PLUS"] as const : []),
    ...(scram === false ? [] : ["SCRAM-SHA-256"] as const),
    ...["PLAIN", "LOGIN", "EXTERNAL"] as const,
  ],
  options: z.object({
    users: path("users.yaml").describe("The users file, written by the `user` commands"),
    dovecot: dovecotOption.optional().describe("Instead of the users file: Dovecot knows the accounts"),
    http: httpOption.optional().describe("Instead of the users file: a web service knows them"),
    sql: sqlOption.optional().describe("Instead of the users file: an SQLite database has them"),
    relay: z.boolean().default(true).describe("Whether users who have logged in may send to any domain"),
    scram: z.union([z.boolean(), z.literal("plus")], 'neither true or false, nor "plus"').default(false)
      .describe(
        "Whether SCRAM-SHA-256 is offered, too; `plus`: also bound to the TLS connection. Every account needs `scram` keys then",
      ),
    checkFrom: z.boolean().default(true).describe(
      "Whether a From: header must hold only the user's addresses",
    ),
  }).superRefine((options, context) => {
    const [keeper, another] = (["dovecot", "http", "sql"] as const).filter((one) =>
      options[one] !== undefined
    );
    const complain = (key: string, message: string) =>
      context.addIssue({ code: "custom", path: [key], message });
    if (another) complain(another, `cannot stand beside "${keeper}": accounts are in one place`);
    if (keeper && options.scram !== false) {
      complain("scram", `needs keys, which only the users file has: not with "${keeper}"`);
    }
  }),
  async setup(
    on,
    { users: file, relay, scram, checkFrom, dovecot: atDovecot, http: atHttp, sql: inSql },
    host,
  ) {
    const { derive, close } = hashing();
    const passwords = new Passwords(derive);
    const keeper = atDovecot
      ? dovecot(atDovecot)
      : atHttp
      ? http(atHttp)
      : inSql && await sql(inSql, passwords, host);
    const elsewhere = keeper && new LoginsElsewhere(keeper, host);
    const users: Pick<UsersFile, "now"> = keeper
      ? { now: () => new Accounts(new Map()) }
      : await UsersFile.open(file, host);
    const logins = new Logins(users, passwords, host);
    const secret = scram === false ? undefined : await keptSecret(host);
    if (secret !== undefined) await tellWhoIsWithoutKeys(users, host);
    const failures = host.notes((_session: Session) => ({ count: 0 }));

    const refuse = (session: Session, user: string, login: Exclude<Login, { outcome: "right" }>) => {
      noteRefusal(host, session, user, login);
      if (login.outcome === "busy") return defer("4.7.0", "Too many logins at once, please try again later");
      if (++failures(session).count >= lastFailure) return disconnect("4.7.0", "Too many failed logins");
      if (login.outcome === "wait") {
        return defer("4.7.0", `Too many failed logins, please wait ${login.seconds} seconds`);
      }
      return reject("5.7.8", "User name or password is wrong");
    };

    on("auth", async (session, credentials, { signal }) => {
      const { user } = credentials;
      const { network } = session.remote;
      switch (credentials.mechanism) {
        case "EXTERNAL": {
          const account = (await users.now()).get(accountName(user) ?? "");
          return account && accept({ user: account.name, sendAs: account.sendAs });
        }
        case "SCRAM-SHA-256":
        case "SCRAM-SHA-256-PLUS": {
          if (secret === undefined) return;
          if (credentials.proof === "awaited") {
            const keys = await logins.keysFor(user, network, secret);
            if ("outcome" in keys) return refuse(session, user, keys);
            const account = (await users.now()).get(accountName(user) ?? "");
            return accept({ user: account?.name ?? "nobody", sendAs: account?.sendAs ?? [], keys });
          }
          const login = await logins.proven(user, credentials.proof, network, signal);
          if (login.outcome !== "right") return refuse(session, user, login);
          failures(session).count = 0;
          return;
        }
        case "PLAIN":
        case "LOGIN": {
          const password = credentials.password.reveal();
          const attempt = { user, password, network, client: session.remote.address };
          const login = await (elsewhere ?? logins).attempt(attempt, signal);
          if (login.outcome !== "right") return refuse(session, user, login);
          failures(session).count = 0;
          return accept({ user: login.account.name, sendAs: login.account.sendAs });
        }
      }
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
        // Who was taken out of the file since it logged in has lost its right; who else knows accounts is asked at login.
        if (keeper || (await users.now()).get(user.name)) return relayed;
      });
    }

    on("data", ({ user }, message) => {
      if (!user || !checkFrom) return;
      for (const field of message.headers.all("From")) {
        const problem = foreign(user, field);
        if (problem) return reject("5.7.1", problem);
      }
    });

    return () => {
      close();
      keeper?.close();
    };
  },
});

/** What unknown names' salts are made with: kept, for a salt that changes at a restart would be nobody's (CASES U03). */
async function keptSecret({ store }: Host): Promise<string> {
  return await store.getOrSet("scram", randomBytes(32).toString("hex"), { ttl: "36500d" });
}

/** Clients take the strongest mechanism there is, and mostly no other when it fails. */
async function tellWhoIsWithoutKeys(users: Pick<UsersFile, "now">, { log }: Host): Promise<void> {
  const { withoutKeys } = await users.now();
  if (withoutKeys === 0) return;
  log.warning("accounts without keys for SCRAM can't log in by it: `user passwd` writes them", {
    accounts: withoutKeys,
  });
}

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
