/** DNS block lists and allow lists (RFC 5782), weighed: what do others say of the client's address? */
import { because, cidr, defer, definePlugin, reject, type Session, z } from "../../server/plugin.ts";
import { type Listing, listings } from "../../server/facts.ts";
import { isReachable, isStranger } from "../authentication/strangers.ts";
import { queryName, readAnswer, readPattern } from "./zone.ts";

const pattern = z.string().meta({ examples: ["127.0.0.4-7"] }).refine(
  (text) => readPattern(text) !== undefined,
  "is no answer of a list: write four octets, each a number, a range or *, such as 127.0.0.2 or 127.0.*.1-3",
);

const list = z.object({
  zone: z.string().regex(
    /^[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})+\.?$/,
    "is no DNS zone such as zen.spamhaus.org",
  )
    .describe("The list's name"),
  weight: z.number().default(1).describe("What an address counts that is on it; below 0 for an allow list"),
  answers: z.array(pattern).min(1).default(["127.*.*.*"]).describe(
    "Which answers count; of several entries with one zone, each counts for itself",
  ),
});

/** An address on a list. */
interface Found extends Listing {
  readonly weight: number;
}

/** The plugin `dnsbl`. */
export default definePlugin({
  name: "dnsbl",
  roles: ["mx"],
  options: z.object({
    lists: z.array(list).min(1).prefault([
      { zone: "zen.spamhaus.org" },
      { zone: "list.dnswl.org", weight: -1, answers: ["127.0.*.1-3"] },
    ]).describe("Whom to ask"),
    rejectAt: z.number().positive().default(1).describe(
      "The sum of weights from which mail is refused at RCPT",
    ),
    deferAt: z.number().positive().optional().describe(
      "The sum of weights from which mail is put off; absent: never",
    ),
    exempt: z.array(cidr()).default([]).describe("Clients that are not looked up, besides `trustedNetworks`"),
  }),
  setup(on, { lists, rejectAt, deferAt, exempt }, host) {
    const zones = lists.map(({ zone, weight, answers }) => ({
      zone: zone.toLowerCase().replace(/\.$/, ""),
      weight,
      matches: (answer: string) => answers.some((one) => readPattern(one)!(answer)),
    }));
    const found = host.notes((_session: Session): { all?: Promise<readonly Found[]> } => ({}));
    const tell = host.provides(listings);
    const refusing = new Set<string>();

    // Begun here and waited for at MAIL: the answers come while client and server greet each other.
    on("connect", (session) => {
      if (isStranger(session) && !exempt.some((network) => network.has(session.remote.address))) {
        found(session).all = lookUp(session.remote.address);
      }
    });

    on("mail", async (session) => {
      const all = await found(session).all;
      if (all && all.length > 0) tell(session, all.map(({ list, answer }) => ({ list, answer })));
    });

    on("rcpt", async (session, recipient, _transaction, { signal }) => {
      if (!isStranger(session) || isReachable(recipient)) return;
      const all = await found(session).all ?? [];
      const sum = all.reduce((total, { weight }) => total + weight, 0);
      if (sum < Math.min(rejectAt, deferAt ?? Infinity)) return;
      const { address } = session.remote;
      const blocking = [...new Set(all.filter(({ weight }) => weight > 0).map(({ list }) => list))];
      const text = `${address} is listed by ${blocking.join(", ")}` +
        await reason(address, blocking[0]!, signal);
      const rule = all.map(({ list, answer, weight }) => `${list} ${answer}: ${weight}`).join(", ");
      return because(
        `${rule}; sum ${sum}`,
        sum >= rejectAt ? reject("5.7.1", text) : defer("4.7.1", `${text}; please try again later`),
      );
    });

    async function lookUp(address: string): Promise<readonly Found[]> {
      const asked = await Promise.all(zones.map(async ({ zone, weight, matches }): Promise<Found[]> => {
        const answer = (await answersOf(address, zone)).find((one) => readAnswer(one, matches) === "listed");
        return answer === undefined ? [] : [{ list: zone, answer, weight }];
      }));
      return asked.flat();
    }

    /** A list that doesn't answer, or refuses to, lists nobody. */
    async function answersOf(address: string, zone: string): Promise<readonly string[]> {
      const name = queryName(address, zone);
      if (name === undefined) return [];
      const asked = await host.dns.query(name, "A");
      if (asked.kind === "failed") {
        host.log.info("a DNS list could not be asked", { list: zone, reason: asked.reason });
        return [];
      }
      const answers = asked.kind === "found" ? asked.records : [];
      const error = answers.find((answer) => readAnswer(answer, () => true) === "error");
      if (error === undefined) return answers;
      if (!refusing.has(zone)) {
        refusing.add(zone); // once is enough for the operator
        const text = "a DNS list refuses to answer this server: its page says what the code means";
        host.log.warning(text, { list: zone, code: error });
      }
      return [];
    }

    /** What the list says of why, and where to get off it. */
    async function reason(address: string, zone: string, signal: AbortSignal): Promise<string> {
      const asked = await host.dns.query(queryName(address, zone)!, "TXT", signal);
      const text = asked.kind === "found" ? asked.records[0] : undefined;
      return text ? `: ${text.replace(/[^ -~]/g, "?").slice(0, 200)}` : "";
    }
  },
});
