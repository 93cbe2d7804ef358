/** Which hosts take a domain's mail (RFC 5321 §5.1; CASES G01, G02). */
import { isIP } from "node:net";
import type { Query } from "../../dns.ts";
import { parseDomain } from "../../smtp/address.ts";

/** What a domain's MX records lead to. */
export type MailHosts =
  /** In the order in which they are tried. `implicit`: there is no MX, the domain's own addresses are to be tried. */
  | {
    readonly kind: "hosts";
    readonly hosts: readonly string[];
    readonly implicit: boolean;
    /** Whether the answer was validated (DNSSEC): no one on the way has put his own hosts in. */
    readonly secure: boolean;
  }
  /** Mail to this domain can't be sent, ever; or not now. `status` is RFC 3463's. */
  | { readonly kind: "failed" | "deferred"; readonly status: string; readonly text: string };

/** What a lookup needs. */
export interface MxHow {
  readonly query: Query;
  /** Our own names, lower case: a domain for which we are a backup is not sent to ourselves. */
  readonly ownNames: ReadonlySet<string>;
  /** At least 0 and less than 1: spreads mail over hosts of one preference. */
  readonly random: () => number;
  readonly signal: AbortSignal;
}

/**
 * Finds the hosts of a domain.
 *
 * @param domain Lower case, in A-labels; an address literal leads to itself.
 */
export async function mailHosts(domain: string, how: MxHow): Promise<MailHosts> {
  if (domain.startsWith("[")) {
    return {
      kind: "hosts",
      hosts: [domain.slice(1, -1).replace(/^ipv6:/, "")],
      implicit: true,
      secure: false,
    };
  }
  const found = await how.query(domain, "MX", how.signal);
  switch (found.kind) {
    case "failed":
      return {
        kind: "deferred",
        status: "4.4.3",
        text: `DNS: the MX of ${domain} could not be asked for (${found.reason})`,
      };
    case "none":
      return found.reason === "nxdomain"
        ? { kind: "failed", status: "5.1.2", text: `DNS: the domain ${domain} does not exist` }
        : { kind: "hosts", hosts: [domain], implicit: true, secure: found.ad };
    case "found":
      return choose(domain, found.records, found.ad, how);
  }
}

interface Exchange {
  readonly preference: number;
  readonly host: string;
}

function choose(
  domain: string,
  records: readonly Exchange[],
  secure: boolean,
  { ownNames, random }: MxHow,
): MailHosts {
  const named = records.filter(({ host }) => host !== "." && host !== "");
  if (named.length === 0) {
    return {
      kind: "failed",
      status: "5.1.10",
      text: `The domain ${domain} does not accept mail (null MX, RFC 7505)`,
    };
  }
  // Mail must come nearer to its goal with each hop, or it goes round in circles.
  const own = Math.min(
    ...named.filter(({ host }) => ownNames.has(host.toLowerCase())).map((one) => one.preference),
  );
  const nearer = named.filter(({ preference }) => preference < own);
  if (nearer.length === 0) {
    return {
      kind: "failed",
      status: "5.4.6",
      text:
        `The mail of ${domain} comes to this server, which does not take it: its MX is wrong, or this configuration`,
    };
  }
  // A name is wanted there (RFC 5321 §5.1); an IP address in it is a mistake that some resolvers would even look up.
  const usable = nearer.filter(({ host }) => isIP(host) === 0 && parseDomain(host) !== undefined);
  if (usable.length === 0) {
    return {
      kind: "failed",
      status: "5.4.4",
      text: `The MX of ${domain} names no host that mail can be sent to`,
    };
  }
  const shuffled = usable
    .map(({ preference, host }) => ({ preference, host: host.toLowerCase(), chance: random() }))
    .sort((one, other) => one.preference - other.preference || one.chance - other.chance);
  return { kind: "hosts", hosts: [...new Set(shuffled.map(({ host }) => host))], implicit: false, secure };
}
