/** MTA-STS (RFC 8461) as text: the TXT record, the policy, and which hosts a policy names. Pure. */
import { parseDomain } from "../../smtp/address.ts";

/** What a domain says of its MX hosts' TLS (RFC 8461 §3.2). */
export interface StsPolicy {
  readonly mode: "enforce" | "testing" | "none";
  /** Seconds that it holds from when it was fetched. */
  readonly maxAge: number;
  /** Lower case, `mx.example.org` or `*.example.org`. */
  readonly mx: readonly string[];
  /** The lines it came in, for reports. */
  readonly lines: readonly string[];
}

/** Seconds: a year, and no policy holds longer (§3.2). */
const longestAge = 31_557_600;
/** Lines and hosts that a policy may have; the largest providers' have ten. */
const mostLines = 500;

/**
 * The id in a domain's TXT records (§3.1); `undefined`: it publishes none, or not one that can be read.
 *
 * @param records Those of `_mta-sts.DOMAIN`.
 */
export function readStsId(records: readonly string[]): string | undefined {
  const [record, ...more] = records.filter((text) => /^v=STSv1[ \t]*;/.test(text));
  if (record === undefined || more.length > 0) return undefined;
  for (const field of record.split(";").slice(1)) {
    const [name, value] = field.split("=", 2).map((part) => part.trim());
    if (name === "id") return /^[A-Za-z0-9]{1,32}$/.test(value ?? "") ? value : undefined;
  }
  return undefined;
}

/** Reads a policy; a string says what is wrong with it. */
export function readStsPolicy(text: string): StsPolicy | string {
  const lines = text.split(/\r?\n/).map((line) => line.trim()).filter((line) => line !== "");
  if (lines.length > mostLines) return `it has more than ${mostLines} lines`;
  const fields = new Map<string, string>();
  const mx: string[] = [];
  for (const line of lines) {
    const colon = line.indexOf(":");
    if (colon < 1) return `"${line.slice(0, 80)}" is not a field`;
    const [name, value] = [line.slice(0, colon).trim(), line.slice(colon + 1).trim()];
    if (name === "mx") {
      const pattern = readPattern(value);
      if (pattern === undefined) return `mx: "${value.slice(0, 80)}" is not a host`;
      mx.push(pattern);
    } else if (!fields.has(name)) { // of what stands there twice, the first counts
      fields.set(name, value);
    }
  }
  const [version, mode, age] = [fields.get("version"), fields.get("mode"), fields.get("max_age")];
  if (version !== "STSv1") return "it has no version, or one that is not known";
  if (mode !== "enforce" && mode !== "testing" && mode !== "none") {
    return "it has no mode, or one that is not known";
  }
  if (age === undefined || !/^[0-9]{1,10}$/.test(age)) return "it has no max_age, or one that is no number";
  if (mx.length === 0 && mode !== "none") return "it names no mx";
  return { mode, maxAge: Math.min(Number(age), longestAge), mx, lines };
}

function readPattern(text: string): string | undefined {
  const wild = text.startsWith("*.");
  const domain = parseDomain(wild ? text.slice(2) : text);
  if (domain === undefined || domain.startsWith("[")) return undefined;
  return wild ? `*.${domain}` : domain;
}

/** Whether a policy names a host; `*` stands for one label, the first (§4.1). */
export function namesHost({ mx }: StsPolicy, host: string): boolean {
  const name = host.toLowerCase();
  const dot = name.indexOf(".");
  return mx.includes(name) || (dot > 0 && mx.includes(`*${name.slice(dot)}`));
}
