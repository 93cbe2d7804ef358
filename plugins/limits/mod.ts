/**
 * Limits on how much a client, a network, an account or a sender's domain may do in a time: connections, messages,
 * recipients, failed logins.
 */
import {
  because,
  cidr,
  defer,
  definePlugin,
  duration,
  type Session,
  type Transaction,
  z,
} from "../../server/plugin.ts";
import { spf } from "../../server/facts.ts";
import { Bans } from "./bans.ts";
import { Buckets, type Drawn } from "./buckets.ts";
import { type Rate, rate } from "./rate.ts";

/** Whose bucket it is. */
type Whose = "address" | "network" | "account" | "senderDomain";

const inMail = () =>
  z.object({
    address: rate().optional().describe("By a client's address; absent: no limit"),
    network: rate().optional().describe("By the client's /24 or /64; absent: no limit"),
    account: rate().optional().describe("By the account that has logged in; absent: no limit"),
    senderDomain: rate().optional().describe("By the sender's domain, where it is proven; absent: no limit"),
  }).prefault({});

/** The plugin `limits`. */
export default definePlugin({
  name: "limits",
  mechanisms: [], // it logs nobody in
  options: z.object({
    connections: z.object({
      address: rate().prefault("120/1m").describe("Connections from an address"),
      network: rate().prefault("600/1m").describe("Connections from a /24 or /64"),
    }).prefault({}),
    messages: inMail(),
    recipients: inMail(),
    logins: z.object({
      failures: rate().prefault("20/10m").describe(
        "Failed logins from a /24 or /64, beyond which it may not log in",
      ),
      ban: duration("1h").describe("For how long"),
    }).prefault({}),
    exempt: z.array(cidr()).default([]).describe("Clients that are not counted, besides `trustedNetworks`"),
  }),
  setup(on, { connections, messages, recipients, logins, exempt }, host) {
    const buckets = new Buckets(host);
    // Needed only then: without it, above `auth` and all that finds something out is the place for limits.
    const countsDomains = messages.senderDomain !== undefined || recipients.senderDomain !== undefined;
    const spfOf = countsDomains ? host.needs(spf, { optional: true }) : () => undefined;
    const isCounted = ({ trusted, protocol, remote }: Session) =>
      !trusted && protocol !== "internal" && !exempt.some((network) => network.has(remote.address));

    on("connect", async (session) => {
      if (!isCounted(session)) return;
      const empty = await buckets.take(drawn("connections", connections, ownersOf(session)));
      if (empty) return tooMuch(empty);
      if (bans && session.role === "submission" && await bans.bansAll(session)) return banned();
    });

    on("mail", async (session, transaction) => {
      if (!isCounted(session)) return;
      if (session.user && bans) await noteLogin(session, bans);
      const owners = sendersOf(session, transaction);
      const empty = await buckets.take(drawn("messages", messages, owners));
      if (empty) return tooMuch(empty);
    });

    on("rcpt", async (session, _recipient, transaction) => {
      if (!isCounted(session)) return;
      const empty = await buckets.take(drawn("recipients", recipients, sendersOf(session, transaction)));
      if (empty) return tooMuch(empty);
    });

    /** A user is who he is, wherever he is: his office's address is not only his. */
    function sendersOf(session: Session, transaction: Transaction): Owners {
      const { user } = session;
      const { domain } = transaction.sender;
      // A name that anybody can write is nobody's: else forged mail would use up what its owner may send.
      const isProven = domain !== "" && (user !== undefined || spfOf(transaction)?.result === "pass");
      return {
        ...(user ? { account: user.name.toLowerCase() } : ownersOf(session)),
        ...(isProven && { senderDomain: domain }),
      };
    }

    const bans = logins.failures && new Bans(host, buckets, logins.failures, logins.ban);
    const noted = host.notes((_session: Session) => ({ account: "" }));

    /** Once a session and account. */
    async function noteLogin(session: Session, bans: Bans): Promise<void> {
      const { name } = session.user!;
      if (noted(session).account === name) return;
      noted(session).account = name;
      await bans.succeeded(session);
    }

    if (bans) {
      on("auth", async (session, { user }) => {
        if (isCounted(session) && await bans.bans(session, user)) return banned();
      });
      on("rejected", async ({ session, phase, verdict }) => {
        // What is deferred was not tried: the password may be right.
        if (phase !== "auth" || verdict.verdict === "defer" || !isCounted(session)) return;
        // The last failure of a connection is 421; a ban is a 454 and doesn't feed itself.
        await bans.failed(session);
      });
    }
    return () => buckets.close();
  },
});

type Owners = { readonly [W in Whose]?: string };

const ownersOf = ({ remote: { address, network } }: Session): Owners => ({ address, network });

/** A bucket, with what to say of it. */
interface Limited extends Drawn {
  readonly what: string;
  readonly whose: Whose;
}

/** The buckets that this concerns. */
function drawn(
  what: "connections" | "messages" | "recipients",
  rates: { readonly [W in Whose]?: Rate | undefined },
  owners: Owners,
): Limited[] {
  return (Object.keys(owners) as Whose[]).flatMap((whose) => {
    const rate = rates[whose];
    return rate ? [{ key: `${what} ${whose} ${owners[whose]}`, rate, what, whose }] : [];
  });
}

const inWords: Readonly<Record<Whose, string>> = {
  address: "from your address",
  network: "from your network",
  account: "from this account",
  senderDomain: "from this sender's domain",
};

function tooMuch({ what, whose, rate }: Limited) {
  const text = `Too many ${what} ${inWords[whose]}, please try again later`;
  return because(`${what}: { ${whose}: ${rate.text} }`, defer("4.7.0", text));
}

function banned() {
  return because(
    "logins: the network is banned",
    defer("4.7.0", "Too many failed logins from your network, please try again later"),
  );
}
