/** Opens sessions: connects, with or without TLS as policy and experience say, and gets up to where a message can be sent. */
import type { Clock } from "../../clock.ts";
import type { Log } from "../../log.ts";
import { printable, replyText } from "../../smtp/client_reply.ts";
import type { ClientAccount, ClientOptions } from "../../smtp/client.ts";
import { SecretText } from "../../smtp/sasl.ts";
import type { Place } from "./connections.ts";
import { Deadlines } from "./deadlines.ts";
import { type Demand, demandKey } from "./demand.ts";
import type { Destination, NextHop } from "./destination.ts";
import { type Dial, type Dialled, isOurFault, whyNotConnected } from "./dial.ts";
import { race } from "./race.ts";
import { Reach } from "./reach.ts";
import { Recent } from "./recent.ts";
import { deferralOf, deferred, type Peer, type SmtpDeferred } from "./result.ts";
import { type SessionTrouble, SmtpSession } from "./session.ts";
import { ClientTls, type PeerCheck, type Trust } from "./tls.ts";
import type { SessionTls, Witness } from "./witness.ts";

/** What opening needs. */
export interface OpenHow {
  readonly hostname: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly dial: Dial;
  readonly trust?: Trust;
}

/** Where to. */
export interface Target {
  readonly destination: Destination;
  readonly host: NextHop;
  /** What its TLS must be. */
  readonly demand: Demand;
  /** Who is told of it. */
  readonly witness: Witness | undefined;
}

/** A session that a message can be sent on, and where it leads. */
export interface OpenedSession extends Place {
  readonly session: SmtpSession;
  /** Whom it is with. */
  readonly peer: Peer;
}

/** What came of opening one. */
export type Opened =
  | { readonly kind: "opened"; readonly opened: OpenedSession; readonly tried: readonly string[] }
  /** Something was learnt of this peer's TLS that the same addresses are to be tried with. */
  | { readonly kind: "again" }
  | {
    readonly kind: "failed";
    readonly deferral: SmtpDeferred;
    readonly tried: readonly string[];
    /** No other address would do better: it is this machine's or the configuration's fault. */
    readonly isOurs: boolean;
  };

/** Milliseconds until the next address is tried, too (RFC 8305 §5). */
const stagger = 250;
/** Milliseconds for one address to answer; RFC 5321 names none. */
const connectTimeout = 30_000;
/** Milliseconds that what was learnt of a peer's TLS is believed. */
const believed = 3_600_000;
const mostKept = 10_000;

/** What was learnt: STARTTLS isn't offered, so the cheaper connection will do; or it fails, so it isn't tried (CASES O05). */
type Learnt = "not-offered" | "broken";

/** Opens sessions, and keeps book of all that are open. */
export class Opener {
  readonly reach: Reach;
  readonly #how: OpenHow;
  readonly #deadlines: Deadlines;
  readonly #learnt: Recent<Learnt>;
  readonly #sessions = new Set<SmtpSession>();
  #onEmpty: (() => void) | undefined;

  constructor(how: OpenHow) {
    this.#how = how;
    this.reach = new Reach(how.clock);
    this.#deadlines = new Deadlines(how.clock);
    this.#learnt = new Recent(how.clock, mostKept);
  }

  /** What tells apart sessions that one may not be taken for the other. */
  endpointOf({ destination, host, demand }: Target, address: string): string {
    const { source = "", helo = "" } = destination;
    const { port, protocol = "smtp", auth } = host;
    return JSON.stringify([demandKey(demand), host.host, address, port, source, helo, protocol, auth?.label]);
  }

