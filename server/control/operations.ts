/**
 * What people do with the queue (DESIGN §5, `queue …`), whichever way it is reached: over a running server's control socket, or
 * in the spool of a stopped one. Both ways end here.
 */
import type { Clock } from "../clock.ts";
import type { Freeze, FrozenFile } from "../spool/freeze.ts";
import { readHeader } from "../message/header.ts";
import { render, renderHead } from "../message/render.ts";
import {
  type Census,
  Damaged,
  type Queued,
  type QueuedEnvelope,
  type QueuedRecipient,
  type Spool,
} from "../spool/spool.ts";
import { elsewhere, nextHopOf, type Way, type Ways } from "./redirect.ts";
import {
  change,
  type Changed,
  type Count,
  count,
  find,
  redirectsOf,
  select,
  type Selecting,
} from "./selection.ts";
import {
  type Moment,
  type ShownRecipient,
  type Standing,
  standingOf,
  standingsOf,
  type WaitingRecipient,
} from "./standing.ts";
import { summarize, type Summary, type SummaryBy } from "./summary.ts";
import { parseWhere } from "./where.ts";

export type { Changed, Count, ShownRecipient, Standing, Summary, SummaryBy, WaitingRecipient, Way };

/** A message, as a list tells of it. */
export interface ListedMessage {
  readonly id: string;
  /** Milliseconds since 1970. */
  readonly received: number;
  /** `""` is the null sender. */
  readonly sender: string;
  /** Octets of the content. */
  readonly size: number;
  readonly state: Standing;
  /** Why it is held. */
  readonly held: string | null;
  /** Those who wait: who is delivered or failed is not in the queue any more. */
  readonly recipients: readonly WaitingRecipient[];
}

/** Everything that is known of a message, its body aside. */
export interface ShownMessage extends Omit<ListedMessage, "recipients"> {
  readonly utf8: boolean;
  /** RFC 3461 §4.4. */
  readonly envid: string | null;
  /** RFC 3461 §4.3. */
  readonly ret: QueuedEnvelope["ret"] | null;
  /** Who brought it. */
  readonly from: QueuedEnvelope["from"] | null;
  readonly recipients: readonly ShownRecipient[];
  /** The header section as it goes out; `null` where it can't be read any more. */
  readonly header: string | null;
}

/** What is done with messages by their ids. */
export type Action = "retry" | "hold" | "release" | "delete";

/** What is done with those an expression chooses. */
export type BulkChange =
  | { readonly action: Action; /** Of `hold`. */ readonly reason?: string }
  | { readonly action: "redirect"; readonly way: Way };

/** What became of it. */
export interface Acted {
  readonly id: string;
  /** `held`: it is, and so nothing was done (`retry` and `hold`). `unknown`: no such message. */
  readonly outcome: "done" | "held" | "unknown";
  /** An attempt of it goes on meanwhile, whose outcome counts. */
  readonly underWay: boolean;
  /** It was redirected, and stays held. */
  readonly stays?: "held";
}

/** A destination that isn't tried for a while. */
export interface SleepingDestination {
  readonly destination: string;
  /** Milliseconds since 1970. */
  readonly until: number;
  readonly reply: string;
}

/** The queue at a glance. */
export interface Overview extends Omit<Census, "oldest"> {
  /** Milliseconds since 1970; `null` in an empty queue. */
  readonly oldest: number | null;
  readonly asleep: readonly SleepingDestination[];
}

/** The spool's files, kept: see `spool/freeze.ts`. */
export interface FrozenQueue {
  /** The queue as it stands at this moment. */
  cut(): Promise<readonly FrozenFile[]>;
  /** Lets files go again, once; says whether all of them were there until then. */
  release(): Promise<Freeze["state"]>;
}

/** The queue, for people. All methods may reject with what the disk or the way there says. */
export interface QueueControl {
  /** Whether somebody delivers meanwhile. */
  readonly server: "running" | "stopped";
  overview(): Promise<Overview>;
  /** Oldest first. @param where Only messages and recipients that this expression chooses. */
  list(where?: string): AsyncIterable<ListedMessage>;
  /** How many an expression chooses, of messages that were there at that time (milliseconds since 1970). */
  count(where: string, asOf: number): Promise<Count>;
  /** By an expression; `summary` of everything without one. */
  summary(by: SummaryBy, where?: string): Promise<Summary>;
  show(id: string): Promise<ShownMessage | undefined>;
  /** The message as it goes out; nothing where there is none. */
  content(id: string): AsyncIterable<Uint8Array<ArrayBuffer>>;
  /** By index of `ids`; resolves when it is durable. @param reason Of `hold`. */
  act(action: Action, ids: readonly string[], reason?: string): Promise<readonly Acted[]>;
  /** Sends all recipients that wait elsewhere: by index of `ids`; resolves when it is durable. */
  redirect(way: Way, ids: readonly string[]): Promise<readonly Acted[]>;
  /**
   * Changes those an expression chooses. `delete` and `redirect` concern the recipients themselves, the others all of the message.
   *
   * @param asOf As it was given to `count`.
   */
  change(what: BulkChange, where: string, asOf: number): Promise<Changed>;
  /** Keeps the spool's files while somebody copies them. */
  freeze(): Promise<FrozenQueue>;
  /** Makes all that wait due now, held ones aside. Answers how many those are. */
  retryAll(): Promise<number>;
  close(): Promise<void>;
}

