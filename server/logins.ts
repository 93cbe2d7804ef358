/** Logging in: what a client offers is put to the plugins, and who they say it is has logged in. */
import type { Ruling } from "./chain.ts";
import type { ClientSession } from "./envelope.ts";
import type { Log } from "./log.ts";
import type { Credentials } from "./plugin.ts";
import { type Asked, ScramLogin } from "./scram_login.ts";
import type { Question } from "./smtp/events.ts";
import { replies, type Reply } from "./smtp/reply.ts";
import type { Mechanism, SaslCredentials } from "./smtp/sasl.ts";
import type { AuthClaim } from "./verdict.ts";

/** What proofs of a password are bound to. */
export interface Proofs {
  /** This connection's `tls-server-end-point`, as it is now. */
  readonly endPoint: () => Uint8Array | undefined;
  /** All that AUTH may offer. */
  readonly mechanisms: readonly Mechanism[];
}

/** What logins need. */
export interface LoginsOptions {
  readonly session: ClientSession;
  readonly log: Log;
  /** Absent: nothing can be bound. */
  readonly proofs?: Proofs | undefined;
  ask(credentials: Credentials): Ruling | Promise<Ruling>;
  /** What an objection or a failure is to the client; it is logged and reported. */
  object(ruling: Ruling & { kind: "objection" | "failure" }, about: Record<string, string>): Reply;
  /** The core's own refusal, likewise. */
  refuse(reply: Reply, about: Record<string, string>): Reply;
}

/** One session's logins. */
export class Logins {
  readonly #options: LoginsOptions;
  /** The login by SCRAM that goes on. */
  #scram: ScramLogin | undefined;

  constructor(options: LoginsOptions) {
    this.#options = options;
  }

  /** A password, or a token. */
  secret({ mechanism, user, secret }: SaslCredentials): Promise<Reply | undefined> {
    return this.#logIn(
      mechanism === "XOAUTH2" || mechanism === "OAUTHBEARER"
        ? { mechanism, user, token: secret }
        : { mechanism, user, password: secret },
    );
  }

  /** One turn of SCRAM. */
  proof({ mechanism, message, turn }: Question & { about: "proof" }): Promise<Reply | undefined> {
    const { log, refuse, proofs } = this.#options;
    if (turn === "first") {
      const endPoint = proofs?.endPoint();
      const offered = endPoint !== undefined && proofs!.mechanisms.includes("SCRAM-SHA-256-PLUS");
      this.#scram = new ScramLogin({ mechanism, endPoint, plus: offered ? "offered" : "not-offered" }, {
        ask: (credentials) => this.#whoIs(credentials),
        refuse: (reply, user) => refuse(reply, loggable(user)),
        complain: (plugin) => log.error("plugin accepts a login by SCRAM without keys", { plugin }),
        enter: (claim, by) => this.#enter(claim, mechanism, by),
      });
    }
    return this.#scram?.turn(message) ?? Promise.resolve(replies.badSasl);
  }

  /** Somebody who is believed says that this user has logged in elsewhere. */
  vouched(user: string): Promise<Reply | undefined> {
    return this.#logIn({ mechanism: "EXTERNAL", by: "proxy", user });
  }

  async #logIn(credentials: Credentials): Promise<Reply | undefined> {
    const said = await this.#whoIs(credentials);
    switch (said.kind) {
      case "claim":
        return this.#enter(said.claim, credentials.mechanism, said.by);
      case "refused":
        return said.reply;
      case "silence":
        return this.#options.refuse(replies.loginFailed, loggable(credentials.user));
    }
  }

  #enter({ user: name, sendAs = [] }: AuthClaim, mechanism: Credentials["mechanism"], by: string): undefined {
    this.#options.session.user = { name, sendAs };
    this.#options.log.info("logged in", { user: name, mechanism, by });
  }

  /** Whom the plugins take this for. */
  async #whoIs(credentials: Credentials): Promise<Asked> {
    const { ask, object, refuse, log } = this.#options;
    const { mechanism, user } = credentials;
    const about = loggable(user);
    const ruling = await ask(credentials);
    switch (ruling.kind) {
      case "claim": {
        const { name, mechanisms } = ruling.by;
        if (mechanisms.includes(mechanism)) {
          return { kind: "claim", claim: ruling.claim as AuthClaim, by: name };
        }
        // It was asked as all are, to count or to refuse.
        const what = { plugin: name, mechanism };
        log.error("plugin accepts a login by a mechanism that it doesn't name", what);
        return { kind: "refused", reply: refuse(replies.loginFailedTemporarily, about) };
      }
      case "silence":
        if (!ruling.unsure) return { kind: "silence" };
        return { kind: "refused", reply: refuse(replies.loginFailedTemporarily, about) };
      default:
        return { kind: "refused", reply: object(ruling, about) };
    }
  }
}

/** The name of a failed login, if it is one: people type their password there, too (promise 7). */
const loggable = (user: string): Record<string, string> => user.includes("@") ? { user } : {};
