/** Which mail gateways take a copy of: the options, and what is noted of its envelope. */
import { type Address, type OpenTransaction, type Session, z } from "../../server/plugin.ts";
import { domain } from "../addresses.ts";

/** What is copied. */
export const copyOptions = z.strictObject({
  of: z.enum(["incoming", "outgoing", "all"]).default("all").describe(
    "`incoming`: from others, by listeners of role mx; `outgoing`: from our users and the server's own; or both",
  ),
  domains: z.array(domain).optional().describe(
    "Only mail from or to these domains; default: all of them",
  ),
});

/** Which mail is copied. */
export type CopyOptions = z.output<typeof copyOptions>;

/** What a copy is noted with: its envelope, as a type for JSON. */
export type CopyNote = {
  readonly id: string;
  /** When it was received, milliseconds since 1970. */
  readonly at: number;
  readonly from: string;
  readonly to: readonly string[];
  readonly ip: string;
  readonly helo: string;
  readonly user: string;
};

/** Whether this message is one of those. */
export function isCopied(
  { of, domains }: CopyOptions,
  session: Session,
  transaction: OpenTransaction,
): boolean {
  const outgoing = session.role === "submission" || session.user !== undefined;
  if (of === "incoming" && outgoing) return false;
  if (of === "outgoing" && !outgoing) return false;
  if (domains === undefined) return true;
  const ours = (address: Address) => domains.includes(address.domain);
  return ours(transaction.sender) || transaction.recipients.some(ours);
}

/** The envelope as it is now, that of blind copies included. */
export function noteOf(
  { remote, helo, user }: Session,
  { id, sender, recipients }: OpenTransaction,
  at: number,
): CopyNote {
  return {
    id,
    at,
    from: sender.address,
    to: recipients.map(({ address }) => address),
    ip: remote.address,
    helo: helo ?? "",
    user: user?.name ?? "",
  };
}

/** A note that stands in the queue, read again: an older version may have written it. */
export function readNote(note: unknown): CopyNote | undefined {
  const found = noteShape.safeParse(note);
  return found.success ? found.data : undefined;
}

const noteShape = z.object({
  id: z.string(),
  at: z.number(),
  from: z.string(),
  to: z.array(z.string()),
  ip: z.string(),
  helo: z.string(),
  user: z.string(),
});

/** The address that stands in the queue for a copy: letters, digits and `._-` of an instance's name, in front of `@localhost`. */
export const copyAddress = (name: string): string => `${name.replaceAll(/\.+$|\.(?=\.)/g, "")}@localhost`;
