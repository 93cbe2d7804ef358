/** What becomes of a message by DMARC: pure decisions over what was found for each author domain. */
import type { Dmarc } from "../../server/facts.ts";

/** What was found for one author domain. */
export type Finding = Dmarc;

/** What is done. */
export type Disposition = "none" | "quarantine" | "reject" | "defer";

/** How much a finding weighs: of several authors the one counts that asks for most (RFC 7489 §6.6.1). */
function weight({ result, policy }: Finding): number {
  const asks = ["none", "quarantine", "reject"].indexOf(policy);
  if (result === "fail") return 10 + asks * 2;
  if (result === "temperror") return asks > 0 ? 9 + asks * 2 : 6;
  return { permerror: 5, none: 4, pass: 1 }[result];
}

/** Of all author domains of a message, the finding that counts; `undefined` where there are none. */
export function strictest(findings: readonly Finding[]): Finding | undefined {
  return findings.reduce<Finding | undefined>(
    (worst, one) => worst === undefined || weight(one) > weight(worst) ? one : worst,
    undefined,
  );
}

/**
 * What the domain's owner asks for. Where it can't be told yet whether the message fails, and failing would matter, it waits;
 * where not even the policy could be asked for, it goes on: an outage of DNS is nobody's fault here.
 */
export function dispositionOf({ result, policy }: Finding): Disposition {
  if (policy === "none") return "none";
  if (result === "fail") return policy;
  return result === "temperror" ? "defer" : "none";
}
