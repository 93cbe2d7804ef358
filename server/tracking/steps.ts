/** What `track` tells: messages, and every step of theirs. Plain data: it crosses a Worker's border and the control socket. */
import type { Origin, PassedBy, Trace } from "../spool/spool.ts";

/** How a message came. */
export interface Arrival extends Trace {
  /** `""` is the null sender. */
  readonly sender: string;
  /** Octets of the content. */
  readonly size: number;
  readonly recipients: readonly TrackedRecipient[];
  readonly from?: Origin;
  /** Who has it, where it never came into the queue. */
  readonly keeper?: PassedBy["keeper"];
}

/** A final recipient. */
export interface TrackedRecipient {
  readonly address: string;
  /** The RCPT it came from. */
  readonly original: string;
  /** The transport. */
  readonly via: string;
  /** A plugin's own copy. */
  readonly copy?: true;
}

/** One thing that happened to a message. Times are milliseconds since 1970, `null` where an old log didn't say. */
export type Step =
  & { readonly at: number | null }
  & (
    | { readonly step: "received"; readonly arrival: Arrival }
    | AttemptStep
    /** A proxy's next hop took it for these, while others are in the queue. */
    | {
      readonly step: "passed";
      readonly recipients: readonly TrackedRecipient[];
      readonly host?: string;
      readonly tls?: string;
      readonly reply: string;
    }
    /** Nothing was tried, as the destination sleeps, and the sender is told of the delay. */
    | { readonly step: "waits"; readonly to: number; readonly reply: string; readonly next: number }
    | { readonly step: "held"; readonly reason: string }
    /** It is due at once, held before or not. */
    | { readonly step: "released" }
    | { readonly step: "deleted" }
    /** By an operator: these recipients, by index, are from now on these. */
    | {
      readonly step: "redirected";
      readonly to: readonly number[];
      readonly recipients: readonly TrackedRecipient[];
    }
    /** The sender was sent a report. */
    | { readonly step: "report"; readonly report: string; readonly kind: "failure" | "delay" | "success" }
  );

/** What became of one recipient in one attempt. */
export interface AttemptStep {
  readonly step: "attempt";
  /** Index of the arrival's recipients. */
  readonly to: number;
  readonly outcome: "delivered" | "deferred" | "failed";
  /** 1 for the first; absent where an old log didn't say. */
  readonly attempt?: number;
  readonly host?: string;
  readonly tls?: string;
  readonly reply: string;
  /** When it is tried again. */
  readonly next?: number;
}

/** A message with its steps, in their order. The first may be missing: it was received before there was a record. */
export interface TrackedMessage {
  readonly id: string;
  readonly steps: readonly Step[];
}

/** A time of which something is missing. */
export interface Gap {
  /** When that was noticed, milliseconds since 1970. */
  readonly at: number;
  /** A sentence. */
  readonly why: string;
}

/** What is asked. */
export interface TrackQuery {
  /** A queue id, a Message-ID with or without its brackets, an address. */
  readonly text: string;
  /** Only messages received then or later, milliseconds since 1970. */
  readonly since?: number;
  /** At most so many messages, the newest. */
  readonly limit: number;
}

/** What is answered. */
export interface Tracked {
  /** Oldest first. */
  readonly messages: readonly TrackedMessage[];
  /** There are older ones. */
  readonly more: boolean;
  readonly gaps: readonly Gap[];
  /** Octets of the log that are not read yet: what happened last may be missing. */
  readonly behind: number;
}

/** An address, id or Message-ID as it is looked up: without brackets, in lower case. */
export function normalized(text: string): string {
  const trimmed = text.trim();
  return (/^<(.*)>$/.exec(trimmed)?.[1] ?? trimmed).toLowerCase();
}

/** What a message is found by, its queue id aside: by what these steps say of it. */
export function wordsIn(steps: readonly Step[]): ReadonlySet<string> {
  const words = new Set<string>();
  for (const step of steps) {
    if (step.step === "received") { for (const word of wordsOf(step.arrival)) words.add(word); }
    if (step.step !== "passed" && step.step !== "redirected") continue;
    for (const word of wordsOf({ sender: "", recipients: step.recipients })) words.add(word);
  }
  return words;
}

/** What a message is found by, its queue id aside. */
export function wordsOf(
  { sender, recipients, messageId }: Pick<Arrival, "sender" | "recipients" | "messageId">,
): ReadonlySet<string> {
  const words = new Set<string>();
  if (sender !== "") words.add(normalized(sender));
  for (const { address, original } of recipients) {
    words.add(normalized(address));
    words.add(normalized(original));
  }
  if (messageId !== undefined) words.add(normalized(messageId));
  words.delete("");
  return words;
}
