/** Where an operator sends mail instead: what the command says, and what it means to the queue. */
import type { QueuedRecipient } from "../spool/spool.ts";
import { parseAddress } from "../smtp/address.ts";
import type { HostHop } from "../verdict.ts";
import type { Elsewhere } from "./selection.ts";
import { domainOf } from "./standing.ts";

/** As the command says it: at least one of them. */
export interface Way {
  /** Another address. */
  readonly to?: string | undefined;
  /** Another transport, by name; `smtp` alone: as configuration and DNS have it. */
  readonly via?: string | undefined;
  /** Another host, by SMTP. */
  readonly host?: HostHop | undefined;
}

/** Where an address goes. */
export type Whereabouts =
  | { readonly kind: "mailbox"; readonly address: string; readonly via: string }
  /** An alias of several. */
  | { readonly kind: "several"; readonly addresses: readonly string[] }
  /** There is none such, or nobody could say; `why` is a reply's text. */
  | { readonly kind: "nobody" | "unsure"; readonly why: string };

/** What is asked of a running server. */
export interface Ways {
  /** Names of the transports there are. */
  readonly transports: readonly string[];
  whereabouts(address: string): Promise<Whereabouts>;
}

/** A redirect to nowhere: `message` is a sentence. */
export class NoSuchWay extends Error {
  override readonly name = "NoSuchWay";
}

const smtp = "smtp";

/**
 * What a way means to the queue.
 *
 * @param ways Absent: no server runs, whose plugins could be asked.
 * @throws {NoSuchWay} when nothing can go there.
 */
export async function elsewhere({ to, via, host }: Way, ways: Ways | undefined): Promise<Elsewhere> {
  if (via !== undefined && ways && !ways.transports.includes(via)) {
    throw new NoSuchWay(`There is no transport "${via}": there are ${ways.transports.join(", ")}.`);
  }
  const hops = host && [host];
  const known = hops ? smtp : via;
  if (to === undefined) return { ...(known !== undefined && { via: known }), ...(hops && { hops }) };
  const address = parseAddress(to);
  if (!address || address.domain === "") {
    throw new NoSuchWay(`"${to}" is not an address such as bob@example.org.`);
  }
  if (known !== undefined) return { address: address.address, via: known, ...(hops && { hops }) };
  if (!ways) {
    throw new NoSuchWay(
      "Whether an address is a mailbox here, only the plugins of a running server know: start it, or say how it goes, " +
        "with --via smtp for mail to others.",
    );
  }
  const found = await ways.whereabouts(address.address);
  switch (found.kind) {
    case "mailbox":
      return { address: found.address, via: found.via };
    case "several":
      throw new NoSuchWay(`${to} is several: ${found.addresses.join(", ")}. Redirect to one of them.`);
    case "nobody":
      throw new NoSuchWay(`Nobody takes mail for ${to}: ${found.why}`);
    case "unsure":
      throw new NoSuchWay(`Nobody can say now where ${to} is: ${found.why}`);
  }
}

/** Where a recipient's copy goes, as far as its address tells. */
export function nextHopOf({ address, via, hops }: QueuedRecipient): string {
  if (via !== smtp) return via;
  if (hops) return hops.map(hopText).join(" ");
  return domainOf(address);
}

/** `mx.example.net:25`. */
export function hopText({ host, port = 25 }: HostHop): string {
  return `${host.includes(":") ? `[${host}]` : host.toLowerCase()}:${port}`;
}
