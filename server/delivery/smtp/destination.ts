/** Where mail for a domain goes, as the configuration says it: hosts by name, or those that MX names. */
import type { Outbound, Route } from "../../config/outbound.ts";
import type { Hop, HopAuth } from "../../verdict.ts";

/** `opportunistic`: TLS where it can be had, verified or not; `required`: verified, or not sent; `implicit`: that, from the first byte on. */
export type TlsPolicy = "opportunistic" | "required" | "none" | "implicit";

/** A host to connect to. */
export interface NextHop {
  /** A name or an IP address; of a Unix socket `localhost`. */
  readonly host: string;
  /** Of a Unix socket 0. */
  readonly port: number;
  /** The Unix socket that is connected to instead, never encrypted. */
  readonly path?: string | undefined;
  readonly tls: TlsPolicy;
  readonly auth?: Account | undefined;
  /** Default `smtp`. */
  readonly protocol?: "smtp" | "lmtp" | undefined;
}

/** Who logs in at a hop. */
export interface Account extends HopAuth {
  /** Stands for user and password where sessions are told apart and where people read: the password isn't in it. */
  readonly label: string;
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
}

/** Few have more correspondents; what is kept is only there to be made once. */
const mostKept = 10_000;

/** `outbound.route` and `outbound.tls`, ready to be asked. */
export class Destinations {
  readonly #outbound: Outbound;
  readonly #known = new Map<string, Destination>();
  /** By user and password. */
  readonly #accounts = new Map<string, Account>();
  /** Who has an account in there. */
  readonly #users = new Set<string>();
  #numbered = 0;

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
    const hops = [{ host, port, tls, auth: auth && this.#account(auth) }];
    return { kind: "hops", key: keyOf(hops, [source, helo]), hops, source, helo };
  }

  #byHook(domain: string, given: readonly Hop[]): HopsDestination {
    const usual = this.#tlsOf(domain) ?? "opportunistic";
    const hops = given.map((hop): NextHop => {
      const auth = hop.auth && this.#account(hop.auth);
      const { protocol } = hop;
      if (hop.path !== undefined) {
        return { host: "localhost", port: 0, path: hop.path, tls: "none", auth, protocol };
      }
      const port = hop.port ?? this.#outbound.port;
      const tls = hop.tls ?? (port === 465 ? "implicit" : auth !== undefined ? "required" : usual);
      return { host: hop.host, port, tls, auth, protocol };
    });
    return { kind: "hops", key: keyOf(hops, []), hops, source: undefined, helo: undefined };
  }

  /** The same user with another password is another account: who has it wrong must not get in by who has it right. */
  #account(auth: HopAuth): Account {
    const { user, password, passwordFile } = auth;
    const key = JSON.stringify([user, password, passwordFile]);
    const known = this.#accounts.get(key);
    if (known !== undefined) return known;
    if (this.#accounts.size >= mostKept) this.#accounts.clear(); // `#users` stays: no label is ever given to another
    const isFirst = !this.#users.has(user) && this.#users.size < mostKept;
    if (isFirst) this.#users.add(user);
    const label = isFirst ? user : `${user}#${++this.#numbered}`;
    const account: Account = { user, password, passwordFile, label };
    this.#accounts.set(key, account);
    return account;
  }

  #tlsOf(domain: string): "opportunistic" | "required" | "none" | undefined {
    return lookUp(this.#outbound.tls, domain);
  }
}

/** Where a hop is, for people and for keys. */
export function placeOf({ host, port, path }: NextHop): string {
  return path ?? `${host.includes(":") ? `[${host}]` : host.toLowerCase()}:${port}`;
}

/** What makes two sessions different is in the key: mail that needs TLS must not go with mail that doesn't. */
function keyOf(hops: readonly NextHop[], more: readonly (string | undefined)[]): string {
  const hosts = hops.map((hop) => {
    const { path, tls, auth, protocol } = hop;
    const policy = path !== undefined || tls === "opportunistic" ? [] : [`(${tls})`];
    return [placeOf(hop), ...policy, ...(protocol === "lmtp" ? ["lmtp"] : []), ...(auth ? [auth.label] : [])]
      .join(" ");
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
