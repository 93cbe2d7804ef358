/** What an operator watches: counts, and a port on which they are told, where the configuration has one. */
import type { Clock } from "../clock.ts";
import type { Admin } from "../config/admin.ts";
import type { Log } from "../log.ts";
import type { Disk, NewFile } from "../spool/disk.ts";
import { type Door, Health, type HealthSources } from "./health.ts";
import { type Metrics, noMetrics } from "./metrics.ts";
import { type MetricSources, PrometheusMetrics } from "./prometheus.ts";
import { AdminServer } from "./server.ts";

/** What is told of. */
export interface WatchSources extends Omit<MetricSources, "clock" | "spool"> {
  readonly spool: MetricSources["spool"] & HealthSources["spool"];
  readonly doors: () => readonly Door[];
}

/** Counts from the start; answers once what it tells of is open. */
export class Watch implements Metrics {
  #counts: Metrics = noMetrics;
  #prometheus: PrometheusMetrics | undefined;
  #server: AdminServer | undefined;

  /**
   * Answers on the configured address from now on. Without one nothing is counted either.
   *
   * @throws {AdminFailed} when the port can't be had.
   */
  open(admin: Admin | undefined, sources: WatchSources & { readonly clock: Clock; readonly log: Log }): void {
    if (!admin) return;
    const metrics = new PrometheusMetrics(sources);
    this.#prometheus = metrics;
    this.#counts = metrics;
    this.#server = new AdminServer({
      ...admin,
      log: sources.log,
      clock: sources.clock,
      metrics,
      health: new Health(sources),
    });
  }

  async close(): Promise<void> {
    await this.#server?.close();
    this.#prometheus?.close();
  }

  /** The same disk, whose syncs are timed. */
  timed(disk: Disk): Disk {
    const timing = (file: NewFile): NewFile => ({
      write: (bytes) => file.write(bytes),
      sync: async () => {
        const began = performance.now();
        await file.sync();
        this.synced((performance.now() - began) / 1000);
      },
      truncate: (octets) => file.truncate(octets),
      close: () => file.close(),
    });
    return {
      ...disk,
      openNew: async (path) => timing(await disk.openNew(path)),
      reopen: async (path, offset) => timing(await disk.reopen(path, offset)),
    };
  }

  sessionBegan(role: "mx" | "submission"): void {
    this.#counts.sessionBegan(role);
  }
  sessionEnded(role: "mx" | "submission"): void {
    this.#counts.sessionEnded(role);
  }
  connectionRefused(reason: string): void {
    this.#counts.connectionRefused(reason);
  }
  replied(phase: string, plugin: string, code: number): void {
    this.#counts.replied(phase, plugin, code);
  }
  observed(plugin: string, verdict: string, fate: "accepted" | "refused" | "none"): void {
    this.#counts.observed(plugin, verdict, fate);
  }
  messageEnded(verdict: "accepted" | "refused", octets: number): void {
    this.#counts.messageEnded(verdict, octets);
  }
  attempted(
    via: string,
    destination: string,
    outcome: "delivered" | "deferred" | "failed",
    seconds: number,
  ): void {
    this.#counts.attempted(via, destination, outcome, seconds);
  }
  synced(seconds: number): void {
    this.#counts.synced(seconds);
  }
}
