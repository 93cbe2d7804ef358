/** The IP addresses of a host, in the order in which they are tried. */
import { isIP } from "node:net";
import ipaddr from "ipaddr.js";
import type { Query } from "../../dns.ts";

/** What a host's name leads to. */
export type HostAddresses =
  /** `private`: others, that are not connected to. */
  | {
    readonly kind: "addresses";
    readonly addresses: readonly string[];
    readonly private: number;
    /** Whether they were validated (DNSSEC), all of them. */
    readonly secure: boolean;
    /** The name they stand at: the host, or what it is an alias of. */
    readonly canonical: string;
  }
  /** There is no such name, or it has no address. */
  | { readonly kind: "none" }
  /** DNS could not be asked: temporary. */
  | { readonly kind: "failed"; readonly text: string };

/**
 * Looks up a host's addresses: IPv6 and IPv4 by turns, IPv6 first (RFC 6724, RFC 8305 §4).
 *
 * @param allowPrivate Whether addresses of loopback, private and link-local networks count.
 */
export async function addressesOf(
  host: string,
  query: Query,
  allowPrivate: boolean,
  signal: AbortSignal,
): Promise<HostAddresses> {
  const found = isIP(host)
    ? { addresses: [host], secure: false, canonical: host }
    : await lookUp(host, query, signal);
  if ("kind" in found) return found;
  const { addresses: all, secure, canonical } = found;
  if (all.length === 0) return { kind: "none" };
  const addresses = allowPrivate ? all : all.filter(isPublic);
  return { kind: "addresses", addresses, private: all.length - addresses.length, secure, canonical };
}

async function lookUp(
  host: string,
  query: Query,
  signal: AbortSignal,
): Promise<LookedUp | Extract<HostAddresses, { kind: "failed" }>> {
  const [six, four] = await Promise.all([query(host, "AAAA", signal), query(host, "A", signal)]);
  const sixes = six.kind === "found" ? six.records : [];
  const fours = four.kind === "found" ? four.records : [];
  if (sixes.length + fours.length === 0) {
    // One of them may have been the address: "none" would be a guess (promise 5).
    const failed = four.kind === "failed" ? four : six;
    if (failed.kind === "failed") {
      return {
        kind: "failed",
        text: `DNS: the addresses of ${host} could not be asked for (${failed.reason})`,
      };
    }
  }
  const byTurns: string[] = [];
  for (let i = 0; i < Math.max(sixes.length, fours.length); i++) {
    if (i < sixes.length) byTurns.push(sixes[i]!);
    if (i < fours.length) byTurns.push(fours[i]!);
  }
  const both = [six, four].filter((one) => one.kind === "found");
  return {
    addresses: byTurns,
    secure: both.length > 0 && both.every(({ ad }) => ad),
    canonical: both[0]?.canonical ?? host,
  };
}

interface LookedUp {
  readonly addresses: readonly string[];
  readonly secure: boolean;
  readonly canonical: string;
}

/**
 * Whether an address is one of the public internet. A stranger's MX may point anywhere, at our own loopback and at the
 * operator's private machines, too; these are never connected to on a stranger's word.
 */
export function isPublic(address: string): boolean {
  const ip = ipaddr.process(address); // IPv4-mapped IPv6 becomes IPv4
  const range = ip.range();
  // NAT64 (RFC 6052): what DNS64 makes of an IPv4 address is as public as that one.
  if (range === "rfc6052") return ipaddr.fromByteArray(ip.toByteArray().slice(-4)).range() === "unicast";
  return range === "unicast";
}