/** What is asked of who delivers. */
export interface Deliveries {
  isActive(id: string): boolean;
  readonly asleep: readonly {
    readonly destination: string;
    readonly until: number;
    readonly why: { readonly reply: string };
  }[];
  /** Sleeping destinations are tried again. */
  rouse(): void;
  /** A message was changed: what was read of it before counts no more. */
  changed(id: string): void;
}

/** The lines on the copy of each recipient that waits, where those are the same. */
function ownOf({ envelope, states }: Queued): readonly string[] {
  const [first, ...rest] = envelope.recipients.filter((_, i) => states[i]?.state === "due")
    .map(({ own = [] }) => own);
  return first && rest.every((own) => own.join("") === first.join("")) ? first : [];
}

/** Who knows what this queue can't. */
export interface Directions {
  /** Keeps the spool's files; absent: there are none. */
  readonly freeze?: () => Freeze;
  /** Absent: no plugins could be asked. */
  readonly ways?: Ways;
  /** Where a recipient's copy goes, for people; absent: as far as its address tells. */
  readonly nextHop?: (recipient: QueuedRecipient) => string;
}

const byHand = "by an operator";

function isHurried(action: BulkChange["action"]): "hurried" | "as before" {
  return action === "hold" || action === "delete" ? "as before" : "hurried";
}

/** Messages that are changed in one batch of the spool. */
const atOnce = 10_000;
/** Later than any due time. */
const forEver = Number.MAX_SAFE_INTEGER;

/** The queue of this process. */
export class LocalQueue implements QueueControl {
  readonly #spool: Spool;
  readonly #clock: Pick<Clock, "now">;
  readonly #deliveries: Deliveries | undefined;

  readonly #ways: Ways | undefined;
  readonly #freeze: (() => Freeze) | undefined;
  readonly #nextHop: (recipient: QueuedRecipient) => string;

  /**
   * @param deliveries Absent: nobody delivers.
   */
  constructor(
    spool: Spool,
    clock: Pick<Clock, "now">,
    deliveries?: Deliveries,
    { ways, nextHop = nextHopOf, freeze }: Directions = {},
  ) {
    this.#freeze = freeze;
    this.#ways = ways;
    this.#nextHop = nextHop;
    this.#spool = spool;
    this.#clock = clock;
    this.#deliveries = deliveries;
  }

  get server(): "running" | "stopped" {
    return this.#deliveries ? "running" : "stopped";
  }

