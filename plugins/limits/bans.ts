/**
 * Networks whose clients fail to log in again and again may not try for a while. Nobody is locked out by others' guesses
 * (CASES U04): only the network that guessed is banned, and in it an account that has logged in from there lately still
 * may.
 */
import type { Host, Session } from "../../server/plugin.ts";
import type { Buckets } from "./buckets.ts";
import { lasting, type Rate } from "./rate.ts";

/** For so long an account is at home in a network it has logged in from. */
const atHome = "30d";

/** The bans of one instance of the plugin. */
export class Bans {
  readonly #host: Pick<Host, "store" | "clock" | "log">;
  readonly #buckets: Buckets;
  readonly #failures: Rate;
  readonly #length: number;

  /** @param length Milliseconds. */
  constructor(
    host: Pick<Host, "store" | "clock" | "log">,
    buckets: Buckets,
    failures: Rate,
    length: number,
  ) {
    this.#host = host;
    this.#buckets = buckets;
    this.#failures = failures;
    this.#length = length;
  }

  /** Notes a login with a wrong name or password. */
  async failed({ remote: { network } }: Session): Promise<void> {
    const drawn = { key: `failures ${network}`, rate: this.#failures };
    if (!await this.#buckets.take([drawn])) return;
    const until = this.#host.clock.now() + this.#length;
    await this.#host.store.set(`ban ${network}`, until, { ttl: lasting(this.#length) });
    await this.#buckets.fill(drawn); // after the ban it begins anew
    this.#host.log.warning("network banned from logging in", {
      network,
      failures: this.#failures.text,
      until: new Date(until).toISOString(),
    });
  }

  /** Notes an account that has logged in. */
  async succeeded({ remote: { network }, user }: Session): Promise<void> {
    await this.#host.store.set(home(network, user!.name), true, { ttl: atHome });
    await this.#host.store.set(`home ${network}`, true, { ttl: atHome });
  }

  /** Whether nobody of this network may log in now. */
  async bansAll({ remote: { network } }: Session): Promise<boolean> {
    return await this.#isBanned(network) && !await this.#host.store.get(`home ${network}`);
  }

  /** Whether this account may not log in from this network now. */
  async bans({ remote: { network } }: Session, account: string): Promise<boolean> {
    return await this.#isBanned(network) && !await this.#host.store.get(home(network, account));
  }

  async #isBanned(network: string): Promise<boolean> {
    const until = await this.#host.store.get<number>(`ban ${network}`);
    const left = (until ?? 0) - this.#host.clock.now();
    return left > 0 && left <= this.#length; // more than its length: the clock was set back
  }
}

const home = (network: string, account: string) => `home ${network} ${account.toLowerCase().slice(0, 320)}`;
