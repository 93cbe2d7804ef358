/** Stands in front of another server: its answers at RCPT and at the final dot are the client's, and nothing waits here. */
import { domainToASCII } from "node:url";
import { accept, definePlugin, reject, z } from "../server/plugin.ts";
import { routed } from "./addresses.ts";
import { hopsOf, nextHop, oneOfHosts } from "./next_hop.ts";

const domain = z.string().meta({ examples: ["example.org"] }).transform((text, context) => {
  const name = domainToASCII(text);
  if (/^[a-z0-9_][a-z0-9_-]*(\.[a-z0-9_-]+)*$/.test(name)) return name;
  const message = text === "*"
    ? "write `domains: any` for all that nobody here has, from clients that may send there"
    : `"${text}" is not a domain such as example.org`;
  context.addIssue({ code: "custom", message });
  return z.NEVER;
});

/** The plugin `proxy`. */
export default definePlugin({
  name: "proxy",
  options: z.object({
    domains: z.union([z.literal("any"), z.array(domain).min(1)], 'neither a list of domains, nor "any"')
      .describe(
        "Recipient domains whose server this stands in front of, for all clients; `any`: all that nobody here has, for clients that " +
          "`auth` or `relay` lets send there",
      ),
    ...nextHop,
    xclient: z.boolean().default(false).describe(
      "Tells the next hop who our client is (XCLIENT, where it offers it): it treats that one as its own",
    ),
    xforward: z.boolean().default(false).describe(
      "Likewise by XFORWARD, where it offers it: only its log shows it",
    ),
  }).superRefine(oneOfHosts),
  setup(on, { domains, xclient, xforward, ...where }, host) {
    const hops = accept({ hops: hopsOf(where) });
    const via = host.proxy("proxy", () => hops, { xclient, xforward });
    if (domains === "any") {
      const leaves = accept({ onward: via });
      on("resolve", () => leaves);
      return;
    }
    host.owns(domains);
    const owned = new Set(domains);
    const ours = accept({ via });
    on("resolve", (recipient) => owned.has(recipient.domain) ? ours : undefined);
    on("rcpt", ({ user }, recipient) => {
      if (user || !owned.has(recipient.domain) || !routed.test(recipient.local)) return;
      return reject("5.7.1", "We do not relay for you to this address");
    });
  },
});
