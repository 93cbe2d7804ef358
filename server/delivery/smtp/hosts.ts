/** From a destination to hosts, and from a host to addresses; or to why there are none. */
import { isIP } from "node:net";
import type { Query } from "../../dns.ts";
import { addressesOf } from "./addresses.ts";
import type { Destination, NextHop } from "./destination.ts";
import { mailHosts } from "./mx.ts";
import { deferred, type SmtpResult } from "./result.ts";

/** What looking up needs. */
export interface HostsHow {
  readonly hostname: string;
  readonly outbound: { readonly port: number; readonly allowPrivateAddresses: boolean };
  readonly query: Query;
  readonly random: () => number;
}

/** Nothing more is to be tried: everybody's result. */
export interface Settled {
  readonly kind: "settled";
  readonly result: SmtpResult;
}

/** The hosts to try, in order. */
export interface HostPlan {
  readonly kind: "hosts";
  readonly hosts: readonly NextHop[];
  /** `mx`: named by DNS; `domain`: there is no MX, it is the domain itself; `operator`: by the configuration or a plugin. */
  readonly namedBy: "mx" | "domain" | "operator";
  /** Whether their names can be relied on: the operator's, or validated (DNSSEC). */
  readonly secure: boolean;
}

/** The addresses of a host. */
export interface FoundAddresses {
  readonly kind: "addresses";
  /** At least one. */
  readonly addresses: readonly string[];
  /** Whether they were validated (DNSSEC). */
  readonly secure: boolean;
  /** The name they stand at: the host, or what it is an alias of. */
  readonly canonical: string;
}

/** Asks DNS where mail goes. */
export class Hosts {
  readonly #how: HostsHow;
  readonly #ownNames: ReadonlySet<string>;

  constructor(how: HostsHow) {
    this.#how = how;
    this.#ownNames = new Set([how.hostname.toLowerCase()]);
  }

  /** The hosts of a destination. Rejects only with the signal's reason. */
  async plan(destination: Destination, signal: AbortSignal): Promise<HostPlan | Settled> {
    if (destination.kind === "hops") {
      return { kind: "hosts", hosts: destination.hops, namedBy: "operator", secure: true };
    }
    const { query, random, outbound } = this.#how;
    const { domain, tls } = destination;
    const found = await mailHosts(domain, { query, random, signal, ownNames: this.#ownNames });
    switch (found.kind) {
      case "hosts":
        return {
          kind: "hosts",
          hosts: found.hosts.map((host) => ({ host, port: outbound.port, tls })),
          namedBy: found.implicit ? "domain" : "mx",
          secure: found.secure,
        };
      case "failed":
        return settled({ outcome: "failed", status: found.status, reply: found.text, host: undefined });
      case "deferred":
        return settled(deferred(found.status, found.text, "dns", { destinationDown: true }));
    }
  }

  /** The addresses of one of its hosts: at least one. Rejects only with the signal's reason. */
  async addresses(
    plan: HostPlan,
    { host, path }: NextHop,
    { source }: Destination,
    signal: AbortSignal,
  ): Promise<FoundAddresses | Settled> {
    if (path !== undefined) return { kind: "addresses", addresses: [path], secure: false, canonical: host };
    const { query, outbound } = this.#how;
    const anywhere = plan.namedBy === "operator" || outbound.allowPrivateAddresses;
    const found = await addressesOf(host, query, anywhere, signal);
    switch (found.kind) {
      case "addresses":
        if (found.addresses.length > 0) return fromSource(host, found, source);
        return failed("5.4.4", `The host ${host} has only private addresses, which are not connected to`);
      case "failed":
        return settled(deferred("4.4.3", found.text, "dns", { destinationDown: true }));
      case "none":
        if (plan.namedBy === "operator") {
          // The operator's mistake: mended in the configuration, so nobody's mail is returned for it.
          const text = `DNS: the host ${host}, named by the configuration or a plugin, has no address`;
          return settled(deferred("4.3.5", text, "dns", { destinationDown: true }));
        }
        return plan.namedBy === "domain"
          ? failed("5.1.2", `DNS: the domain ${host} has neither MX nor address`)
          : failed("5.4.4", `DNS: the host ${host}, named by MX, has no address`);
    }
  }
}

/** Only addresses of its own family can be connected to from a source. */
function fromSource(
  host: string,
  found: FoundAddresses,
  source: string | undefined,
): FoundAddresses | Settled {
  if (source === undefined) return found;
  const addresses = found.addresses.filter((address) => isIP(address) === isIP(source));
  if (addresses.length > 0) return { ...found, addresses };
  const text = `The host ${host} has no address that can be connected to from ${source}`;
  return settled(deferred("4.3.5", text, "local", { destinationDown: true }));
}

function failed(status: string, reply: string): Settled {
  return settled({ outcome: "failed", status, reply, host: undefined });
}

function settled(result: SmtpResult): Settled {
  return { kind: "settled", result };
}
