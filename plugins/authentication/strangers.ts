/** Whose mail is looked at with suspicion, and who is reached in any case (DESIGN: the order of reputation plugins). */
import type { Recipient, Session } from "../../server/plugin.ts";

/** Mail of strangers: not of users who logged in, of our own machines, or of the server itself. */
export function isStranger({ user, trusted, protocol }: Session): boolean {
  return user === undefined && !trusted && protocol !== "internal";
}

/** `postmaster` and `abuse` are there for those who are refused, too (RFC 5321 §4.5.1, RFC 2142). */
export function isReachable({ user }: Pick<Recipient, "user">): boolean {
  return user === "postmaster" || user === "abuse";
}