  /**
   * Opens a session with whichever of the addresses answers first.
   *
   * @param addresses At least one, all of `target.host`.
   * @throws the signal's reason.
   */
  async open(target: Target, addresses: readonly string[], signal: AbortSignal): Promise<Opened> {
    const { host, destination } = target;
    const options = await this.#options(target);
    if (options.kind === "failed") return options;
    const ways = new Map<Dialled, Way>();
    const raced = await race(this.reach.order(addresses, host.port), {
      connect: async (address, signal) => {
        const way: Way = { ...this.#wayTo(target, address), session: undefined };
        const { source } = destination;
        const onClosed = () => this.#closed(way.session);
        const dialled = await this.#how.dial({
          address,
          port: host.port,
          path: host.path,
          source,
          tls: way.tls,
          signal,
          onClosed,
        });
        ways.set(dialled, way);
        return dialled;
      },
      discard: ({ channel }) => channel.abort(),
      clock: this.#how.clock,
      stagger,
      timeout: connectTimeout,
      signal,
    });
    const ours = this.#book(raced.failures, target);
    const tried = [...raced.failures.keys()];
    if (raced.kind === "failed") {
      const [address, error] = [...raced.failures].at(-1)!;
      const where = nameOf(host, address);
      const deferral = deferred("4.4.1", `${whyNotConnected(error)} (${where})`, ours ? "local" : "connect", {
        host: where,
        destinationDown: !ours,
      });
      return { kind: "failed", deferral, tried, isOurs: ours };
    }
    this.reach.reached(raced.address, host.port);
    const way = ways.get(raced.connection)!;
    return await this.#start(target, raced, way, options.options, [...tried, raced.address], signal);
  }

  /** Gives up all sessions that are busy; resolves when all connections are closed. */
  async close(): Promise<void> {
    for (const session of [...this.#sessions]) if (session.isBusy) session.abort();
    if (this.#sessions.size === 0) return;
    await new Promise<void>((resolve) => this.#onEmpty = resolve);
  }

  /** How to connect to this address: policy, and what is known of it. */
  #wayTo({ host: { host, port }, demand }: Target, address: string): Pick<Way, "tls" | "learnt"> {
    if (demand.kind === "none") return { tls: undefined, learnt: undefined };
    const learnt = demand.kind === "opportunistic" ? this.#learnt.get(`${address} ${port}`) : undefined;
    if (learnt !== undefined) return { tls: undefined, learnt };
    const name = demand.kind === "dane" ? demand.base : host;
    return { tls: new ClientTls(name, checkOf(demand), this.#how.trust), learnt: undefined };
  }

  async #start(
    target: Target,
    { connection, address }: { readonly connection: Dialled; readonly address: string },
    way: Way,
    options: Omit<ClientOptions, "tls">,
    tried: readonly string[],
    signal: AbortSignal,
  ): Promise<Opened> {
    const { destination, host, demand } = target;
    const implicit = demand.kind === "verified" && demand.implicit;
    const tls = way.tls === undefined || implicit
      ? "never"
      : demand.kind === "opportunistic"
      ? "if-offered"
      : "always";
    const session = new SmtpSession(connection, { ...options, tls, encrypted: implicit }, this.#deadlines);
    way.session = session;
    this.#sessions.add(session);
    this.#deadlines.add(session);
    const abort = () => session.abort();
    signal.addEventListener("abort", abort, { once: true });
    if (signal.aborted) abort();
    const trouble = await session.start(implicit);
    signal.removeEventListener("abort", abort);
    signal.throwIfAborted();

    const where = nameOf(host, address);
    if (trouble !== undefined) {
      this.#tellFailed(target, address, way, trouble);
      if (demand.kind === "opportunistic" && trouble.failure.phase === "starttls") {
        this.#learn(address, host, "broken");
        this.#how.log.info("TLS failed, going on in the clear", {
          host: where,
          error: printable(trouble.detail ?? deferralOf(trouble, where).reply),
        });
        return { kind: "again" };
      }
      const { kind, phase } = trouble.failure;
      // Wrong at one address, wrong at all: more attempts would only lock the account.
      const isOurs = phase === "auth" && (kind === "refused" || kind.startsWith("no-"));
      return { kind: "failed", deferral: deferralOf(trouble, where), tried, isOurs };
    }
    const { offered } = session.client;
    if (way.learnt === "not-offered" && offered.startTls) {
      this.#learnt.delete(`${address} ${host.port}`);
      session.close();
      return { kind: "again" };
    }
    if (demand.kind === "opportunistic" && session.tls === undefined && way.learnt === undefined) {
      this.#learn(address, host, "not-offered");
    }
    this.#tellOpened(target, address, way, session);
    const peer: Peer = {
      host: where,
      tls: session.tls,
      verified: way.tls?.verified ?? false,
      ...(way.tls?.verified && { verifiedBy: demand.kind === "dane" ? "dane" : "authority" }),
      dsnOffered: offered.dsn,
      protocol: host.protocol ?? "smtp",
    };
    const opened = {
      session,
      peer,
      destination: destination.key,
      endpoint: this.endpointOf(target, address),
    };
    return { kind: "opened", opened, tried };
  }

  /** What the session says, with the account's password read now. */
  async #options(
    { destination, host, demand }: Target,
  ): Promise<
    { kind: "options"; options: Omit<ClientOptions, "tls"> } | Extract<Opened, { kind: "failed" }>
  > {
    const name = destination.helo ?? this.#how.hostname;
    const { auth, protocol } = host;
    if (auth === undefined) return { kind: "options", options: { name, protocol } };
    try {
      const password = new SecretText(auth.password ?? await readPassword(auth.passwordFile ?? ""));
      const account: ClientAccount = { user: auth.user, password, inTheClear: demand.kind === "none" };
      return { kind: "options", options: { name, protocol, auth: account } };
    } catch (error) {
      this.#how.log.error("password file unreadable", { file: auth.passwordFile, error: String(error) });
      const text = "The password for the next host could not be read";
      return { kind: "failed", deferral: deferred("4.3.5", text, "local"), tried: [], isOurs: true };
    }
  }

  /** A session that didn't come about for TLS' sake, or one that shows nothing of it. */
  #tellFailed(target: Target, address: string, way: Way, { failure, detail }: SessionTrouble): void {
    const isTls = failure.phase === "starttls" || detail !== undefined || failure.kind === "no-tls";
    if (!isTls) return;
    const text = detail ?? (failure.kind === "refused" ? replyText(failure.reply) : undefined);
    this.#tell(target, address, {
      state: failure.kind === "no-tls" ? "clear" : "failed",
      fault: way.tls?.fault,
      text: text && printable(text),
    });
  }

  #tellOpened(target: Target, address: string, { tls, learnt }: Way, session: SmtpSession): void {
    if (session.tls !== undefined) {
      const state = tls?.verified === true ? "verified" : "unverified";
      return this.#tell(target, address, { state, fault: tls?.fault, text: undefined });
    }
    const wasBroken = learnt === "broken"; // it was tried not long ago, and told of then
    if (!wasBroken) this.#tell(target, address, { state: "clear", fault: undefined, text: undefined });
  }

  #tell(
    { destination, host, demand, witness }: Target,
    address: string,
    what: Pick<SessionTls, "state" | "fault" | "text">,
  ): void {
    if (destination.kind !== "mx") return;
    const { domain } = destination;
    witness?.session({ ...what, domain, host: host.host, address, held: demand.held });
  }

  #learn(address: string, { port }: NextHop, what: Learnt): void {
    this.#learnt.set(`${address} ${port}`, what, believed);
  }

  /** Remembers failed connections; says whether this machine itself is at fault. */
  #book(failures: ReadonlyMap<string, unknown>, { destination, host }: Target): boolean {
    let ours = failures.size > 0;
    for (const [address, error] of failures) {
      if (isOurFault(error, destination)) continue;
      ours = false;
      this.reach.failed(address, host.port, error);
    }
    return ours;
  }

  #closed(session: SmtpSession | undefined): void {
    if (session === undefined) return;
    this.#sessions.delete(session);
    this.#deadlines.delete(session);
    if (this.#sessions.size === 0) this.#onEmpty?.();
  }
}

function checkOf(demand: Demand): PeerCheck {
  switch (demand.kind) {
    case "dane":
      return { by: "dane", records: demand.records, names: demand.names };
    case "verified":
      return { by: "authorities" };
    default:
      return { by: "nobody" };
  }
}

/** One attempt to connect. */
interface Way {
  /** Absent: it will not be encrypted. */
  readonly tls: ClientTls | undefined;
  readonly learnt: Learnt | undefined;
  session: SmtpSession | undefined;
}

/** `mx.example.org[192.0.2.1]:25`, as people know it from other servers' logs; a Unix socket's path. */
function nameOf({ host, port, path }: NextHop, address: string): string {
  if (path !== undefined) return path;
  return `${host === address ? "" : host}[${address}]:${port}`;
}

async function readPassword(file: string): Promise<string> {
  const password = (await Deno.readTextFile(file)).replace(/\r?\n$/, "");
  if (password === "" || /[\0\r\n]/.test(password)) throw new Error("it must hold one line, the password");
  return password;
}
