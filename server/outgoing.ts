/** Sending on: the runner that takes what is due from the spool, the SMTP it goes out by, the reports to senders. */
import type { Clock } from "./clock.ts";
import type { Config } from "./config/config.ts";
import { Reports } from "./delivery/reports.ts";
import { Runner, type RunnerSettings } from "./delivery/runner.ts";
import {
  type Destination,
  openSmtpDelivery,
  type SmtpDelivery,
  type SmtpJob,
  type SmtpResult,
} from "./delivery/smtp/transport.ts";
import { smtpCourier } from "./delivery/smtp_courier.ts";
import type { PassageOpened, PassageRequest, Passing } from "./delivery/passing.ts";
import type { Directions } from "./control/operations.ts";
import type { Ways } from "./control/redirect.ts";
import { domainOf } from "./control/standing.ts";
import type { Resolver } from "./dns.ts";
import { flush } from "./flush.ts";
import type { Ids } from "./ids.ts";
import type { Hop } from "./plugin.ts";
import type { Metrics } from "./admin/metrics.ts";
import type { Body } from "./message/content.ts";
import type { Observations } from "./observe/observations.ts";
import type { Log } from "./log.ts";
import { OutgoingTls } from "./outgoing_tls.ts";
import { smtpTransport } from "./resolve.ts";
import { Screens } from "./screening.ts";
import type { Sessions } from "./sessions.ts";
import type { QueuedRecipient, Spool } from "./spool/spool.ts";
import type { Stores } from "./store.ts";

/** What sending needs of the server. */
export interface OutgoingEdges {
  readonly clock: Clock;
  readonly log: Log;
  readonly ids: Ids;
  readonly dns: Resolver;
  readonly spool: Spool;
  readonly store: Stores;
  /** Whose plugins are asked, and by whom our own mail is taken. */
  readonly sessions: Sessions;
  readonly metrics: Metrics;
  /** Where a plugin's `replaceBody` writes to. */
  readonly newBody: (id: string) => Body;
  readonly observations?: Observations | undefined;
  /** The port of MTA-STS policy hosts: 443, but for tests. */
  readonly policyPort?: number | undefined;
}

/** What sends mail on. */
export class Outgoing {
  readonly #edges: OutgoingEdges;
  /** What runs the queue; for people: what is under way, and what sleeps. */
  readonly runner: Runner;
  readonly #tls: OutgoingTls;
  #smtp: Retiring;
  #hostname: string;
  /** Of configurations before: they finish what they have begun. */
  readonly #retired = new Set<Retiring>();

