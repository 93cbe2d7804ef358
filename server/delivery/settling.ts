/**
 * After an attempt: outcomes are recorded, the sender is told. Reports of one message that belong together are one report, and
 * a failure is recorded when its report is in the queue, not before (CASES Q01, Q05).
 */
import type { Chain } from "../chain.ts";
import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";
import type { RecipientState, RecordedOutcome, Spool } from "../spool/spool.ts";
import type { Answer, Result } from "./attempt.ts";
import type { Sleep } from "./destinations.ts";
import type { Attempted, Ending, Outcomes } from "./outcomes.ts";
import type { Recorder } from "./recorder.ts";
import type { Reported, ReportedMessage, Reports } from "./reports.ts";
import type { Candidate, Job, Round } from "./round.ts";
import { nextAttempt, type Random, type RetryPolicy } from "./schedule.ts";
import type { Timeline } from "./timeline.ts";

/** What settling needs. */
export interface SettlingOptions {
  readonly spool: Pick<Spool, "content">;
  readonly clock: Clock;
  readonly log: Log;
  readonly outcomes: Outcomes;
  readonly reports: Reports;
  readonly recorder: Recorder;
  readonly timeline: Timeline;
  readonly random: Random;
  readonly policy: () => RetryPolicy;
  /** Runs something for a round. */
  begin(round: Round, task: () => Promise<void>): void;
  /** A part of the round is over. */
  leave(round: Round): void;
}

/** How long a failure waits for those of the message's other recipients, so that one report tells of all. */
const gathering = 10_000;

/** Settles what attempts came to. */
export class Settling {
  constructor(readonly options: SettlingOptions) {}

  /** Resolves when everything is recorded, save failures whose report waits for other recipients. */
  async settle(
    { round, via, candidates }: Job,
    { results }: Answer,
    { chain, began, kind }: Pick<Attempted, "began" | "kind"> & { readonly chain: Chain },
  ): Promise<void> {
    const { envelope } = round.queued!;
    const attempted: Attempted = { envelope, via, began, kind };
    const endings = candidates.map((candidate, i) =>
      this.options.outcomes.conclude(attempted, candidate, checked(results[i]), chain)
    );
    await this.#finish(round, endings);
  }

  /**
   * The destination sleeps: that costs no attempt. Mail that is too old is charged with the connection that failed, if it was
   * due then: it would have failed, too, and otherwise would never be given up.
   *
   * @returns `undefined` when there is nothing to record.
   */
  lull({ round, via, candidates }: Job, sleep: Sleep, chain: Chain): Promise<void> | undefined {
    const { clock, timeline, outcomes, policy } = this.options;
    const { envelope } = round.queued!;
    const [now, monotonic] = [timeline.now(), clock.monotonic()];
    const wake = now + sleep.until - monotonic;
    const failed = now + sleep.since - monotonic;
    const age = timeline.ageOf(envelope.received) - (now - failed);
    const endings: Ending[] = [];
    for (const candidate of candidates) {
      if (age > policy().giveUpAfter && candidate.due <= failed) {
        const attempted: Attempted = { envelope, via, began: failed, kind: "attempt" };
        endings.push(outcomes.conclude(attempted, candidate, sleep.why, chain));
        continue;
      }
      const { attempts } = candidate.state;
      const ending = outcomes.deferral(envelope, candidate, sleep.why, { due: Math.ceil(wake), attempts });
      if (ending.kind === "record" && ending.delay) endings.push(ending);
      else {
        round.busy.delete(candidate.index);
        round.next = Math.min(round.next, Math.ceil(wake));
      }
    }
    return endings.length > 0 ? this.#finish(round, endings) : undefined;
  }

  /** Whether reports wait. */
  owes({ failures, delays }: Round): boolean {
    return failures.length > 0 || delays.length > 0;
  }

  /** Tells senders now of what waited for other recipients: the server stops. */
  hurry(rounds: Iterable<Round>): void {
    for (const round of rounds) if (this.owes(round)) this.#reportSoon(round);
  }

