/**
 * Sending by SMTP: one attempt for recipients of one message at one destination, over a connection that is kept or made.
 *
 * ```text
 * kept session for the destination? ── yes ──► send ── dead before a reply (O07) ──┐
 *        │ no                                    │                                 │
 *        ▼                                       ▼                                 ▼
 * hosts (MX or route) ► addresses ► race ► session (EHLO, TLS, AUTH) ► send ► keep the session
 *        └────────── next host ◄── next address ◄── no session, or it ended before the message was all sent
 * ```
 *
 * At most five addresses and two sessions a message (CASES O02).
 */
import type { Clock } from "../../clock.ts";
import type { Outbound } from "../../config/outbound.ts";
import type { Query } from "../../dns.ts";
import type { Log } from "../../log.ts";
import type { Hop } from "../../verdict.ts";
import { Connections } from "./connections.ts";
import { Demands, type DomainDemand, type Refused } from "./demand.ts";
import { type Destination, Destinations, type NextHop } from "./destination.ts";
import { type Dial, dial } from "./dial.ts";
import { Hosts } from "./hosts.ts";
import { type Batch, Ledger, type SmtpJob } from "./ledger.ts";
import { type OpenedSession, Opener, type Target } from "./open.ts";
import { Passages } from "./passages.ts";
import { deferralOf, deferred, type SmtpResult } from "./result.ts";
import type { Trust } from "./tls.ts";
import { type Gather, Witness } from "./witness.ts";
import type { PassageOpened, PassageRequest, Passing } from "../passing.ts";
import type { ClientResult } from "../../smtp/client.ts";
import type { StsPolicies } from "../mta_sts/policies.ts";

export type { Destination } from "./destination.ts";
export type { SmtpJob } from "./ledger.ts";
export type { DeferReason, SmtpDeferred, SmtpDelivered, SmtpFailed, SmtpResult } from "./result.ts";

/** Sends messages on. */
export interface SmtpDelivery {
  /**
   * Where mail for a domain goes.
   *
   * @param domain Lower case, in A-labels, or an address literal.
   * @param hops What the `route` hook said.
   */
  destinationOf(domain: string, hops?: readonly Hop[]): Destination;
  /** One attempt. One result for each recipient, in order; never rejects. */
  deliver(job: SmtpJob): Promise<SmtpResult[]>;
  /** Gives up what is under way, says QUIT on the other connections, and resolves when all are closed. */
  close(): Promise<void>;
}

/** What sending needs. */
export interface SmtpHow {
  /** What EHLO says, and the name that is our own among a domain's MX. */
  readonly hostname: string;
  readonly outbound: Outbound;
  readonly query: Query;
  readonly clock: Clock;
  readonly log: Log;
  /** Trusts other authorities than the runtime's: see `trusting` in `tls.ts`. */
  readonly trust?: Trust;
  /** The MTA-STS policies of recipients' domains; absent: they are not asked for. */
  readonly sts?: StsPolicies | undefined;
  /** Told what TLS each session came to. */
  readonly gather?: Gather | undefined;
  /** Whether a message is a report on TLS itself: it is sent whatever policies say, and is not reported on (RFC 8460 §3). */
  readonly isTlsReport?: ((message: { id: string; sender: string }) => Promise<boolean>) | undefined;
  /** At least 0 and less than 1; default `Math.random`. */
  readonly random?: () => number;
  /** Opens connections; default: by the machine's network. */
  readonly dial?: Dial;
}

/** RFC 5321 §5.1 sets no bounds; Postfix' do. */
const mostAddresses = 5;
const mostSessions = 2;
/** A connection is kept so long without a message, for so many of them, and no longer than this from its opening on. */
const keeping = { idle: 5000, messages: 100, age: 300_000 };

/** Makes the sender. Nothing is connected to yet. */
export function openSmtpDelivery(how: SmtpHow): SmtpDelivery & Passing {
  return new Delivery(how);
}

class Delivery implements SmtpDelivery, Passing {
  readonly #how: SmtpHow;
  readonly #destinations: Destinations;
  readonly #connections: Connections<OpenedSession>;
  readonly #hosts: Hosts;
  readonly #opener: Opener;
  readonly #forMail: Policy;
  /** Reports on TLS get what the operator wants. */
  readonly #forReports: Policy;
  readonly #passages: Passages;
  readonly #closing = new AbortController();

