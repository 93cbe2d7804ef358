/** Hands mail of its domains to an LMTP server of the operator's, such as Dovecot. */
import { domainToASCII } from "node:url";
import { accept, type Address, because, definePlugin, type Hop, path, z } from "../server/plugin.ts";
import { domain } from "./addresses.ts";
import { hopsOf, nextHop } from "./next_hop.ts";
import { followUsers, usersOption } from "./users.ts";

const atom = "[A-Za-z0-9!#$%&'*/=?^_`{|}~+-]+(?:\\.[A-Za-z0-9!#$%&'*/=?^_`{|}~+-]+)*";

const options = z.object({
  domains: z.array(domain).min(1).describe(
    "Domains whose mail is handed over; all their addresses are ours to know",
  ),
  users: usersOption.default("any").describe(
    "Who has a mailbox: a list of addresses (or local parts, in every domain), a YAML file of them such as auth's, or `any`; default: `any`",
  ),
  path: path().optional().describe("The server's Unix socket, such as /run/dovecot/lmtp"),
  ...nextHop,
  port: nextHop.port.unwrap().default(24).describe("Its port"),
  postmaster: z.string().regex(new RegExp(`^${atom}@\\S+$`), "not an address such as admin@example.org")
    .optional()
    .describe(
      "Who gets mail for postmaster and abuse where they are none of `users`; default: they are handed over",
    ),
}).superRefine(({ domains, users, path, host, hosts, tls }, context) => {
  const problem = (message: string, ...path: (string | number)[]) =>
    context.addIssue({ code: "custom", message, path });
  const ways = [path, host, hosts].filter((way) => way !== undefined).length;
  if (ways === 0) problem("leads nowhere: name the server's Unix socket by `path`, or its `host`");
  if (ways > 1) problem("needs one of `path`, `host` and `hosts`, not several");
  if (path !== undefined && tls !== undefined) {
    problem("is for hosts: a Unix socket is never encrypted", "tls");
  }
  if (!Array.isArray(users)) return;
  users.forEach((text, at) => {
    const domain = text.includes("@") ? domainToASCII(text.slice(text.lastIndexOf("@") + 1)) : undefined;
    if (domain !== undefined && !domains.includes(domain)) {
      problem(`"${text}" is in none of \`domains\``, "users", at);
    }
  });
});

/** The plugin `lmtp`. */
export default definePlugin({
  name: "lmtp",
  options,
  async setup(on, { domains, users, path, postmaster, ...where }, host) {
    host.owns(domains);
    const protocol = "lmtp" as const;
    const hops: Hop[] = path === undefined
      ? hopsOf(where).map((hop) => ({ ...hop, protocol }))
      : [{ path, protocol, auth: where.auth }];
    const via = host.relay("lmtp", () => accept({ hops }));
    const handedOver = because(typeof users === "string" ? `users: ${users}` : "users", accept({ via }));
    const always = because("postmaster and abuse always exist", accept({ via }));
    const ours = new Set(domains);
    const exists = await followUsers(users, host);

    const otherwise = ({ user, address }: Address) => {
      const required = user === "postmaster" || user === "abuse"; // RFC 5321 §4.5.1, RFC 2142
      if (required && postmaster !== undefined && postmaster.toLowerCase() !== address.toLowerCase()) {
        return because(`postmaster: ${postmaster}`, accept({ to: [postmaster] }));
      }
      if (users === "any") return handedOver;
      if (required) return always;
    };

    on("resolve", (recipient) => {
      const { user, domain } = recipient;
      // RFC 5321 §4.1.1.3: `<postmaster>` without a domain is always there.
      if (domain === "" && user === "postmaster") {
        return accept({ to: [postmaster ?? `postmaster@${domains[0]}`] });
      }
      if (!ours.has(domain)) return;
      if (users === "any") return otherwise(recipient);
      const known = exists(recipient);
      if (known instanceof Promise) return known.then((known) => known ? handedOver : otherwise(recipient));
      return known ? handedOver : otherwise(recipient);
    });
  },
});
