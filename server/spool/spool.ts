/**
 * The queue as the rest of the server sees it: what was acknowledged is in here until each recipient has its outcome
 * (promise 1, DESIGN §8). `log.ts` keeps it on disk, `memory.ts` is its twin for tests.
 */
import type { Content } from "../message/content.ts";
import type { Edits } from "../message/edits.ts";
import type { Json } from "../plugin.ts";
import type { HostHop } from "../verdict.ts";

/** An envelope with the overlay of its content's header: all that is kept besides the content. JSON can hold it. */
export interface QueuedEnvelope {
  /** The queue id. */
  readonly id: string;
  /** When it was accepted, milliseconds since 1970. */
  readonly received: number;
  /** As given; `""` is the null sender. */
  readonly sender: string;
  /** MAIL said SMTPUTF8. */
  readonly utf8: boolean;
  /** MAIL's DSN parameters (RFC 3461 §4.3, §4.4), decoded. */
  readonly ret?: "FULL" | "HDRS";
  readonly envid?: string;
  /** What became of the header, as octet ranges of the content and added lines. */
  readonly edits: Edits;
  /** Raw lines above everything: `Received`. */
  readonly top: readonly string[];
  /** Final recipients: one for each target of each RCPT, never two of one mailbox unless an operator redirected them there. */
  readonly recipients: readonly QueuedRecipient[];
  /** Who brought it, for `track` and reports. */
  readonly from?: Origin;
  /** How it was taken, for `track`. */
  readonly trace?: Trace;
  /** Nothing is tried before these plugins were asked; absent: nobody is to be asked any more. */
  readonly screening?: Screening;
}

/** What plugins are to be asked in the queue (`when: queued`), and what they are told of the way in besides {@linkcode Origin}. */
export interface Screening {
  /** Whom, by name. */
  readonly by: readonly string[];
  /** `message`: for the first time; `recipients`: the message was let pass, and counts as it was made then. */
  readonly about: "message" | "recipients";
  /** Indexes of recipients that are still to be asked about. */
  readonly recipients: readonly number[];
  readonly session: {
    readonly id: string;
    readonly role: "mx" | "submission";
    readonly trusted: boolean;
    readonly network: string;
    readonly port: number;
    readonly sendAs?: readonly string[];
  };
  /** MAIL's parameters. */
  readonly params: readonly (readonly [keyword: string, value: string])[];
}

/** Who brought a message. */
export interface Origin {
  readonly ip: string;
  readonly helo?: string;
  readonly user?: string;
  /** Version and cipher; absent in the clear. */
  readonly tls?: string;
  readonly protocol?: "smtp" | "lmtp" | "internal";
}

/** What is told of a message's way in, later, when nobody can ask the plugins any more. Bounded: see `traceOf`. */
export interface Trace {
  /** Of the field `Message-ID`, as it stands there. */
  readonly messageId?: string;
  /** Who spoke, in order: `hook plugin verdict`. */
  readonly said?: readonly string[];
  /** What plugins found out, a name and any JSON. */
  readonly facts?: readonly (readonly [name: string, value: unknown])[];
  /** It is a report, on that message. */
  readonly about?: ReportedOn;
}

/** What a report is about. */
export interface ReportedOn {
  readonly id: string;
  readonly kind: "failure" | "delay" | "success";
}

/** A message that was accepted and never came into the queue, or not for these recipients: somebody else has it. */
export interface PassedBy {
  readonly envelope: Omit<QueuedEnvelope, "edits" | "top">;
  /** Octets of the content. */
  readonly size: number;
  readonly keeper:
    /** A transport has delivered it before the reply. */
    | { readonly kind: "transport"; readonly via: string; readonly reply: string }
    /** A `queue` handler has taken it, under this name. */
    | { readonly kind: "plugin"; readonly plugin: string; readonly name: string }
    /** A proxy's next hop has taken it; `part`: other recipients are in the queue. */
    | {
      readonly kind: "hop";
      readonly via: string;
      readonly extent: "whole" | "part";
      readonly host?: string;
      readonly tls?: string;
      readonly reply: string;
    }
    /** Plugins have removed all of its recipients. */
    | { readonly kind: "nobody" };
}