  /** Sends the reports that wait, and records what they were about. */
  async report(round: Round): Promise<void> {
    const { reports, recorder } = this.options;
    round.cancelGathering?.();
    round.cancelGathering = undefined;
    const failures = round.failures.splice(0);
    const delays = round.delays.splice(0);
    const message = this.#messageOf(round);
    if (failures.length > 0) {
      const told = await this.#tell(
        round,
        () => reports.failed(message, failures.map(({ reported }) => reported)),
      );
      const { timeline, policy, random } = this.options;
      const records = failures.map(({ candidate: { index, state } }): RecordedOutcome => ({
        id: round.id,
        recipient: index,
        // Nobody knows of it yet: it stays, and so comes to fail again.
        state: told === "told" ? failedAs(state) : {
          ...state,
          due: Math.round(timeline.now() + nextAttempt(policy().schedule, state.attempts, random)),
        },
      }));
      await recorder.record(records);
      this.#release(round, records);
    }
    if (delays.length > 0) {
      await this.#tell(round, () => reports.delayed(message, delays.map(({ reported }) => reported)));
    }
  }

  async #finish(round: Round, endings: readonly Ending[]): Promise<void> {
    const { reports, recorder, clock } = this.options;
    const outcomes: RecordedOutcome[] = [];
    const successes: Reported[] = [];
    for (const ending of endings) {
      if (ending.kind === "failed") {
        round.failures.push(ending.failure);
        continue;
      }
      outcomes.push(ending.outcome);
      if (ending.success) successes.push(ending.success);
      if (ending.delay) round.delays.push(ending.delay);
    }
    if (successes.length > 0) {
      await this.#tell(round, () => reports.delivered(this.#messageOf(round), successes));
    }
    if (outcomes.length > 0) {
      await recorder.record(outcomes);
      this.#release(round, outcomes);
    }
    if (!this.owes(round)) return;
    if (round.parts <= 1) return await this.report(round);
    round.cancelGathering ??= clock.after(gathering, () => this.#reportSoon(round));
  }

  #reportSoon(round: Round): void {
    round.parts++;
    this.options.begin(round, () => this.report(round).finally(() => this.options.leave(round)));
  }

  /** These recipients are under way no more. */
  #release(round: Round, outcomes: readonly RecordedOutcome[]): void {
    round.recorded++;
    for (const { recipient, state } of outcomes) {
      round.busy.delete(recipient);
      if (state.state === "due") round.next = Math.min(round.next, state.due);
    }
  }

  async #tell(round: Round, report: () => Promise<void>): Promise<"told" | "not told"> {
    try {
      await report();
      return "told";
    } catch (error) {
      this.options.log.error("cannot keep the report to the sender", {
        id: round.id,
        error: error instanceof Error ? error.stack : String(error),
      });
      return "not told";
    }
  }

  #messageOf(round: Round): ReportedMessage {
    const { spool } = this.options;
    return {
      envelope: round.queued!.envelope,
      content: () => spool.content(round.id),
    };
  }
}

const missing: Result = {
  outcome: "deferred",
  status: "4.3.0",
  reply: "4.3.0 The transport gave no outcome for this recipient",
};

const statusClass = { delivered: "2", deferred: "4", failed: "5" } as const;

/** For good, as the last attempt said. */
const failedAs = ({ reply, last }: Candidate["state"]): RecipientState => ({
  state: "failed",
  reply,
  ...(last && { last }),
});

/** A result as it may go on: whatever a transport says, the outcome is one of three, and the status one of RFC 3463. */
function checked(result: Result | undefined): Result {
  const given = result ?? missing;
  const { outcome, status, reply } = given as Partial<Result>;
  if (typeof reply !== "string" || outcome === undefined || !Object.hasOwn(statusClass, outcome)) {
    return missing;
  }
  if (typeof status === "string" && /^[245]\.[0-9]{1,3}\.[0-9]{1,3}$/.test(status)) return given;
  return { ...given, status: `${statusClass[outcome]}.0.0` };
}
