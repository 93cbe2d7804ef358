/** Sessions that want to know when the server goes down. */

const waitingFor = new WeakMap<AbortSignal, Set<() => void>>();

/**
 * Who is told when a signal aborts: to be added to, and deleted from. One listener serves all of them, since the runtime looks through
 * the whole list for each it removes, and a busy server has thousands of sessions that all wait for the same signal.
 */
export function whoWaitsFor(signal: AbortSignal): Set<() => void> {
  let waiting = waitingFor.get(signal);
  if (!waiting) {
    const all = waiting = new Set<() => void>();
    signal.addEventListener("abort", () => {
      for (const tell of all) tell();
    }, { once: true });
    waitingFor.set(signal, all);
  }
  return waiting;
}
