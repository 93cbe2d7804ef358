/**
 * What happens to queued mail: takes what is due from the spool, tries it through transports, a share of the slots for each
 * destination, and records what became of each recipient (DESIGN §8). A slot is free only when its outcome is durable.
 */
import type { Metrics } from "../admin/metrics.ts";
import type { Chain } from "../chain.ts";
import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";
import type { Queued, RecordedOutcome, Spool } from "../spool/spool.ts";
import type { Answer, Courier } from "./attempt.ts";
import { Attempts, type Refused, refusedOf } from "./attempts.ts";
import { type Concurrency, Destinations, type Sleep } from "./destinations.ts";
import { Outcomes } from "./outcomes.ts";
import { Picking } from "./picking.ts";
import { Recorder } from "./recorder.ts";
import type { Reports } from "./reports.ts";
import type { Objected, Screen, Screened } from "./screening.ts";
import { type Candidate, type Job, Round } from "./round.ts";
import { longestAhead, type Random, type RetryPolicy } from "./schedule.ts";
import { Settling } from "./settling.ts";
import { Tasks } from "./tasks.ts";
import { Timeline } from "./timeline.ts";
import { Waiting } from "./waiting.ts";

/** What the configuration says of the queue. */
export interface RunnerSettings {
  readonly policy: RetryPolicy;
  readonly concurrency: Concurrency;
}

/** The newest generation of plugins, held until it is released. */
export interface HeldPlugins {
  readonly chain: Chain;
  release(): void;
}

/** What a runner needs of the server. */
export interface RunnerOptions {
  readonly spool: Spool;
  readonly clock: Clock;
  readonly log: Log;
  readonly reports: Reports;
  /** The transports that are no plugin's, by name: `smtp`. */
  readonly builtIn: ReadonlyMap<string, Courier>;
  /** Holds the newest generation: its transports, its `route` and its reports are used. */
  plugins(): HeldPlugins;
  readonly settings: RunnerSettings;
  /** Asks plugins about what is in the queue; absent: messages that are to be asked about wait. */
  readonly screen?: Screen;
  readonly random?: Random;
  /** Who counts; absent: nobody. */
  readonly metrics?: Metrics;
}

/** Messages in memory at a time, as long as they are small. */
const mostRounds = 10_000;
/** Messages that are read at a time: each may be an open file. */
const mostReading = 64;
/** A message for which there was nothing to do although it was due is looked at again after so long. */
const puzzled = 60_000;

/** The queue's runner. */
export class Runner {
  readonly #options: RunnerOptions;
  readonly #timeline: Timeline;
  readonly #destinations: Destinations<Job>;
  readonly #recorder: Recorder;
  readonly #picking: Picking;
  readonly #attempts: Attempts;
  readonly #waiting: Waiting;
  readonly #settling: Settling;
  readonly #tasks: Tasks;
  readonly #rounds = new Map<string, Round>();
  readonly #stopping = new AbortController();
  #settings: RunnerSettings;
  #state: "new" | "running" | "stopping" = "new";
  #pumping = false;
  #reading = 0;
  #alarm: { readonly at: number; readonly cancel: () => void } | undefined;

