/** What the tracking Worker is asked and answers. One thing at a time. */
import type { MailHistory } from "../plugin.ts";
import type { Extent } from "../spool/follower.ts";
import type { ReadPlace } from "./database.ts";
import type { Tracked, TrackQuery } from "./steps.ts";

export type ToTracker =
  /** Opens the database, or makes it anew where it can't be read; again, after trouble. */
  | { readonly do: "open"; readonly path: string; readonly now: number }
  /** Reads on, for a moment. `missed`: segments that went unread. */
  | {
    readonly do: "read";
    readonly extents: readonly Extent[];
    readonly missed: readonly Extent[];
    readonly now: number;
    /** What is older is forgotten, milliseconds since 1970. */
    readonly before: number;
  }
  | { readonly do: "find"; readonly query: TrackQuery }
  /** What became of mail since a place; `undefined`: only where it ends. */
  | { readonly do: "after"; readonly place: string | undefined; readonly limit: number }
  | { readonly do: "close" };

export type FromTracker =
  /** `rebuilt`: why it had to be made anew. */
  | { readonly kind: "opened"; readonly places: readonly ReadPlace[]; readonly rebuilt?: string }
  /** `more`: there is more to read already. */
  | { readonly kind: "read"; readonly places: readonly ReadPlace[]; readonly more: boolean }
  | { readonly kind: "found"; readonly found: Omit<Tracked, "behind"> }
  | { readonly kind: "history"; readonly history: MailHistory }
  | { readonly kind: "closed" }
  /** Nothing came of it. `unreadable`: open it again, and it is made anew. */
  | { readonly kind: "trouble"; readonly error: string; readonly unreadable: boolean };