/** One final recipient. */
export interface QueuedRecipient {
  /** The mailbox it goes to. */
  readonly address: string;
  /** The RCPT it came from, as given: what reports and ORCPT speak of. */
  readonly original: string;
  /** The transport's name. */
  readonly via: string;
  /** The hosts an operator sent it to; absent: as configuration, `route` hook and DNS have it. */
  readonly hops?: readonly HostHop[];
  /** RCPT's DSN parameters (RFC 3461 §4.1, §4.2), decoded. */
  readonly notify?: "NEVER" | readonly ("SUCCESS" | "FAILURE" | "DELAY")[];
  readonly orcpt?: { readonly type: string; readonly address: string };
  /** Raw lines on this one's copy only, below `top`: `Received` stands above what plugins add. */
  readonly own?: readonly string[];
  /** A plugin's own copy: nobody was promised anything about it, and nobody is told of it. */
  readonly copy?: true;
  /** What that plugin noted about it, for its transport. */
  readonly note?: Json;
}

/** The last attempt for a recipient, for `track`. */
export interface LastAttempt {
  /** When its outcome was known, milliseconds since 1970. */
  readonly at: number;
  /** 1 for the first. */
  readonly attempt: number;
  /** The host that was spoken with. */
  readonly host?: string;
  /** The version of TLS. */
  readonly tls?: string;
}

/** How one recipient stands. */
export type RecipientState =
  /** To be tried at `due` (wall clock, milliseconds); `attempts` have failed so far. */
  | {
    readonly state: "due";
    readonly due: number;
    readonly attempts: number;
    readonly reply: string;
    /** The sender was told of the delay: that is said once (RFC 5321 §4.5.4.1). */
    readonly noticed?: true;
    readonly last?: LastAttempt;
  }
  | { readonly state: "delivered"; readonly reply: string; readonly last?: LastAttempt }
  | { readonly state: "failed"; readonly reply: string; readonly last?: LastAttempt };

/** A message in the queue. */
export interface Queued {
  readonly envelope: QueuedEnvelope;
  /** By index of `envelope.recipients`. */
  readonly states: readonly RecipientState[];
  /** Held by an operator, or because it is damaged or poisonous: not tried until released. */
  readonly held: string | undefined;
  /** Octets of the content. */
  readonly size: number;
}

/** What is known of every message without reading it: small enough for a million of them. */
export interface Due {
  readonly id: string;
  /** The earliest time at which some recipient is to be tried; `Infinity` when held. */
  readonly at: number;
  /** When it was accepted, milliseconds since 1970. */
  readonly received: number;
  /** Where its recipients go, each once, as `destinationOf` says; empty where there are more than 16: `get` tells. */
  readonly destinations: readonly string[];
}

/** Messages counted by how they stand. */
export interface Census {
  /** Some recipient is due, or being tried. */
  readonly ready: number;
  readonly deferred: number;
  readonly held: number;
  /** When the oldest was received, milliseconds since 1970; `undefined` in an empty queue. */
  readonly oldest: number | undefined;
}

/** An outcome of one recipient, to be recorded. */
export interface RecordedOutcome {
  readonly id: string;
  /** Index of `envelope.recipients`. */
  readonly recipient: number;
  readonly state: RecipientState;
}

/** Where a recipient's copy goes from now on. */
export interface Redirect extends Pick<QueuedRecipient, "address" | "via" | "hops"> {
  /** Index of `envelope.recipients`. */
  readonly recipient: number;
}

