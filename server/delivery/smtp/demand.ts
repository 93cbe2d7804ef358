/**
 * What TLS a host is to have: what the operator says, raised by what the host's own zone (DANE, RFC 7672) or the
 * recipient's domain (MTA-STS, RFC 8461) publishes.
 *
 * DANE stands above MTA-STS (RFC 8461 §2), and neither lowers what the operator wants. That a host is sent to in the clear
 * (`none`) is the operator's word against all of them; it is logged where they would have said otherwise.
 */
import type { Clock } from "../../clock.ts";
import type { Query } from "../../dns.ts";
import type { Log } from "../../log.ts";
import { namesHost, type StsPolicy } from "../mta_sts/policy.ts";
import type { StsFinding, StsPolicies } from "../mta_sts/policies.ts";
import { type DaneFinding, lookUpDane, type Tlsa, tlsaText } from "./dane.ts";
import type { Destination, NextHop } from "./destination.ts";
import type { FoundAddresses, HostPlan, Settled } from "./hosts.ts";
import { Recent } from "./recent.ts";
import { deferred } from "./result.ts";

/** What a session with a host must have. */
export type Demand =
  & {
    /** Which policies it is held against, for reports (RFC 8460). */
    readonly held: readonly HeldPolicy[];
  }
  & (
    | { readonly kind: "none" | "opportunistic" }
    /** TLS, with any certificate. */
    | { readonly kind: "encrypted" }
    /** TLS, with a certificate that is good for the host's name; `implicit`: from the first byte on. */
    | { readonly kind: "verified"; readonly implicit: boolean }
    /** TLS, with a certificate that fits the records. */
    | {
      readonly kind: "dane";
      /** The name the records stand at, said in SNI. */
      readonly base: string;
      readonly records: readonly Tlsa[];
      readonly names: readonly string[];
    }
  );

/** A policy as reports name it (RFC 8460 §4.4). */
export interface HeldPolicy {
  readonly type: "tlsa" | "sts" | "no-policy-found";
  /** The policy's domain: of TLSA records the host's name. */
  readonly domain: string;
  readonly strings: readonly string[];
  readonly mx: readonly string[];
  /** It isn't enforced: what is wrong with the session is only told. `named`: whether the policy names the host. */
  readonly testing?: { readonly named: boolean };
}

/** What the recipient's domain says; asked once an attempt. */
export interface DomainDemand {
  readonly sts: StsPolicy | undefined;
  readonly problem: StsFinding["problem"];
}

/** What is wanted of a host; or why it is not to be sent to now. */
export type Demanded = { readonly kind: "demand"; readonly demand: Demand } | Refused;

/** A host that is passed over, and what of its policy is in the way. */
export interface Refused {
  readonly kind: "refused";
  readonly settled: Settled;
  readonly held: HeldPolicy;
  /** RFC 8460 §4.3's word for it. */
  readonly fault: "validation-failure" | "dnssec-invalid" | undefined;
}

/** What it needs. */
export interface DemandsHow {
  readonly query: Query;
  readonly clock: Clock;
  readonly log: Log;
  /** Whether TLSA records are asked for. */
  readonly dane: boolean;
  /** Absent: MTA-STS is not asked for. */
  readonly sts?: StsPolicies | undefined;
}

const nothing: DomainDemand = { sts: undefined, problem: undefined };
/** Milliseconds until it is said again that the operator's word stands against a policy. */
const reminder = 86_400_000;

/** Finds out what is wanted. */
export class Demands {
  readonly #how: DemandsHow;
  readonly #told: Recent<true>;

  constructor(how: DemandsHow) {
    this.#how = how;
    this.#told = new Recent(how.clock, 10_000);
  }

  /** What the recipient's domain wants. Rejects only with the signal's reason. */
  async ofDomain(destination: Destination, signal: AbortSignal): Promise<DomainDemand> {
    const { sts } = this.#how;
    // A host that the operator names is not one that a domain's policy speaks of.
    if (sts === undefined || destination.kind !== "mx" || destination.domain.startsWith("[")) return nothing;
    const { policy, problem } = await sts.of(destination.domain, signal);
    return { sts: policy?.mode === "none" ? undefined : policy, problem };
  }

