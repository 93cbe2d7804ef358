/**
 * The MTA-STS policies of domains that mail is sent to (RFC 8461 §3.3, §5.1): found by DNS, fetched by HTTPS, kept in the
 * store for as long as they say. What is kept holds even where DNS or the policy host is silent: to silence them is how an
 * attacker would begin.
 */
import type { Clock } from "../../clock.ts";
import type { Query } from "../../dns.ts";
import type { Log } from "../../log.ts";
import type { Store } from "../../plugin.ts";
import { DomainIndex } from "../domain_index.ts";
import { Recent } from "../smtp/recent.ts";
import type { Fetched, FetchPolicy, StsFault } from "./fetch.ts";
import { readStsId, readStsPolicy, type StsPolicy } from "./policy.ts";

/** What there is of a domain. */
export interface StsFinding {
  /** The policy that holds; `mode` may be `none`. */
  readonly policy: StsPolicy | undefined;
  /** Why the one that the domain publishes now could not be had. */
  readonly problem: { readonly fault: StsFault; readonly text: string } | undefined;
}

/** What it needs. */
export interface StsHow {
  readonly query: Query;
  readonly fetch: FetchPolicy;
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Log;
}

/** As the store has it. */
interface Kept {
  readonly id: string;
  readonly text: string;
  /** Milliseconds since 1970. */
  readonly fetched: number;
  readonly expires: number;
  /** When it was last asked for, give or take a day. */
  readonly used: number;
}

interface Held {
  readonly kept: Kept;
  readonly policy: StsPolicy;
}

const minute = 60_000;
const hour = 60 * minute;
const day = 24 * hour;
/** What could not be fetched is not tried again sooner (§3.3). */
const pause = 5 * minute;
/** Policies are looked through so often, and fetched again after a day, or half of their time (§10.2). */
const rounds = hour;
/** A domain that nobody has written to for so long is not asked any more. */
const forgotten = 30 * day;
const mostHeld = 10_000;

/** Keeps them. */
export class StsPolicies {
  readonly #how: StsHow;
  readonly #index: DomainIndex;
  /** What the store has, read once; `undefined`: nothing. */
  readonly #held = new Map<string, Promise<Held | undefined>>();
  readonly #fetching = new Map<string, Promise<Fetched>>();
  readonly #failed: Recent<Extract<Fetched, { kind: "failed" }>>;
  readonly #closing = new AbortController();
  #cancel = () => {};
  #round: Promise<void> = Promise.resolve();

  constructor(how: StsHow) {
    this.#how = how;
    this.#index = new DomainIndex(how.store, "domains", "400d"); // longer than any policy holds
    this.#failed = new Recent(how.clock, mostHeld);
    this.#later();
  }

