/** What a redirect makes of a message, the same in every spool. */
import type { Queued, QueuedRecipient, RecipientState, Redirect } from "./spool.ts";

/** A message's recipients as they are from now on, and how those stand who begin anew. */
export interface Redirected {
  readonly recipients: readonly QueuedRecipient[];
  readonly states: readonly { readonly recipient: number; readonly state: RecipientState }[];
}

/** @param now When they are due, milliseconds since 1970. */
export function redirectedOf(
  { envelope, states }: Pick<Queued, "envelope" | "states">,
  redirects: readonly Redirect[],
  now: number,
): Redirected {
  const recipients = [...envelope.recipients];
  const anew = new Map<number, RecipientState>();
  for (const { recipient, address, via, hops } of redirects) {
    const [before, state] = [recipients[recipient], states[recipient]];
    if (!before || state?.state !== "due") continue;
    const { hops: _, ...rest } = before;
    recipients[recipient] = { ...rest, address, via, ...(hops && { hops }) };
    const noticed = state.noticed && { noticed: true as const };
    anew.set(recipient, { state: "due", due: now, attempts: 0, reply: "", ...noticed });
  }
  return { recipients, states: Array.from(anew, ([recipient, state]) => ({ recipient, state })) };
}

/** Work on one message, one after the other. */
export class InTurn {
  readonly #last = new Map<string, Promise<void>>();

  async run(id: string, work: () => Promise<void>): Promise<void> {
    const before = this.#last.get(id);
    const running = (async () => {
      await before?.catch(() => {}); // whoever asked for that one hears of it
      await work();
    })();
    this.#last.set(id, running);
    try {
      await running;
    } finally {
      if (this.#last.get(id) === running) this.#last.delete(id);
    }
  }
}
