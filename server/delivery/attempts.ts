/** Plans attempts and makes them: which way each recipient goes, what of the message it needs, who takes it there. */
import type { Chain } from "../chain.ts";
import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";
import { SealedMessage } from "../message/message.ts";
import type { Address } from "../plugin.ts";
import { smtpTransport } from "../resolve.ts";
import { toObjection } from "../ruling.ts";
import { parseAddress } from "../smtp/address.ts";
import { replies } from "../smtp/reply.ts";
import { Damaged, type Queued, type QueuedRecipient, type Spool } from "../spool/spool.ts";
import {
  type Answer,
  type AttemptRecipient,
  type Courier,
  pluginCourier,
  type Result,
  resultOf,
  targetOf,
} from "./attempt.ts";
import { askRelay, type Way } from "./relay.ts";
import { type Candidate, type Job, recipientsOf, type Round, type Routed, splitIntoJobs } from "./round.ts";
import type { Objected } from "./screening.ts";
import { destinationName } from "./waiting.ts";

/** What attempts need. */
export interface AttemptsOptions {
  readonly spool: Pick<Spool, "get" | "content" | "hold">;
  readonly clock: Clock;
  readonly log: Log;
  readonly builtIn: ReadonlyMap<string, Courier>;
  readonly stopping: AbortSignal;
}

/** Those who can't be tried, with what they are told instead. */
export interface Refused {
  readonly job: Job;
  readonly answer: Answer;
  /** `hindrance`: it is ours to mend, and counts towards nothing. */
  readonly kind: "attempt" | "hindrance";
}

/** What became of an attempt; `void`: there was nothing to try any more. */
export type Made =
  | { readonly kind: "attempt" | "hindrance"; readonly answer: Answer }
  | { readonly kind: "void"; /** Milliseconds. */ readonly lookAgainAfter: number };

/** Copies of one message, by the lines that are theirs alone. */
type Copies = Map<string, Promise<SealedMessage | undefined>>;

/** What is planned together. */
interface Planning {
  readonly round: Round;
  readonly queued: Queued;
  readonly chain: Chain;
  readonly copies: Copies;
}

/** A message read longer ago may have been held, changed or removed by an operator since. */
const fresh = 1000;

/** A transport that is missing is one warning in so many milliseconds, not one a message. */
const complaining = 600_000;

/** Makes attempts. */
export class Attempts {
  readonly #couriers = new WeakMap<object, Courier>();
  /** Transports that are missing, and when that was last said. */
  readonly #complained = new Map<string, number>();

  constructor(readonly options: AttemptsOptions) {}

