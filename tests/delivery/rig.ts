/** A runner over a fake queue, a fake clock and transports that a test scripts. */
import { Chain } from "../../server/chain.ts";
import type { Answer, Attempt, Courier, Result } from "../../server/delivery/attempt.ts";
import { type Bounce, Reports } from "../../server/delivery/reports.ts";
import { Runner, type RunnerSettings } from "../../server/delivery/runner.ts";
import { parseRetry, type Schedule } from "../../server/delivery/schedule.ts";
import type { Screen } from "../../server/delivery/screening.ts";
import type { Generation, Instance, RegisteredTransport } from "../../server/generation.ts";
import type { Deliver, Hooks } from "../../server/plugin.ts";
import type { QueuedEnvelope, QueuedRecipient } from "../../server/spool/spool.ts";
import { FakeClock } from "../../server/testing/clock.ts";
import { countingIds } from "../../server/testing/ids.ts";
import { memoryLog } from "../../server/testing/log.ts";
import { FakeSpool, queuedMessage } from "./fake_spool.ts";

export const [second, minute, hour, day] = [1000, 60_000, 3_600_000, 86_400_000];

export const ok: Result = {
  outcome: "delivered",
  status: "2.0.0",
  reply: "250 2.0.0 OK",
  host: "mx.there.example",
};
export const later: Result = {
  outcome: "deferred",
  status: "4.2.1",
  reply: "450 4.2.1 Busy",
  host: "mx.there.example",
};
export const never: Result = {
  outcome: "failed",
  status: "5.1.1",
  reply: "550 5.1.1 Unknown",
  host: "mx.there.example",
};
export const refused: Result = { outcome: "deferred", status: "4.4.1", reply: "Connection refused" };

export const each = (attempt: Attempt, result: Result, contact: Answer["contact"] = "reached"): Answer => ({
  results: attempt.recipients.map(() => result),
  contact,
});

export function schedule(...texts: string[]): Schedule {
  const read = parseRetry(texts);
  if (typeof read === "string") throw new Error(read);
  return read;
}

export interface RigOptions {
  /** What the transport `smtp` does; default: takes everything. */
  readonly smtp?: (attempt: Attempt) => Promise<Answer> | Answer;
  readonly batch?: number;
  /** Plugins' transports. */
  readonly transports?: Readonly<Record<string, Deliver>>;
  readonly transportBatch?: number;
  readonly handlers?: Partial<Hooks>;
  readonly settings?: Partial<RunnerSettings>;
  readonly submitBounce?: (bounce: Bounce) => Promise<unknown>;
  readonly clock?: FakeClock;
  readonly spool?: FakeSpool;
  readonly random?: () => number;
  readonly screen?: Screen;
}

export const usual: RunnerSettings = {
  policy: {
    schedule: schedule("1m", "5m x2", "15m x4", "1h x8", "4h"),
    giveUpAfter: 5 * day,
    delayNoticeAfter: 4 * hour,
  },
  concurrency: { total: 200, perDestination: 20 },
};

export function rig(options: RigOptions = {}) {
  const { clock = new FakeClock(), spool = new FakeSpool(clock), random = () => 0.5 } = options;
  const log = memoryLog();
  const bounces: (Bounce & { text: string })[] = [];
  const attempts: Attempt[] = [];
  const ids = countingIds();
  const reports = new Reports({
    hostname: "mx.here.example",
    clock,
    log,
    ids: { ...ids, message: () => `bounce-${ids.message()}` },
    spool,
    submitBounce: options.submitBounce ?? ((bounce) => {
      bounces.push({ ...bounce, text: new TextDecoder().decode(bounce.content) });
      return Promise.resolve();
    }),
    random: (octets) => void octets.fill(7),
  });
  const smtp: Courier = {
    batch: options.batch ?? 100,
    destinationOf: (domain, hops) => hops ? hops.map(({ host, path }) => host ?? path).join() : domain,
    deliver: async (attempt) => {
      attempts.push(attempt);
      return await (options.smtp ?? ((one) => each(one, ok)))(attempt);
    },
  };
  const chain = new Chain(generationOf(options), clock, log);
  const held = { count: 0 };
  const runner = new Runner({
    spool,
    clock,
    log,
    reports,
    builtIn: new Map([["smtp", smtp]]),
    plugins: () => {
      held.count++;
      return { chain, release: () => void held.count-- };
    },
    settings: { ...usual, ...options.settings },
    ...(options.screen && { screen: options.screen }),
    random,
  });

  async function keep(
    id: string,
    to: readonly (string | Partial<QueuedRecipient> & { address: string })[],
    more: Partial<QueuedEnvelope> & { text?: string } = {},
  ): Promise<void> {
    const { envelope, content } = queuedMessage(id, to, { received: clock.now(), ...more });
    await spool.keep(envelope, content);
  }

  /** Lets everything settle that needs no time. */
  const settle = () => clock.advance(0);
  /** How the recipients of what is recorded ended, by address. */
  const endings = () => spool.recorded.map(({ id, recipient, state }) => `${id}/${recipient} ${state.state}`);
  return { clock, spool, log, runner, reports, bounces, attempts, keep, settle, endings, held };
}

function generationOf({ transports = {}, handlers = {}, transportBatch = 1 }: RigOptions): Generation {
  const instance: Instance = {
    name: "plugin",
    handlers,
    timeout: 30_000,
    onError: "defer",
    roles: ["mx", "submission"],
    mechanisms: [],
    observe: false,
  };
  const registered = Object.entries(transports).map(([name, deliver]): [string, RegisteredTransport] => [
    name,
    { name, by: instance, deliver, inline: false, batch: transportBatch },
  ]);
  return {
    number: 1,
    instances: [instance],
    owners: new Map(),
    transports: new Map(registered),
    dispose: () => Promise.resolve(),
  };
}
