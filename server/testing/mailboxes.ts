/** Mailboxes that keep mail in memory, so that a test of a plugin needs no Maildir. */
import { accept, delivered, type Message, type Outcome, type Plugin, type Target } from "../plugin.ts";
import { type ReadMail, readMail } from "./mail.ts";
import { mailboxKey, makeAddress, parseAddress, parseDomain } from "../smtp/address.ts";

/** One delivered copy. */
export interface DeliveredMail extends ReadMail {
  /** The message's queue id. */
  readonly id: string;
  /** The envelope sender, `""` for bounces. */
  readonly from: string;
  /** The final recipient. */
  readonly to: string;
  /** The recipient as the client gave it: an alias, perhaps. */
  readonly original: string;
}

/** What {@linkcode mailboxes} can do besides. */
export interface MailboxesOptions {
  /** What becomes of a delivery; nothing: it is delivered. Asked before anything is kept. */
  readonly answer?: (message: Message, recipient: Target) => Outcome | void | Promise<Outcome | void>;
}

/** What {@linkcode mailboxes} makes: an entry of `testServer`'s plugins. */
export class Mailboxes {
  readonly #domains = new Set<string>();
  readonly #users = new Set<string>();
  readonly #how: MailboxesOptions;

  /** See {@linkcode mailboxes}. */
  constructor(owned: readonly string[], how: MailboxesOptions) {
    this.#how = how;
    for (const text of owned) {
      const user = text.includes("@") ? parseAddress(text) : undefined;
      const domain = user?.domain ?? parseDomain(text);
      if (domain === undefined || (text.includes("@") && !user)) {
        throw new TypeError(`mailboxes: "${text}" is neither an address nor a domain`);
      }
      this.#domains.add(domain);
      for (const name of ["postmaster", "abuse"]) this.#users.add(`${name}@${domain}`);
      this.#users.add(user ? mailboxKey(user) : domain);
    }
  }

  /** The plugin of one server, which is told of each delivery. */
  plugin(keep: (mail: DeliveredMail) => void): Plugin {
    const { answer = () => {} } = this.#how;
    const owned = [...this.#domains];
    const has = (user: string, domain: string) => {
      const address = makeAddress(user, domain);
      return this.#users.has(domain) || (address !== undefined && this.#users.has(mailboxKey(address)));
    };
    return {
      name: "mailboxes",
      setup(on, _options, host) {
        host.owns(owned);
        const deliver = async (message: Message, to: Target): Promise<Outcome> => {
          const outcome = await answer(message, to) ?? delivered(`mailbox of ${to}`);
          if (outcome.verdict !== "delivered") return outcome;
          const bytes = await message.bytes(Infinity);
          const { sender: from, original } = to;
          keep({ id: message.id, from, to: to.address, original, ...readMail(bytes) });
          return outcome;
        };
        const via = host.transport("mailboxes", async (message, [to], { signal }) => {
          const outcome = await deliver(message, to!);
          signal.throwIfAborted();
          return outcome;
        }, { inline: true });
        on("resolve", ({ user, domain }) => has(user, domain) ? accept({ via }) : undefined);
      },
    };
  }
}

/**
 * Mailboxes for a test server: they own their domains, and what is delivered to them stands in `server.delivered`.
 * `postmaster` and `abuse` are there in each domain, sub-addresses (`alice+tag`) belong to their users.
 *
 * @param owned Addresses (`alice@example.org`), or domains in which every address is a mailbox.
 * @param how What becomes of deliveries; by default they succeed.
 *
 * @example
 * ```ts
 * import { mailboxes, testServer } from "postrider/testing";
 * import { strictEqual as equal } from "node:assert/strict";
 * await using server = await testServer({ plugins: [mailboxes(["alice@example.org"])] });
 * await server.send({ to: "alice@example.org" });
 * equal(server.delivered[0]?.to, "alice@example.org");
 * equal((await server.send({ to: "bob@example.org" })).reply.code, 550);
 * ```
 */
export function mailboxes(owned: readonly string[], how: MailboxesOptions = {}): Mailboxes {
  return new Mailboxes(owned, how);
}
