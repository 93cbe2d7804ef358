/** A report as RFC 8460 §4.4 and §5 have it: JSON, packed, and the message it goes in. Pure. */
import { gzipSync } from "node:zlib";
import { rfc5322Date } from "../../message/received.ts";
import type { Tally } from "./tally.ts";

/** What is reported, and by whom. */
export interface ReportParts {
  /** The domain it is about. */
  readonly domain: string;
  /** The UTC day, `2026-01-31`. */
  readonly day: string;
  readonly tally: Tally;
  /** Who sends it: the domain of `from`. */
  readonly submitter: string;
  readonly organization: string;
  readonly contact: string;
  /** Unique, letters and digits. */
  readonly id: string;
  /** The IP address that mail was sent from, where the configuration has one. */
  readonly sendingAddress?: string | undefined;
}

/** The report as packed JSON. */
export function packReport(parts: ReportParts): Uint8Array<ArrayBuffer> {
  const { domain, day, tally, submitter, organization, contact, id, sendingAddress } = parts;
  const report = {
    "organization-name": organization,
    "date-range": { "start-datetime": `${day}T00:00:00Z`, "end-datetime": `${day}T23:59:59Z` },
    "contact-info": contact,
    "report-id": `${day}-${id}@${submitter}`,
    policies: tally.policies.map(({ policy, success, failures }) => ({
      policy: {
        "policy-type": policy.type,
        ...(policy.strings.length > 0 && { "policy-string": policy.strings }),
        "policy-domain": policy.type === "no-policy-found" ? domain : policy.domain,
        ...(policy.mx.length > 0 && { "mx-host": policy.mx }),
      },
      summary: {
        "total-successful-session-count": success,
        "total-failure-session-count": failures.reduce((sum, failure) => sum + failure.count, 0),
      },
      ...(failures.length > 0 && {
        "failure-details": failures.map(({ result, host, address, text, count }) => ({
          "result-type": result,
          ...(sendingAddress !== undefined && { "sending-mta-ip": sendingAddress }),
          ...(host !== undefined && { "receiving-mx-hostname": host }),
          ...(address !== undefined && { "receiving-ip": address }),
          "failed-session-count": count,
          ...(text !== undefined && { "failure-reason-code": text }),
        })),
      }),
    })),
  };
  return new Uint8Array(gzipSync(JSON.stringify(report)));
}

/** The message that a packed report goes in (RFC 8460 §5.3). */
export function reportMessage(
  { domain, day, submitter, id }: ReportParts,
  packed: Uint8Array<ArrayBuffer>,
  { from, to, now }: { readonly from: string; readonly to: string; readonly now: number },
): string {
  const begin = Date.parse(`${day}T00:00:00Z`) / 1000;
  const file = `${submitter}!${domain}!${begin}!${begin + 86_399}!${id}.json.gz`;
  const boundary = `tlsrpt-${id}`;
  return [
    `Date: ${rfc5322Date(now)}`,
    `From: <${from}>`,
    `To: <${to}>`,
    // Folded: domains may be long, lines may not (RFC 5322 §2.1.1).
    `Subject: Report Domain: ${domain}\r\n Submitter: ${submitter}\r\n Report-ID: <${day}-${id}@${submitter}>`,
    `Message-ID: <tlsrpt-${day}-${id}@${submitter}>`,
    `TLS-Report-Domain: ${domain}`,
    `TLS-Report-Submitter: ${submitter}`,
    "Auto-Submitted: auto-generated",
    "MIME-Version: 1.0",
    `Content-Type: multipart/report; report-type="tlsrpt";\r\n boundary="${boundary}"`,
    "",
    `--${boundary}`,
    'Content-Type: text/plain; charset="us-ascii"',
    "",
    `This is a report, for programs to read, on the TLS of mail sent to ${domain}`,
    `by ${submitter} on ${day} (UTC). See RFC 8460.`,
    "",
    `--${boundary}`,
    "Content-Type: application/tlsrpt+gzip",
    "Content-Transfer-Encoding: base64",
    `Content-Disposition: attachment;\r\n filename="${file}"`,
    "",
    packed.toBase64().replace(/.{76}/g, "$&\r\n"),
    `--${boundary}--`,
    "",
  ].join("\r\n");
}
