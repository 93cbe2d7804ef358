/**
 * What plugins share that look addresses up elsewhere (a database, a web service, LDAP): answers are kept for a while, a question
 * that many wait for is asked once, and what was known stands while nobody answers.
 */
import { createHash } from "node:crypto";
import { type Duration, duration, type Host, z } from "../../server/plugin.ts";
import { join } from "../addresses.ts";

/** An address that is looked up: its local part unquoted, lower case; its domain lower case, in A-labels. */
export interface Name {
  readonly local: string;
  readonly domain: string;
}

/** As it is written; a name without a local part is that of its whole domain, `@example.org`. */
export const addressOf = ({ local, domain }: Name): string =>
  local === "" ? `@${domain}` : join(local, domain);

/** Asks a back end. @returns The values that stand there for the name, `undefined`: it isn't there. @throws {Error} in an operator's words. */
export type Look = (name: Name, signal: AbortSignal) => Promise<readonly string[] | undefined>;

/** A back end. */
export interface Source {
  /** What it is called in the log: no secret stands in it. */
  readonly about: string;
  /** Another place or another question is another text. It is seen by nobody. */
  readonly identity: string;
  /** Milliseconds for one answer. */
  readonly timeout: number;
  readonly look: Look;
  /** Closes what is open; harmless at any time. */
  close(): void;
}

/** The option `cache`; `yes` is its default. */
export const keepingFor = (yes: Duration) =>
  z.object({
    yes: duration(yes).describe("How long an address that is there counts as there"),
    no: duration("1m").describe("How long an address that is not there counts as unknown"),
    stale: duration("1d").describe(
      "How much longer a yes stands while nobody answers; an unknown address is put off then",
    ),
  }).prefault({});

/** The option `cache` of who looks single addresses up. */
export const keeping = keepingFor("1h");

/** The option, read. */
export type Keeping = z.output<typeof keeping>;

/** The option `timeout` of a back end. */
export const patience = duration("10s").refine((ms) => ms > 0, "must be more than nothing")
  .describe("How long one answer may take");

/** What it needs of the host. */
export type DirectoryHost = Pick<Host, "cache" | "clock"> & {
  readonly log: { warning(text: string, fields: Record<string, string>): void };
};

/** As it lies in the cache. */
interface Kept {
  readonly at: number;
  readonly found: readonly string[] | null;
}

/** UTF-16 units of the longest answer that a cache takes, and how many longer ones are kept beside it: members of long lists. */
const longest = 200_000;
const mostLong = 8;

/** How long nobody is asked after a failure: each who comes would wait for as long as the first, and what is ill had no rest. */
const pause = 1000;

/** A back end with what it has said. */
export class Directory {
  readonly #source: Source;
  readonly #keep: Keeping;
  readonly #host: DirectoryHost;
  readonly #key: string;
  readonly #asking = new Map<string, Promise<readonly string[] | undefined>>();
  readonly #long = new Map<string, Kept>();
  #failed: { readonly at: number; readonly error: Error } | undefined;

  constructor(source: Source, keep: Keeping, host: DirectoryHost) {
    this.#source = source;
    this.#keep = keep;
    this.#host = host;
    // A reload keeps the cache: what another database or another query said is nothing that this one says.
    this.#key = createHash("sha256").update(source.identity).digest("base64").slice(0, 16);
  }

  /**
   * What stands there for a name, `undefined`: it isn't there.
   *
   * @throws {Error} when nobody answers, and nothing was known.
   */
  async find(name: Name): Promise<readonly string[] | undefined> {
    const key = `${this.#key} ${addressOf(name)}`;
    const kept = this.#long.get(key) ??
      await this.#host.cache.get<{ at: number; found: string[] | null }>(key);
    const age = kept ? this.#host.clock.now() - kept.at : undefined;
    if (kept && age! >= 0 && age! < (kept.found ? this.#keep.yes : this.#keep.no)) {
      return kept.found ?? undefined;
    }
    try {
      return await this.#once(key, name);
    } catch (error) {
      if (!kept?.found || age! > this.#keep.yes + this.#keep.stale) throw error;
      this.#host.log.warning("nobody answers, so what was known of an address stands", {
        source: this.#source.about,
        error: error instanceof Error ? error.message : String(error),
      });
      return kept.found;
    }
  }

  close(): void {
    this.#source.close();
  }

  #once(key: string, name: Name): Promise<readonly string[] | undefined> {
    const asking = this.#asking.get(key) ?? this.#ask(key, name).finally(() => this.#asking.delete(key));
    this.#asking.set(key, asking);
    return asking;
  }

  async #ask(key: string, name: Name): Promise<readonly string[] | undefined> {
    const { clock, cache } = this.#host;
    const since = this.#failed ? clock.now() - this.#failed.at : pause;
    if (since >= 0 && since < pause) throw this.#failed!.error;
    const found = await this.#inTime(name);
    this.#failed = undefined;
    const { yes, no, stale } = this.#keep;
    const kept: Kept = { at: clock.now(), found: found ?? null };
    if (this.#keepLong(key, kept)) return found;
    await cache.set(key, { ...kept, found: kept.found && [...kept.found] }, {
      ttl: `${Math.ceil((found ? yes + stale : no) / 1000)}s`, // a number of milliseconds may be too long for a duration
    });
    return found;
  }

  /** Whether it is too long for the cache, and kept here. */
  #keepLong(key: string, kept: Kept): boolean {
    this.#long.delete(key);
    if (JSON.stringify(kept).length <= longest) return false;
    this.#long.set(key, kept);
    for (const oldest of this.#long.keys()) {
      if (this.#long.size <= mostLong) break;
      this.#long.delete(oldest);
    }
    return true;
  }

  async #inTime(name: Name): Promise<readonly string[] | undefined> {
    const { clock } = this.#host;
    const { about, timeout, look } = this.#source;
    const [late, over] = [new AbortController(), new AbortController()];
    const lateness = Promise.withResolvers<never>();
    clock.sleep(timeout, over.signal).then(() => {
      const error = new Error(`${about}: no answer within ${timeout} ms`);
      late.abort(error);
      lateness.reject(error);
    }, () => {});
    try {
      return await Promise.race([look(name, late.signal), lateness.promise]);
    } catch (error) {
      // What one entry says may be wrong with it alone, and a stranger can ask for it; only who doesn't answer is left in peace.
      if (!(error instanceof Unusable)) this.#failed = { at: clock.now(), error: error as Error };
      throw error;
    } finally {
      over.abort();
    }
  }
}

/** There was an answer, and it is no word on whether this one name is there; about others it says nothing. */
export class Unusable extends Error {
  override readonly name = "Unusable";
}
