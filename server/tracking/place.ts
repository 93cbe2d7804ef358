/** Where tracking is. */
import { join } from "node:path";

/** The database of this state directory. It can be deleted while no server runs: what the log still has is read again. */
export function databaseOf(state: string): string {
  return join(state, "tracking.db");
}
