/** Fetches MTA-STS policies (RFC 8461 §3.3). */
import { askHttps, type HttpsAnswer, type HttpsHow } from "../https.ts";
import { readStsPolicy, type StsPolicy } from "./policy.ts";

/** What came of fetching; `fault` is RFC 8460 §4.3's word for it. */
export type Fetched =
  | { readonly kind: "policy"; readonly policy: StsPolicy }
  | { readonly kind: "failed"; readonly fault: StsFault; readonly text: string };

/** Why there is no policy. */
export type StsFault = "sts-policy-fetch-error" | "sts-policy-invalid" | "sts-webpki-invalid";

/** Fetches the policy of a domain. Never rejects. */
export type FetchPolicy = (domain: string, signal: AbortSignal) => Promise<Fetched>;

/** What fetching needs. */
export interface FetchHow extends HttpsHow {
  /** 443, of policy hosts everywhere; tests have another. */
  readonly port: number;
}

/** Octets of a policy (§3.3 suggests 64 KB). */
const largest = 65_536;

/** Makes the fetcher. */
export function policyFetcher(how: FetchHow): FetchPolicy {
  return async (domain, signal) => {
    const answer = await askHttps(
      {
        host: `mta-sts.${domain}`,
        port: how.port,
        path: "/.well-known/mta-sts.txt",
        headers: { accept: "text/plain" },
        largest,
      },
      how,
      signal,
    );
    return answer.kind === "failed" ? failed(faults[answer.because], answer.text) : policyIn(answer);
  };
}

const faults = {
  unreachable: "sts-policy-fetch-error",
  certificate: "sts-webpki-invalid",
  "too-long": "sts-policy-invalid",
} as const;

function policyIn({ status, type, body }: Extract<HttpsAnswer, { kind: "answered" }>): Fetched {
  // A redirect is not followed: it would lead to where the domain's certificate says nothing (§3.3).
  if (status !== 200) return failed("sts-policy-fetch-error", `the policy host answers ${status}`);
  // Where users may upload pictures they may not publish policies (§3.2).
  if (type !== "text/plain") {
    return failed("sts-policy-invalid", `it is ${type ?? "of no type"}, not text/plain`);
  }
  const policy = readStsPolicy(new TextDecoder().decode(body));
  return typeof policy === "string" ? failed("sts-policy-invalid", policy) : { kind: "policy", policy };
}

function failed(fault: StsFault, text: string): Fetched {
  return { kind: "failed", fault, text };
}
