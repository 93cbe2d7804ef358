/** Where mail for a domain goes, as the configuration says it: hosts by name, or those that MX names. */
import type { Outbound, Route } from "../../config/outbound.ts";
import type { Hop } from "../../verdict.ts";

/** `opportunistic`: TLS where it can be had, verified or not; `required`: verified, or not sent; `implicit`: that, from the first byte on. */
export type TlsPolicy = "opportunistic" | "required" | "none" | "implicit";

/** A host to connect to. */
export interface NextHop {
  /** A name or an IP address. */
  readonly host: string;
  readonly port: number;
  readonly tls: TlsPolicy;
}

/** Where recipients go together. */
export type Destination = MxDestination | HopsDestination;

interface AnyDestination {
  /** Stands for it wherever destinations are counted, slept and shown: of MX the domain, else `host:port`. */
  readonly key: string;
  /** The local IP address to connect from. */
  readonly source: string | undefined;
  /** What EHLO says instead of `hostname`. */
  readonly helo: string | undefined;
}

/** The hosts that the domain's MX records name. */
export interface MxDestination extends AnyDestination {
  readonly kind: "mx";
  /** Lower case, in A-labels; or an address literal. */
  readonly domain: string;
  readonly tls: TlsPolicy;
}

/** Named hosts, tried in order. */
export interface HopsDestination extends AnyDestination {
  readonly kind: "hops";
  /** At least one. */
  readonly hops: readonly NextHop[];
  readonly auth: Route["auth"];
}

/** Few have more correspondents; what is kept is only there to be made once. */
const mostKept = 10_000;

/** `outbound.route` and `outbound.tls`, ready to be asked. */
export class Destinations {
  readonly #outbound: Outbound;
  readonly #known = new Map<string, Destination>();

  constructor(outbound: Outbound) {
    this.#outbound = outbound;
  }

  /**
   * Where mail for a domain goes.
   *
   * @param domain Lower case, in A-labels.
   * @param hops What the `route` hook said.
   */
  of(domain: string, hops?: readonly Hop[]): Destination {
    if (hops !== undefined && hops.length > 0) return this.#byHook(domain, hops);
    const known = this.#known.get(domain);
    if (known !== undefined) return known;
    const route = lookUp(this.#outbound.route, domain);
    const destination = route?.host === undefined
      ? this.#byMx(domain, route)
      : this.#byRoute(domain, { ...route, host: route.host });
    if (this.#known.size >= mostKept) this.#known.clear();
    this.#known.set(domain, destination);
    return destination;
  }

  #byMx(domain: string, route: Route | undefined): MxDestination {
    const tls = route?.tls ?? this.#tlsOf(domain) ?? "opportunistic";
    return { kind: "mx", key: domain, domain, tls, source: route?.source, helo: route?.helo };
  }

  #byRoute(domain: string, route: Route & { readonly host: string }): HopsDestination {
    const port = route.port ?? this.#outbound.port;
    // A password is to go to the host it is meant for, so TLS is verified unless somebody says otherwise.
    const usual = port === 465 ? "implicit" : route.auth !== undefined ? "required" : undefined;
    const tls = route.tls ?? usual ?? this.#tlsOf(domain) ?? "opportunistic";
    const { host, auth, source, helo } = route;
    return {
      kind: "hops",
      key: keyOf([{ host, port, tls }], [auth?.user, source, helo]),
      hops: [{ host, port, tls }],
      auth,
      source,
      helo,
    };
  }

  #byHook(domain: string, given: readonly Hop[]): HopsDestination {
    const usual = this.#tlsOf(domain) ?? "opportunistic";
    const hops = given.map(({ host, port, tls }) => ({
      host,
      port: port ?? this.#outbound.port,
      tls: tls ?? usual,
    }));
    return { kind: "hops", key: keyOf(hops, []), hops, auth: undefined, source: undefined, helo: undefined };
  }

  #tlsOf(domain: string): "opportunistic" | "required" | "none" | undefined {
    return lookUp(this.#outbound.tls, domain);
  }
}

/** What makes two sessions different is in the key: mail that needs TLS must not go with mail that doesn't. */
function keyOf(hops: readonly NextHop[], more: readonly (string | undefined)[]): string {
  const hosts = hops.map(({ host, port, tls }) => {
    const place = `${host.includes(":") ? `[${host}]` : host.toLowerCase()}:${port}`;
    return tls === "opportunistic" ? place : `${place} (${tls})`;
  });
  return [...hosts, ...more.filter((one) => one !== undefined)].join(" ");
}

/** The entry for a domain: its own, else the longest `*.` that fits, else `*`. */
export function lookUp<T>(table: ReadonlyMap<string, T>, domain: string): T | undefined {
  if (table.size === 0) return undefined;
  const exact = table.get(domain);
  if (exact !== undefined) return exact;
  for (let dot = domain.indexOf("."); dot >= 0; dot = domain.indexOf(".", dot + 1)) {
    const wild = table.get(`*${domain.slice(dot)}`);
    if (wild !== undefined) return wild;
  }
  return table.get("*");
}
