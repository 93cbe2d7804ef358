/**
 * ETRN (RFC 1985): a server that is not always on line asks for the mail that waits for it here. Offered to those who may, and
 * unknown to everybody else.
 */
import { domainToASCII } from "node:url";
import { accept, cidr, defer, definePlugin, duration, reject, type Session, z } from "../server/plugin.ts";

/** RFC 1985 §5.3; `node` is as the client gave it, and was checked. */
const replies = {
  started: (node: string) => accept({ code: 250, reply: `OK, queuing for node ${node} started` }),
  nothing: (node: string) => accept({ code: 251, reply: `OK, no messages waiting for node ${node}` }),
  startedBefore: (node: string) =>
    accept({ code: 252, reply: `OK, pending messages for node ${node} started a moment ago` }),
  pending: (node: string, count: number) =>
    accept({ code: 253, reply: `OK, ${count} pending messages for node ${node} started` }),
  noQueue: (node: string) => defer("4.3.5", `Unable to queue messages for node ${node}: no such queue`, 458),
  unable: (node: string) => defer("4.3.0", `Unable to queue messages for node ${node}`, 458),
  notAllowed: (node: string) => defer("4.7.1", `Node ${node} not allowed: its mail is not kept here`, 459),
  syntax: reject("5.5.4", "Say ETRN example.org, or ETRN @example.org for its subdomains, too", 501),
};

/** `example.org`, `*.example.org` → lower case, in A-labels. */
const pattern = z.string().overwrite((text) => domainToASCII(text) || text).refine(
  (text) => isDomain(text.startsWith("*.") ? text.slice(2) : text),
  "is not a domain such as example.com or *.example.com",
);

function isDomain(text: string): boolean {
  return text.length <= 255 &&
    /^[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_](?:[a-z0-9_-]{0,62}))*$/.test(text);
}

/** What behind the verb is a node, `#queue` or nothing (RFC 1985 §5.2). */
type Asked =
  | { readonly kind: "node"; readonly domain: string; readonly subdomains: boolean }
  | { readonly kind: "queue" }
  | { readonly kind: "malformed" };

function readNode(argument: string): Asked {
  if (/^#[\x21-\x7e]{1,200}$/.test(argument)) return { kind: "queue" };
  const subdomains = argument.startsWith("@");
  const text = subdomains ? argument.slice(1) : argument;
  const domain = /[\s@#]/.test(text) ? "" : domainToASCII(text);
  return isDomain(domain) ? { kind: "node", domain, subdomains } : { kind: "malformed" };
}

/** The plugin `etrn`. */
export default definePlugin({
  name: "etrn",
  options: z.object({
    networks: z.array(cidr()).default([]).describe(
      "Clients that may ask besides trustedNetworks, by network or address",
    ),
    users: z.union([z.boolean(), z.array(z.string())], "neither true or false, nor a list of accounts")
      .default(true)
      .describe(
        "Authenticated users that may ask: true for all, or a list of accounts (*@domain for a domain's)",
      ),
    domains: z.array(pattern).optional()
      .describe("Domains that may be asked for, *.domain for its subdomains; absent: every one"),
    every: duration("1m").describe("How often one domain is started at most"),
  }),
  setup(on, { networks, users, domains, every }, { cache, clock, log, offers, queue }) {
    const accounts = new Set(typeof users === "boolean" ? [] : users.map((name) => name.toLowerCase()));
    const mayAsk = ({ user, remote, protocol, trusted }: Session): boolean => {
      if (protocol !== "smtp") return false;
      if (trusted) return true;
      if (networks.some((network) => network.has(remote.address))) return true;
      if (!user) return false;
      if (typeof users === "boolean") return users;
      const name = user.name.toLowerCase();
      return accounts.has(name) || accounts.has(`*${name.slice(name.lastIndexOf("@"))}`);
    };
    const isOurs = (domain: string) =>
      domains === undefined ||
      domains.some((one) => one.startsWith("*.") ? domain.endsWith(one.slice(1)) : domain === one);

    // The cache outlives a reload: a ticket of the generation before is none of ours.
    let tickets = clock.now();
    offers("ETRN", mayAsk);
    on("command", async (session, verb, argument, { dryRun }) => {
      if (verb !== "ETRN" || !mayAsk(session)) return;
      const asked = readNode(argument);
      if (asked.kind === "malformed") return replies.syntax;
      if (asked.kind === "queue") return replies.noQueue(argument);
      const { domain, subdomains } = asked;
      if (!isOurs(domain)) return replies.notAllowed(argument);
      if (dryRun) return replies.started(argument);
      const key = `${subdomains ? "@" : ""}${domain}`;
      const ticket = ++tickets;
      if (await cache.getOrSet(key, ticket, { ttl: `${every}ms` }) !== ticket) {
        return replies.startedBefore(argument);
      }
      try {
        const { messages } = await queue.retry(domain, { subdomains });
        log.info("queue started", { domain, subdomains, messages, session: session.id });
        return messages === 0 ? replies.nothing(argument) : replies.pending(argument, messages);
      } catch (error) {
        await cache.delete(key);
        log.error("queue not started", { domain, session: session.id, error: String(error) });
        return replies.unable(argument);
      }
    });
  },
});
