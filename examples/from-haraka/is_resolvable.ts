/** is-resolvable: refuses senders to whom no answer could be sent, since their domain has no mail host. After Haraka's mail_from.is_resolvable. */
import { cidr, definePlugin, reject, z } from "postrider";

export default definePlugin({
  name: "is-resolvable",
  roles: ["mx"],
  options: z.object({
    bogus: z.array(cidr()).prefault(["0.0.0.0/8", "127.0.0.0/8", "255.255.255.255/32", "::/127"]).describe(
      "Addresses that are nobody's mail host",
    ),
  }),
  setup(on, { bogus }, { dns }) {
    on("mail", async (_session, { sender: { domain } }, { signal }) => {
      if (domain === "" || domain.startsWith("[")) return; // a bounce; an address literal
      const exchanges = await dns.mx(domain, signal);
      if (exchanges.some(({ host }) => host === "" || host === ".")) {
        return reject("5.7.27", `${domain} takes no mail`); // RFC 7505
      }
      const hosts = exchanges.length > 0 ? exchanges.map(({ host }) => host) : [domain];
      const answers = await Promise.allSettled(hosts.map((host) => dns.a(host, signal)));
      const addresses = answers.flatMap((answer) => answer.status === "fulfilled" ? answer.value : []);
      if (addresses.some((address) => !bogus.some((network) => network.has(address)))) return;
      for (const answer of answers) if (answer.status === "rejected") throw answer.reason; // maybe later: 451
      return reject("5.1.8", `${domain} has no mail host`);
    });
  },
});