  constructor(options: RunnerOptions) {
    const { spool, clock, log, reports, random = Math.random, settings } = options;
    this.#options = options;
    this.#settings = settings;
    this.#tasks = new Tasks(log);
    this.#timeline = new Timeline(clock, spool);
    this.#destinations = new Destinations(settings.concurrency, random);
    this.#recorder = new Recorder(spool, clock, log, () => this.wake());
    this.#waiting = new Waiting(this.#destinations, options);
    this.#picking = new Picking({
      ...options,
      timeline: this.#timeline,
      waiting: this.#waiting,
      policy: () => this.#settings.policy,
      room: () => this.#takesMore ? mostReading - this.#reading : 0,
      isUnderWay: (id) => this.#rounds.has(id),
      take: (id, at, shift) => this.#take(id, at, shift),
    });
    this.#attempts = new Attempts({ ...options, stopping: this.#stopping.signal });
    const outcomes = new Outcomes({
      log,
      timeline: this.#timeline,
      random,
      policy: () => this.#settings.policy,
    });
    this.#settling = new Settling({
      ...options,
      outcomes,
      reports,
      timeline: this.#timeline,
      recorder: this.#recorder,
      begin: (round, task) => this.#tasks.run(round.id, task),
      leave: (round) => this.#leave(round),
      random,
      policy: () => this.#settings.policy,
    });
  }

  /** Begins to take what is due. */
  start(): void {
    if (this.#state !== "new") return;
    this.#state = "running";
    this.#timeline.begin(longestAhead(this.#settings.policy.schedule), this.#options.random ?? Math.random);
    this.#options.spool.onDue(() => this.wake());
    this.wake();
  }

  /** A configuration that was read again. What sleeps is tried anew: it may be what was mended. */
  use(settings: RunnerSettings): void {
    this.#settings = settings;
    this.#destinations.limits = settings.concurrency;
    this.rouse();
  }

  /** Ends the sleep of all destinations, and of their mail. */
  rouse(): void {
    const { spool } = this.#options;
    const latest = Math.max(0, ...this.asleep.map(({ until }) => until));
    if (latest === 0) return this.wake();
    this.#destinations.rouse();
    const now = this.#timeline.now();
    // Only what waits in memory comes sooner by it: what was deferred is due when it was recorded to be.
    for (const { id } of spool.due(latest, Infinity)) spool.postpone(id, now);
    this.wake();
  }

  /** Ends the sleep of these alone, named as the spool names them: their mail was made due already. */
  rouseOnly(destinations: Iterable<string>): void {
    for (const destination of destinations) this.#destinations.rouse(this.#waiting.nameOf(destination));
    this.wake();
  }

  /** Something may be due: looks, soon. */
  wake(): void {
    if (this.#pumping || this.#state !== "running") return;
    this.#pumping = true;
    queueMicrotask(() => {
      this.#pumping = false;
      this.#pump();
    });
  }

  /** Whether something is being tried of this message, for people. */
  isActive(id: string): boolean {
    return (this.#rounds.get(id)?.active ?? 0) > 0;
  }

  /** An operator changed the message: what was read of it before counts no more. */
  changed(id: string): void {
    const round = this.#rounds.get(id);
    if (round) round.readAt = -Infinity;
  }

  /** Slots that are taken. */
  get active(): number {
    return this.#destinations.active;
  }

  /** Destinations that are not tried for a while, for people; `until` in milliseconds since 1970. */
  get asleep(): Sleep[] {
    const { clock } = this.#options;
    const [now, wall] = [clock.monotonic(), this.#timeline.now()];
    return this.#destinations.asleep(now).map((sleep) => ({
      ...sleep,
      since: wall + sleep.since - now,
      until: wall + sleep.until - now,
    }));
  }

  /**
   * Begins nothing more, and waits for what is under way; what takes longer is aborted, and stays in the queue.
   *
   * @param patience Milliseconds.
   */
  async stop(patience: number): Promise<"drained" | "cut off"> {
    this.#state = "stopping";
    this.#alarm?.cancel();
    this.#alarm = undefined;
    this.#settling.hurry(this.#rounds.values());
    if (await this.#idleWithin(patience)) return "drained";
    this.#stopping.abort(new Error("the server stops"));
    await this.#idleWithin(1000); // so that those who heed it are recorded
    return "cut off";
  }

  async #idleWithin(ms: number): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const cancel = this.#options.clock.after(ms, () => resolve(false));
    this.#tasks.idle().then(() => resolve(true));
    const idle = await promise;
    cancel();
    return idle;
  }

  // ── From the spool to the destinations ───────────────────────────────────────────────────────────

  #pump(): void {
    if (this.#state !== "running") return;
    if (this.#timeline.check() === "set") {
      this.#options.log.warning("the clock was set, waits go on as they were", { now: this.#timeline.now() });
    }
    this.#picking.pick();
    this.#begin();
    this.#setAlarm();
  }

  get #takesMore(): boolean {
    return this.#state === "running" && !this.#recorder.isStuck && this.#reading < mostReading &&
      this.#rounds.size < mostRounds;
  }

  /** Reads a message and begins its attempts. From here on the spool doesn't give it, until something is recorded. */
  #take(id: string, at: number, shift: number): void {
    const { spool } = this.#options;
    spool.postpone(id, Infinity);
    this.#timeline.forget(id);
    const round = this.#open(id);
    this.#reading++;
    this.#tasks.run(id, async () => {
      let planned = 0;
      try {
        let queued, recorded;
        try {
          do { // what was read while an outcome was recorded may not have it, and would repeat a delivery
            recorded = round.recorded;
            queued = await spool.get(id);
          } while (recorded !== round.recorded);
        } finally {
          this.#reading--;
        }
        if (queued && queued.held === undefined) planned = await this.#plan(round, queued, shift);
      } finally {
        // Nothing to do although it was due: held meanwhile, or unreadable. Never at once again.
        if (planned === 0 && round.parts === 1 && round.next === Infinity) {
          round.next = Math.max(at, this.#timeline.now()) + puzzled;
        }
        this.#leave(round);
      }
    });
  }

  #open(id: string): Round {
    let round = this.#rounds.get(id);
    if (!round) this.#rounds.set(id, round = new Round(id));
    round.parts++;
    return round;
  }

  /** Puts those whose time has come where they wait for a slot. Answers for how many something was done. */
  async #plan(round: Round, queued: Queued, shift: number): Promise<number> {
    const { clock } = this.#options;
    const now = this.#timeline.now();
    const candidates: Candidate[] = [];
    const moved: RecordedOutcome[] = [];
    round.queued = queued;
    round.readAt = clock.monotonic();
    round.next = Infinity;
    for (const [index, state] of queued.states.entries()) {
      if (state.state !== "due" || round.busy.has(index)) continue;
      const due = state.due + shift;
      if (due <= now) {
        round.busy.add(index);
        candidates.push({ index, state, due });
      } else {
        round.next = Math.min(round.next, due);
        if (shift !== 0) moved.push({ id: round.id, recipient: index, state: { ...state, due } });
      }
    }
    if (moved.length > 0) await this.#recorder.record(moved);
    if (candidates.length === 0) return moved.length;
    round.parts++; // until the last of them is settled, so that one report tells of all who are refused
    let plugins: HeldPlugins | undefined;
    try {
      const { going, objected } = await this.#screen(round, candidates);
      if (going.length === 0 && objected.length === 0) return 0;
      plugins = this.#options.plugins();
      const { jobs, refused } = await this.#attempts.plan(round, round.queued!, going, plugins.chain);
      for (const job of jobs) this.#queue(job, plugins.chain);
      for (const one of [...objected, ...refused]) {
        await this.#settling.settle(one.job, one.answer, {
          chain: plugins.chain,
          began: now,
          kind: one.kind,
        });
      }
    } finally {
      round.parts--; // never the last: the reading is one, too
      plugins?.release();
      this.wake();
    }
    return candidates.length;
  }

  /** Has plugins asked that are to see the message in the queue. Who isn't in what comes of it is looked at again, soon. */
  async #screen(
    round: Round,
    candidates: readonly Candidate[],
  ): Promise<{ readonly going: readonly Candidate[]; readonly objected: readonly Refused[] }> {
    const { spool, screen } = this.#options;
    const queued = round.queued!;
    if (!queued.envelope.screening) return { going: candidates, objected: [] };
    let plugins: HeldPlugins | undefined;
    const begin = () => {
      if (this.#state !== "running") return undefined;
      // A plugin may end the process as any attempt may; who only waits for a place is under no suspicion.
      spool.attempting([round.id]);
      round.active++;
      plugins = this.#options.plugins();
      return plugins.chain;
    };
    const stopping = this.#stopping.signal;
    const screened: Screened = screen
      ? await screen(queued, candidates.map(({ index }) => index), { stopping, begin })
      : { kind: "withheld" };
    if (plugins) {
      round.active--;
      plugins.release();
    }
    const now = screened.kind === "withheld" ? undefined : await spool.get(round.id);
    const isLeft = now !== undefined && now.held === undefined;
    const objections = screened.kind === "objected" ? screened.objections : new Map<number, Objected>();
    const [going, objected]: [Candidate[], Refused[]] = [[], []];
    for (const candidate of candidates) {
      const recipient = now?.envelope.recipients[candidate.index];
      const objection = objections.get(candidate.index);
      if (!isLeft || !recipient || now.states[candidate.index]?.state !== "due") {
        round.busy.delete(candidate.index);
      } else if (objection) objected.push(refusedOf(round, candidate, recipient, objection));
      else if (now.envelope.screening?.recipients.includes(candidate.index)) {
        round.busy.delete(candidate.index);
      } else going.push(candidate);
    }
    if (now) [round.queued, round.readAt] = [now, this.#options.clock.monotonic()];
    return { going, objected };
  }

  #queue(job: Job, chain: Chain): void {
    job.round.parts++;
    const sleep = this.#destinations.sleepOf(job.destination, this.#options.clock.monotonic());
    if (sleep) this.#lull(job, sleep, chain);
    else this.#destinations.add(job.destination, job);
  }

  /** Its destination sleeps, and so does it. */
  #lull(job: Job, sleep: Sleep, chain: Chain): void {
    const lulled = this.#settling.lull(job, sleep, chain);
    if (lulled) this.#tasks.run(job.round.id, () => lulled.finally(() => this.#leave(job.round)));
    else this.#leave(job.round);
  }

  // ── Attempts ─────────────────────────────────────────────────────────────────────────────────────

  #begin(): void {
    if (this.#state !== "running" || this.#recorder.isStuck) return;
    const jobs: Job[] = [];
    for (let job = this.#destinations.next(); job; job = this.#destinations.next()) jobs.push(job);
    if (jobs.length === 0) return;
    this.#options.spool.attempting(jobs.map(({ round }) => round.id));
    for (const job of jobs) this.#tasks.run(job.round.id, () => this.#attempt(job));
  }

  /** One attempt, from its slot to its slot. */
  async #attempt(job: Job): Promise<void> {
    const { round, destination } = job;
    const plugins = this.#options.plugins();
    round.active++;
    try {
      const began = this.#timeline.now();
      const clocked = this.#options.clock.monotonic();
      const made = await this.#attempts.make(job, plugins.chain);
      if (made.kind === "void") {
        for (const { index } of job.candidates) round.busy.delete(index);
        round.next = Math.min(round.next, this.#timeline.now() + made.lookAgainAfter);
      } else {
        this.#count(job, made.answer, (this.#options.clock.monotonic() - clocked) / 1000);
        this.#hear(job, made.answer, plugins.chain);
        await this.#settling.settle(job, made.answer, { chain: plugins.chain, began, kind: made.kind });
      }
    } finally {
      round.active--;
      this.#destinations.free(destination);
      plugins.release();
      this.#leave(round);
      this.wake();
    }
  }

  #count({ via, destination }: Job, { results }: Answer, seconds: number): void {
    const next = destination.slice(via.length + 1) || via;
    // A transport that leaves one out defers it.
    for (const result of results) {
      this.#options.metrics?.attempted(via, next, result?.outcome ?? "deferred", seconds);
    }
  }

  /** What the attempt says of its destination. */
  #hear({ destination, via }: Job, { contact, results }: Answer, chain: Chain): void {
    const { clock, log } = this.#options;
    if (contact === "reached") this.#destinations.reached(destination);
    if (contact !== "unreachable") return;
    const why = results[0] ?? { outcome: "deferred", status: "4.4.1", reply: "4.4.1 No connection" };
    const now = clock.monotonic();
    const sleep = this.#destinations.unreachable(destination, now, why);
    if (!sleep) return;
    const waiting = this.#destinations.drain(destination);
    log.warning("destination sleeps", {
      destination,
      transport: via,
      seconds: Math.round((sleep.until - now) / 1000),
      waiting: waiting.length,
      reply: why.reply,
    });
    for (const job of waiting) this.#lull(job, sleep, chain);
  }

  /** A part of a message's round is over; with the last one the round is. */
  #leave(round: Round): void {
    const { spool } = this.#options;
    if (round.parts === 1 && this.#settling.owes(round)) {
      this.#tasks.run(round.id, () => this.#settling.report(round).finally(() => this.#leave(round)));
      return;
    }
    if (--round.parts === 0) {
      this.#rounds.delete(round.id);
      // Only a fault of ours leaves someone behind; mail may wait for it, never be forgotten.
      if (round.busy.size > 0) round.next = Math.min(round.next, this.#timeline.now() + puzzled);
    }
    // A sleeper's time is known only here, and what is under way isn't due.
    if (round.parts > 0 || round.next !== Infinity) spool.postpone(round.id, round.next);
    this.wake();
  }

  // ── Time ─────────────────────────────────────────────────────────────────────────────────────────

  /** One timer for all that waits. While nothing more is taken, the end of an attempt wakes us. */
  #setAlarm(): void {
    const { clock, spool } = this.#options;
    if (!this.#takesMore) return;
    const next = Math.min(this.#timeline.next, spool.nextDue);
    if (next === Infinity) return;
    const at = clock.monotonic() + Math.max(0, next - this.#timeline.now());
    // One that comes too soon finds nothing, and sets the next.
    if (this.#alarm && this.#alarm.at <= at) return;
    this.#alarm?.cancel();
    const cancel = clock.after(Math.ceil(at - clock.monotonic()), () => {
      this.#alarm = undefined;
      this.wake();
    });
    this.#alarm = { at, cancel };
  }
}
