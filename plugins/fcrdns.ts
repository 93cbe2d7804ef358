/** Forward-confirmed reverse DNS (`iprev`, RFC 8601 §3): has the client's address a name that leads back to it? */
import ipaddr from "ipaddr.js";
import { because, definePlugin, type Dns, reject, type Session, z } from "../server/plugin.ts";
import { type Iprev, iprev } from "../server/facts.ts";
import { isReachable, isStranger } from "./authentication/strangers.ts";

/** Names of one address that are looked up: who has many, has them to make others work. */
const mostNames = 10;

/** The plugin `fcrdns`. */
export default definePlugin({
  name: "fcrdns",
  roles: ["mx"],
  options: z.object({
    refuse: z.array(z.enum(["fail", "permerror"])).default([]).describe(
      "Results that are refused at RCPT; without any, the result is only noted",
    ),
  }),
  setup(on, { refuse }, host) {
    const found = host.notes((_session: Session): { result?: Promise<Iprev> } => ({}));
    const tell = host.provides(iprev);

    // Begun here and waited for at MAIL: the answers come while client and server greet each other.
    on("connect", (session) => {
      if (isStranger(session)) found(session).result = check(session.remote.address, host.dns);
    });

    on("mail", async (session) => {
      const result = await found(session).result;
      if (result) tell(session, result);
    });

    on("rcpt", async (session, recipient) => {
      if (!isStranger(session) || isReachable(recipient)) return;
      const result = (await found(session).result)?.result;
      const refused = refuse.find((one) => one === result);
      if (!refused) return;
      const { address } = session.remote;
      const text = refused === "permerror"
        ? `${address} has no name in the DNS`
        : `No name of ${address} in the DNS leads back to it`;
      return because(`refuse: ${refused}`, reject("5.7.25", text)); // RFC 7372 §3.3
    });

    on("data", async (session, message) => {
      const known = isStranger(session) ? await found(session).result : undefined;
      if (!known) return;
      const properties = { "policy.iprev": session.remote.address };
      const comment = known.name && { comment: known.name };
      message.addResult({ method: "iprev", result: known.result, ...comment, properties });
    });
  },
});

/** Never rejects: what could not be asked is `temperror`. */
async function check(address: string, dns: Dns): Promise<Iprev> {
  if (!ipaddr.isValid(address)) return { result: "permerror" };
  const own = canonical(address);
  let names: string[];
  try {
    names = await dns.ptr(address);
  } catch {
    return { result: "temperror" };
  }
  if (names.length === 0) return { result: "permerror" };
  const looked = await Promise.all(
    names.slice(0, mostNames).map(async (name): Promise<Iprev> => {
      try {
        const addresses = await dns.a(name);
        return addresses.some((one) => canonical(one) === own)
          ? { result: "pass", name }
          : { result: "fail" };
      } catch {
        return { result: "temperror" };
      }
    }),
  );
  const of = (result: Iprev["result"]) => looked.find((one) => one.result === result);
  return of("pass") ?? of("temperror") ?? { result: "fail" };
}

const canonical = (address: string): string => ipaddr.process(address).toString();
