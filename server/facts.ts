/**
 * Well-known facts: what plugins tell each other about a session or a transaction. A plugin that finds one out
 * publishes it by `host.provides(fact)`; one that decides by it reads it by `host.needs(fact)` and stands below. Names
 * of results are those of RFC 8601 §2.7, so that they fit an `Authentication-Results` field as they are.
 *
 * @module
 */
import { type Fact, fact, type Session, type Transaction } from "./plugin.ts";

/** What SPF (RFC 7208) says of the client and the envelope sender's domain. */
export type Spf = {
  readonly result: "pass" | "fail" | "softfail" | "neutral" | "none" | "temperror" | "permerror";
  /** The domain that was checked: the envelope sender's, or HELO's name where the sender is null. */
  readonly domain: string;
};

/** What became of one DKIM signature (RFC 6376). */
export type Dkim = {
  readonly result: "pass" | "fail" | "none" | "policy" | "neutral" | "temperror" | "permerror";
  /** The signing domain, tag `d=`. */
  readonly domain: string;
  /** The key's name, tag `s=`. */
  readonly selector: string;
};

/** What DMARC (RFC 9989) says of the `From:` field's domain. */
export type Dmarc = {
  readonly result: "pass" | "fail" | "none" | "temperror" | "permerror";
  /** The domain of the `From:` field. */
  readonly domain: string;
  /** What that domain asks for where the result is `fail`. */
  readonly policy: "none" | "quarantine" | "reject";
};

/** What an Authenticated Received Chain (RFC 8617) says: who has forwarded the message, and what they found. */
export type Arc = {
  readonly result: "pass" | "fail" | "none" | "temperror";
  /** The domain of each seal, the first forwarder's first; `[]` where nothing is sealed, or the chain is broken. */
  readonly sealers: readonly string[];
  /** DMARC's result as the first forwarder found it. */
  readonly dmarc?: string;
};

/** Whether the client's address has a name that leads back to it (`iprev`, RFC 8601 §3). */
export type Iprev = {
  readonly result: "pass" | "fail" | "temperror" | "permerror";
  /** The name that was confirmed; absent where none was. */
  readonly name?: string;
};

/** One DNS block list that lists the client's address (RFC 5782). */
export type Listing = {
  /** The list's zone, such as `zen.spamhaus.org`. */
  readonly list: string;
  /** The list's answer, such as `127.0.0.2`. */
  readonly answer: string;
};

/** How much a message looks like spam. */
export type Spam = {
  /** The higher, the worse; what is too much is for the operator to say. */
  readonly score: number;
  /** What contributed to it, for the log and for people. */
  readonly reasons: readonly string[];
};

/**
 * SPF's result, known from MAIL on.
 *
 * @example
 * ```ts
 * import { definePlugin, reject } from "postrider";
 * import { spf } from "postrider/facts";
 * export default definePlugin({
 *   name: "spf-strict",
 *   setup(on, _options, host) {
 *     const spfOf = host.needs(spf);
 *     on("rcpt", (_session, _recipient, transaction) => {
 *       if (spfOf(transaction)?.result === "fail") return reject("5.7.23", "SPF says this is not your address");
 *     });
 *   },
 * });
 * ```
 */
export const spf: Fact<Spf, Transaction> = fact("spf");

/**
 * The result of each DKIM signature, in the message's order, known in `data`; `[]` where there is none.
 *
 * @example
 * ```ts
 * import { definePlugin } from "postrider";
 * import { dkim } from "postrider/facts";
 * export default definePlugin({
 *   name: "dkim-log",
 *   setup(on, _options, host) {
 *     const dkimOf = host.needs(dkim);
 *     on("data", (_session, _message, transaction) => {
 *       for (const { domain, result } of dkimOf(transaction) ?? []) host.log.info("signature", { domain, result });
 *     });
 *   },
 * });
 * ```
 */
export const dkim: Fact<readonly Dkim[], Transaction> = fact("dkim");

