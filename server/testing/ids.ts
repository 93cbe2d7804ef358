/** Ids that a test can expect. */
import type { Ids } from "../ids.ts";

export type { Ids };

/**
 * Makes {@linkcode Ids} that count: sessions `S0001`, `S0002` …, messages `M0001` ….
 *
 * @example
 * ```ts
 * import { countingIds } from "postrider/testing";
 * import { strictEqual as equal } from "node:assert/strict";
 * const ids = countingIds();
 * equal(ids.message(), "M0001");
 * equal(ids.message(), "M0002");
 * equal(ids.session(), "S0001");
 * ```
 */
export function countingIds(): Ids {
  let sessions = 0;
  let messages = 0;
  return {
    session: () => `S${String(++sessions).padStart(4, "0")}`,
    message: () => `M${String(++messages).padStart(4, "0")}`,
  };
}
