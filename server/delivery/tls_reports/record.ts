/** Where a domain wants its reports: the TXT record at `_smtp._tls` (RFC 8460 §3). Pure. */
import { parseAddress } from "../../smtp/address.ts";

/** Where to. */
export type ReportTo =
  | { readonly by: "mail"; readonly address: string }
  | { readonly by: "https"; readonly url: URL };

/** More than this nobody needs; each gets a copy. */
const most = 4;

/** Reads a domain's records; none, or none that is understood: nobody wants any. */
export function readReportTo(records: readonly string[]): readonly ReportTo[] {
  const [record, ...more] = records.filter((text) => /^v=TLSRPTv1[ \t]*;/.test(text));
  if (record === undefined || more.length > 0) return [];
  for (const field of record.split(";").slice(1)) {
    const equals = field.indexOf("=");
    if (equals < 0 || field.slice(0, equals).trim() !== "rua") continue;
    const targets = field.slice(equals + 1).split(",").map((uri) => readUri(uri.trim()));
    return targets.filter((one) => one !== undefined).slice(0, most);
  }
  return [];
}

function readUri(text: string): ReportTo | undefined {
  let url;
  try {
    url = new URL(text);
  } catch {
    return undefined;
  }
  if (url.protocol === "https:" && url.username === "" && url.password === "") return { by: "https", url };
  if (url.protocol !== "mailto:") return undefined;
  try {
    // What stands behind `?` would be header fields (RFC 6068): those are ours to write.
    const address = parseAddress(decodeURIComponent(url.pathname));
    return address === undefined || address.domain === ""
      ? undefined
      : { by: "mail", address: address.address };
  } catch {
    return undefined; // broken %-encoding
  }
}