/**
 * DMARC's result, known in `data`.
 *
 * @example
 * ```ts
 * import { accept, definePlugin, transport, z } from "postrider";
 * import { dmarc } from "postrider/facts";
 * export default definePlugin({
 *   name: "dmarc-quarantine",
 *   options: z.object({ via: transport("quarantine") }),
 *   setup(on, { via }, host) {
 *     const dmarcOf = host.needs(dmarc);
 *     on("dataFor", (_session, _recipient, _message, transaction) => {
 *       const found = dmarcOf(transaction);
 *       if (found?.result === "fail" && found.policy !== "none") return accept({ via });
 *     });
 *   },
 * });
 * ```
 */
export const dmarc: Fact<Dmarc, Transaction> = fact("dmarc");

/**
 * What the message's ARC chain says, known in `data`.
 *
 * @example
 * ```ts
 * import { definePlugin } from "postrider";
 * import { arc } from "postrider/facts";
 * export default definePlugin({
 *   name: "forwarders",
 *   setup(on, _options, host) {
 *     const arcOf = host.needs(arc);
 *     on("data", (_session, _message, transaction) => {
 *       const found = arcOf(transaction);
 *       if (found?.result === "pass") host.log.info("forwarded", { by: found.sealers });
 *     });
 *   },
 * });
 * ```
 */
export const arc: Fact<Arc, Transaction> = fact("arc");

/**
 * Whether the client's address and name confirm each other, known from `connect` on.
 *
 * @example
 * ```ts
 * import { definePlugin } from "postrider";
 * import { iprev } from "postrider/facts";
 * export default definePlugin({
 *   name: "reverse-name",
 *   setup(on, _options, host) {
 *     const publish = host.provides(iprev);
 *     on("connect", async (session, { signal }) => {
 *       const [name] = await host.dns.ptr(session.remote.address, signal);
 *       const back = name === undefined ? [] : await host.dns.a(name, signal);
 *       const confirmed = name !== undefined && back.includes(session.remote.address);
 *       publish(session, confirmed ? { result: "pass", name } : { result: "fail" });
 *     });
 *   },
 * });
 * ```
 */
export const iprev: Fact<Iprev, Session> = fact("iprev");

/**
 * The block lists that list the client's address, known from `connect` on; `[]` where none does.
 *
 * @example
 * ```ts
 * import { defer, definePlugin } from "postrider";
 * import { listings } from "postrider/facts";
 * export default definePlugin({
 *   name: "listed-later",
 *   setup(on, _options, host) {
 *     const listingsOf = host.needs(listings);
 *     on("rcpt", (session) => {
 *       if (listingsOf(session)?.length) return defer("4.7.1", "Your address is on a block list");
 *     });
 *   },
 * });
 * ```
 */
export const listings: Fact<readonly Listing[], Session> = fact("listings");

/**
 * The country the client's address is registered in, as ISO 3166-1 alpha-2 (`DE`), known from `connect` on.
 *
 * @example
 * ```ts
 * import { definePlugin } from "postrider";
 * import { country } from "postrider/facts";
 * export default definePlugin({
 *   name: "country-header",
 *   setup(on, _options, host) {
 *     const countryOf = host.needs(country, { optional: true });
 *     on("data", (session, message) => {
 *       const code = countryOf(session);
 *       if (code) message.prependHeader("X-Country", code);
 *     });
 *   },
 * });
 * ```
 */
export const country: Fact<string, Session> = fact("country");

/**
 * A message's spam score, known in `data` once its plugin has been asked, and in `dataFor`.
 *
 * @example
 * ```ts
 * import { definePlugin, reject } from "postrider";
 * import { spam } from "postrider/facts";
 * export default definePlugin({
 *   name: "spam-limit",
 *   setup(on, _options, host) {
 *     const spamOf = host.needs(spam);
 *     on("dataFor", (_session, _recipient, _message, transaction) => {
 *       if ((spamOf(transaction)?.score ?? 0) > 15) return reject("5.7.1", "This looks like spam");
 *     });
 *   },
 * });
 * ```
 */
export const spam: Fact<Spam, Transaction> = fact("spam");
