/** Takes mail and throws it away: for benchmarks and tests. Nothing leaves the server, so it is no relay. */
import { domainToASCII } from "node:url";
import { accept, because, definePlugin, delivered, z } from "../server/plugin.ts";

// By `refine`, not `regex`: the JSON Schema is of what operators write, any case and IDNs included.
const domainName = /^(?:\*|\[[0-9a-z:.]+\]|[a-z0-9_][a-z0-9_-]*(?:\.[a-z0-9_-]+)*)$/;
const domain = z.string().overwrite((text) => domainToASCII(text) || text).refine(
  (text) => domainName.test(text),
  'not a domain such as example.org, or "*" for all',
);

/** The plugin `discard`. */
export default definePlugin({
  name: "discard",
  options: z.object({
    domains: z.array(domain).min(1).default(["*"])
      .describe('Domains whose mail is thrown away; "*": every address that no plugin above has claimed'),
  }),
  setup(on, { domains }, host) {
    const everything = domains.includes("*");
    if (everything) host.log.warning("mail that no plugin above claims is thrown away");
    else host.owns(domains);

    const gone = delivered("discarded");
    const via = host.transport("discard", () => Promise.resolve(gone), { inline: true, batch: 1000 });
    const claim = because(everything ? 'domains: "*"' : "domains", accept({ via }));
    const listed = new Set(domains);
    on("resolve", ({ domain }) => {
      if (everything || listed.has(domain)) return claim;
    });
  },
});
