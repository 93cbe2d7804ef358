/** One author domain, checked against what SPF and DKIM found. */
import type { Dkim, Spf } from "../../server/facts.ts";
import type { Ask } from "../authentication/lookups.ts";
import type { DmarcCheck } from "../authentication/mailauth.ts";
import type { Finding } from "./disposition.ts";

/** What there is to align with. `undefined`: nobody could say. */
export interface Evidence {
  readonly spf: Spf | undefined;
  readonly dkim: readonly Dkim[] | undefined;
}

/** Checks one author domain. */
export async function evaluate(
  check: DmarcCheck,
  domain: string,
  { spf, dkim }: Evidence,
  ask: Ask,
): Promise<Finding> {
  const domains = (result: string) => ({
    spfDomains: spf?.result === result ? [{ domain: spf.domain }] : [],
    dkimDomains: (dkim ?? []).filter((one) => one.result === result).map((one) => ({ domain: one.domain })),
  });
  const given = { headerFrom: [`author@${domain}`], fromFields: 1, resolver: ask, strict: true } as const;
  const passed = domains("pass");
  const found = await check({ ...given, ...passed });
  if (!found) return { result: "permerror", domain, policy: "none" };
  const finding = findingOf(domain, found);
  if (finding.result !== "fail") return finding;
  if (spf === undefined || dkim === undefined) return { ...finding, result: "temperror" };
  // Might it have passed, had DNS answered? Then it has not failed yet.
  const doubtful = domains("temperror");
  if (doubtful.spfDomains.length + doubtful.dkimDomains.length === 0) return finding;
  const otherwise = await check({ ...given, ...doubtful });
  return otherwise && otherwise.status.result !== "fail" ? { ...finding, result: "temperror" } : finding;
}

function findingOf(
  domain: string,
  { status, policy = "none" }: Exclude<Awaited<ReturnType<DmarcCheck>>, false>,
): Finding {
  const { result } = status;
  const known = result === "pass" || result === "fail" || result === "none" || result === "temperror";
  return { result: known ? result : "permerror", domain, policy };
}