  constructor(how: SmtpHow) {
    this.#how = how;
    const { query, clock, log, sts } = how;
    this.#forMail = {
      demands: new Demands({ query, clock, log, sts, dane: how.outbound.dane !== false }),
      witness: new Witness(how.gather ?? (() => {}), log, clock),
    };
    this.#forReports = { demands: new Demands({ query, clock, log, dane: false }), witness: undefined };
    this.#destinations = new Destinations(how.outbound);
    this.#connections = new Connections({ clock: how.clock, ...keeping });
    this.#hosts = new Hosts({ ...how, random: how.random ?? Math.random });
    this.#opener = new Opener({ ...how, dial: how.dial ?? dial });
    this.#passages = new Passages({
      clock: how.clock,
      log: how.log,
      hosts: this.#hosts,
      opener: this.#opener,
      demands: this.#forMail.demands,
      closing: this.#closing.signal,
      eightBit: how.outbound.eightBit,
    });
  }

  destinationOf(domain: string, hops?: readonly Hop[]): Destination {
    return this.#destinations.of(domain, hops);
  }

  async deliver(job: SmtpJob): Promise<SmtpResult[]> {
    const ledger = new Ledger(job);
    try {
      if (await this.#how.isTlsReport?.(job)) await this.#deliver(ledger, apart(job), this.#forReports);
      else await this.#deliver(ledger, job, this.#forMail);
    } catch (error) {
      if (job.signal.aborted || this.#closing.signal.aborted) ledger.trouble = stopped;
      else {
        this.#how.log.error("delivery failed", {
          id: job.id,
          destination: job.destination.key,
          error: error instanceof Error ? error.stack ?? error.message : String(error),
        });
      }
    }
    return ledger.finish();
  }

  keyOf(hops: readonly Hop[]): string {
    return this.destinationOf("", hops).key;
  }

  open({ hops, ...request }: PassageRequest): Promise<PassageOpened> {
    return this.#passages.open({ ...request, destination: this.destinationOf("", hops) });
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#connections.close();
    this.#passages.close();
    await this.#opener.close();
  }

  async #deliver(ledger: Ledger, job: SmtpJob, policy: Policy): Promise<void> {
    job.signal.throwIfAborted();
    this.#closing.signal.throwIfAborted();
    let sessions = mostSessions;
    const kept = this.#connections.take(job.destination.key);
    if (kept !== undefined) {
      const how = await this.#send(ledger, kept, job.signal);
      if (how === "done") return;
      if (how === "lost") sessions--;
    }
    await this.#connect(ledger, job, sessions, policy);
  }

  // ── Finding a host

  async #connect(ledger: Ledger, job: SmtpJob, sessions: number, policy: Policy): Promise<void> {
    const signal = AbortSignal.any([job.signal, this.#closing.signal]);
    const { destination } = job;
    const [plan, domain] = await Promise.all([
      this.#hosts.plan(destination, signal),
      policy.demands.ofDomain(destination, signal),
    ]);
    this.#noteMissing(destination, domain, policy.witness);
    if (plan.kind === "settled") return this.#stop(ledger, plan.result);
    const left: Left = { addresses: mostAddresses, sessions };
    let obstacle: SmtpResult | undefined;
    const hosts = [...plan.hosts];
    for (let at = 0; at < hosts.length; at++) { // it grows on the way
      if (!ledger.isOpen || left.addresses <= 0 || left.sessions <= 0) break;
      const host = hosts[at]!;
      const found = await this.#hosts.addresses(plan, host, job.destination, signal);
      if (found.kind === "settled") {
        // Temporary before permanent: with some host still unknown nobody can say that none will do (promise 5).
        if (obstacle === undefined || found.result.outcome === "deferred") obstacle = found.result;
        continue;
      }
      const areDown = found.addresses.every((address) => this.#opener.reach.isDown(address, host.port));
      if (areDown && at < plan.hosts.length && plan.hosts.length > 1) {
        hosts.push(host); // less than a minute ago nobody answered there: the others first
        continue;
      }
      const demanded = await policy.demands.ofHost(destination, plan, host, found, domain, signal);
      if (demanded.kind === "refused") {
        obstacle = demanded.settled.result;
        this.#noteRefused(destination, host, demanded, policy.witness);
        continue;
      }
      const target: Target = { destination, host, demand: demanded.demand, witness: policy.witness };
      await this.#tryHost(ledger, job, { target, signal }, [...found.addresses], left);
    }
    if (ledger.trouble === undefined && obstacle !== undefined) ledger.settle(obstacle);
  }

  #noteMissing(destination: Destination, { problem }: DomainDemand, witness: Witness | undefined): void {
    if (problem === undefined || destination.kind !== "mx") return;
    const { domain } = destination;
    const policy = { type: "sts", domain, strings: [], mx: [] } as const;
    witness?.missed({ domain, policy, result: problem.fault, text: problem.text });
  }

  #noteRefused(
    destination: Destination,
    { host }: NextHop,
    { held, fault, settled }: Refused,
    witness: Witness | undefined,
  ): void {
    if (fault === undefined || destination.kind !== "mx") return;
    const { reply: text } = settled.result;
    witness?.missed({ domain: destination.domain, policy: held, host, result: fault, text });
  }

  /** Before a host was even found: what a session came to before says more. */
  #stop(ledger: Ledger, result: SmtpResult): void {
    if (ledger.trouble === undefined) ledger.settle(result);
  }

  /** Tries a host's addresses, until one takes the message or there are no more. */
  async #tryHost(
    ledger: Ledger,
    job: SmtpJob,
    { target, signal }: { readonly target: Target; readonly signal: AbortSignal },
    addresses: string[],
    left: Left,
  ): Promise<void> {
    while (ledger.isOpen && addresses.length > 0 && left.addresses > 0 && left.sessions > 0) {
      const shared = this.#connections.takeEndpoint(this.#opener.endpointOf(target, addresses[0]!));
      if (shared !== undefined) {
        const how = await this.#send(ledger, { ...shared, destination: job.destination.key }, job.signal);
        if (how !== "lost") continue; // done, or dead: a fresh one then
        left.sessions--;
        addresses.shift();
        continue;
      }
      const came = await this.#opener.open(target, addresses.slice(0, left.addresses), signal);
      if (came.kind === "again") continue;
      left.addresses -= came.tried.length;
      for (const address of came.tried) addresses.splice(addresses.indexOf(address), 1);
      if (came.kind === "failed") {
        ledger.trouble = came.deferral;
        if (came.isOurs) return;
        continue;
      }
      this.#connections.opened(came.opened.session);
      left.sessions--;
      await this.#send(ledger, came.opened, job.signal);
    }
  }

  // ── Sending

  /**
   * Sends on one session, in as many transactions as it takes.
   *
   * @returns `done`: everybody has a result. `dead`: a kept connection that was closed meanwhile (CASES O07). `lost`: it ended
   *   before somebody had a result.
   */
  async #send(ledger: Ledger, opened: OpenedSession, signal: AbortSignal): Promise<"done" | "dead" | "lost"> {
    const { session } = opened;
    const wasUsed = session.messages > 0;
    const abort = () => session.abort();
    signal.addEventListener("abort", abort, { once: true });
    try {
      for (let first = true; ledger.isOpen && session.isReady; first = false) {
        const batch = await this.#batch(ledger);
        if (batch === undefined) return "done";
        const results = await session.send(batch.transaction, batch.pieces);
        const isOver = !session.isReady;
        if (isOver && first && wasUsed && session.client.answered === 0 && !signal.aborted) {
          const kind = session.trouble?.failure.kind;
          if (kind === "lost" || kind === "refused" || kind === "out-of-order") return "dead";
        }
        const settled = ledger.take(results, opened.peer);
        this.#report(ledger, opened, results);
        if (!settled) break;
      }
      const { trouble } = session;
      if (trouble !== undefined) ledger.trouble = deferralOf(trouble, opened.peer.host);
      if (session.unreadable !== undefined) ledger.settle(unreadable);
      if (signal.aborted || this.#closing.signal.aborted) ledger.settle(stopped);
      return ledger.isOpen ? "lost" : "done";
    } finally {
      signal.removeEventListener("abort", abort);
      if (session.isReady) {
        if (this.#closing.signal.aborted) session.close();
        else this.#connections.keep(opened);
      } else if (session.trouble === undefined) {
        session.abort(); // something threw in between
      }
    }
  }

  async #batch(ledger: Ledger): Promise<Batch | undefined> {
    try {
      return await ledger.batch(this.#how.outbound.eightBit);
    } catch (error) {
      this.#how.log.error("message unreadable", { id: ledger.job.id, error: String(error) });
      ledger.settle(unreadable);
      return undefined;
    }
  }

  #report({ job }: Ledger, { peer }: OpenedSession, results: readonly (ClientResult | undefined)[]): void {
    for (let index = 0; index < results.length; index++) {
      const result = results[index];
      if (result?.kind !== "lost" || !result.unknown) continue;
      this.#how.log.warning("possible duplicate", { id: job.id, host: peer.host, sender: job.sender });
      return;
    }
  }
}

/** Whose word counts for a message's TLS, and who is told what came of it. */
interface Policy {
  readonly demands: Demands;
  readonly witness: Witness | undefined;
}

/** The same to a destination of its own: mail that policies speak of must not go by a session that was opened without them. */
function apart(job: SmtpJob): SmtpJob {
  return { ...job, destination: { ...job.destination, key: `${job.destination.key} (TLS reports)` } };
}

/** What one message may still use up. */
interface Left {
  addresses: number;
  sessions: number;
}

const stopped = deferred("4.3.2", "The attempt was given up here", "stopped");
const unreadable = deferred("4.3.0", "The message could not be read", "local");
