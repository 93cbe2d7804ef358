/** The hosts out there, played by a test: what leaves by the built-in transport `smtp` comes here. */
import { type Answer, type Attempt, type Courier, type Result, resultOf } from "../delivery/attempt.ts";
import { type ReadMail, readMail } from "./mail.ts";
import { delivered, type Hop, type Outcome } from "../plugin.ts";

/** A message on its way out by `smtp`: one attempt, for recipients of one domain. */
export interface OutgoingMail extends ReadMail {
  /** The message's queue id. */
  readonly id: string;
  /** The sender that MAIL says, `""` for bounces: the envelope's, unless a relay's route said another. */
  readonly from: string;
  /** The recipients; in `server.sent` those who got it. */
  readonly to: readonly string[];
  /** How often it was tried, this time included: 1 for the first. */
  readonly attempt: number;
  /** Where to, if a plugin's `route` said so. */
  readonly hops: readonly Hop[] | undefined;
}

/**
 * What a host out there says to a message: one outcome for all recipients, or one for each, in order; nothing: it takes it.
 * `"unreachable"`: there is no connection to be had; after three in a row the domain isn't tried for a while.
 *
 * @example
 * ```ts
 * import { defer } from "postrider";
 * import type { SmtpAnswer } from "postrider/testing";
 * const greylists: SmtpAnswer = ({ attempt }) => attempt === 1 ? defer("4.7.1", "Greylisted") : undefined;
 * ```
 */
export type SmtpAnswer = (
  mail: OutgoingMail,
) => SmtpSays | Promise<SmtpSays>;

/** See {@linkcode SmtpAnswer}. */
export type SmtpSays = Outcome | readonly Outcome[] | "unreachable" | void;

/**
 * The built-in transport, without a network.
 *
 * @param answer Who speaks for the hosts, asked for each time.
 * @param sent Told of what they took.
 */
export function fakeCourier(answer: () => SmtpAnswer, sent: (mail: OutgoingMail) => void): Courier {
  return {
    batch: 100,
    destinationOf: (domain, hops) => hops ? hops.map(({ host, path }) => host ?? path).join(",") : domain,
    async deliver(given: Attempt): Promise<Answer> {
      const { envelope, message, recipients, attempt, hops, stopping } = given;
      const from = given.sender ?? envelope.sender;
      const bytes = await message.bytes(Infinity);
      const to = recipients.map(({ address }) => address);
      const mail = { id: envelope.id, from, to, attempt, hops, ...readMail(bytes) };
      const said = await Promise.race([answer()(mail), aborted(stopping)]);
      if (said === "unreachable") return { results: to.map(() => noConnection), contact: "unreachable" };
      const outcomes: readonly (Outcome | undefined)[] = said === undefined
        ? to.map(() => delivered("250 2.0.0 Taken"))
        : isEach(said)
        ? said
        : to.map(() => said);
      const taken = to.filter((_, i) => outcomes[i]?.verdict === "delivered");
      if (taken.length > 0) sent({ ...mail, to: taken });
      const host = `mx.${recipients[0]!.parsed.domain}`;
      const results = to.map((_, i) => ({ ...read(outcomes[i]), host }));
      return { results, contact: "reached" };
    },
  };
}

const noConnection: Result = {
  outcome: "deferred",
  status: "4.4.1",
  reply: "4.4.1 No connection",
  reason: "unreachable",
};

/** As a host would have said it: with the code in front. */
function read(outcome: Outcome = notSaid): Result {
  const result = resultOf(outcome);
  if (outcome.verdict === "delivered") return result;
  const code = outcome.code ?? (outcome.verdict === "defer" ? 451 : 550);
  return { ...result, reply: `${code} ${result.reply}` };
}

const notSaid: Outcome = {
  verdict: "defer",
  status: "4.3.0",
  text: "The test gave no outcome for this recipient",
};

const isEach = (said: Outcome | readonly Outcome[]): said is readonly Outcome[] => Array.isArray(said);

/** A server that stops waits for no host. */
function aborted(stopping: AbortSignal): Promise<Outcome> {
  const stopped: Outcome = { verdict: "defer", status: "4.3.2", text: "The server stops" };
  return new Promise((resolve) => {
    if (stopping.aborted) return resolve(stopped);
    stopping.addEventListener("abort", () => resolve(stopped), { once: true });
  });
}
