/** Asking the next hop itself whether it takes mail for an address, before a client's message is. */
import { type Host, type Reject, z } from "../../server/plugin.ts";
import { join } from "../addresses.ts";
import { patience, type Source, Unusable } from "../directory/directory.ts";
import { hopsOf, nextHop, oneOfHosts } from "../next_hop.ts";

/** The option `nextHop`. */
export const nextHopOption = z.object({ ...nextHop, timeout: patience }).superRefine(oneOfHosts);

/** Asks by the server's own client: MAIL with the null sender, RCPT, never a message. */
export function openNextHop(
  { timeout, ...where }: z.output<typeof nextHopOption>,
  host: Pick<Host, "verify">,
): Source {
  const hops = hopsOf(where);
  const names = hops.map(({ host, port }) => port === undefined ? host : `${host}:${port}`).join(", ");
  return {
    about: `nextHop: ${names}`,
    identity: `nextHop ${names}`,
    timeout,
    async look({ local, domain }, signal) {
      const address = join(local, domain);
      const said = await host.verify(address, { hops, signal });
      if (said.verdict === "accept") return [address];
      if (said.verdict === "reject" && isUnknown(said)) return undefined;
      const text = `nextHop: ${names} does not say whether an address exists: ${said.status} ${said.text}`;
      throw said.status === notReached ? new Error(text) : new Unusable(text);
    },
    close() {},
  };
}

/** What `host.verify` says where no connection came about, or it was lost. */
const notReached = "4.4.1";

/**
 * Whether it is the address that is refused (RFC 3463 §3.2, §3.3), and not us: a next hop that has us on a block list says 5.7.1 to
 * every RCPT, and must not make every user unknown.
 */
function isUnknown({ status, code }: Reject): boolean {
  if (/^5\.[12]\./.test(status)) return true;
  return status === "5.0.0" && (code === 550 || code === 551 || code === 553);
}
