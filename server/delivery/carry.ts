/** Hands a message to a transport, and reads what it says: whatever goes wrong in there is a temporary failure. */
import type { Clock } from "../clock.ts";
import type { DeliveringTransport, Instance } from "../generation.ts";
import type { Log } from "../log.ts";
import type { Defer, Message, Outcome, Target } from "../plugin.ts";
import { MalformedVerdict, readVerdict } from "../ruling.ts";

/** What an attempt needs. */
export interface CarryHow {
  readonly clock: Clock;
  readonly log: Log;
  /** 1 for the first. */
  readonly attempt: number;
  /** Aborts when nobody waits for the outcome any more: what is not visible yet must not become so. */
  readonly gone?: AbortSignal | undefined;
}

const broken: Defer = { verdict: "defer", status: "4.3.0", text: "The transport failed" };

/**
 * One attempt for these recipients, at most the transport's `batch` of them.
 *
 * @returns One outcome for each recipient, in order; a missing or malformed one is a `defer`. Never rejects.
 */
export async function carry(
  transport: DeliveringTransport,
  message: Message,
  recipients: readonly Target[],
  { clock, log, attempt, gone }: CarryHow,
): Promise<readonly Outcome[]> {
  const call = new TransportCall(attempt);
  try {
    gone?.throwIfAborted();
    const timeout = transport.timeout ?? transport.by.timeout;
    const said = await inTime({ timeout }, transport.deliver(message, recipients, call), call, {
      clock,
      gone,
    });
    return recipients.map((_, i) => readOutcome(Array.isArray(said) ? said[i] : said));
  } catch (error) {
    log.error("transport failed", {
      id: message.id,
      transport: transport.name,
      plugin: transport.by.name,
      error: inWords(error),
    });
    return recipients.map(() => broken);
  }
}

/** A plugin's failure as the log shows it: with where it was thrown, unless it is the plugin's own word. */
export function inWords(error: unknown): string {
  if (error instanceof MalformedVerdict) return error.message;
  return error instanceof Error ? error.stack ?? error.message : String(error);
}

/** What a transport is called with. The signal is made when first looked at: it costs more than the rest of the call. */
export class TransportCall {
  readonly dryRun = false;
  #controller: AbortController | undefined;
  #reason: unknown;

  constructor(readonly attempt: number) {}

  get signal(): AbortSignal {
    if (!this.#controller) {
      this.#controller = new AbortController();
      if (this.#reason !== undefined) this.#controller.abort(this.#reason);
    }
    return this.#controller.signal;
  }

  abort(reason: unknown): void {
    this.#reason = reason;
    this.#controller?.abort(reason);
  }
}

function readOutcome(said: unknown): Outcome {
  const { verdict, text } = (said ?? {}) as { verdict?: unknown; text?: unknown };
  if (verdict === "delivered") return { verdict, text: typeof text === "string" ? text : "delivered" };
  const checked = readVerdict("resolve", said); // the hook that may reject and defer, and cannot disconnect
  if (checked?.verdict === "reject" || checked?.verdict === "defer") return checked;
  throw new MalformedVerdict("a transport answers delivered(), reject() or defer() for each recipient");
}

/** What a transport of this plugin says, unless its time is over or nobody waits for it any more. */
export function inTime<T>(
  { timeout }: Pick<Instance, "timeout">,
  said: Promise<T>,
  call: TransportCall,
  { clock, gone }: Pick<CarryHow, "clock" | "gone">,
): Promise<T> {
  return new Promise((resolve, reject) => {
    let settled = false;
    let cancel = () => {};
    const end = () => {
      settled = true;
      cancel();
      gone?.removeEventListener("abort", left);
    };
    const stop = (reason: unknown) => {
      end();
      call.abort(reason);
      reject(reason);
    };
    const left = () => stop(gone!.reason);
    said.then((value) => (end(), resolve(value)), (error) => (end(), reject(error)));
    queueMicrotask(() => { // whoever has answered by then needs neither a timer nor a listener
      if (settled) return;
      if (gone?.aborted) return left();
      cancel = clock.after(timeout, () => stop(new Error(`no outcome within ${timeout} ms`)));
      gone?.addEventListener("abort", left, { once: true });
    });
  });
}
