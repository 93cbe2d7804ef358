/**
 * What the queue's runner and who asks plugins about queued mail (`when: queued`) say to each other: a message goes in, whom it may be
 * tried for comes out. The plugins are asked where mail comes in: here is only what it means for the queue.
 */
import type { Chain } from "../chain.ts";
import type { Queued } from "../spool/spool.ts";
import type { Result } from "./attempt.ts";

/** What came of asking. What plugins have changed is in the queue by then, and durable. */
export type Screened =
  /** Nobody had to be asked, or it goes on for all that were asked about. */
  | { readonly kind: "passed" }
  /** It isn't in the queue any more, or is held: nothing is to be tried now. */
  | { readonly kind: "withheld" }
  | {
    readonly kind: "objected";
    /** By index of the recipients: who is not to be tried, and why. */
    readonly objections: ReadonlyMap<number, Objected>;
  };

/** Why a recipient isn't tried. */
export interface Objected {
  readonly result: Result;
  /** `hindrance`: a plugin failed, or the disk: nobody's mail is given up for that. */
  readonly kind: "attempt" | "hindrance";
}

/**
 * Asks the plugins that a message's record names, about the message and about these of its recipients.
 *
 * @param recipients Indexes of those whose time has come.
 */
export type Screen = (queued: Queued, recipients: readonly number[], bounds: Bounds) => Promise<Screened>;

/** How long anybody may be asked. */
export interface Bounds {
  /** Aborts when the server can wait no longer: then it is as if nobody had been asked. */
  readonly stopping: AbortSignal;
  /**
   * Asking begins, now that there is a place for it. Answers whom to ask: of the newest configuration, since others may have been asked
   * for a long time before. Nobody: the server goes down, and begins nothing more.
   */
  begin(): Chain | undefined;
}
