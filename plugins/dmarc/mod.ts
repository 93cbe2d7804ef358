/** DMARC (RFC 9989): does who stands in `From` vouch for this message, and what does he ask for if not? */
import addressparser from "nodemailer/lib/addressparser/index.js";
import {
  accept,
  defer,
  definePlugin,
  type Headers,
  reject,
  type Transaction,
  transport,
  z,
} from "../../server/plugin.ts";
import { type Arc, arc, dkim, dmarc, spf } from "../../server/facts.ts";
import { lookups } from "../authentication/lookups.ts";
import { loadDmarc } from "../authentication/mailauth.ts";
import { apart, isReachable, isStranger } from "../authentication/strangers.ts";
import { type Disposition, dispositionOf, type Finding, strictest } from "./disposition.ts";
import { evaluate } from "./evaluate.ts";

/** Each author domain costs lookups; a message has one, hardly ever two. */
const mostAuthors = 5;
/** Characters of a `From` field that is taken apart. */
const longestField = 8192;

const domain = z.string().toLowerCase().regex(
  /^[a-z0-9-]+(\.[a-z0-9-]+)+$/,
  "not a domain such as example.org",
);

/** The plugin `dmarc`. */
export default definePlugin({
  name: "dmarc",
  roles: ["mx"],
  options: z.object({
    enforce: z.boolean().default(true)
      .describe("Do what the domain's owner asks for; false: only note the result"),
    quarantine: transport().optional()
      .describe(
        "Transport that gets what is to be quarantined; absent: it is delivered, with the result noted in it",
      ),
    trustedSealers: z.array(domain).default([])
      .describe(
        "Domains of forwarders and lists whose ARC seals are believed: what passed DMARC before them isn't refused; needs `arc` above",
      ),
  }),
  async setup(on, { enforce, quarantine, trustedSealers }, host) {
    const { check, domainsOf } = await loadDmarc();
    const [spfOf, dkimOf] = [host.needs(spf), host.needs(dkim)];
    const arcOf = host.needs(arc, { optional: trustedSealers.length === 0 });
    const tell = host.provides(dmarc);
    const decided = host.notes((_transaction: Transaction): { disposition: Disposition } => ({
      disposition: "none",
    }));

    if (enforce) on("rcpt", apart);

    on("data", async (session, message, transaction, { signal }) => {
      if (!isStranger(session)) return;
      const authors = authorsOf(message.asReceived.headers, domainsOf);
      const { ask } = lookups(host.dns, signal);
      const evidence = { spf: spfOf(transaction), dkim: dkimOf(transaction) };
      const findings: Finding[] = [];
      for (const author of authors.domains.slice(0, mostAuthors)) {
        findings.push(await evaluate(check, author, evidence, ask));
      }
      const found = strictest(findings) ?? { result: "permerror", domain: "", policy: "none" };
      const vouched = found.result === "fail" && isVouchedFor(arcOf(transaction), trustedSealers);
      tell(transaction, found);
      message.addResult({
        method: "dmarc",
        result: found.result,
        ...(found.result === "permerror" && { comment: "no author domain can be read" }),
        ...(vouched && { reason: "passed before it was forwarded, says a trusted ARC seal" }),
        properties: {
          "header.from": found.domain,
          "policy.dmarc": found.result === "fail" ? found.policy : "",
        },
      });
      const reached = transaction.recipients.every(isReachable);
      if (!enforce || reached || vouched) return;
      if (authors.problem !== undefined) return reject("5.7.1", authors.problem);
      const disposition = decided(transaction).disposition = dispositionOf(found);
      if (disposition === "reject") {
        return reject("5.7.26", `DMARC: ${found.domain} asks to refuse mail in its name that is not from it`);
      }
      if (disposition === "defer") {
        return defer(
          "4.7.26",
          `DMARC: whether this is from ${found.domain} can't be told now: DNS did not answer`,
        );
      }
    });

    if (!quarantine) return;
    on("dataFor", (_session, recipient, _message, transaction) => {
      if (decided(transaction).disposition !== "quarantine" || isReachable(recipient)) return;
      return accept({ via: quarantine });
    });
  },
});

/**
 * The domains of all who stand in all `From` fields: with two fields readers disagree on which one they show. A field with an
 * address that can't be read is refused, where there is something to refuse for: its reader might be able to.
 */
function authorsOf(
  headers: Headers,
  domainsOf: (address: string) => readonly { readonly authorDomain: string }[],
): { readonly domains: readonly string[]; readonly problem?: string } {
  const fields = headers.all("From");
  if (fields.some(({ length }) => length > longestField)) {
    return { domains: [], problem: "The From field is too long" };
  }
  const addresses = fields.flatMap((field) =>
    addressparser(field, { flatten: true }).map(({ address }) => address)
  );
  const domains = [
    ...new Set(addresses.flatMap((one) => domainsOf(one).map(({ authorDomain }) => authorDomain))),
  ];
  if (domains.length > mostAuthors) return { domains, problem: "From names too many domains" };
  const isUnread = domains.length === 0 && fields.some((field) => field.includes("@"));
  return isUnread
    ? { domains, problem: "The From field can't be read: write it as RFC 5322 has it" }
    : { domains };
}

/** Whether everybody who has sealed it is trusted, and the first of them says that it was right when it came to him. */
function isVouchedFor(chain: Arc | undefined, trusted: readonly string[]): boolean {
  if (chain?.result !== "pass" || chain.dmarc !== "pass" || chain.sealers.length === 0) return false;
  return chain.sealers.every((sealer) => trusted.includes(sealer));
}