/** The queue. Ids that are not in it: `undefined`, never an error. */
export interface Spool {
  /**
   * Keeps a message; its recipients are due when it was received, or at their time in `due`. Resolves only when it is durable.
   *
   * @param content Becomes the spool's: small ones are written with the record, a file is moved in and synced before.
   * @param held Why it is held from the first moment on.
   * @throws {Error} when it could not be made durable: nothing is kept then, also after a crash. (Only a
   *   disk that fails at that, too, and a crash before it works again, can leave the message there: it is delivered, then.)
   */
  keep(
    envelope: QueuedEnvelope,
    content: Content,
    due?: readonly (number | undefined)[],
    held?: string,
  ): Promise<void>;
  /**
   * Records outcomes; resolves when they are durable, and that may take as long as the disk is full or failing. When none is left
   * `due` the message goes. Who is delivered or failed stays so, whatever is recorded later.
   *
   * @throws {Error} when the spool is closed before they could be recorded.
   */
  record(outcomes: readonly RecordedOutcome[]): Promise<void>;
  /** Stops a message's attempts, and says why. @throws {Error} as the next four, when it could not be made durable. */
  hold(id: string, reason: string): Promise<void>;
  /** Lets them go on: all of its open recipients are due now, held or not. */
  release(id: string): Promise<void>;
  /** All of its open recipients are due now, unless it is held, or is about to be. */
  hasten(id: string): Promise<void>;
  /**
   * Sends recipients that are still to be tried elsewhere: due now, with no attempts so far. A held message stays held; who is
   * delivered or failed stays so.
   */
  redirect(id: string, redirects: readonly Redirect[]): Promise<void>;
  /**
   * Changes what is kept of a message, save how many recipients it has and how they stand. Resolves only when it is durable; a crash
   * before leaves it as it was.
   *
   * @param change From the envelope as it is to how it is to be; may be called more than once.
   * @param content Takes the content's place; absent: that stays.
   * @throws {Error} when it could not be made durable.
   */
  amend(id: string, change: (envelope: QueuedEnvelope) => QueuedEnvelope, content?: Content): Promise<void>;
  /** Gives a message up without reports: an operator's delete. */
  remove(id: string): Promise<void>;
  /**
   * Notes a message that others keep, for `track`. Costs no wait and no sync, and no write of its own where mail comes often; never
   * throws. A kill may forget those of the last tenth of a second, a power cut more of them.
   */
  note(passed: PassedBy): void;
  /** The message and how it stands. */
  get(id: string): Promise<Queued | undefined>;
  /** Its content, all of it checked before. @throws {Damaged} where it is not what was written: the message is held then. */
  content(id: string): Promise<Content | undefined>;
  /** Every message, oldest first. */
  list(): AsyncIterable<Queued>;
  /** Messages in the queue. */
  readonly size: number;
  /** How many stand how at this time (wall clock, milliseconds), from memory: cheap enough to be asked by a monitor. */
  census(now: number): Census;
  /** All that are due at or before `now`, by time, at most `limit`; those already handed out and not recorded again come, too. */
  due(now: number, limit: number): readonly Due[];
  /** When the next one is due; `Infinity` when nothing is. */
  readonly nextDue: number;
  /**
   * `due` does not give this message before `at` (wall clock, milliseconds), unless something is recorded of it before. For a
   * message that is being tried `Infinity`; for one whose destination sleeps, when that wakes up. Only in memory: a
   * restart forgets it.
   */
  postpone(id: string, at: number): void;
  /**
   * Attempts are about to begin. If the process ends before an outcome of such a message is recorded, twice in a row, the
   * message is held: it may be what ends it. Costs no wait and never throws.
   */
  attempting(ids: readonly string[]): void;
  /** Called when something is due that was not before, or is next to be, so that a runner need not poll. */
  onDue(callback: () => void): void;
  /** Whether a message can be taken now: `"full"` → 452 4.3.1, `"failing"`: the disk does not work, 451 4.3.0. */
  room(): "room" | "full" | "failing";
  /** Syncs what is under way and lets go of the files and the lock. */
  close(): Promise<void>;
}

/** A message's content is not what was written. */
export class Damaged extends Error {
  override readonly name = "Damaged";
}
