/** What each session's TLS came to, told to who reports it (RFC 8460) and, where a policy is only being tried out, to the log. */
import type { Clock } from "../../clock.ts";
import type { Log } from "../../log.ts";
import type { StsFault } from "../mta_sts/fetch.ts";
import type { HeldPolicy } from "./demand.ts";
import { Recent } from "./recent.ts";
import type { TlsFault } from "./tls.ts";

/** RFC 8460 §4.3. */
export type ResultType = TlsFault | StsFault | "starttls-not-supported" | "tlsa-invalid" | "dnssec-invalid";

/** What was seen of one session, or of an attempt that came to none. */
export interface Seen {
  /** The recipients' domain. */
  readonly domain: string;
  readonly policy: HeldPolicy;
  readonly result: "success" | ResultType;
  /** The host as MX names it. */
  readonly host?: string;
  /** Its address. */
  readonly address?: string;
  /** In words, where it failed. */
  readonly text?: string;
}

/** Gathers what was seen. */
export type Gather = (seen: Seen) => void;

/** One session that came about, or failed at TLS. */
export interface SessionTls {
  readonly domain: string;
  readonly host: string;
  readonly address: string;
  readonly held: readonly HeldPolicy[];
  /** `verified` and `unverified` are encrypted, by a policy's measure or not. */
  readonly state: "verified" | "unverified" | "clear" | "failed";
  readonly fault: TlsFault | undefined;
  readonly text: string | undefined;
}

/** Milliseconds until the same is said again. */
const reminder = 3_600_000;

/** Tells what it sees. */
export class Witness {
  readonly #gather: Gather;
  readonly #log: Log;
  readonly #told: Recent<true>;

  constructor(gather: Gather, log: Log, clock: Clock) {
    this.#gather = gather;
    this.#log = log;
    this.#told = new Recent(clock, 10_000);
  }

  /** A session's TLS, held against each policy. */
  session(session: SessionTls): void {
    const { domain, host, address, text } = session;
    for (const policy of session.held) {
      const result = resultOf(session, policy);
      const why = result === "success" ? undefined : text ?? sentences[result];
      this.#gather({ domain, policy, host, address, result, ...(why !== undefined && { text: why }) });
      if (policy.testing !== undefined && result !== "success") this.#tellTested(session, result, why);
    }
  }

  /** A host that no session was begun with, for its policy's sake; or a policy that could not be had. */
  missed(seen: Seen): void {
    this.#gather(seen);
  }

  /** It was delivered all the same; with mode `enforce` it would not have been. */
  #tellTested({ domain, host }: SessionTls, result: ResultType, why: string | undefined): void {
    const key = `${domain} ${host} ${result}`;
    if (this.#told.get(key) !== undefined) return;
    this.#told.set(key, true, reminder);
    this.#log.warning("MTA-STS policy not met, and only being tested", { domain, host, result, error: why });
  }
}

const sentences: Partial<Record<ResultType, string>> = {
  "starttls-not-supported": "STARTTLS is not offered",
  "tlsa-invalid": "none of the TLSA records can be used",
  "validation-failure": "the policy does not name the host",
};

function resultOf({ state, fault }: SessionTls, policy: HeldPolicy): Seen["result"] {
  if (state === "failed") return fault ?? "validation-failure";
  if (state === "clear") return "starttls-not-supported";
  switch (policy.type) {
    case "no-policy-found":
      return "success";
    case "tlsa":
      return state === "verified" ? "success" : "tlsa-invalid"; // unverified: they could not be used
    case "sts":
      if (policy.testing?.named === false) return "validation-failure";
      return state === "verified" ? "success" : fault ?? "certificate-not-trusted";
  }
}
