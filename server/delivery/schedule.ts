/**
 * When a message is tried again, and when it is given up. Pure: time comes in as ages and goes out as waits, chance as a number,
 * so that four days to a bounce are one function call (RFC 5321 §4.5.4.1; CASES Q04).
 */
import { readDuration } from "../options.ts";

/** Waits between attempts, milliseconds: the first after the first failure; the last one repeats. */
export interface Schedule {
  readonly waits: readonly number[];
}

/** What the configuration says of trying again (`outbound.retry`, `giveUpAfter`, `delayNoticeAfter`). */
export interface RetryPolicy {
  readonly schedule: Schedule;
  /** Milliseconds since the message was accepted. */
  readonly giveUpAfter: number;
  /** Milliseconds since the message was accepted. */
  readonly delayNoticeAfter: number;
}

/** A random number, at least 0 and less than 1. */
export type Random = () => number;

const longestWait = 7 * 864e5;
const hindered = 10 * 60_000;
const mostRepeats = 1000;
/** Waits are drawn this far around what the schedule says, so that what failed together isn't tried together. */
const jitter = 0.05;
/** Attempts before a message may be given up: a clock set wrong ages it, but doesn't try it. */
const leastAttempts = 5;

/**
 * Reads `outbound.retry`: `["1m", "5m x2", "15m x4", "1h x8", "4h"]`.
 *
 * @returns The schedule, or a sentence part that says what is wrong and what to write.
 */
export function parseRetry(texts: readonly string[]): Schedule | string {
  if (texts.length === 0) return 'needs at least one wait, such as "5m"';
  const waits: number[] = [];
  for (const text of texts) {
    const found = /^([0-9]+[a-z]+)(?: x([0-9]{1,9}))?$/.exec(text);
    const wait = found ? readDuration(found[1]!) : undefined;
    if (!found || wait === undefined) return notWait(text);
    if (wait === 0) return `"${text}" is no wait: it must be more than nothing`;
    if (wait > longestWait) return `"${text}" is too long a wait: at most 7d`;
    const times = found[2] === undefined ? 1 : Number(found[2]);
    if (times === 0) return `"${text}" would be waited never: leave it out, or write x1 or more`;
    if (times > mostRepeats) return `"${text}" repeats too often: at most x${mostRepeats}`;
    for (let i = 0; i < times; i++) waits.push(wait);
  }
  return { waits };
}

function notWait(text: string): string {
  const meant = guess(text);
  const question = meant === undefined ? "" : `: did you mean "${meant}"?`;
  return `"${text}" is not a wait such as 5m, or 5m x2 for twice${question}`;
}

/** How people write a unit; the first that fits. Without one it is minutes, as in other mail servers' tables. */
const units: readonly (readonly [RegExp, string])[] = [
  [/^(ms|milli[a-z]*)$/, "ms"],
  [/^(s|secs?|seconds?)$/, "s"],
  [/^(|m|mins?|minutes?)$/, "m"],
  [/^(h|hrs?|hours?)$/, "h"],
  [/^(d|days?)$/, "d"],
];

/** `5 min`, `5mx2`, `2x 5m`, `1 hour * 3`: what was meant by it. */
function guess(text: string): string | undefined {
  const plain = text.trim().toLowerCase();
  const after = /^([0-9]{1,9}) *([a-w]*) *(?:[x*×] *([0-9]{1,4}))?$/.exec(plain);
  const before = /^([0-9]{1,4}) *[x*×] *([0-9]{1,9}) *([a-w]+)$/.exec(plain);
  const [number, word, times] = after ? after.slice(1) : before ? [before[2], before[3], before[1]] : [];
  const unit = units.find(([names]) => word !== undefined && names.test(word))?.[1];
  return number && unit ? `${number}${unit}${times ? ` x${times}` : ""}` : undefined;
}

/** Milliseconds to wait after the `attempts`th failed attempt (1 for the first). */
export function nextAttempt({ waits }: Schedule, attempts: number, random: Random): number {
  const wait = waits[Math.min(Math.max(attempts, 1), waits.length) - 1]!;
  return Math.round(wait * (1 + jitter * (2 * random() - 1)));
}

/** Milliseconds to wait where nothing was tried for a reason of our own: it is mended at once, or by people. */
export function nextTry({ waits }: Schedule, random: Random): number {
  return Math.round(Math.min(hindered, Math.max(...waits)) * (1 + jitter * (2 * random() - 1)));
}

/** The longest time an attempt can be ahead: a due time beyond it was written by a clock that was wrong. */
export function longestAhead({ waits }: Schedule): number {
  return Math.max(...waits) * (1 + jitter);
}

/** What an attempt that failed for now leads to. */
export type Verdict =
  /** Tried again after so many milliseconds. */
  | { readonly kind: "again"; readonly after: number }
  | { readonly kind: "give up" };

/**
 * After an attempt that failed for now.
 *
 * @param attempt `age`: how old the message was when the attempt began, milliseconds; `attempts`: how many there have been, this
 *   one included.
 */
export function afterDeferral(
  { schedule, giveUpAfter }: RetryPolicy,
  { age, attempts }: { readonly age: number; readonly attempts: number },
  random: Random,
): Verdict {
  if (age > giveUpAfter && attempts >= attemptsNeeded(schedule, giveUpAfter)) return { kind: "give up" };
  const after = nextAttempt(schedule, attempts, random);
  // The last attempt comes right after the moment, so that the sender hears when they were promised to.
  const left = giveUpAfter - age;
  return { kind: "again", after: left >= 0 && after > left ? left + 1 : after };
}

/** Five, or one where `giveUpAfter` is over before five waits are. */
function attemptsNeeded({ waits }: Schedule, giveUpAfter: number): number {
  let five = 0;
  for (let i = 0; i < leastAttempts; i++) five += waits[Math.min(i, waits.length - 1)]!;
  return giveUpAfter < five ? 1 : leastAttempts;
}
