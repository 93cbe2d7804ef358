/**
 * Passing a client's transaction on while it goes on: the way to a next hop, whose answers are the client's.
 *
 * ```text
 * kept session of this identity? ── yes ──► MAIL, RCPT ── dead before a reply (O07) ──┐
 *        │ no                                   │                                     │
 *        ▼                                      ▼                                     ▼
 * hops, in order ► addresses ► race ► session (EHLO, TLS, AUTH) ► XCLIENT ► MAIL, RCPT ► a passage
 *        └───────── next hop ◄── next address ◄── no session, or it was lost before an answer
 * ```
 *
 * An answer, also a 4xx, ends the search: it is the next hop's word on this mail.
 */
import type { Clock } from "../../clock.ts";
import type { Log } from "../../log.ts";
import type { StepResult } from "../../smtp/client.ts";
import { xclientCommand, xforwardCommands } from "../../smtp/client_identity.ts";
import type { Answer, PassageOpened, PassageRequest } from "../passing.ts";
import { Connections } from "./connections.ts";
import type { Demands } from "./demand.ts";
import type { Destination } from "./destination.ts";
import type { Hosts } from "./hosts.ts";
import type { OpenedSession, Opener, Target } from "./open.ts";
import { SmtpPassage } from "./passage.ts";
import { deferralOf, deferred, type SmtpResult } from "./result.ts";

/** A passage that is wanted, its hops read. */
export interface WantedPassage extends Omit<PassageRequest, "hops"> {
  readonly destination: Destination;
}

/** No session on which MAIL was answered. */
export interface NotBegun {
  readonly answer: Answer;
  readonly host: string | undefined;
}

/** A session on which MAIL was answered. */
export interface Begun {
  readonly opened: OpenedSession;
  readonly result: StepResult;
}

/** What passages need: the rooms that sending on has, too. */
export interface PassagesHow {
  readonly clock: Clock;
  readonly log: Log;
  readonly hosts: Hosts;
  readonly opener: Opener;
  /** What TLS a next hop must have. */
  readonly demands: Demands;
  readonly closing: AbortSignal;
  readonly eightBit: "send" | "bounce";
}

const mostAddresses = 5;
const mostSessions = 3;
const keeping = { idle: 5000, messages: 100, age: 300_000 };
/** What a hop lacks that the configuration asks for is said once in so many milliseconds. */
const complaining = 600_000;

/** Opens passages. */
export class Passages {
  readonly how: PassagesHow;
  readonly #connections: Connections<OpenedSession>;
  readonly #complained = new Map<string, number>();

  constructor(how: PassagesHow) {
    this.how = how;
    this.#connections = new Connections({ clock: how.clock, ...keeping });
  }

  /** Finds the way. Never rejects: what fails is an answer. */
  async open(request: WantedPassage): Promise<PassageOpened> {
    const begun = await this.begin(request);
    if ("answer" in begun) return { kind: "refused", ...begun };
    const { opened, result } = begun;
    const answer = answerOf(result, opened.peer.host);
    if (opened.session.isPaused) {
      return { kind: "open", passage: new SmtpPassage(this, request, begun), answer };
    }
    this.giveBack(opened);
    const { host } = opened.peer;
    if (answer.kind !== "said" || answer.reply.code >= 300) return { kind: "refused", answer, host };
    // It said yes and was gone: nobody is there to take the message, and a client must not hear otherwise.
    const deferral = deferred("4.4.2", "The connection was lost", "lost", { host });
    return { kind: "refused", answer: { kind: "deferred", deferral }, host };
  }

  /** MAIL and the first RCPT, on some session. Never rejects. */
  async begin(request: WantedPassage): Promise<Begun | NotBegun> {
    const { closing, log } = this.how;
    try {
      return await this.#onKept(request) ?? await this.#connect(request);
    } catch (error) {
      if (request.signal.aborted || closing.aborted) return { answer: tooLate, host: undefined };
      const { key: destination } = request.destination;
      log.error("no way to the next host", {
        destination,
        error: error instanceof Error ? error.stack ?? error.message : String(error),
      });
      return { answer: broken, host: undefined };
    }
  }

