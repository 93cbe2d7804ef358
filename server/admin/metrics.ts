/** What the server counts for those who watch it: a few methods, called at a few places, each far below a microsecond. */

/** Takes note of what happens. Nothing here throws or waits. */
export interface Metrics {
  /** A session began. */
  sessionBegan(role: "mx" | "submission"): void;
  /** It is over. */
  sessionEnded(role: "mx" | "submission"): void;
  /** A connection was turned away before there was a session. */
  connectionRefused(reason: string): void;
  /**
   * A reply that decides something: a refusal, or what a message was told.
   *
   * @param phase The hook; `message` for a message that was taken.
   * @param plugin Who decided; `core` is the server itself.
   * @param code The reply's.
   */
  replied(phase: string, plugin: string, code: number): void;
  /**
   * What a plugin with `observe: true` would have said.
   *
   * @param verdict `reject 5.7.1`, `accept`, `failed`, `edits`.
   * @param fate What became of the mail without it.
   */
  observed(plugin: string, verdict: string, fate: "accepted" | "refused" | "none"): void;
  /** A message has come to its end. */
  messageEnded(verdict: "accepted" | "refused", octets: number): void;
  /**
   * What an attempt came to, for one recipient.
   *
   * @param destination The next hop.
   * @param seconds How long the attempt took.
   */
  attempted(
    transport: string,
    destination: string,
    outcome: "delivered" | "deferred" | "failed",
    seconds: number,
  ): void;
  /** The spool's disk has made something durable (fdatasync). */
  synced(seconds: number): void;
}

const nothing = () => {};

/** For a server that nobody watches. */
export const noMetrics: Metrics = {
  sessionBegan: nothing,
  sessionEnded: nothing,
  connectionRefused: nothing,
  replied: nothing,
  observed: nothing,
  messageEnded: nothing,
  attempted: nothing,
  synced: nothing,
};