  /** What is wanted of one host. Rejects only with the signal's reason. */
  async ofHost(
    destination: Destination,
    plan: HostPlan,
    host: NextHop,
    found: FoundAddresses,
    domain: DomainDemand,
    signal: AbortSignal,
  ): Promise<Demanded> {
    if (host.tls === "implicit") {
      return demand({ kind: "verified", implicit: true, held: [noPolicy(destination)] });
    }
    const dane = await this.#daneOf(plan, host, found, signal);
    if (host.tls === "none") {
      this.#tellOverridden(destination, host, dane, domain);
      return demand({ kind: "none", held: [] });
    }
    if (dane.kind === "failed") {
      const result = deferred("4.4.3", dane.text, "dns", { host: host.host, destinationDown: true });
      const fault = dane.reason === "servfail" ? "dnssec-invalid" : undefined;
      const held = { type: "tlsa", domain: host.host, strings: [], mx: [] } as const;
      return { kind: "refused", settled: { kind: "settled", result }, held, fault };
    }
    if (dane.kind === "usable") {
      const names = destination.kind === "mx" ? [dane.base, destination.domain] : [dane.base, host.host];
      return demand({ ...dane, kind: "dane", names, held: [tlsaPolicy(dane)] });
    }
    const tlsa = dane.kind === "unusable" ? [tlsaPolicy(dane)] : [];
    return this.#withSts(destination, host, domain, tlsa);
  }

  #withSts(
    destination: Destination,
    host: NextHop,
    { sts }: DomainDemand,
    tlsa: readonly HeldPolicy[],
  ): Demanded {
    const named = sts !== undefined && namesHost(sts, host.host);
    if (sts?.mode === "enforce" && !named) {
      const text = `MTA-STS: the policy of ${keyOf(destination)} does not name the host ${host.host}`;
      const result = deferred("4.7.5", text, "tls", { host: host.host, destinationDown: true });
      const settled = { kind: "settled", result } as const;
      return { kind: "refused", settled, held: stsPolicy(destination, sts), fault: "validation-failure" };
    }
    const own = sts === undefined
      ? []
      : [stsPolicy(destination, sts, sts.mode === "testing" ? { named } : undefined)];
    const held = tlsa.length + own.length > 0 ? [...tlsa, ...own] : [noPolicy(destination)];
    if (sts?.mode === "enforce" || host.tls === "required") {
      return demand({ kind: "verified", implicit: false, held });
    }
    return demand({ kind: tlsa.length > 0 ? "encrypted" : "opportunistic", held });
  }

  async #daneOf(
    plan: HostPlan,
    host: NextHop,
    found: FoundAddresses,
    signal: AbortSignal,
  ): Promise<DaneFinding> {
    // With hosts that someone on the way may have put in, the hosts' own records prove nothing (RFC 7672 §2.2.1).
    if (!this.#how.dane || !plan.secure) return { kind: "none" };
    const { canonical, secure } = found;
    return await lookUpDane({ host: host.host, port: host.port, canonical, secure }, this.#how.query, signal);
  }

  #tellOverridden(
    destination: Destination,
    { host }: NextHop,
    dane: DaneFinding,
    { sts }: DomainDemand,
  ): void {
    const policy = dane.kind === "usable" || dane.kind === "unusable"
      ? "DANE"
      : sts?.mode === "enforce"
      ? "MTA-STS"
      : undefined;
    if (policy === undefined || this.#told.get(destination.key) !== undefined) return;
    this.#told.set(destination.key, true, reminder);
    this.#how.log.warning("sent in the clear as `outbound` says, against the domain's policy", {
      destination: destination.key,
      host,
      policy,
    });
  }
}

function demand(one: Demand): Demanded {
  return { kind: "demand", demand: one };
}

function keyOf(destination: Destination): string {
  return destination.kind === "mx" ? destination.domain : destination.key;
}

function noPolicy(destination: Destination): HeldPolicy {
  return { type: "no-policy-found", domain: keyOf(destination), strings: [], mx: [] };
}

function tlsaPolicy(
  { base, records }: { readonly base: string; readonly records: readonly Tlsa[] },
): HeldPolicy {
  return { type: "tlsa", domain: base, strings: records.map(tlsaText), mx: [] };
}

function stsPolicy(
  destination: Destination,
  sts: StsPolicy,
  testing?: { readonly named: boolean },
): HeldPolicy {
  const policy = { type: "sts", domain: keyOf(destination), strings: sts.lines, mx: sts.mx } as const;
  return testing === undefined ? policy : { ...policy, testing };
}

/** What tells apart sessions of different demands. */
export function demandKey(one: Demand): string {
  switch (one.kind) {
    case "verified":
      return one.implicit ? "implicit" : "verified";
    case "dane":
      return `dane ${one.base} ${one.names.join(" ")} ${one.records.map(tlsaText).join(" ")}`;
    default:
      return one.kind;
  }
}
