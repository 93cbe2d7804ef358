/** What sending needs besides a configuration to know which TLS is wanted: policies kept in the store, reports, a probe. */
import type { Clock } from "./clock.ts";
import type { Config } from "./config/config.ts";
import { askHttps, type HttpsHow } from "./delivery/https.ts";
import { policyFetcher } from "./delivery/mta_sts/fetch.ts";
import { StsPolicies } from "./delivery/mta_sts/policies.ts";
import { systemTrust, type Trust, trusting } from "./delivery/smtp/tls.ts";
import { TlsReports } from "./delivery/tls_reports/reports.ts";
import type { Resolver } from "./dns.ts";
import { probeDnssec } from "./dns/probe.ts";
import { configuredServers } from "./dns/servers.ts";
import type { Ids } from "./ids.ts";
import type { Log } from "./log.ts";
import type { Stores } from "./store.ts";
import type { OwnMail } from "./submit.ts";

/** What it needs of the server. */
export interface OutgoingTlsEdges {
  readonly clock: Clock;
  readonly log: Log;
  readonly ids: Ids;
  readonly dns: Resolver;
  readonly store: Stores;
  /** Takes mail of our own. */
  readonly submit: (mail: OwnMail) => Promise<unknown>;
  /** The port of MTA-STS policy hosts: 443, but for tests. */
  readonly policyPort?: number | undefined;
}

/** Names of stores that no plugin can have: theirs have no space. */
const stores = { policies: "mta-sts policies", reports: "tls reports" };

/** Lives as long as the server; configurations come and go. */
export class OutgoingTls {
  readonly sts: StsPolicies;
  readonly reports: TlsReports;
  readonly #edges: OutgoingTlsEdges;
  #config: Config;
  #trust: Trust;

  private constructor(config: Config, trust: Trust, edges: OutgoingTlsEdges) {
    const { clock, log, ids, dns: { query }, store, submit, policyPort = 443 } = edges;
    this.#edges = edges;
    this.#config = config;
    this.#trust = trust;
    this.sts = new StsPolicies({
      query,
      clock,
      log,
      store: store.for(stores.policies),
      fetch: (domain, signal) => policyFetcher({ ...this.#https(), port: policyPort })(domain, signal),
    });
    this.reports = new TlsReports({
      query,
      clock,
      log,
      store: store.for(stores.reports),
      newId: () => ids.message(),
      sender: () => this.#sender(),
      submit: ({ id, recipient, content }) => submit({ id, sender: "", recipients: [recipient], content }),
      post: (request, signal) => askHttps(request, this.#https(), signal),
    });
  }

  /** @throws {Error} when `outbound.authorities` can't be read. */
  static async open(config: Config, edges: OutgoingTlsEdges): Promise<OutgoingTls> {
    return new OutgoingTls(config, await trustOf(config), edges);
  }

  /** Whom hosts' and policy hosts' certificates must come from. */
  get trust(): Trust {
    return this.#trust;
  }

  /** From now on this holds. @throws {Error} when `outbound.authorities` can't be read: then all stays as it was. */
  async use(config: Config): Promise<void> {
    this.#trust = await trustOf(config);
    this.#config = config;
  }

  /** Begins to send reports, and says whether DANE can be used. */
  start(): void {
    this.reports.start();
    void this.#probe();
  }

  /** Loudly, where the operator counts on it. Never rejects. */
  async #probe(): Promise<void> {
    const { outbound, dns } = this.#config;
    const { log, dns: { query } } = this.#edges;
    if (outbound.dane === false) return;
    const servers = dns.servers.length > 0 ? dns.servers : configuredServers("/etc/resolv.conf");
    try {
      const probed = await probeDnssec({ query, name: dns.probe, servers, trustAd: dns.trustAd });
      if (probed.kind === "validates") log.info("DNS answers are validated: DANE is used");
      else if (outbound.dane) {
        log.warning("`outbound.dane` is wanted and CAN'T BE USED: DNS answers are not validated", {
          error: probed.why,
        });
      } else log.info("DNS answers are not validated: DANE is not used", { reason: probed.why });
    } catch (error) {
      log.warning("whether DNS answers are validated could not be found out", { error: String(error) });
    }
  }

  /** Writes what was gathered; fetches and sends no more. */
  async close(): Promise<void> {
    await Promise.all([this.sts.close(), this.reports.close()]);
  }

  #https(): HttpsHow {
    const { clock, dns: { query } } = this.#edges;
    const { allowPrivateAddresses } = this.#config.outbound;
    return { clock, query, trust: this.#trust, allowPrivateAddresses };
  }

  #sender() {
    const { tlsReports, route } = this.#config.outbound;
    return tlsReports &&
      { organization: undefined, contact: undefined, ...tlsReports, sendingAddress: route.get("*")?.source };
  }
}

async function trustOf({ outbound: { authorities } }: Config): Promise<Trust> {
  return authorities === undefined ? systemTrust : trusting(await Deno.readTextFile(authorities));
}
