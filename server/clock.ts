/** Time as the server sees it, injected everywhere so that tests decide what time it is. */
export interface Clock {
  /** Wall clock, milliseconds since 1970: for dates people read, never for waiting. */
  now(): number;
  /** Milliseconds that only ever grow, whatever becomes of the wall clock: for waiting and measuring. */
  monotonic(): number;
  /** Resolves after `ms`; rejects with the signal's reason when that comes first. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Calls `callback` after `ms`, once; what is returned cancels it. */
  after(ms: number, callback: () => void): () => void;
}

/** setTimeout takes 31 bits; a longer wait would fire at once. */
const longest = 2 ** 31 - 1;

/** A wait that is mostly cancelled: a session's, a plugin's. */
interface Wait {
  readonly due: number;
  callback: () => void;
}

const nothing = () => {};

/**
 * Waits of whole seconds, which all share one timer of the runtime's: every command and every message sets one, and a timer costs
 * as much as the command. Those of one length end in the order they began, so each length is a queue.
 */
class LongWaits {
  readonly #queues = new Map<number, Set<Wait>>();
  #count = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #armedFor = Infinity;

  add(ms: number, callback: () => void): () => void {
    const wait: Wait = { due: performance.now() + ms, callback };
    let queue = this.#queues.get(ms);
    if (!queue) this.#queues.set(ms, queue = new Set());
    queue.add(wait);
    this.#count++;
    if (wait.due < this.#armedFor) this.#arm(wait.due, ms);
    return () => {
      wait.callback = nothing; // also where it is over already, and waits for its turn behind who cancels it
      if (queue.delete(wait) && --this.#count === 0) this.#disarm(); // a timer left behind would keep the process
    };
  }

  #arm(due: number, ms: number): void {
    clearTimeout(this.#timer);
    this.#armedFor = due;
    this.#timer = setTimeout(() => this.#fire(), ms);
  }

  #disarm(): void {
    clearTimeout(this.#timer);
    this.#armedFor = Infinity;
    this.#queues.clear();
  }

  #fire(): void {
    this.#armedFor = Infinity;
    const now = performance.now();
    const over: Wait[] = [];
    let next = Infinity;
    for (const [ms, queue] of this.#queues) {
      for (const wait of queue) {
        if (wait.due > now) {
          next = Math.min(next, wait.due);
          break;
        }
        queue.delete(wait);
        over.push(wait);
      }
      if (queue.size === 0) this.#queues.delete(ms);
    }
    this.#count -= over.length;
    if (next < Infinity) this.#arm(next, Math.ceil(next - now));
    for (const wait of over.sort((a, b) => a.due - b.due)) {
      try {
        wait.callback();
      } catch (error) {
        reportError(error); // as it would be from a timer of its own
      }
    }
  }
}

const longWaits = new LongWaits();

/** The machine's own clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  sleep(ms, signal) {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const stop = () => {
        cancel();
        reject(signal!.reason);
      };
      const cancel = systemClock.after(ms, () => {
        signal?.removeEventListener("abort", stop);
        resolve();
      });
      signal?.addEventListener("abort", stop, { once: true });
    });
  },
  after(ms, callback) {
    if (ms >= 1000 && ms <= longest && ms % 1000 === 0) return longWaits.add(ms, callback);
    let timer = setTimeout(function run() {
      ms -= longest;
      if (ms > 0) timer = setTimeout(run, Math.min(ms, longest));
      else callback();
    }, Math.min(Math.max(ms, 0), longest)); // a deadline that has passed is negative, and would print a warning
    return () => clearTimeout(timer);
  },
};
