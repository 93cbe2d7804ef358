/** What `explain` finds out, as data: what is printed for people is made of it, and `--json` is it. */
import type { Json } from "../plugin.ts";

/** What would become of the mail: taken, refused for now, refused for good. */
export type Outcome = "accepted" | "deferred" | "refused";

/** A reply of the server's. */
export interface Said {
  readonly code: number;
  /** The lines, without codes; the enhanced status code stands before the first. */
  readonly text: string;
}

/** One plugin's turn. */
export interface Turn {
  readonly hook: string;
  readonly plugin: string;
  /** Where it stands in the configuration, `FILE:LINE`. */
  readonly place: string;
  /** The address that was asked about, where that is not the one of the step. */
  readonly about?: string;
  /** `-`: no opinion; else the verdict in words, or `failed`. */
  readonly said: string;
  /** The option or rule that decided, as the plugin says it. */
  readonly rule?: string;
  /** What it claims: where to, who. */
  readonly claim?: Json;
  /** Why it failed. */
  readonly why?: string;
  /** What it edited. */
  readonly edits?: readonly string[];
  /** Only watched (`observe: true`): nothing of this counted. */
  readonly observed: boolean;
  /** Milliseconds. */
  readonly took: number;
}

/** What a plugin told the others. */
export interface Told {
  readonly fact: string;
  readonly value: Json;
  readonly plugin: string;
}

/** One command of the session, and what came of it. */
export interface Step {
  /** `connect`, a command, or `message`. */
  readonly command: string;
  readonly turns: readonly Turn[];
  readonly facts: readonly Told[];
  /** What plugins wrote to the log. */
  readonly log: readonly string[];
  readonly reply: Said;
  /** Who refused, where it was refused: a plugin, or `core`, the server itself. */
  readonly by?: string;
}

/** A copy that would be kept, and where it would go. */
export interface Copy {
  readonly address: string;
  /** As it was given. */
  readonly original: string;
  /** The transport. */
  readonly via: string;
  /** Hosts in order, or why there are none. */
  readonly next?: string;
}

/** What would become of one recipient. */
export interface Ending {
  readonly address: string;
  readonly outcome: Outcome;
  readonly reply: Said;
}

/** All of it. */
export interface Explanation {
  readonly outcome: Outcome;
  readonly config: string;
  readonly session: {
    readonly ip: string;
    readonly role: "mx" | "submission";
    readonly helo: string;
    readonly tls: boolean;
    readonly user?: string;
  };
  readonly from: string;
  readonly to: readonly string[];
  readonly message: { readonly name: string; readonly size: number };
  readonly steps: readonly Step[];
  readonly recipients: readonly Ending[];
  /** Where copies would go; none where the message would be refused. */
  readonly copies: readonly Copy[];
  /** What it could not try, in sentences. */
  readonly notes: readonly string[];
}

/** The worst that happens to anybody. */
export function worst(outcomes: readonly Outcome[]): Outcome {
  return outcomes.includes("refused") ? "refused" : outcomes.includes("deferred") ? "deferred" : "accepted";
}

/** What a reply's code means for the mail. */
export function outcomeOf({ code }: Said): Outcome {
  return code < 400 ? "accepted" : code < 500 ? "deferred" : "refused";
}