  /** Takes back a session on which nothing is under way; any other is over. */
  giveBack(opened: OpenedSession): void {
    const { session } = opened;
    if (!session.isReady) session.abort();
    else if (this.how.closing.aborted) session.close();
    else this.#connections.keep(opened);
  }

  /** Closes the sessions that are idle. */
  close(): void {
    this.#connections.close();
  }

  async #onKept(request: WantedPassage): Promise<Begun | undefined> {
    for (;;) {
      request.signal.throwIfAborted();
      const kept = this.#connections.take(keyOf(request));
      if (kept === undefined) return undefined;
      const result = await this.#ask(request, kept);
      if (result !== undefined) return { opened: kept, result };
      // It was closed meanwhile; so were the others, perhaps (CASES O07).
    }
  }

  // ── Finding a host

  async #connect(request: WantedPassage): Promise<Begun | NotBegun> {
    const { hosts, opener, demands, closing } = this.how;
    const { destination } = request;
    const search: Search = {
      request,
      signal: AbortSignal.any([request.signal, closing]),
      addresses: mostAddresses,
      sessions: mostSessions,
      trouble: undefined,
    };
    const plan = await hosts.plan(destination, search.signal);
    if (plan.kind === "settled") return notBegun(plan.result);
    const domain = await demands.ofDomain(destination, search.signal);
    const queue = [...plan.hosts];
    for (let at = 0; at < queue.length && search.addresses > 0 && search.sessions > 0; at++) { // it grows on the way
      const host = queue[at]!;
      const found = await hosts.addresses(plan, host, destination, search.signal);
      if (found.kind === "settled") {
        search.trouble ??= found.result;
        continue;
      }
      const areDown = found.addresses.every((address) => opener.reach.isDown(address, host.port));
      if (areDown && at < plan.hosts.length && plan.hosts.length > 1) {
        queue.push(host); // less than a minute ago nobody answered there: the others first
        continue;
      }
      const demanded = await demands.ofHost(destination, plan, host, found, domain, search.signal);
      if (demanded.kind === "refused") {
        search.trouble = demanded.settled.result;
        continue;
      }
      const target: Target = { destination, host, demand: demanded.demand, witness: undefined };
      const begun = await this.#tryHost(search, target, [...found.addresses]);
      if (begun !== undefined) return begun;
    }
    return notBegun(search.trouble ?? nowhere);
  }

  /** Tries a host's addresses, until one gives an answer or there are no more. */
  async #tryHost(search: Search, target: Target, addresses: string[]): Promise<Begun | NotBegun | undefined> {
    const { request, signal } = search;
    while (addresses.length > 0 && search.addresses > 0 && search.sessions > 0) {
      const came = await this.how.opener.open(target, addresses.slice(0, search.addresses), signal);
      if (came.kind === "again") continue;
      search.addresses -= came.tried.length;
      for (const address of came.tried) addresses.splice(addresses.indexOf(address), 1);
      if (came.kind === "failed") {
        search.trouble = came.deferral;
        if (came.isOurs) return notBegun(came.deferral);
        continue;
      }
      search.sessions--;
      const opened = { ...came.opened, destination: keyOf(request) };
      this.#connections.opened(opened.session);
      await this.#introduce(request, opened);
      const result = await this.#ask(request, opened);
      if (result !== undefined) return { opened, result };
      const { trouble } = opened.session;
      if (trouble !== undefined) search.trouble = deferralOf(trouble, opened.peer.host);
      signal.throwIfAborted();
    }
    return undefined;
  }

  // ── On a session

  /** XCLIENT, on a session that is new; where that fails the session is over. */
  async #introduce({ client, xclient, signal }: WantedPassage, opened: OpenedSession): Promise<void> {
    if (!xclient) return;
    const { session, peer } = opened;
    const command = xclientCommand(client, session.client.offered.xclient);
    if (command === undefined) this.#complain(peer.host, "XCLIENT");
    else await whileWanted(signal, opened, () => session.identify(command, client.helo));
  }

  /** MAIL and the first RCPT; `undefined`: the session was lost before their answer. */
  async #ask(request: WantedPassage, opened: OpenedSession): Promise<StepResult | undefined> {
    const { session } = opened;
    if (!session.isReady) return undefined;
    const mail = { ...request.mail, forwarded: this.#forwarded(request, opened) };
    const result = await whileWanted(request.signal, opened, () => session.open(mail, request.first));
    return result?.kind === "lost" ? undefined : result;
  }

  #forwarded({ client, xforward }: WantedPassage, { session, peer }: OpenedSession): readonly string[] {
    if (!xforward) return [];
    const lines = xforwardCommands(client, session.client.offered.xforward);
    if (lines.length === 0) this.#complain(peer.host, "XFORWARD");
    return lines;
  }

  #complain(host: string, what: string): void {
    const now = this.how.clock.monotonic();
    const key = `${host} ${what}`;
    if (now - (this.#complained.get(key) ?? -Infinity) < complaining) return;
    if (this.#complained.size > 1000) this.#complained.clear();
    this.#complained.set(key, now);
    this.how.log.warning(`the next host does not offer ${what}: it takes us for the client`, { host });
  }
}

/** One search for a host that answers. */
interface Search {
  readonly request: WantedPassage;
  readonly signal: AbortSignal;
  addresses: number;
  sessions: number;
  /** What the last one came to. */
  trouble: SmtpResult | undefined;
}

/** Ends a session that somebody has stopped waiting for; `undefined`: before it was asked anything. */
export async function whileWanted<T>(
  signal: AbortSignal,
  { session }: OpenedSession,
  work: () => Promise<T>,
): Promise<T | undefined> {
  const abort = () => session.abort();
  if (signal.aborted) return void abort(); // no event comes of that any more
  signal.addEventListener("abort", abort, { once: true });
  try {
    return await work();
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

/**
 * What a kept session may be used for: with XCLIENT it is one client's, with XFORWARD it may have told of another's. No session of
 * the queue is among them.
 */
function keyOf({ destination, client, xclient, xforward }: WantedPassage): string {
  const { address, port, helo, protocol, login } = client;
  const whose = xclient ? JSON.stringify([address, port, helo, protocol, login]) : xforward ? "xforward" : "";
  return `${destination.key} ${whose}`;
}

/** A step's result as the client's answer. */
export function answerOf(result: StepResult, host: string): Answer {
  switch (result.kind) {
    case "replied":
      return { kind: "said", reply: result.reply };
    case "impossible":
      return result;
    case "lost": {
      const { failure } = result;
      // 421: it closes, and has said why.
      if (failure.kind === "refused") return { kind: "said", reply: failure.reply };
      return { kind: "deferred", deferral: deferralOf({ failure, detail: undefined }, host) };
    }
  }
}

function notBegun(result: SmtpResult): NotBegun {
  const { host } = result;
  // A host of the operator's that doesn't exist is failed for good to the queue; here the client has the mail, and can wait.
  const deferral = result.outcome === "deferred" ? result : deferred("4.4.4", result.reply, "dns", { host });
  return { answer: { kind: "deferred", deferral }, host };
}

const tooLate: Answer = {
  kind: "deferred",
  deferral: deferred("4.4.2", "The next host did not answer in time", "stopped"),
};
const broken: Answer = {
  kind: "deferred",
  deferral: deferred("4.3.0", "Something went wrong here", "local"),
};
const nowhere = deferred("4.4.4", "There is no next host", "local");
