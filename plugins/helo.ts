/** Checks of the name a client greets with: spam is often sent by programs that don't know theirs. */
import ipaddr from "ipaddr.js";
import { because, definePlugin, type Dns, reject, type Session, z } from "../server/plugin.ts";
import { isReachable, isStranger } from "./authentication/strangers.ts";

const kinds = ["bare-address", "wrong-literal", "no-domain", "unknown"] as const;
type Kind = typeof kinds[number];

/** The plugin `helo`. */
export default definePlugin({
  name: "helo",
  roles: ["mx"],
  options: z.object({
    refuse: z.array(z.enum(kinds)).default(["bare-address"]).describe("Which names are refused at RCPT"),
    ours: z.array(z.string()).default([]).describe(
      "Names of our own machines and domains, that no stranger has: refused at RCPT",
    ),
  }),
  setup(on, { refuse, ours }, host) {
    const own = new Set(ours.map((name) => plain(name)));
    const looked = host.notes((_session: Session): { name?: string; isUnknown?: Promise<boolean> } => ({}));

    // Begun here and waited for at RCPT.
    on("helo", (session, name) => {
      if (!refuse.includes("unknown") || !isStranger(session) || !isDomain(name)) return;
      Object.assign(looked(session), { name, isUnknown: isUnknown(plain(name), host.dns) });
    });

    on("rcpt", async (session, recipient) => {
      if (!isStranger(session) || isReachable(recipient) || session.helo === undefined) return;
      const name = session.helo;
      if (own.has(plain(name))) {
        return because(`ours: ${name}`, reject("5.7.1", "You greeted with a name of ours"));
      }
      const { address } = session.remote;
      const notes = looked(session);
      const is: Record<Kind, () => boolean | Promise<boolean>> = {
        "bare-address": () => isAddress(name),
        "wrong-literal": () => isWrongLiteral(name, address),
        "no-domain": () => !isAddress(name) && !name.startsWith("[") && !isDomain(name),
        "unknown": async () => notes.name === name && (await notes.isUnknown ?? false),
      };
      for (const kind of refuse) {
        if (await is[kind]()) return because(`refuse: ${kind}`, reject("5.7.1", texts[kind]));
      }
    });
  },
});

const texts: Readonly<Record<Kind, string>> = {
  "bare-address": "You greeted with an IP address: use your name, or write the address in brackets",
  "wrong-literal": "You greeted with an address that is not yours",
  "no-domain": "You greeted with a name that is not a fully qualified domain",
  "unknown": "You greeted with a name that the DNS does not know",
};

const plain = (name: string): string => name.toLowerCase().replace(/\.$/, "");

const isAddress = (name: string): boolean =>
  ipaddr.IPv4.isValidFourPartDecimal(name) || ipaddr.IPv6.isValid(name);

/** At least two labels of what host names are made of (RFC 5321 §2.3.5); many write `_`. */
const isDomain = (name: string): boolean =>
  !isAddress(name) && /^[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})+$/.test(plain(name));

/** An address literal (RFC 5321 §4.1.3) of another address than the client's. */
function isWrongLiteral(name: string, address: string): boolean {
  const [, text] = /^\[(?:IPv6:)?(.*)\]$/i.exec(name) ?? [];
  if (text === undefined || !ipaddr.isValid(address)) return false;
  return !isAddress(text) || canonical(text) !== canonical(address);
}

const canonical = (address: string): string => ipaddr.process(address).toString();

/** Neither hosts nor mail; DNS that doesn't answer makes no name unknown. */
async function isUnknown(name: string, dns: Dns): Promise<boolean> {
  try {
    const [addresses, hosts] = await Promise.all([dns.a(name), dns.mx(name)]);
    return addresses.length === 0 && hosts.length === 0;
  } catch {
    return false;
  }
}