  /** Finds the way of each recipient, and puts together who goes the same. */
  async plan(
    round: Round,
    queued: Queued,
    candidates: readonly Candidate[],
    chain: Chain,
  ): Promise<{ jobs: Job[]; refused: Refused[] }> {
    const routed: Routed[] = [];
    const refused: Refused[] = [];
    const copies: Copies = new Map();
    for (const candidate of candidates) {
      const recipient = queued.envelope.recipients[candidate.index]!;
      const refuse = (result: Result, kind: Refused["kind"] = "attempt") =>
        refused.push(refusedOf(round, candidate, recipient, { result, kind }));
      const address = parseAddress(recipient.address);
      const courier = this.#courierOf(recipient.via, chain);
      if (!address) refuse(notAddress);
      else if (!courier) refuse(this.#missing(queued.envelope.id, recipient.via), "hindrance");
      else {
        const way = recipient.hops
          ? { hops: recipient.hops } // an operator's word comes before a plugin's
          : await this.#wayOf({ round, queued, chain, copies }, { ...recipient, parsed: address });
        if ("outcome" in way) refuse(way, isOurs(way) ? "hindrance" : "attempt");
        else {
          const { batch } = courier;
          const destination = destinationName(recipient.via, courier.destinationOf(address.domain, way.hops));
          routed.push({ candidate, recipient, destination, batch, way });
        }
      }
    }
    return { jobs: splitIntoJobs(round, routed), refused };
  }

  /** One attempt. Never rejects: what fails is a deferral. */
  async make(job: Job, chain: Chain): Promise<Made> {
    const { round, via, candidates } = job;
    const { spool, clock, log } = this.options;
    const deferred = (result: Result, kind: Refused["kind"]): Made => ({
      kind,
      answer: { results: candidates.map(() => result), contact: "unknown" },
    });
    try {
      const isFresh = clock.monotonic() - round.readAt <= fresh;
      const queued = isFresh ? round.queued : await spool.get(round.id);
      const recipients = queued && queued.held === undefined && recipientsOf(job, queued, readRecipient);
      if (!queued || !recipients) return changed;
      const courier = this.#courierOf(via, chain);
      if (!courier) return deferred(this.#missing(round.id, via), "hindrance");
      const message = await this.#message(round, queued, recipients[0]!, job.way.top);
      if (!message) return changed;
      const answer = await this.#deliver(courier, job, queued, message, recipients);
      return { kind: allOurs(answer) ? "hindrance" : "attempt", answer };
    } catch (error) { // ours, mostly the disk: a courier's failure is caught where it is asked
      if (error instanceof Damaged) {
        log.error("message damaged, held", { id: round.id, error: error.message });
        await spool.hold(round.id, `damaged: ${error.message}`).catch((failure) =>
          log.error("cannot hold the message", { id: round.id, error: String(failure) })
        );
        return damaged;
      }
      log.error("cannot read the message", {
        id: round.id,
        error: error instanceof Error ? error.stack : String(error),
      });
      return deferred(unreadable, "hindrance");
    }
  }

  async #deliver(
    courier: Courier,
    { round, candidates, way: { hops, sender }, via }: Job,
    { envelope }: Queued,
    message: SealedMessage,
    all: readonly AttemptRecipient[],
  ): Promise<Answer> {
    // One copy for each mailbox, though an operator may have redirected several recipients there.
    const recipients = [...new Map(all.map((recipient) => [recipient.address, recipient])).values()];
    try {
      const answer = await courier.deliver({
        envelope,
        message,
        recipients,
        attempt: candidates[0]!.state.attempts + 1,
        ...(hops && { hops }),
        ...(sender !== undefined && { sender }),
        stopping: this.options.stopping,
      });
      if (!Array.isArray(answer?.results)) throw new TypeError("the transport gave no results");
      const results = recipients.map((_, i) => answer.results[i] ?? broken); // a plugin's may have holes
      if (recipients.length === all.length) return { ...answer, results };
      const ofMailbox = new Map(recipients.map(({ address }, i) => [address, results[i]!]));
      return { ...answer, results: all.map(({ address }) => ofMailbox.get(address)!) };
    } catch (error) {
      this.options.log.error("transport failed", {
        id: round.id,
        transport: via,
        error: error instanceof Error ? error.stack : String(error),
      });
      return { results: candidates.map(() => broken), contact: "unknown" };
    }
  }

  /**
   * The copy of these recipients, whose own lines are the same; `undefined` where the message is gone.
   *
   * @param above Raw lines that their way puts on top.
   */
  async #message(
    { id }: Round,
    { envelope: { edits, top } }: Queued,
    { own = [] }: QueuedRecipient,
    above: readonly string[] = [],
  ): Promise<SealedMessage | undefined> {
    const content = await this.options.spool.content(id);
    const lines = own.length + above.length > 0 ? [...above, ...top, ...own] : top;
    return content && new SealedMessage(id, content, edits, lines);
  }

