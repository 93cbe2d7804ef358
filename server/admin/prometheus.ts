/** The figures as Prometheus reads them. */
import process from "node:process";
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { Clock } from "../clock.ts";
import type { Spool } from "../spool/spool.ts";
import { version } from "../version.ts";
import { BoundedLabels } from "./labels.ts";
import type { Metrics } from "./metrics.ts";
import { Tally } from "./tally.ts";

/** What is looked at when somebody asks. */
export interface MetricSources {
  readonly clock: Clock;
  readonly spool: Pick<Spool, "census">;
  /** The runner. */
  readonly deliveries: { readonly active: number; readonly asleep: readonly unknown[] };
  /** Octets that are free where the spool is. */
  free(): Promise<number>;
}

/** Destinations that have figures of their own. */
const namedDestinations = 50;
/** Every so many milliseconds the event loop is measured. */
const lagEvery = 500;

const attemptBuckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];
const syncBuckets = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5];

/** Metrics that are kept, and told to whoever asks. */
export class PrometheusMetrics implements Metrics {
  /** The media type of `text`. */
  readonly contentType: string;
  readonly #registry = new Registry();
  readonly #sources: MetricSources;
  readonly #sessions = { mx: 0, submission: 0 };
  readonly #sessionsTotal: Tally<"role">;
  readonly #connectionsRefused: Tally<"reason">;
  readonly #replies: Tally<"phase" | "plugin" | "class">;
  readonly #observed: Tally<"plugin" | "verdict" | "mail">;
  readonly #messages: Tally<"verdict">;
  #octets = 0;
  readonly #attempts: Tally<"transport" | "destination" | "outcome">;
  readonly #attemptSeconds: Histogram<"transport">;
  readonly #syncSeconds: Histogram;
  readonly #destinations: BoundedLabels;
  #lag = 0;
  #cancelLag: () => void;

