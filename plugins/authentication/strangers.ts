/** Whose mail is looked at with suspicion, and who is reached in any case (DESIGN: the order of reputation plugins). */
import { type Defer, defer, type Recipient, type Session, type Transaction } from "../../server/plugin.ts";

/** Mail of strangers: not of users who logged in, of our own machines, or of the server itself. */
export function isStranger({ user, trusted, protocol }: Session): boolean {
  return user === undefined && !trusted && protocol !== "internal";
}

/** `postmaster` and `abuse` are there for those who are refused, too (RFC 5321 §4.5.1, RFC 2142). */
export function isReachable({ user }: Pick<Recipient, "user">): boolean {
  return user === "postmaster" || user === "abuse";
}

/**
 * A handler of `rcpt`, for plugins that refuse strangers' mail at the final dot: there is one reply for all then, so those who are
 * reached in any case come in a message of their own.
 */
export function apart(
  session: Session,
  recipient: Recipient,
  { recipients: [first] }: Transaction,
): Defer | undefined {
  if (!isStranger(session) || first === undefined || isReachable(recipient) === isReachable(first)) return;
  return defer("4.5.3", "Mail for postmaster or abuse comes by itself: send the rest again", 452);
}