  #courierOf(via: string, chain: Chain): Courier | undefined {
    const builtIn = this.options.builtIn.get(via);
    if (builtIn) return builtIn;
    const transport = chain.generation.transports.get(via);
    if (!transport) return undefined;
    if ("route" in transport) return this.options.builtIn.get(smtpTransport);
    let courier = this.#couriers.get(transport);
    if (!courier) {
      courier = pluginCourier(transport, this.options.clock, this.options.log);
      this.#couriers.set(transport, courier);
    }
    return courier;
  }

  /** How a recipient's copy leaves, as far as plugins say so; or why it doesn't go. */
  async #wayOf(planning: Planning, recipient: AttemptRecipient): Promise<Way | Result> {
    const { via, parsed } = recipient;
    if (via === smtpTransport) return await this.#route(planning, parsed);
    const relay = planning.chain.generation.transports.get(via);
    if (relay === undefined || !("route" in relay)) return {};
    const message = await this.#copy(planning, recipient);
    if (!message) return {};
    const { clock, log, stopping } = this.options;
    const target = targetOf(recipient, planning.queued.envelope.sender);
    const asked = await askRelay(relay, target, message, { clock, log, gone: stopping });
    if (asked.kind === "failed") return routeFailed;
    if (asked.kind === "objection") return resultOf(asked.verdict);
    if (asked.way.hops) return asked.way;
    const route = await this.#route(planning, parsed);
    return "outcome" in route ? route : { ...asked.way, ...route };
  }

  /** What plugins are shown of a recipient's copy: read once, however many recipients have the same. */
  #copy({ round, queued, copies }: Planning, recipient: QueuedRecipient): Promise<SealedMessage | undefined> {
    const key = recipient.own?.join("") ?? "";
    let copy = copies.get(key);
    if (!copy) copies.set(key, copy = this.#message(round, queued, recipient));
    return copy;
  }

  /** The hops that the hook `route` says, of mail that leaves by SMTP; or why it doesn't go. */
  async #route(planning: Planning, address: Address): Promise<Pick<Way, "hops"> | Result> {
    const { chain, queued } = planning;
    if (!chain.has("route")) return {};
    const message = await this.#copy(planning, queued.envelope.recipients[0]!);
    if (!message) return {};
    const ruling = await chain.ask("route", {}, (handler, call) => handler(address, message, call));
    switch (ruling.kind) {
      case "silence":
        return ruling.unsure ? routeFailed : {};
      case "failure":
        return routeFailed;
      case "objection":
        return ruling.verdict.verdict === "disconnect" ? resultOf(pluginFailed) : resultOf(ruling.verdict);
      case "claim":
        return ruling.claim as Required<Pick<Way, "hops">>;
    }
  }

  #missing(id: string, transport: string): Result {
    const now = this.options.clock.monotonic();
    if (now - (this.#complained.get(transport) ?? -Infinity) > complaining) {
      this.#complained.set(transport, now);
      this.options.log.warning("no such transport, mail for it waits", { id, transport });
    }
    const reply =
      `4.3.5 No plugin has the transport "${transport}": give the configuration one, or delete the message`;
    return { outcome: "deferred", status: "4.3.5", reply };
  }
}

/** A recipient that isn't tried. */
export function refusedOf(
  round: Round,
  candidate: Candidate,
  recipient: QueuedRecipient,
  { result, kind }: Objected,
): Refused {
  const { via } = recipient;
  const job = { round, via, destination: via, candidates: [candidate], recipients: [recipient], way: {} };
  return { job, answer: { results: [result], contact: "unknown" }, kind };
}

function readRecipient(recipient: QueuedRecipient): AttemptRecipient | undefined {
  const parsed = parseAddress(recipient.address);
  return parsed && { ...recipient, parsed };
}

/** Removed, held or changed: if it is still there, it is read anew. */
/** Whether nobody else was even asked: a password file that is missing, no descriptors left. That is ours to mend. */
const isOurs = (result: Result | undefined): boolean =>
  result?.outcome === "deferred" && result.reason === "local"; // a transport may leave one out
const allOurs = ({ results }: Answer): boolean => results.length > 0 && results.every(isOurs);

const changed: Made = { kind: "void", lookAgainAfter: 1000 };
/** If it could not even be held. */
const damaged: Made = { kind: "void", lookAgainAfter: 60_000 };

const pluginFailed = deferOf(replies.pluginFailed);
/** The plugin that was to say the way could not: nobody's mail is given up for that. */
const routeFailed: Result = { ...resultOf(pluginFailed), reason: "local" };
const notAddress: Result = { outcome: "failed", status: "5.1.3", reply: "5.1.3 This is not an address" };
const unreadable: Result = {
  outcome: "deferred",
  status: "4.3.0",
  reply: "4.3.0 The message could not be read",
};
const broken: Result = { outcome: "deferred", status: "4.3.0", reply: "4.3.0 The transport failed" };

function deferOf(reply: Parameters<typeof toObjection>[0]) {
  const { status, text } = toObjection(reply);
  return { verdict: "defer" as const, status: status as `4.${number}.${number}`, text };
}
