/** What the tests of sending by SMTP share. */
import { readFileSync } from "node:fs";
import { outbound } from "../../../server/config/outbound.ts";
import { type FakeDns, fakeDns, type FakeName } from "../../../server/testing/dns.ts";
import { FakeClock } from "../../../server/testing/clock.ts";
import type { Passing } from "../../../server/delivery/passing.ts";
import type { SmtpJob, SmtpResult } from "../../../server/delivery/smtp/transport.ts";
import { openSmtpDelivery, type SmtpDelivery } from "../../../server/delivery/smtp/transport.ts";
import type { StsPolicies } from "../../../server/delivery/mta_sts/policies.ts";
import type { Seen } from "../../../server/delivery/smtp/witness.ts";
import type { Dial } from "../../../server/delivery/smtp/dial.ts";
import { type Trust, trusting } from "../../../server/delivery/smtp/tls.ts";
import { type Line, recordingLog, testCertificate } from "../../channel/fixtures.ts";

export const content = "Subject: x\r\n\r\n.hello\r\n";

/** A sender under test. */
export interface Sender extends AsyncDisposable {
  readonly delivery: SmtpDelivery & Passing;
  readonly clock: FakeClock;
  readonly log: Line[];
  readonly dns: FakeDns;
  /** What was seen of sessions' TLS. */
  readonly seen: Seen[];
  /** What was asked of DNS. */
  readonly asked: readonly string[];
  /** Sends to these, who are of one domain. */
  send(to: string | readonly string[], more?: Partial<SmtpJob>): Promise<SmtpResult[]>;
}

export interface SenderHow {
  /** `outbound:`, as it is written. */
  readonly config: Record<string, unknown>;
  readonly names?: Record<string, FakeName>;
  /** Trusts the test certificate of `mx.example.test`; or these authorities. */
  readonly trust?: boolean | Trust;
  readonly dial?: Dial;
  /** The MTA-STS policies of recipients' domains. */
  readonly sts?: Pick<StsPolicies, "of">;
  readonly isTlsReport?: (message: { id: string; sender: string }) => Promise<boolean>;
}

export function sender({ config, names = {}, trust = false, dial, sts, isTlsReport }: SenderHow): Sender {
  const clock = new FakeClock();
  const dns = fakeDns(names);
  const log: Line[] = [];
  const seen: Seen[] = [];
  const delivery = openSmtpDelivery({
    hostname: "us.example.net",
    outbound: outbound.parse(config),
    query: dns.query,
    clock,
    log: recordingLog(log),
    random: () => 0.5,
    ...(trust !== false && { trust: trust === true ? testTrust() : trust }),
    ...(dial && { dial }),
    sts: sts as StsPolicies | undefined,
    gather: (one) => seen.push(one),
    isTlsReport,
  });
  return {
    delivery,
    clock,
    log,
    dns,
    seen,
    asked: dns.asked,
    send(to, more = {}) {
      const addresses = typeof to === "string" ? [to] : to;
      const bytes = new TextEncoder().encode(content);
      return delivery.deliver({
        id: "1",
        sender: "a@example.com",
        utf8: false,
        size: bytes.length,
        content: () => bytes,
        recipients: addresses.map((address) => ({ address })),
        destination: delivery.destinationOf(addresses[0]!.split("@").at(-1)!),
        signal: new AbortController().signal,
        ...more,
      });
    },
    async [Symbol.asyncDispose]() {
      const closed = delivery.close();
      await clock.advance(5000); // for peers that don't close their side
      await closed;
    },
  };
}

/** `delivered`, `deferred 4.4.1 connect`, `failed 5.1.1`. */
export function short(results: readonly SmtpResult[]): string[] {
  return results.map((result) => {
    if (result.outcome === "delivered") return result.outcome;
    const more = result.outcome === "deferred"
      ? ` ${result.reason}${result.destinationDown ? " down" : ""}`
      : "";
    return `${result.outcome} ${result.status}${more}`;
  });
}

function testTrust(): Trust {
  return trusting(readFileSync(testCertificate("mx.example.test").cert, "utf8"));
}
