/** Sessions that are kept for the next message (CASES O07). */
import type { Clock } from "../../clock.ts";
import type { SmtpSession } from "./session.ts";

/** What a session can be used again for. */
export interface Place {
  /** The destination's key: found by it, nobody need look up where that is. */
  readonly destination: string;
  /** Host, address, port, policy and account: of another destination that leads to the very same. */
  readonly endpoint: string;
}

/** A session that can be kept. */
export interface Keepable extends Place {
  readonly session: SmtpSession;
}

/** How long sessions are kept. */
export interface KeepHow {
  readonly clock: Clock;
  /** Milliseconds without a message. */
  readonly idle: number;
  /** Messages on one connection. */
  readonly messages: number;
  /** Milliseconds from its opening on: MX records and hosts come and go. */
  readonly age: number;
}

/** Idle sessions. */
export class Connections<K extends Keepable> {
  readonly #how: KeepHow;
  /** By destination; the one used last is taken first, so that the others grow old and go. */
  readonly #idle = new Map<string, K[]>();
  readonly #opened = new WeakMap<SmtpSession, number>();

  constructor(how: KeepHow) {
    this.#how = how;
  }

  /** Says when a session's life began. */
  opened(session: SmtpSession): void {
    this.#opened.set(session, this.#how.clock.monotonic());
  }

  /** Takes an idle session of this destination. */
  take(destination: string): K | undefined {
    const list = this.#idle.get(destination);
    const kept = list?.pop();
    if (list === undefined || kept === undefined) return undefined;
    if (list.length === 0) this.#idle.delete(destination);
    kept.session.idle(Infinity);
    kept.session.onIdleEnd = undefined;
    return kept;
  }

  /** Takes an idle session with this endpoint, whatever destination it was opened for. */
  takeEndpoint(endpoint: string): K | undefined {
    for (const list of this.#idle.values()) {
      const kept = list.findLast((one) => one.endpoint === endpoint);
      if (kept === undefined) continue;
      this.#forget(kept);
      kept.session.idle(Infinity);
      kept.session.onIdleEnd = undefined;
      return kept;
    }
    return undefined;
  }

  /** Keeps a session that is ready, or closes it where it has done enough. */
  keep(one: K): void {
    const { clock, idle, messages, age } = this.#how;
    const { session, destination } = one;
    const old = clock.monotonic() - (this.#opened.get(session) ?? 0) >= age;
    if (session.messages >= messages || old) return session.close();
    const list = this.#idle.get(destination);
    if (list === undefined) this.#idle.set(destination, [one]);
    else list.push(one);
    session.onIdleEnd = () => this.#forget(one);
    session.idle(idle);
  }

  /** Closes all that are idle. */
  close(): void {
    const all = [...this.#idle.values()].flat();
    this.#idle.clear();
    for (const { session } of all) {
      session.onIdleEnd = undefined;
      session.close();
    }
  }

  #forget(one: K): void {
    const list = this.#idle.get(one.destination);
    const at = list?.indexOf(one) ?? -1;
    if (list !== undefined && at >= 0) list.splice(at, 1);
    if (list?.length === 0) this.#idle.delete(one.destination);
  }
}
