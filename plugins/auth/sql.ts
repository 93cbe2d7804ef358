/** Accounts in an SQLite database: a query gives the password's hash, which is compared here. */
import { type Host, path, z } from "../../server/plugin.ts";
import { patience } from "../directory/directory.ts";
import { addressQuery, openSql } from "../directory/sql.ts";
import { type AccountKeeper, accountOf, type Asked, type Said } from "./elsewhere.ts";
import { type Passwords, unmatchable } from "./hash.ts";
import { type PasswordHash, readHash } from "./phc.ts";

/** The option `sql`. */
export const sqlOption = z.object({
  database: path().describe("The SQLite database's file; it is only read"),
  query: addressQuery.describe(
    "One SELECT for the password's hash, as in the users file, with `:address`, `:local` and `:domain`; lower case",
  ),
  sendAs: addressQuery.optional().describe(
    "One SELECT for the other addresses that the account may send as, a row each",
  ),
  timeout: patience,
});

/**
 * Opens the database.
 *
 * @throws {Error} when it isn't there, or a query can't be asked.
 */
export async function sql(
  { database, query, sendAs, timeout }: z.output<typeof sqlOption>,
  passwords: Pick<Passwords, "check">,
  host: Pick<Host, "clock">,
): Promise<AccountKeeper> {
  const hashes = await openSql({ database, query, timeout }, host);
  const others = sendAs === undefined ? undefined : await openSql({ database, query: sendAs, timeout }, host)
    .catch((error) => {
      hashes.close();
      throw error;
    });
  /** Made like the last one that was seen: who is unknown takes as long as who is known (CASES U03). */
  let like: PasswordHash | undefined;
  return {
    about: hashes.about,
    timeout,
    close() {
      hashes.close();
      others?.close();
    },
    async ask({ name, password, network }: Asked, signal: AbortSignal): Promise<Said> {
      const at = name.lastIndexOf("@");
      const whose = { local: name.slice(0, at), domain: name.slice(at + 1) };
      const [text, another] = await hashes.look(whose, signal) ?? [];
      if (another !== undefined) throw new Error(`${hashes.about}: more than one row for ${name}`);
      const read = text ? readHash(text) : undefined;
      if (read && "problem" in read) throw new Error(`${hashes.about}: ${name}: ${read.problem}`);
      const hash = read?.hash;
      like = hash ?? like;
      const checked = await passwords.check(hash ?? unmatchable(like), password, network, signal);
      if (checked === "busy") return { kind: "busy" };
      if (checked === "mismatch" || !hash) return { kind: "wrong" };
      const senders = await others?.look(whose, signal);
      try {
        return { kind: "right", ...accountOf(name, senders) };
      } catch (error) {
        throw new Error(`${hashes.about}: ${name}: ${(error as Error).message}`);
      }
    },
  };
}
