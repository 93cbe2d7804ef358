import { accept, definePlugin, type Hop, z } from "postrider";

const Next = z.object({
  host: z.string(),
  port: z.int().min(1).max(65535).default(25),
  tls: z.enum(["opportunistic", "required", "none"]).default("opportunistic"),
});

export default definePlugin({
  name: "forward",
  after: ["aliases"],
  options: z.object({
    domains: z.record(z.string(), z.array(Next).min(1)),
    via: z.literal("smtp").default("smtp"),
  }),
  setup(on, { domains }) {
    const hops = (domain: string): readonly Hop[] | undefined => domains[domain];
    on("resolve", ({ domain }) => hops(domain) && accept({ via: { transport: "smtp" } }));
    on("route", ({ domain }) => {
      const found = hops(domain);
      if (found) return accept({ hops: found });
    });
  },
});