  private constructor(edges: OutgoingEdges, tls: OutgoingTls, config: Config) {
    const { clock, log, ids, spool, sessions, metrics } = edges;
    this.#hostname = config.hostname;
    const hostname = () => this.#hostname;
    this.#edges = edges;
    this.#tls = tls;
    this.#smtp = new Retiring(openSmtp(config, edges, tls));
    const reports = new Reports({
      get hostname() {
        return hostname(); // as it is when the report is written, a reload may have changed it
      },
      clock,
      log,
      ids,
      spool,
      submitBounce: ({ recipients, content, utf8, about }) =>
        sessions.submit({ sender: "", recipients, content, utf8, about }),
      viaOf: (address) => sessions.transportOf(address),
    });
    const screens = new Screens({ ...edges, hostname });
    this.runner = new Runner({
      spool,
      clock,
      log,
      reports,
      builtIn: new Map([[smtpTransport, smtpCourier(() => this.#smtp)]]),
      plugins: () => sessions.plugins(),
      settings: settingsOf(config),
      screen: (...asked) => screens.screen(...asked),
      metrics,
    });
  }

  /** Ready to send: `runner.start()` begins. @throws {Error} when `outbound.authorities` can't be read. */
  static async open(config: Config, edges: OutgoingEdges): Promise<Outgoing> {
    const tls = await OutgoingTls.open(config, { ...edges, submit: (mail) => edges.sessions.submit(mail) });
    return new Outgoing(edges, tls, config);
  }

  /** Begins: takes what is due, and says whether DANE can be used. */
  start(): void {
    this.runner.start();
    this.#tls.start();
  }

  /** Where mail goes, for the queue's people. */
  get directions(): Directions {
    const { sessions } = this.#edges;
    const ways: Ways = {
      get transports() {
        const { chain, release } = sessions.plugins();
        try {
          return [smtpTransport, ...chain.generation.transports.keys()];
        } finally {
          release();
        }
      },
      whereabouts: (address) => sessions.whereabouts(address),
    };
    // By what the configuration says; a `route` hook may say otherwise.
    const nextHop = ({ address, via, hops }: QueuedRecipient) =>
      via === smtpTransport ? this.#smtp.destinationOf(domainOf(address), hops).key : via;
    return { ways, nextHop };
  }

  /** Tries what waits for a domain now. @throws {TypeError} when it is not a domain. */
  async flush(domain: string, how?: { subdomains?: boolean }): Promise<{ messages: number }> {
    const { spool, clock } = this.#edges;
    return await flush({ spool, clock, rouse: (some) => this.runner.rouseOnly(some) }, domain, how);
  }

  /** Attempts that begin from now on follow this configuration. */
  async reload(config: Config): Promise<void> {
    try {
      await this.#tls.use(config);
      const smtp = new Retiring(openSmtp(config, this.#edges, this.#tls));
      const before = this.#smtp;
      this.#smtp = smtp;
      this.#retired.add(before);
      before.retire(() => this.#retired.delete(before));
    } catch (error) {
      const reason = (error as Error).message;
      this.#edges.log.error("`outbound.authorities` not reloaded: the old ones stay", { error: reason });
    }
    this.#hostname = config.hostname;
    this.runner.use(settingsOf(config));
  }

  /** What passes transactions on, by the configuration that is in use when one begins. */
  get passing(): Passing {
    return {
      keyOf: (hops) => this.#smtp.keyOf(hops),
      open: (request) => this.#smtp.open(request),
    };
  }

  /** Senders of configurations before that still have something under way. */
  get retired(): number {
    return this.#retired.size;
  }

  /** Begins no attempt more, and lets what is under way finish; what is cut off stays in the queue. */
  async stop(patience: number): Promise<void> {
    await this.runner.stop(patience);
  }

  /** Closes all connections, also of transactions that are passed on: once nobody has one any more. */
  async close(): Promise<void> {
    await Promise.all([this.#smtp, ...this.#retired].map((smtp) => smtp.close()));
    await this.#tls.close();
  }
}

/** A sender that is closed, when another has taken its place, with the last of its attempts. */
class Retiring implements SmtpDelivery, Passing {
  readonly #smtp: SmtpDelivery & Passing;
  #busy = 0;
  #onGone: (() => void) | undefined;

  constructor(smtp: SmtpDelivery & Passing) {
    this.#smtp = smtp;
  }

  destinationOf(domain: string, hops?: readonly Hop[]): Destination {
    return this.#smtp.destinationOf(domain, hops);
  }

  keyOf(hops: readonly Hop[]): string {
    return this.#smtp.keyOf(hops);
  }

  async deliver(job: SmtpJob): Promise<SmtpResult[]> {
    this.#busy++;
    try {
      return await this.#smtp.deliver(job);
    } finally {
      this.#done();
    }
  }

  async open(request: PassageRequest): Promise<PassageOpened> {
    this.#busy++;
    const opened = await this.#smtp.open(request);
    if (opened.kind === "refused") this.#done();
    else void opened.passage.released.then(() => this.#done());
    return opened;
  }

  #done(): void {
    this.#busy--;
    this.#closeIfDone();
  }

  /** Takes nothing more. @param onGone Called when its connections are closed. */
  retire(onGone: () => void): void {
    this.#onGone = onGone;
    this.#closeIfDone();
  }

  close(): Promise<void> {
    return this.#smtp.close();
  }

  #closeIfDone(): void {
    if (this.#busy === 0 && this.#onGone) void this.close().then(this.#onGone);
  }
}

function openSmtp(
  { hostname, outbound }: Config,
  { dns, clock, log }: OutgoingEdges,
  { sts, reports, trust }: OutgoingTls,
): SmtpDelivery & Passing {
  return openSmtpDelivery({
    hostname,
    outbound,
    query: dns.query,
    clock,
    log,
    trust,
    sts: outbound.mtaSts ? sts : undefined,
    gather: reports.gather,
    isTlsReport: (message) => reports.isReport(message),
  });
}

function settingsOf(
  { outbound: { retry, giveUpAfter, delayNoticeAfter, concurrency } }: Config,
): RunnerSettings {
  return { policy: { schedule: retry, giveUpAfter, delayNoticeAfter }, concurrency };
}
