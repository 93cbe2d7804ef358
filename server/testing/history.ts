/** What plugins are told of the past in tests: what the runner and inline transports report. */
import type { Clock } from "../clock.ts";
import type { Instance } from "../generation.ts";
import type { Delivery, MailEvent, MailHistory } from "../plugin.ts";

/** Remembers what was delivered, deferred and bounced. */
export class TestHistory {
  readonly #events: MailEvent[] = [];

  constructor(readonly clock: Pick<Clock, "now">) {}

  /** Stands below a test's plugins, and hears what they do. */
  readonly instance: Instance = {
    name: "history",
    handlers: {
      delivered: (event) => this.#note("delivered", event),
      deferred: (event) => this.#note("deferred", event, event.nextAttempt),
      bounced: (event) => this.#note("bounced", event),
    },
    timeout: 30_000,
    onError: "defer",
    roles: ["mx", "submission"],
    mechanisms: [],
    observe: false,
  };

  /** As `host.history`. */
  after(place: string | undefined, limit: number): Promise<MailHistory> {
    const from = place === undefined ? this.#events.length : Number(place);
    const events = this.#events.slice(from, from + limit);
    const end = from + events.length;
    return Promise.resolve({ events, place: String(end), more: end < this.#events.length, missed: false });
  }

  #note(
    kind: "delivered" | "deferred" | "bounced",
    { id, sender, recipient, transport, attempts, reply, copy }: Delivery,
    nextAttempt?: number,
  ): void {
    if (copy) return;
    this.#events.push({
      ...{ key: `${id}/${this.#events.length}`, kind, at: this.clock.now(), id, sender, transport, reply },
      ...{ recipient: recipient.address, attempt: attempts },
      ...(nextAttempt !== undefined && { nextAttempt }),
    });
  }
}