  async overview(): Promise<Overview> {
    await undefined;
    const { oldest = null, ...counts } = this.#spool.census(this.#clock.now());
    const asleep = (this.#deliveries?.asleep ?? []).map(({ destination, until, why }) => ({
      destination,
      until,
      reply: why.reply,
    }));
    return { ...counts, oldest, asleep };
  }

  async *list(where?: string): AsyncGenerator<ListedMessage> {
    for await (const { queued, waiters } of select(this.#selecting(where))) {
      yield {
        ...this.#summary(queued),
        recipients: waiters.map(({ shown: { address, state, attempts, nextAttempt, lastReply } }) => ({
          ...{ address, state, attempts, nextAttempt, lastReply },
        })),
      };
    }
  }

  async count(where: string, asOf: number): Promise<Count> {
    return await count(this.#selecting(where, asOf));
  }

  async summary(by: SummaryBy, where?: string): Promise<Summary> {
    return await summarize(select(this.#selecting(where)), by);
  }

  async show(id: string): Promise<ShownMessage | undefined> {
    const queued = await this.#spool.get(id);
    if (!queued) return undefined;
    const { envelope } = queued;
    return {
      ...this.#summary(queued),
      utf8: envelope.utf8,
      envid: envelope.envid ?? null,
      ret: envelope.ret ?? null,
      from: envelope.from ?? null,
      recipients: standingsOf(queued, this.#moment()),
      header: await this.#header(envelope),
    };
  }

  async *content(id: string): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const queued = await this.#spool.get(id);
    const content = queued && await this.#spool.content(id);
    if (!content) return;
    const { edits, top } = queued.envelope;
    const rendered = render(content, edits, [...top, ...ownOf(queued)]);
    if (rendered instanceof Uint8Array) yield rendered;
    else yield* rendered;
  }

  async act(action: Action, ids: readonly string[], reason = byHand): Promise<readonly Acted[]> {
    return await this.#all(ids, (id) => this.#act(action, id, reason), isHurried(action));
  }

  async redirect(way: Way, ids: readonly string[]): Promise<readonly Acted[]> {
    const to = await elsewhere(way, this.#ways);
    return await this.#all(ids, async (id) => {
      const found = await find(this.#spool, id);
      if (found === "unknown") return "unknown";
      if (found === "unreadable") return "held";
      await this.#spool.redirect(id, redirectsOf(found, found.states.map((_, i) => i), to));
      return found.held === undefined ? "done" : "done, held";
    }, "hurried");
  }

  async change(what: BulkChange, where: string, asOf: number): Promise<Changed> {
    const selecting = this.#selecting(where, asOf);
    const changed = await change(
      selecting,
      what.action === "redirect"
        ? { action: "redirect", to: await elsewhere(what.way, this.#ways) }
        : what.action === "hold"
        ? { action: "hold", reason: what.reason ?? byHand }
        : { action: what.action },
      (id) => this.#deliveries?.changed(id),
    );
    if (changed.messages > 0 && isHurried(what.action) === "hurried") this.#deliveries?.rouse();
    return changed;
  }

  async freeze(): Promise<FrozenQueue> {
    await undefined;
    if (!this.#freeze) throw new Error("This queue has no files.");
    const freeze = this.#freeze();
    return {
      cut: () => freeze.cut(),
      async release() {
        await undefined;
        freeze.release();
        return freeze.state;
      },
    };
  }

  async retryAll(): Promise<number> {
    // Not by `list`, which reads every message.
    const ids = this.#spool.due(forEver, Infinity).map(({ id }) => id);
    for (let at = 0; at < ids.length; at += atOnce) {
      await Promise.all(ids.slice(at, at + atOnce).map((id) => this.#spool.release(id)));
    }
    this.#deliveries?.rouse();
    return ids.length;
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  /** All together, so that they share the spool's writes. */
  async #all(
    ids: readonly string[],
    one: (id: string) => Promise<Acted["outcome"] | "done, held">,
    pace: "hurried" | "as before",
  ): Promise<readonly Acted[]> {
    const acted = await Promise.all(ids.map(async (id): Promise<Acted> => {
      const underWay = this.#deliveries?.isActive(id) ?? false;
      const said = await one(id);
      const stays = said === "done, held";
      const outcome = stays ? "done" : said;
      if (outcome === "done") this.#deliveries?.changed(id);
      return { id, outcome, underWay: outcome !== "unknown" && underWay, ...(stays && { stays: "held" }) };
    }));
    if (pace === "hurried" && acted.some(({ outcome }) => outcome === "done")) this.#deliveries?.rouse();
    return acted;
  }

  async #act(action: Action, id: string, reason: string): Promise<Acted["outcome"]> {
    const found = await find(this.#spool, id);
    if (found === "unknown") return "unknown";
    const isHeld = found === "unreadable" || found.held !== undefined;
    if (isHeld && (action === "retry" || action === "hold")) return "held";
    switch (action) {
      case "retry":
      case "release":
        await this.#spool.release(id);
        break;
      case "hold":
        await this.#spool.hold(id, reason);
        break;
      case "delete":
        await this.#spool.remove(id);
    }
    return "done";
  }

  #selecting(where: string | undefined, asOf?: number): Selecting {
    return {
      spool: this.#spool,
      condition: where === undefined ? undefined : parseWhere(where),
      moment: this.#moment(asOf),
      ...(asOf !== undefined && { asOf }),
      destinationOf: this.#nextHop,
    };
  }

  #moment(now = this.#clock.now()): Moment {
    return { now, isActive: (id) => this.#deliveries?.isActive(id) ?? false };
  }

  #summary(queued: Queued): Omit<ListedMessage, "recipients"> {
    const { envelope: { id, received, sender }, size, held } = queued;
    return { id, received, sender, size, state: standingOf(queued, this.#moment()), held: held ?? null };
  }

  async #header({ id, edits, top }: QueuedEnvelope): Promise<string | null> {
    try {
      const content = await this.#spool.content(id);
      if (!content) return null;
      const head = renderHead(content, edits, top);
      return new TextDecoder().decode(head.subarray(0, readHeader(head).fieldsEnd));
    } catch (error) {
      if (error instanceof Damaged) return null; // what else is known is worth showing
      throw error;
    }
  }
}
