/** The spool's twin in memory, for tests and for servers that keep nothing. */
import type { Clock } from "../clock.ts";
import type { Content } from "../message/content.ts";
import { memoryContent } from "../message/content.ts";
import { concat } from "../message/render.ts";
import { destinationsOf } from "./queue.ts";
import { redirectedOf } from "./redirect.ts";
import type {
  Census,
  Due,
  PassedBy,
  Queued,
  QueuedEnvelope,
  RecipientState,
  RecordedOutcome,
  Redirect,
  Spool,
} from "./spool.ts";

interface Kept {
  envelope: QueuedEnvelope;
  content: Content;
  states: readonly RecipientState[];
  held: string | undefined;
  at: number;
}

/** A {@linkcode Spool} whose promises hold as long as the process runs. */
export class MemorySpool implements Spool {
  readonly #clock: Pick<Clock, "now">;
  readonly #messages = new Map<string, Kept>();
  readonly #listeners: (() => void)[] = [];
  /** What was noted, in order. */
  readonly passed: PassedBy[] = [];
  /** What `room` says. */
  roomLeft: "room" | "full" | "failing" = "room";

  constructor(clock: Pick<Clock, "now">) {
    this.#clock = clock;
  }

  async keep(
    envelope: QueuedEnvelope,
    content: Content,
    due?: readonly (number | undefined)[],
    held?: string,
  ): Promise<void> {
    const { id, received, recipients } = envelope;
    // A content in a file goes with its session: what is kept is a copy.
    const copy = content.memory ? content : memoryContent(concat(await Array.fromAsync(content.read())));
    if (this.#messages.has(id)) throw new TypeError(`The message ${id} is in the queue already.`);
    const states = recipients.map((_, i) =>
      ({ state: "due", due: due?.[i] ?? received, attempts: 0, reply: "" }) as const
    );
    const kept: Kept = { envelope, content: copy, states, held, at: Infinity };
    this.#messages.set(id, kept);
    this.#reschedule(kept);
  }

  async record(outcomes: readonly RecordedOutcome[]): Promise<void> {
    await undefined;
    for (const { id, recipient, state } of outcomes) {
      const kept = this.#messages.get(id);
      if (kept?.states[recipient]?.state !== "due") continue;
      kept.states = kept.states.with(recipient, state);
      if (kept.states.every(({ state }) => state !== "due")) this.#messages.delete(id);
      else this.#reschedule(kept);
    }
  }

  async hold(id: string, reason: string): Promise<void> {
    const kept = this.#messages.get(id);
    if (!kept) return;
    kept.held = reason;
    this.#reschedule(kept);
    await undefined;
  }

  async release(id: string): Promise<void> {
    await undefined;
    const kept = this.#messages.get(id);
    if (!kept) return;
    kept.held = undefined;
    this.#hurry(kept);
  }

  async hasten(id: string): Promise<void> {
    await undefined;
    const kept = this.#messages.get(id);
    if (kept && kept.held === undefined) this.#hurry(kept);
  }

  #hurry(kept: Kept): void {
    const now = this.#clock.now();
    kept.states = kept.states.map((state) =>
      state.state === "due" ? { ...state, due: Math.min(state.due, now) } : state
    );
    this.#reschedule(kept);
  }

  async redirect(id: string, redirects: readonly Redirect[]): Promise<void> {
    await undefined;
    const kept = this.#messages.get(id);
    if (!kept) return;
    const { recipients, states } = redirectedOf(kept, redirects, this.#clock.now());
    kept.envelope = { ...kept.envelope, recipients };
    for (const { recipient, state } of states) kept.states = kept.states.with(recipient, state);
    this.#reschedule(kept);
  }

  async amend(
    id: string,
    change: (envelope: QueuedEnvelope) => QueuedEnvelope,
    content?: Content,
  ): Promise<void> {
    const copy = content &&
      (content.memory ? content : memoryContent(concat(await Array.fromAsync(content.read()))));
    const kept = this.#messages.get(id);
    if (!kept) return;
    kept.envelope = change(kept.envelope);
    if (copy) kept.content = copy;
  }

  async remove(id: string): Promise<void> {
    await undefined;
    this.#messages.delete(id);
  }

  note(passed: PassedBy): void {
    this.passed.push(passed);
  }

  async get(id: string): Promise<Queued | undefined> {
    await undefined;
    const kept = this.#messages.get(id);
    if (!kept) return undefined;
    const { envelope, states, held, content } = kept;
    return { envelope, states, held, size: content.size };
  }

  async content(id: string): Promise<Content | undefined> {
    await undefined;
    return this.#messages.get(id)?.content;
  }

  async *list(): AsyncGenerator<Queued> {
    for (const id of [...this.#messages.keys()]) {
      const queued = await this.get(id);
      if (queued) yield queued;
    }
  }

  get size(): number {
    return this.#messages.size;
  }

  census(now: number): Census {
    const counts = { ready: 0, deferred: 0, held: 0 };
    let oldest: number | undefined;
    for (const kept of this.#messages.values()) {
      counts[kept.held !== undefined ? "held" : earliest(kept) <= now ? "ready" : "deferred"]++;
      oldest = Math.min(oldest ?? Infinity, kept.envelope.received);
    }
    return { ...counts, oldest };
  }

  due(now: number, limit: number): readonly Due[] {
    const found = [...this.#messages.values()].filter(({ at }) => at <= now && at < Infinity);
    return found.sort((a, b) => a.at - b.at).slice(0, limit).map(({ envelope, at }) => {
      return {
        id: envelope.id,
        at,
        received: envelope.received,
        destinations: destinationsOf(envelope.recipients),
      };
    });
  }

  get nextDue(): number {
    let next = Infinity;
    for (const { at } of this.#messages.values()) next = Math.min(next, at);
    return next;
  }

  postpone(id: string, at: number): void {
    const kept = this.#messages.get(id);
    if (kept) kept.at = Math.max(at, earliest(kept));
  }

  /** Nothing here outlives the process. */
  attempting(): void {}

  onDue(callback: () => void): void {
    this.#listeners.push(callback);
  }

  room(): "room" | "full" | "failing" {
    return this.roomLeft;
  }

  async close(): Promise<void> {}

  #reschedule(kept: Kept): void {
    const before = this.nextDue;
    kept.at = earliest(kept);
    if (kept.at < before || kept.at <= this.#clock.now()) {
      for (const listener of this.#listeners) queueMicrotask(listener);
    }
  }
}

function earliest({ held, states }: Kept): number {
  if (held !== undefined) return Infinity;
  return states.reduce(
    (least, state) => state.state === "due" ? Math.min(least, state.due) : least,
    Infinity,
  );
}
