/** Names of sessions and messages: unique, sortable by time, safe in a file name, a header and a URL. */
import type { Clock } from "./clock.ts";

/** Makes ids. A session and a message never have the same one. */
export interface Ids {
  /** The next session's id. */
  session(): string;
  /** The next message's id, which is its queue id and stands in `Received` (RFC 5321 §4.4, `id`). */
  message(): string;
}

/** Crockford's base 32: digits and upper-case letters in ASCII order, none of them mistaken for another. */
const digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/** Ids a millisecond before the next one is borrowed from the future. */
const perMillisecond = 32 ** 2;

/** 25 random bits, drawn once a process. */
function drawProcess(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0]! >>> 7;
}

/**
 * Ids of 16 characters: 9 of milliseconds since 1970 (until the year 3084), 2 of a counter, 5 of a random number drawn once
 * a process. The time in them never goes back, whatever the clock does; a second process (or the next one, after the
 * clock was set back) differs by its random number.
 *
 * @param clock Its wall clock is read for each id.
 * @param process 0 to 2^25 - 1; given by tests only.
 */
export function openIds(clock: Pick<Clock, "now">, process: number = drawProcess()): Ids {
  const suffix = base32(process, 5);
  let time = 0;
  let count = 0;
  let prefix = "";
  const next = () => {
    const now = Math.floor(clock.now());
    if (now > time) {
      time = now;
      count = 0;
      prefix = base32(time, 9);
    } else if (++count === perMillisecond) {
      time++;
      count = 0;
      prefix = base32(time, 9);
    }
    return prefix + digits[count >> 5]! + digits[count & 31]! + suffix;
  };
  return { session: next, message: next };
}

function base32(value: number, length: number): string {
  let text = "";
  // Not by shifts: they take 32 bits, and a time has 41.
  for (let rest = value; text.length < length; rest = Math.floor(rest / 32)) text = digits[rest % 32]! + text;
  return text;
}
