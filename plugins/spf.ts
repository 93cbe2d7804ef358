/** SPF (RFC 7208): may this client send for the domain of the envelope sender? */
import { definePlugin, reject, type Session, type Transaction, z } from "../server/plugin.ts";
import { type Spf, spf } from "../server/facts.ts";
import { lookups } from "./authentication/lookups.ts";
import { loadSpf } from "./authentication/mailauth.ts";
import { isReachable, isStranger } from "./authentication/strangers.ts";

/** RFC 7208 §4.6.4: at least 20 seconds; a plugin's own time-out is 30. */
const longest = 20_000;

/** RFC 7372 §3.2. */
const statuses = { fail: "5.7.23", softfail: "5.7.23", permerror: "5.7.24" } as const;

/** What is known of a transaction; `undefined`: it isn't a stranger's. */
interface Found {
  spf?: Spf & { readonly explanation?: string; readonly properties: Readonly<Record<string, string>> };
}

/** The plugin `spf`. */
export default definePlugin({
  name: "spf",
  roles: ["mx"],
  options: z.object({
    refuse: z.array(z.enum(["fail", "softfail", "permerror"])).default([])
      .describe("Results that are refused at RCPT; without any, the result is only noted"),
  }),
  async setup(on, { refuse }, host) {
    const check = await loadSpf();
    const found = host.notes((_transaction: Transaction): Found => ({}));
    const tell = host.provides(spf);

    on("mail", async (session, transaction, { signal }) => {
      if (!isStranger(session)) return;
      const { ask } = lookups(host.dns, signal);
      const { sender } = transaction;
      const isNull = sender.domain === "";
      const name = session.helo ?? "";
      const { status, domain, explanation } = await check({
        sender: isNull ? "" : `${sender.local}@${sender.domain}`,
        ip: session.remote.address,
        helo: name,
        mta: "unknown", // RFC 7208 §7.3: only for texts
        resolver: ask,
        strict: true,
        maxElapsedTime: longest,
      });
      // An address literal, or a name of one label, is no domain that SPF could be asked of (§4.3).
      const told: Spf = {
        result: status.result as Spf["result"],
        domain: isNull ? name.toLowerCase() : domain,
      };
      found(transaction).spf = {
        ...told,
        ...(explanation && { explanation }),
        // Of the address only what counts (RFC 8601 §2.7.2).
        properties: isNull ? { "smtp.helo": name } : { "smtp.mailfrom": sender.domain },
      };
      tell(transaction, told);
    });

    on("rcpt", (session: Session, recipient, transaction) => {
      const known = found(transaction).spf;
      if (!known || !isStranger(session) || isReachable(recipient)) return;
      const result = refuse.find((one) => one === known.result);
      if (result === undefined) return;
      return reject(statuses[result], textOf(result, known.domain, session, known.explanation));
    });

    on("data", (_session, message, transaction) => {
      const known = found(transaction).spf;
      if (known) message.addResult({ method: "spf", result: known.result, properties: known.properties });
    });
  },
});

function textOf(
  result: keyof typeof statuses,
  domain: string,
  { remote }: Session,
  explanation?: string,
): string {
  if (result === "permerror") return `SPF: the record of ${domain} can't be used: its owner has to mend it`;
  const text = `SPF: ${domain} does not send from ${remote.address}`;
  // The words are a stranger's (RFC 7208 §8.4): said to be so, and not at any length.
  return explanation ? `${text}; ${domain} explains: ${explanation.slice(0, 200)}` : text;
}