  constructor(sources: MetricSources) {
    this.#sources = sources;
    const registers = [this.#registry];
    this.contentType = this.#registry.contentType;
    const tally = <L extends string>(name: string, help: string, ...labels: readonly L[]) =>
      new Tally<L>(`postrider_${name}`, help, labels, this.#registry);
    this.#sessionsTotal = tally("sessions_total", "Sessions since the start.", "role");
    this.#connectionsRefused = tally(
      "connections_refused_total",
      "Connections that were turned away.",
      "reason",
    );
    const decisions = "Refusals of each phase and answers to messages, by who decided.";
    this.#replies = tally("replies_total", decisions, ...["phase", "plugin", "class"] as const);
    const watched = "What observed plugins would have said, by what became of the mail without them.";
    this.#observed = tally("observed_total", watched, ...["plugin", "verdict", "mail"] as const);
    this.#messages = tally("messages_total", "Messages that came whole.", "verdict");
    const outcomes = "What attempts came to, by recipient; destinations that are rare are 'other'.";
    this.#attempts = tally("attempts_total", outcomes, ...["transport", "destination", "outcome"] as const);
    this.#attemptSeconds = new Histogram({
      name: "postrider_attempt_seconds",
      help: "How long attempts took, counted for each recipient.",
      labelNames: ["transport"],
      buckets: attemptBuckets,
      registers,
    });
    this.#syncSeconds = new Histogram({
      name: "postrider_fdatasync_seconds",
      help: "How long the disk takes to make a batch of the spool durable.",
      buckets: syncBuckets,
      registers,
    });
    this.#destinations = new BoundedLabels(
      sources.clock,
      namedDestinations,
      (name) => this.#attempts.remove("destination", name),
    );
    this.#observe();
    this.#cancelLag = this.#watchLag();
  }

  /** All figures, in Prometheus' text format. */
  text(): Promise<string> {
    return this.#registry.metrics();
  }

  /** Ends the measuring. */
  close(): void {
    this.#cancelLag();
  }

  sessionBegan(role: "mx" | "submission"): void {
    this.#sessions[role]++;
    this.#sessionsTotal.add(role);
  }

  sessionEnded(role: "mx" | "submission"): void {
    this.#sessions[role]--;
  }

  connectionRefused(reason: string): void {
    this.#connectionsRefused.add(reason);
  }

  replied(phase: string, plugin: string, code: number): void {
    this.#replies.add(phase, plugin, classes[Math.floor(code / 100)] ?? "other");
  }

  observed(plugin: string, verdict: string, fate: "accepted" | "refused" | "none"): void {
    this.#observed.add(plugin, verdict.split(" ", 1)[0]!, fate);
  }

  messageEnded(verdict: "accepted" | "refused", octets: number): void {
    this.#messages.add(verdict);
    if (verdict === "accepted") this.#octets += octets;
  }

  attempted(
    transport: string,
    destination: string,
    outcome: "delivered" | "deferred" | "failed",
    seconds: number,
  ): void {
    this.#attempts.add(transport, this.#destinations.labelOf(destination), outcome);
    this.#attemptSeconds.observe({ transport }, seconds);
  }

  synced(seconds: number): void {
    this.#syncSeconds.observe(seconds);
  }

  /** What is only looked at when somebody asks. */
  #observe(): void {
    const sessions = this.#sessions;
    this.#gauges("sessions", "Sessions now.", "role", () => sessions);
    this.#take("postrider_message_octets_total", "Octets of accepted messages.", () => {
      const octets = this.#octets;
      this.#octets = 0;
      return octets;
    });
    this.#gauge(
      "postrider_event_loop_lag_seconds",
      "The longest it was busy since it was last asked.",
      () => {
        const lag = this.#lag;
        this.#lag = 0;
        return lag / 1000;
      },
    );
    this.#observeQueue();
    this.#observeProcess();
  }

  #observeQueue(): void {
    const { clock, spool, deliveries, free } = this.#sources;
    this.#gauges("queue_messages", "Messages in the queue; ready: due, or being tried.", "state", () => {
      const { ready, deferred, held } = spool.census(clock.now());
      return { ready, deferred, held };
    });
    this.#gauge(
      "postrider_queue_oldest_age_seconds",
      "Age of the oldest message; 0: the queue is empty.",
      () => {
        const now = clock.now();
        return Math.max(0, now - (spool.census(now).oldest ?? now)) / 1000;
      },
    );
    this.#gauge("postrider_attempts_active", "Attempts under way.", () => deliveries.active);
    const asleep = "Destinations that can't be reached.";
    this.#gauge("postrider_destinations_asleep", asleep, () => deliveries.asleep.length);
    this.#gauge(
      "postrider_disk_free_bytes",
      "Octets that are free where the spool is.",
      () => free().catch(() => NaN),
    );
  }

  #observeProcess(): void {
    const started = (this.#sources.clock.now() - performance.now()) / 1000;
    this.#gauge("process_start_time_seconds", "When it began, seconds since 1970.", () => started);
    this.#gauge("process_resident_memory_bytes", "Resident memory.", () => Deno.memoryUsage().rss);
    this.#gauge("process_heap_bytes", "JavaScript heap in use.", () => Deno.memoryUsage().heapUsed);
    let told = 0;
    this.#take("process_cpu_seconds_total", "CPU time, user and system.", () => {
      const { user, system } = process.cpuUsage();
      const before = told;
      told = (user + system) / 1e6;
      return Math.max(0, told - before);
    });
    this.#gauges("info", "The version that runs.", "version", () => ({ [version]: 1 }));
  }

  #gauge(name: string, help: string, value: () => number | Promise<number>): void {
    new Gauge({
      ...{ name, help, registers: [this.#registry] },
      async collect() {
        this.set(await value());
      },
    });
  }

  /** One with a label. */
  #gauges(name: string, help: string, label: string, values: () => Readonly<Record<string, number>>): void {
    new Gauge({
      ...{ name: `postrider_${name}`, help, labelNames: [label], registers: [this.#registry] },
      collect() {
        for (const [which, value] of Object.entries(values())) this.set({ [label]: which }, value);
      },
    });
  }

  /** A counter of which somebody else knows how much came to it since the last time. */
  #take(name: string, help: string, more: () => number): void {
    new Counter({
      ...{ name, help, registers: [this.#registry] },
      collect() {
        this.inc(more());
      },
    });
  }

  #watchLag(): () => void {
    const { clock } = this.#sources;
    const next = () => {
      const due = clock.monotonic() + lagEvery;
      this.#cancelLag = clock.after(lagEvery, () => {
        this.#lag = Math.max(this.#lag, clock.monotonic() - due);
        next();
      });
      return this.#cancelLag;
    };
    return next();
  }
}

const classes = ["other", "1xx", "2xx", "3xx", "4xx", "5xx"] as const;
