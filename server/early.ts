/** Whether a client speaks before it is greeted, which RFC 5321 §3.1 does not let it. */
import type { Clock } from "./clock.ts";

/**
 * Waits for the first bytes of a client.
 *
 * @param reading The read that brings them.
 * @param ms How long.
 * @returns `spoke` as soon as it does; `silent` after `ms`, when it goes, and when the signal aborts.
 */
export function spokenWithin(
  reading: Promise<Uint8Array | undefined>,
  ms: number,
  signal: AbortSignal,
  clock: Pick<Clock, "after">,
): Promise<"spoke" | "silent"> {
  return new Promise((resolve) => {
    const silent = () => end("silent");
    const cancel = clock.after(ms, silent);
    const end = (heard: "spoke" | "silent") => {
      cancel();
      signal.removeEventListener("abort", silent);
      resolve(heard);
    };
    signal.addEventListener("abort", silent, { once: true });
    if (signal.aborted) silent();
    reading.then((bytes) => end(bytes ? "spoke" : "silent"), silent);
  });
}
