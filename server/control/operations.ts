/**
 * What people do with the queue (DESIGN §5, `queue …`), whichever way it is reached: over a running server's control socket, or
 * in the spool of a stopped one. Both ways end here.
 */
import type { Clock } from "../clock.ts";
import { readHeader } from "../message/header.ts";
import { render, renderHead } from "../message/render.ts";
import {
  type Census,
  Damaged,
  type Queued,
  type QueuedEnvelope,
  type QueuedRecipient,
  type RecipientState,
  type Spool,
} from "../spool/spool.ts";

/** How a message stands, or a recipient that is not done with. */
export type Standing = "ready" | "active" | "deferred" | "held";

/** A recipient that waits. */
export interface WaitingRecipient {
  readonly address: string;
  readonly state: Standing;
  /** That have failed so far. */
  readonly attempts: number;
  /** Milliseconds since 1970; `null` while it is being tried, and while it is held. */
  readonly nextAttempt: number | null;
  /** `null` before the first attempt. */
  readonly lastReply: string | null;
}

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

/** A recipient, also one that is done with. */
export interface ShownRecipient extends Omit<WaitingRecipient, "state" | "attempts"> {
  readonly state: Standing | "delivered" | "failed";
  /** That have failed so far; `null` of one that is done with: the log has it. */
  readonly attempts: number | null;
  /** The RCPT it came from. */
  readonly original: string;
  /** The transport. */
  readonly via: string;
  /** RFC 3461 §4.1. */
  readonly notify: QueuedRecipient["notify"] | null;
  /** The sender was told of the delay. */
  readonly delayNoticed: boolean;
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

/** What became of it. */
export interface Acted {
  readonly id: string;
  /** `held`: it is, and so nothing was done (`retry` and `hold`). `unknown`: no such message. */
  readonly outcome: "done" | "held" | "unknown";
  /** An attempt of it goes on meanwhile, whose outcome counts. */
  readonly underWay: boolean;
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

/** The queue, for people. All methods may reject with what the disk or the way there says. */
export interface QueueControl {
  /** Whether somebody delivers meanwhile. */
  readonly server: "running" | "stopped";
  overview(): Promise<Overview>;
  /** Oldest first. */
  list(): AsyncIterable<ListedMessage>;
  show(id: string): Promise<ShownMessage | undefined>;
  /** The message as it goes out; nothing where there is none. */
  content(id: string): AsyncIterable<Uint8Array<ArrayBuffer>>;
  /** By index of `ids`; resolves when it is durable. @param reason Of `hold`. */
  act(action: Action, ids: readonly string[], reason?: string): Promise<readonly Acted[]>;
  /** Makes all that wait due now, held ones aside. Answers how many those are. */
  retryAll(): Promise<number>;
  close(): Promise<void>;
}

/** What is asked of a `Runner`. */
export interface Deliveries {
  isActive(id: string): boolean;
  readonly asleep: readonly {
    readonly destination: string;
    readonly until: number;
    readonly why: { readonly reply: string };
  }[];
  /** Sleeping destinations are tried again. */
  rouse(): void;
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

  /** @param deliveries Absent: nobody delivers. */
  constructor(spool: Spool, clock: Pick<Clock, "now">, deliveries?: Deliveries) {
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

  async *list(): AsyncGenerator<ListedMessage> {
    for await (const queued of this.#spool.list()) {
      const recipients = this.#standings(queued).filter(isWaiting);
      if (recipients.length === 0) continue; // it is on its way out
      yield {
        ...this.#summary(queued),
        recipients: recipients.map(({ address, state, attempts, nextAttempt, lastReply }) => ({
          ...{ address, state, attempts, nextAttempt, lastReply },
        })),
      };
    }
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
      recipients: this.#standings(queued),
      header: await this.#header(envelope),
    };
  }

  async *content(id: string): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const queued = await this.#spool.get(id);
    const content = queued && await this.#spool.content(id);
    if (!content) return;
    const rendered = render(content, queued.envelope.edits, queued.envelope.top);
    if (rendered instanceof Uint8Array) yield rendered;
    else yield* rendered;
  }

  async act(action: Action, ids: readonly string[], reason = "by an operator"): Promise<readonly Acted[]> {
    // All together, so that they share the spool's writes.
    const acted = await Promise.all(ids.map((id) => this.#act(action, id, reason)));
    const isHurried = action === "retry" || action === "release";
    if (isHurried && acted.some(({ outcome }) => outcome === "done")) this.#deliveries?.rouse();
    return acted;
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

  async #act(action: Action, id: string, reason: string): Promise<Acted> {
    const found = await this.#find(id);
    if (found === "unknown") return { id, outcome: "unknown", underWay: false };
    const underWay = this.#deliveries?.isActive(id) ?? false;
    const isHeld = found === "held";
    if (isHeld && (action === "retry" || action === "hold")) return { id, outcome: "held", underWay };
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
    return { id, outcome: "done", underWay };
  }

  /** A message that can't be read is held by then, and can still be deleted. */
  async #find(id: string): Promise<"held" | "open" | "unknown"> {
    try {
      const queued = await this.#spool.get(id);
      return !queued ? "unknown" : queued.held === undefined ? "open" : "held";
    } catch (error) {
      if (error instanceof Damaged) return "held";
      throw error;
    }
  }

  #summary(queued: Queued): Omit<ListedMessage, "recipients"> {
    const { envelope: { id, received, sender }, size, held } = queued;
    return { id, received, sender, size, state: this.#stateOf(queued), held: held ?? null };
  }

  #stateOf({ envelope: { id }, held, states }: Queued): Standing {
    if (held !== undefined) return "held";
    if (this.#deliveries?.isActive(id)) return "active";
    const now = this.#clock.now();
    return states.some((state) => state.state === "due" && state.due <= now) ? "ready" : "deferred";
  }

  #standings(queued: Queued): ShownRecipient[] {
    const { envelope, states } = queued;
    const message = this.#stateOf(queued);
    return envelope.recipients.map(({ address, original, via, notify }, i) => ({
      ...{ address, original, via, notify: notify ?? null },
      ...this.#standing(states[i]!, message),
    }));
  }

  #standing(
    state: RecipientState,
    message: Standing,
  ): Pick<ShownRecipient, "state" | "attempts" | "nextAttempt" | "lastReply" | "delayNoticed"> {
    const lastReply = state.reply === "" ? null : state.reply;
    if (state.state !== "due") {
      return { state: state.state, attempts: null, nextAttempt: null, lastReply, delayNoticed: false };
    }
    const { attempts, due, noticed = false } = state;
    // Of a message that is being tried, those are whose time has come; the others wait for theirs.
    const isDue = due <= this.#clock.now();
    const own = message === "held" ? "held" : !isDue ? "deferred" : message === "active" ? "active" : "ready";
    const nextAttempt = own === "held" || own === "active" ? null : due;
    return { state: own, attempts, nextAttempt, lastReply, delayNoticed: noticed };
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

function isWaiting(recipient: ShownRecipient): recipient is ShownRecipient & WaitingRecipient {
  return recipient.state !== "delivered" && recipient.state !== "failed";
}
