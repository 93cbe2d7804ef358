/** Greylisting (RFC 6647): a stranger's first mail is put off once; who keeps a queue, as mail servers do, tries again. */
import {
  because,
  cidr,
  defer,
  definePlugin,
  type Duration,
  duration,
  type Recipient,
  type Session,
  type Transaction,
  z,
} from "../server/plugin.ts";
import { spf } from "../server/facts.ts";
import { isReachable, isStranger } from "./authentication/strangers.ts";

/** The plugin `greylist`. */
export default definePlugin({
  name: "greylist",
  roles: ["mx"],
  options: z.object({
    wait: duration("5m").describe("How long after the first attempt a retry is taken"),
    retryWithin: duration("48h").describe(
      "How long after the first attempt it is forgotten, if there was no retry",
    ),
    remember: duration("36d").describe(
      "For how long somebody who has passed is let pass, counted from the last mail",
    ),
    trustAfter: z.int().min(0).max(1000).default(5)
      .describe("So many triples that passed let all mail of that network pass; 0: never"),
    networks: z.array(cidr()).default([]).describe("Clients whose mail is not put off"),
    recipients: z.array(z.string()).default([])
      .describe("Whose mail is not put off: addresses, or domains as `@example.org`"),
  }),
  setup(on, { wait, retryWithin, remember, trustAfter, networks, recipients }, host) {
    const { store, clock } = host;
    const spfOf = host.needs(spf, { optional: true });
    const open = new Set(recipients.map((one) => one.toLowerCase()));
    const isOpen = ({ address, user, domain }: Recipient) =>
      open.has(address.toLowerCase()) || open.has(`${user}@${domain}`) || open.has(`@${domain}`);
    const kept = { ttl: lasting(remember) };

    on("rcpt", async (session, recipient, transaction) => {
      if (!isStranger(session) || isReachable(recipient) || isOpen(recipient)) return;
      if (networks.some((network) => network.has(session.remote.address))) return;

      const client = clientOf(session, transaction);
      if (trustAfter > 0 && await isKept(`client ${client}`)) return;
      const triple = `${client} ${steady(transaction)} ${recipient.address.toLowerCase()}`;
      if (await isKept(`passed ${triple}`)) return;

      const now = clock.now();
      const first = await store.getOrSet(`first ${triple}`, now, { ttl: lasting(retryWithin) });
      const left = wait - (now - first);
      if (left > 0) {
        const text = `Greylisted, please try again in ${Math.ceil(left / 1000)} seconds`;
        return because(`wait: first seen ${new Date(first).toISOString()}`, defer("4.7.1", text));
      }
      await pass(client, triple);
    });

    async function pass(client: string, triple: string): Promise<void> {
      await store.set(`passed ${triple}`, clock.now(), kept);
      if (trustAfter === 0) return;
      const count = await store.increment(`count ${client}`, 1, kept);
      if (count >= trustAfter) await store.set(`client ${client}`, clock.now(), kept);
    }

    /** Whether it is remembered, which then begins anew; a tenth of the time is near enough, and saves a write a mail. */
    async function isKept(key: string): Promise<boolean> {
      const since = await store.get<number>(key);
      if (since === undefined) return false;
      if (clock.now() - since > remember / 10) await store.set(key, clock.now(), kept);
      return true;
    }

    /** Large senders retry from other networks: where SPF has proven whose they are, that counts instead. */
    function clientOf({ remote }: Session, transaction: Transaction): string {
      const told = spfOf(transaction);
      return told?.result === "pass" && told.domain !== "" ? `spf:${told.domain}` : remote.network;
    }
  },
});

/** The sender without what changes from mail to mail: its tag, and numbers as lists put them into their return paths. */
function steady({ sender: { user, domain } }: Transaction): string {
  return domain === "" ? "<>" : `${user.replace(/[0-9]+/g, "#")}@${domain}`;
}

/** Milliseconds as a time to live: in seconds, since nine digits are all that a duration may have. */
const lasting = (ms: number): Duration => `${Math.min(999_999_999, Math.ceil(ms / 1000))}s`;
