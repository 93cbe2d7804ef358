/** Says who may send to domains that are not ours: by network, by authenticated user, by recipient domain. */
import ipaddr from "ipaddr.js";
import { domainToASCII } from "node:url";
import {
  accept,
  type Address,
  because,
  cidr,
  type ClientCertificate,
  definePlugin,
  z,
} from "../server/plugin.ts";
import { isWholeTopLevel, routed } from "./addresses.ts";

/** Private blocks that are shorter than any network a single organisation has on the internet. */
const wholesale = ["fc00::/7", "fe80::/10"].map((text) => ipaddr.parseCIDR(text));

/** A network as wide as a good part of the internet: listing it makes an open relay, whole or in slices (`2000::/3`). */
function tooWide(network: string): boolean {
  const slash = network.indexOf("/");
  if (slash < 0) return false;
  const [base, length] = ipaddr.parseCIDR(network);
  if (base.kind() === "ipv4") return length < 8;
  return length < 16 && !wholesale.some(([block, bits]) => length >= bits && base.match(block, bits));
}

const network = cidr().superRefine((value, context) => {
  if (!tooWide(String(value))) return;
  const message =
    `${value} lets strangers relay through this server: name your own networks, 10.0.0.0/8 at the widest`;
  context.addIssue({ code: "custom", message });
});

const pattern = z.string().overwrite((text) => domainToASCII(text) || text).superRefine((text, context) => {
  const problem = (message: string) => context.addIssue({ code: "custom", message });
  if (text === "*") {
    return problem(
      "* lets strangers relay through this server to anywhere: name the domains it is a backup for",
    );
  }
  const name = text.startsWith("*.") ? text.slice(2) : text;
  if (!/^[a-z0-9_][a-z0-9_-]*(?:\.[a-z0-9_-]+)*$/.test(name)) {
    return problem(`"${text}" is not a domain such as example.com or *.example.com`);
  }
  if (name !== text && isWholeTopLevel(name)) {
    problem(
      `${text} lets strangers relay to every domain under .${name}: name the domains this server is a backup for`,
    );
  }
});

/** As `openssl x509 -fingerprint -sha256` has it, with colons and in either case; or a name. */
const certificate = z.string().meta({ examples: ["printer.example.org"] }).overwrite((text) => {
  const digits = text.replaceAll(":", "").toLowerCase();
  return /^[0-9a-f]{64}$/.test(digits) ? digits : text.toLowerCase();
}).superRefine((text, context) => {
  if (/^[0-9a-f]{64}$/.test(text) || /^[a-z0-9_.@+-]+$/.test(text) && /[.@]/.test(text)) return;
  const message =
    `"${text}" is neither a SHA-256 fingerprint of a certificate nor a name such as printer.example.org`;
  context.addIssue({ code: "custom", message });
});

/** The fingerprint is the certificate's own, whoever issued it; a name is what its issuer says, if that one is trusted. */
function isShown(wanted: string, { fingerprint, names, trust }: ClientCertificate): boolean {
  return fingerprint === wanted || (trust === "trusted" && names.includes(wanted));
}

/** The plugin `relay`. */
export default definePlugin({
  name: "relay",
  options: z.object({
    networks: z.array(network).default([]).describe(
      "Clients that may send to any domain, by network or address",
    ),
    users: z.union([z.boolean(), z.array(z.string())], "neither true or false, nor a list of accounts")
      .default(false)
      .describe(
        "Authenticated users that may send to any domain: true for all, or a list of accounts (*@domain for a domain's)",
      ),
    certificates: z.array(certificate).default([]).describe(
      "Clients that may send to any domain, by their certificate: its SHA-256 fingerprint, or a name in a trusted one",
    ),
    domains: z.array(pattern).default([])
      .describe(
        "Recipient domains that anyone may send to, as to their backup MX or gateway; *.domain for its subdomains",
      ),
  }),
  setup(on, { networks, users, certificates, domains }, host) {
    if (
      networks.length === 0 && domains.length === 0 && certificates.length === 0 &&
      (users === false || (users !== true && users.length === 0))
    ) {
      host.log.warning("nobody may relay: name `networks`, `users`, `certificates` or `domains`");
    }
    const exact = new Set(domains.filter((name) => !name.startsWith("*.")));
    const suffixes = domains.filter((name) => name.startsWith("*.")).map((name) => name.slice(1));
    const accounts = new Set(typeof users === "boolean" ? [] : users.map((name) => name.toLowerCase()));

    const mayRelay = (user: string) => {
      if (typeof users === "boolean") return users;
      const name = user.toLowerCase();
      const at = name.lastIndexOf("@");
      return accounts.has(name) || (at >= 0 && accounts.has(`*${name.slice(at)}`));
    };
    const relayed = ({ domain, local }: Address) =>
      (exact.has(domain) || suffixes.some((suffix) => domain.endsWith(suffix) && domain !== suffix)) &&
      !routed.test(local);

    const yes = {
      users: because("users", accept()),
      networks: networks.map((network) => because(`networks: ${network}`, accept())),
      certificates: certificates.map((one) => because(`certificates: ${one}`, accept())),
      domains: because("domains", accept()),
    };
    on("rcpt", ({ user, remote, tls }, recipient) => {
      if (user && mayRelay(user.name)) return yes.users;
      const place = networks.findIndex((network) => network.has(remote.address));
      if (place >= 0) return yes.networks[place];
      const shown = tls?.client ? certificates.findIndex((one) => isShown(one, tls.client!)) : -1;
      if (shown >= 0) return yes.certificates[shown];
      if (relayed(recipient)) return yes.domains;
    });
  },
});
