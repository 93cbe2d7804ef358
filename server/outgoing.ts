/** Sending on: the runner that takes what is due from the spool, the SMTP it goes out by, the reports to senders. */
import type { Clock } from "./clock.ts";
import type { Config } from "./config/config.ts";
import { Reports } from "./delivery/reports.ts";
import { Runner, type RunnerSettings } from "./delivery/runner.ts";
import { trusting } from "./delivery/smtp/tls.ts";
import { openSmtpDelivery, type SmtpDelivery } from "./delivery/smtp/transport.ts";
import { smtpCourier } from "./delivery/smtp_courier.ts";
import type { Resolver } from "./dns.ts";
import type { Ids } from "./ids.ts";
import type { Metrics } from "./admin/metrics.ts";
import type { Log } from "./log.ts";
import { smtpTransport } from "./resolve.ts";
import type { Sessions } from "./sessions.ts";
import type { Spool } from "./spool/spool.ts";

/** What sending needs of the server. */
export interface OutgoingEdges {
  readonly clock: Clock;
  readonly log: Log;
  readonly ids: Ids;
  readonly dns: Resolver;
  readonly spool: Spool;
  /** Whose plugins are asked, and by whom our own mail is taken. */
  readonly sessions: Sessions;
  readonly metrics: Metrics;
}

/** What sends mail on. */
export class Outgoing {
  readonly #edges: OutgoingEdges;
  /** What runs the queue; for people: what is under way, and what sleeps. */
  readonly runner: Runner;
  #smtp: SmtpDelivery;
  #hostname: string;
  /** Of configurations before: they finish what they have begun. */
  readonly #retired: SmtpDelivery[] = [];

  private constructor(edges: OutgoingEdges, smtp: SmtpDelivery, config: Config) {
    const { clock, log, ids, spool, sessions, metrics } = edges;
    this.#hostname = config.hostname;
    const hostname = () => this.#hostname;
    this.#edges = edges;
    this.#smtp = smtp;
    const reports = new Reports({
      get hostname() {
        return hostname(); // as it is when the report is written, a reload may have changed it
      },
      clock,
      log,
      ids,
      spool,
      submitBounce: ({ recipients, content, utf8 }) =>
        sessions.submit({ sender: "", recipients, content, utf8 }),
      viaOf: (address) => sessions.transportOf(address),
    });
    this.runner = new Runner({
      spool,
      clock,
      log,
      reports,
      builtIn: new Map([[smtpTransport, smtpCourier(() => this.#smtp)]]),
      plugins: () => sessions.plugins(),
      settings: settingsOf(config),
      metrics,
    });
  }

  /** Begins to send what is due. @throws {Error} when `outbound.authorities` can't be read. */
  static async start(config: Config, edges: OutgoingEdges): Promise<Outgoing> {
    const outgoing = new Outgoing(edges, await openSmtp(config, edges), config);
    outgoing.runner.start();
    return outgoing;
  }

  /** Attempts that begin from now on follow this configuration. */
  async reload(config: Config): Promise<void> {
    try {
      const smtp = await openSmtp(config, this.#edges);
      this.#retired.push(this.#smtp);
      this.#smtp = smtp;
    } catch (error) {
      const reason = (error as Error).message;
      this.#edges.log.error("`outbound.authorities` not reloaded: the old ones stay", { error: reason });
    }
    this.#hostname = config.hostname;
    this.runner.use(settingsOf(config));
  }

  /** Begins nothing more, and lets what is under way finish; what is cut off stays in the queue. */
  async stop(patience: number): Promise<void> {
    await this.runner.stop(patience);
    await Promise.all([this.#smtp, ...this.#retired].map((smtp) => smtp.close()));
  }
}

async function openSmtp(
  { hostname, outbound }: Config,
  { dns, clock, log }: OutgoingEdges,
): Promise<SmtpDelivery> {
  const pem = outbound.authorities === undefined ? undefined : await Deno.readTextFile(outbound.authorities);
  return openSmtpDelivery({
    hostname,
    outbound,
    query: dns.query,
    clock,
    log,
    ...(pem !== undefined && { trust: trusting(pem) }),
  });
}

function settingsOf(
  { outbound: { retry, giveUpAfter, delayNoticeAfter, concurrency } }: Config,
): RunnerSettings {
  return { policy: { schedule: retry, giveUpAfter, delayNoticeAfter }, concurrency };
}
