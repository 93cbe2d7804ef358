/** A queue on a real disk with what follows it: the Worker reads files. */
import { join } from "node:path";
import { memoryContent } from "../../server/message/content.ts";
import { noEdits } from "../../server/message/edits.ts";
import { LogSpool, type LogSpoolOptions } from "../../server/spool/log.ts";
import type { PassedBy, QueuedEnvelope } from "../../server/spool/spool.ts";
import { FakeClock } from "../../server/testing/clock.ts";
import { type MemoryLog, memoryLog } from "../../server/testing/log.ts";
import type { Step, Tracked, TrackedMessage } from "../../server/tracking/steps.ts";
import { Tracking, type TrackingOptions } from "../../server/tracking/tracking.ts";

export const [minute, hour, day] = [60_000, 3_600_000, 86_400_000];
export const start = Date.UTC(2026, 10, 21, 22);

/** What is open in one life of a server. */
export interface Life {
  readonly spool: LogSpool;
  readonly tracking: Tracking;
}

/** A state directory, and servers in it one after the other. */
export class Place implements AsyncDisposable {
  readonly clock = new FakeClock(start);
  readonly log: MemoryLog = memoryLog();
  #life: Life | undefined;

  private constructor(readonly folder: string) {}

  static async make(): Promise<Place> {
    return new Place(await Deno.makeTempDir({ prefix: "postrider-track-" }));
  }

  get database(): string {
    return join(this.folder, "tracking.db");
  }

  async open(options: Partial<LogSpoolOptions> = {}, how: Partial<TrackingOptions> = {}): Promise<Life> {
    const { clock, log } = this;
    const tracking = new Tracking({ path: this.database, clock, log, keep: 30 * day, ...how });
    const spool = await LogSpool.open(join(this.folder, "spool"), {
      ...{ clock, log, reserve: 0, room: 0, follower: tracking },
      ...options,
    });
    tracking.follow(spool);
    return this.#life = { spool, tracking };
  }

  async close(): Promise<void> {
    await this.#life?.tracking.close();
    await this.#life?.spool.close();
    this.#life = undefined;
  }

  async segments(): Promise<string[]> {
    const names = await Array.fromAsync(Deno.readDir(join(this.folder, "spool")), ({ name }) => name);
    return names.filter((name) => /\.(hot|cold)$/.test(name)).sort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
    await Deno.remove(this.folder, { recursive: true });
  }
}

export function envelopeOf(id: string, more: Partial<QueuedEnvelope> = {}): QueuedEnvelope {
  const address = "bob@there.example";
  return {
    id,
    received: start,
    sender: "alice@here.example",
    utf8: false,
    edits: noEdits,
    top: ["Received: x\r\n"],
    recipients: [{ address, original: address, via: "smtp" }],
    ...more,
  };
}

export const content = (text = "Subject: x\r\n\r\nbody\r\n") => memoryContent(new TextEncoder().encode(text));

export function passedOf(
  id: string,
  keeper: PassedBy["keeper"],
  more: Partial<QueuedEnvelope> = {},
): PassedBy {
  const { edits: _edits, top: _top, ...envelope } = envelopeOf(id, more);
  return { envelope, size: 20, keeper };
}

export async function find(tracking: Tracking, text: string): Promise<Tracked> {
  return await tracking.find({ text, limit: 20 });
}

/** The one message that is found. */
export async function theOne(tracking: Tracking, text: string): Promise<TrackedMessage> {
  const { messages } = await find(tracking, text);
  if (messages.length !== 1) throw new Error(`${messages.length} messages instead of one`);
  return messages[0]!;
}

export const idsOf = ({ messages }: Tracked): string[] => messages.map(({ id }) => id);

/** What happened, in few words. */
export function said(step: Step): string {
  switch (step.step) {
    case "attempt":
      return `${step.outcome} ${step.to} ${step.attempt ?? "?"} ${step.reply}`;
    case "held":
      return `held ${step.reason}`;
    case "report":
      return `report ${step.report} ${step.kind}`;
    default:
      return step.step;
  }
}