  /**
   * What holds for a domain now.
   *
   * @param domain Lower case, in A-labels.
   * @throws the signal's reason.
   */
  async of(domain: string, signal: AbortSignal): Promise<StsFinding> {
    const [txt, held] = await Promise.all([
      this.#how.query(`_mta-sts.${domain}`, "TXT", signal),
      this.#heldOf(domain),
    ]);
    signal.throwIfAborted();
    if (held !== undefined) this.#noteUse(domain, held);
    // No record, or no answer, takes nothing away that is kept (§3.3).
    const id = txt.kind === "found" ? readStsId(txt.records) : undefined;
    if (id === undefined || id === held?.kept.id) return { policy: held?.policy, problem: undefined };
    const fetched = await abortable(this.#fetch(domain, id), signal);
    if (fetched.kind === "policy") return { policy: fetched.policy, problem: undefined };
    return { policy: held?.policy, problem: { fault: fetched.fault, text: fetched.text } };
  }

  /** Gives up what is under way. */
  async close(): Promise<void> {
    this.#cancel();
    this.#closing.abort(new Error("the server stops"));
    await Promise.all([this.#round, ...this.#fetching.values()]);
  }

  async #heldOf(domain: string): Promise<Held | undefined> {
    let held = this.#held.get(domain);
    if (held === undefined) {
      held = this.#how.store.get<Kept & Record<string, string | number>>(`policy ${domain}`).then(heldFrom);
      this.#hold(domain, held);
      held.catch(() => this.#held.delete(domain));
    }
    const found = await held.catch((error) => {
      this.#how.log.error("MTA-STS policies can't be read from the store", { domain, error: String(error) });
      return undefined;
    });
    return found !== undefined && found.kept.expires > this.#how.clock.now() ? found : undefined;
  }

  #hold(domain: string, held: Promise<Held | undefined>): void {
    this.#held.delete(domain);
    this.#held.set(domain, held);
    if (this.#held.size > mostHeld) this.#held.delete(this.#held.keys().next().value!);
  }

  #fetch(domain: string, id: string): Promise<Fetched> {
    const recent = this.#failed.get(`${domain} ${id}`);
    if (recent !== undefined) return Promise.resolve(recent);
    let fetching = this.#fetching.get(domain);
    if (fetching === undefined) {
      fetching = this.#fetchNow(domain, id).finally(() => this.#fetching.delete(domain));
      this.#fetching.set(domain, fetching);
    }
    return fetching;
  }

  async #fetchNow(domain: string, id: string): Promise<Fetched> {
    const { fetch, log, clock } = this.#how;
    const fetched = await fetch(domain, this.#closing.signal);
    if (fetched.kind === "failed") {
      if (this.#closing.signal.aborted) return fetched;
      this.#failed.set(`${domain} ${id}`, fetched, pause);
      log.warning("MTA-STS policy can't be had", { domain, fault: fetched.fault, error: fetched.text });
      return fetched;
    }
    const { policy } = fetched;
    const now = clock.now();
    const before = await this.#heldOf(domain);
    const used = before?.kept.used ?? now;
    const text = policy.lines.join("\n");
    await this.#keep(domain, { id, text, fetched: now, expires: now + policy.maxAge * 1000, used }, policy);
    if (before?.kept.text !== text) {
      log.info("MTA-STS policy", { domain, id, mode: policy.mode, mx: policy.mx });
    }
    return fetched;
  }

  async #keep(domain: string, kept: Kept, policy: StsPolicy): Promise<void> {
    const { store, log, clock } = this.#how;
    this.#hold(domain, Promise.resolve({ kept, policy }));
    try {
      const ttl = kept.expires - clock.now();
      if (ttl <= 0) return;
      await store.set(`policy ${domain}`, { ...kept }, { ttl: `${Math.ceil(ttl / 1000)}s` });
      await this.#index.add(domain);
    } catch (error) {
      log.error("an MTA-STS policy can't be kept in the store", { domain, error: String(error) });
    }
  }

  #noteUse(domain: string, { kept, policy }: Held): void {
    const now = this.#how.clock.now();
    if (now - kept.used > day) void this.#keep(domain, { ...kept, used: now }, policy);
  }

  // ── Refreshing

  #later(): void {
    this.#cancel = this.#how.clock.after(rounds, () => {
      this.#round = this.#refresh().catch((error) => {
        this.#how.log.error("MTA-STS policies can't be refreshed", { error: String(error) });
      }).then(() => {
        if (!this.#closing.signal.aborted) this.#later();
      });
    });
  }

  /** Fetches again what has become old, one after the other: a policy is not to run out while its domain is written to. */
  async #refresh(): Promise<void> {
    const { query, clock } = this.#how;
    const { signal } = this.#closing;
    for await (const domain of this.#index.all()) {
      if (signal.aborted) return;
      const held = await this.#heldOf(domain);
      const now = clock.now();
      if (held === undefined || now - held.kept.used > forgotten) {
        await this.#index.delete(domain);
        continue;
      }
      if (now - held.kept.fetched < Math.min(day, held.policy.maxAge * 500)) continue;
      try {
        const txt = await query(`_mta-sts.${domain}`, "TXT", signal);
        const id = txt.kind === "found" ? readStsId(txt.records) : undefined;
        await this.#fetch(domain, id ?? held.kept.id);
      } catch {
        return; // it is closing
      }
    }
  }
}

function heldFrom(kept: Kept | undefined): Held | undefined {
  const policy = kept && readStsPolicy(kept.text);
  return kept === undefined || policy === undefined || typeof policy === "string"
    ? undefined
    : { kept, policy };
}

function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
