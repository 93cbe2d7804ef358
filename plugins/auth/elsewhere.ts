/** Accounts that are somebody else's to know: asked at each login, nothing of it is kept. */
import type { Host } from "../../server/plugin.ts";
import { Backoff, Turns } from "./backoff.ts";
import type { Attempt, Login } from "./logins.ts";
import { accountName, readSendAs } from "./senders.ts";

/** What is asked. */
export interface Asked {
  /** As `accountName` gives it. */
  readonly name: string;
  readonly password: string;
  /** The client's network, as a CIDR, and its address. */
  readonly network: string;
  readonly client: string;
}

/** What is said: whose account it is, or that there is none with this password. */
export type Said =
  | { readonly kind: "right"; readonly name: string; readonly sendAs: readonly string[] }
  | { readonly kind: "wrong" }
  /** Too many others are being asked about. */
  | { readonly kind: "busy" };

/** Whoever knows the accounts. */
export interface AccountKeeper {
  /** What it is called in the log: no secret stands in it. */
  readonly about: string;
  /** Milliseconds for one answer. */
  readonly timeout: number;
  /** @throws {Error} in an operator's words, without the password, when nothing can be said now. */
  ask(asked: Asked, signal: AbortSignal): Promise<Said>;
  close(): void;
}

/** Questions under way at a time, all together and for one client network: who has gone has his answered, too. */
const most = 512, mostOfNetwork = 16;

/** Decides attempts as `Logins` does: one at a time for each pair of network and name, with the same back-off (CASES U04). */
export class LoginsElsewhere {
  readonly #keeper: AccountKeeper;
  readonly #clock: Pick<Host["clock"], "sleep">;
  readonly #backoff: Backoff;
  readonly #turns = new Turns();
  readonly #ofNetwork = new Map<string, number>();
  #open = 0;

  constructor(keeper: AccountKeeper, host: Pick<Host, "cache" | "clock" | "log">) {
    this.#keeper = keeper;
    this.#clock = host.clock;
    this.#backoff = new Backoff(host);
  }

  /** @throws {Error} when it can't be said now whether the password is right: 454, and no failure of the client's. */
  async attempt(
    { user, password, network, client }: Attempt & { readonly client: string },
    signal: AbortSignal,
  ): Promise<Login> {
    const name = accountName(user) ?? "";
    const login = await this.#turns.take(`${network} ${name}`, signal, async (): Promise<Login> => {
      const left = await this.#backoff.left(network, name);
      if (left > 0) return { outcome: "wait", seconds: Math.ceil(left / 1000) };
      // What is no address is nobody's, but asking takes its time, too (CASES U03).
      const asked = { name: name || "nobody@invalid", password, network, client };
      const said = await this.#bounded(network, () => this.#inTime(asked));
      if (said.kind === "busy") return { outcome: "busy" };
      if (said.kind === "wrong" || name === "") {
        await this.#backoff.failed(network, name);
        return { outcome: "wrong" };
      }
      await this.#backoff.succeeded(network, name);
      return { outcome: "right", account: said };
    });
    return login === "busy" ? { outcome: "busy" } : login;
  }

  async #bounded(network: string, ask: () => Promise<Said>): Promise<Said> {
    const ofNetwork = this.#ofNetwork.get(network) ?? 0;
    if (this.#open >= most || ofNetwork >= mostOfNetwork) return { kind: "busy" };
    this.#open++;
    this.#ofNetwork.set(network, ofNetwork + 1);
    try {
      return await ask();
    } finally {
      this.#open--;
      const left = this.#ofNetwork.get(network)! - 1;
      if (left === 0) this.#ofNetwork.delete(network);
      else this.#ofNetwork.set(network, left);
    }
  }

  /**
   * Not ended when the client goes: a no takes longer than a yes (2 s with Dovecot), and who left before it came would never have
   * guessed wrong. Nor may one that goes end a database's thread, which all others wait for.
   */
  async #inTime(asked: Asked): Promise<Said> {
    const { about, timeout } = this.#keeper;
    const over = new AbortController();
    const late = this.#clock.sleep(timeout, over.signal).then(() => {
      const error = new Error(`${about}: no answer within ${timeout / 1000} s`);
      over.abort(error);
      throw error;
    });
    late.catch(() => {}); // it is over, in time
    try {
      return await Promise.race([this.#keeper.ask(asked, over.signal), late]);
    } finally {
      over.abort();
    }
  }
}

/** An account's name and its other addresses, as somebody else gives them. @throws {Error} what is wrong with them. */
export function accountOf(user: unknown, sendAs: unknown): { name: string; sendAs: readonly string[] } {
  const name = typeof user === "string" ? accountName(user) : undefined;
  if (name === undefined) throw new Error("the account's name is not an address");
  const others: unknown[] = Array.isArray(sendAs) ? sendAs : sendAs === undefined ? [] : [sendAs];
  return {
    name,
    sendAs: others.map((one) => {
      const sender = typeof one === "string" ? readSendAs(one) : undefined;
      if (sender === undefined) {
        throw new Error('an entry of sendAs is neither an address nor "*@" and a domain');
      }
      return sender;
    }),
  };
}
