/** One attempt to log in: is this account's password right, and may this network ask at all? */
import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import type { Host, ScramKeys } from "../../server/plugin.ts";
import { Backoff, Turns } from "./backoff.ts";
import type { UsersFile } from "./file.ts";
import type { Passwords } from "./hash.ts";
import { accountName } from "./senders.ts";
import type { Account } from "./users.ts";

/** What came of an attempt. */
export type Login =
  | { readonly outcome: "right"; readonly account: Pick<Account, "name" | "sendAs"> }
  | { readonly outcome: "wrong" }
  /** Nothing was computed: too many wrong ones before. */
  | { readonly outcome: "wait"; readonly seconds: number }
  /** Nothing was computed: too many others are being checked. */
  | { readonly outcome: "busy" };

/** An attempt, as a client makes it. */
export interface Attempt {
  /** As typed. */
  readonly user: string;
  readonly password: string;
  /** The client's network, as a CIDR. */
  readonly network: string;
}

/** Decides attempts. Unknown account and wrong password take the same path and the same time (CASES U03). */
export class Logins {
  readonly #users: Pick<UsersFile, "now">;
  readonly #passwords: Pick<Passwords, "check">;
  readonly #backoff: Backoff;
  readonly #remembered: Remembered;
  readonly #turns = new Turns();

  constructor(
    users: Pick<UsersFile, "now">,
    passwords: Pick<Passwords, "check">,
    host: Pick<Host, "cache" | "clock" | "log">,
  ) {
    this.#users = users;
    this.#passwords = passwords;
    this.#backoff = new Backoff(host);
    this.#remembered = new Remembered(host.clock);
  }

  /** @throws the signal's reason when it aborts while others are before this one. */
  async attempt({ user, password, network }: Attempt, signal: AbortSignal): Promise<Login> {
    const name = accountName(user) ?? ""; // all that is no address counts as one account, which nobody has
    const login = await this.#turns.take(`${network} ${name}`, signal, async (): Promise<Login> => {
      const left = await this.#backoff.left(network, name);
      if (left > 0) return { outcome: "wait", seconds: Math.ceil(left / 1000) };
      return await this.#decide(name, password, network, signal);
    });
    return login === "busy" ? { outcome: "busy" } : login;
  }

  /**
   * Whether a proof of the password may be tried, and with which keys.
   *
   * @param secret As for {@linkcode Accounts.decoyKeys}.
   */
  async keysFor(
    user: string,
    network: string,
    secret: string,
  ): Promise<ScramKeys | (Login & { outcome: "wait" })> {
    const name = accountName(user) ?? "";
    const left = await this.#backoff.left(network, name);
    if (left > 0) return { outcome: "wait", seconds: Math.ceil(left / 1000) };
    const accounts = await this.#users.now();
    const decoy = accounts.decoyKeys(name || user.toLowerCase(), secret);
    return accounts.get(name)?.keys ?? decoy;
  }

  /** What came of the proof; the same back-off as for passwords. @throws the signal's reason when it aborts first. */
  async proven(user: string, proof: "right" | "wrong", network: string, signal: AbortSignal): Promise<Login> {
    const name = accountName(user) ?? "";
    const login = await this.#turns.take(`${network} ${name}`, signal, async (): Promise<Login> => {
      const left = await this.#backoff.left(network, name);
      if (left > 0) return { outcome: "wait", seconds: Math.ceil(left / 1000) };
      const account = (await this.#users.now()).get(name);
      if (proof === "right" && account?.keys) {
        await this.#backoff.succeeded(network, name);
        return { outcome: "right", account };
      }
      await this.#backoff.failed(network, name);
      return { outcome: "wrong" };
    });
    return login === "busy" ? { outcome: "busy" } : login;
  }

  async #decide(name: string, password: string, network: string, signal: AbortSignal): Promise<Login> {
    const accounts = await this.#users.now();
    const account = accounts.get(name);
    const known = account !== undefined && this.#remembered.knows(account, password);
    const checked = known
      ? "match"
      : await this.#passwords.check(account?.hash ?? accounts.decoy(name), password, network, signal);
    if (checked === "busy") return { outcome: "busy" };
    if (checked === "mismatch" || !account) {
      await this.#backoff.failed(network, name);
      return { outcome: "wrong" };
    }
    if (!known) this.#remembered.note(account, password);
    await this.#backoff.succeeded(network, name);
    return { outcome: "right", account };
  }
}

/** A password that was right is believed this long without hashing it again, in milliseconds. */
const trust = 300_000;

/**
 * Passwords that were right a moment ago: programs log in for every message. Kept as an HMAC under a key that only
 * this process knows and never stores, and only while the account's hash stays the same; a wrong password is always
 * hashed in full.
 */
class Remembered {
  readonly #clock: Pick<Host["clock"], "now">;
  readonly #key = randomBytes(32);
  readonly #right = new Map<
    string,
    { readonly mac: Uint8Array; readonly hash: Uint8Array; readonly since: number }
  >();

  constructor(clock: Pick<Host["clock"], "now">) {
    this.#clock = clock;
  }

  knows({ name, hash }: Account, password: string): boolean {
    const entry = this.#right.get(name);
    if (!entry) return false;
    const age = this.#clock.now() - entry.since;
    if (age < 0 || age >= trust || !sameOctets(entry.hash, hash.hash)) {
      this.#right.delete(name);
      return false;
    }
    return timingSafeEqual(entry.mac, this.#mac(name, password));
  }

  /** Only existing accounts come here: the file's size bounds the map. */
  note({ name, hash }: Account, password: string): void {
    this.#right.set(name, { mac: this.#mac(name, password), hash: hash.hash, since: this.#clock.now() });
  }

  #mac(name: string, password: string): Uint8Array {
    return createHmac("sha256", this.#key).update(`${name}\0${password}`).digest();
  }
}

function sameOctets(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}
