/** What became of a day's TLS sessions with a domain, counted as RFC 8460 §4.4 wants it told. Pure. */
import type { HeldPolicy } from "../smtp/demand.ts";
import type { Seen } from "../smtp/witness.ts";

/** JSON can hold it: it lies in the store. */
export interface Tally {
  readonly policies: PolicyTally[];
}

/** The sessions that one policy was held against. */
export interface PolicyTally {
  readonly policy: Pick<HeldPolicy, "type" | "domain" | "strings" | "mx">;
  success: number;
  readonly failures: FailureTally[];
}

/** Failures of one kind. */
export interface FailureTally {
  readonly result: string;
  readonly host: string | undefined;
  readonly address: string | undefined;
  readonly text: string | undefined;
  count: number;
}

/** A domain with more than this of either has its details left out, not its counts. */
const mostPolicies = 20;
const mostFailures = 40;
const longestText = 200;

/** Counts one more. */
export function count(tally: Tally, { policy, result, host, address, text }: Seen): void {
  const mine = policyIn(tally, policy);
  if (result === "success") mine.success++;
  else addFailure(mine, { result, host, address, text: text?.slice(0, longestText), count: 1 });
}

/** Adds what was counted elsewhere. */
export function merge(into: Tally, more: Tally): void {
  for (const { policy, success, failures } of more.policies) {
    const mine = policyIn(into, policy);
    mine.success += success;
    for (const failure of failures) addFailure(mine, { ...failure });
  }
}

function policyIn(tally: Tally, { type, domain, strings, mx }: PolicyTally["policy"]): PolicyTally {
  const wanted = JSON.stringify([type, domain, strings, mx]);
  const found =
    tally.policies.find(({ policy }) =>
      JSON.stringify([policy.type, policy.domain, policy.strings, policy.mx]) === wanted
    ) ?? (tally.policies.length < mostPolicies ? undefined : tally.policies.at(-1));
  if (found !== undefined) return found;
  const made: PolicyTally = { policy: { type, domain, strings, mx }, success: 0, failures: [] };
  tally.policies.push(made);
  return made;
}

function addFailure({ failures }: PolicyTally, one: FailureTally): void {
  const same = (other: FailureTally) =>
    other.result === one.result && other.host === one.host && other.address === one.address &&
    other.text === one.text;
  const known = failures.find(same);
  if (known !== undefined) known.count += one.count;
  else if (failures.length < mostFailures) failures.push(one);
  else {
    const rest = failures.find((other) => other.result === one.result && other.host === undefined);
    if (rest !== undefined) rest.count += one.count;
    else {failures.push({
        result: one.result,
        host: undefined,
        address: undefined,
        text: undefined,
        count: one.count,
      });}
  }
}
