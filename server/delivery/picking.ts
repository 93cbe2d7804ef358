/** Which of the messages that are due are taken now, which wait for others, and which sleep with their destination. */
import type { Chain } from "../chain.ts";
import type { Clock } from "../clock.ts";
import type { Due, Spool } from "../spool/spool.ts";
import type { RetryPolicy } from "./schedule.ts";
import type { Timeline } from "./timeline.ts";
import type { Waiting } from "./waiting.ts";

/** What picking needs of the runner. */
export interface PickingOptions {
  readonly spool: Pick<Spool, "due" | "postpone">;
  readonly clock: Clock;
  readonly timeline: Timeline;
  readonly waiting: Waiting;
  readonly policy: () => RetryPolicy;
  readonly plugins: () => { readonly chain: Chain; release(): void };
  /** How many more messages may be read at this moment. */
  readonly room: () => number;
  /** Whether something is being done for a message. */
  readonly isUnderWay: (id: string) => boolean;
  /** Reads a message and begins its attempts. */
  readonly take: (id: string, at: number, shift: number) => void;
}

/** Messages looked at in one turn of the event loop: 100,000 may come due at once. */
const mostLooks = 2000;

/** Picks messages. */
export class Picking {
  constructor(readonly options: PickingOptions) {}

  /** Takes as many as there is room for: what the clock moved, what waited for its destination, what is due. */
  pick(): void {
    const { spool, clock, timeline, waiting, room, take } = this.options;
    while (room() > 0) {
      const early = timeline.take();
      if (!early) break;
      take(early.id, early.at, early.shift);
    }
    waiting.begin();
    const now = timeline.now();
    for (const id of waiting.leaving(clock.monotonic())) spool.postpone(id, now);
    while (room() > 0) {
      const id = waiting.next();
      if (id === undefined) break;
      take(id, now, 0);
    }
    for (let looks = 0, young: number | undefined; room() > 0 && looks < mostLooks;) {
      const due = spool.due(now, room());
      if (due.length === 0) return;
      young ??= this.#youngerThan();
      looks += due.length;
      for (const one of due) this.#look(one, young);
    }
  }

  /** Mail of less than this age, milliseconds, can go to sleep with its destination unread: nobody is to be told of that yet. */
  #youngerThan(): number {
    const plugins = this.options.plugins();
    const isRouted = plugins.chain.has("route"); // then only its plugin knows where it goes
    plugins.release();
    const { delayNoticeAfter, giveUpAfter } = this.options.policy();
    return isRouted ? 0 : Math.min(delayNoticeAfter, giveUpAfter);
  }

  #look(due: Due, young: number): void {
    const { spool, clock, timeline, waiting, isUnderWay, take } = this.options;
    const monotonic = clock.monotonic();
    const isNew = !isUnderWay(due.id);
    const isYoung = timeline.ageOf(due.received) < young;
    const sleep = isNew && isYoung ? waiting.sleepOf(due, monotonic) : undefined;
    if (sleep) spool.postpone(due.id, Math.ceil(timeline.now() + sleep.until - monotonic));
    else if (isNew && waiting.park(due, monotonic)) spool.postpone(due.id, Infinity);
    else take(due.id, due.at, 0);
  }
}
