/** The built-in transport `smtp` as the runner sees it. */
import type { Answer, Attempt, Courier, Result } from "./attempt.ts";
import type { SmtpDelivery, SmtpResult } from "./smtp/transport.ts";

/** Recipients of one attempt: what one transaction can have anywhere (RFC 5321 §4.5.3.1.8). */
const batch = 100;

/**
 * Fits SMTP in.
 *
 * @param delivery The one in use, asked for each time: a reload makes another.
 */
export function smtpCourier(delivery: () => SmtpDelivery): Courier {
  return {
    batch,
    destinationOf: (domain, hops) => delivery().destinationOf(domain, hops).key,
    async deliver({ envelope, message, recipients, hops, sender, stopping }: Attempt): Promise<Answer> {
      const { id, utf8, ret, envid } = envelope;
      const smtp = delivery();
      const results = await smtp.deliver({
        id,
        sender: sender ?? envelope.sender,
        utf8,
        ret,
        envid,
        size: message.size,
        content: () => message.render("lent"),
        recipients,
        destination: smtp.destinationOf(recipients[0]!.parsed.domain, hops),
        signal: stopping,
      });
      return { results: results.map(resultOf), contact: contactOf(results) };
    },
  };
}

function resultOf(result: SmtpResult): Result {
  const { outcome, status, reply, host } = result;
  return {
    outcome,
    status,
    reply,
    ...(host !== undefined && { host }),
    ...(outcome === "delivered" && result.dsnOffered && { dsn: "passed on" as const }),
    ...(outcome === "delivered" && result.protocol === "lmtp" && { final: true as const }),
    ...(outcome === "delivered" && result.tls && { tls: result.tls.version }),
    ...(outcome === "delivered" && result.verifiedBy && { verified: result.verifiedBy }),
    ...(outcome === "deferred" && { reason: result.reason }),
  };
}

/** What the results say of the destination; an error of ours, and one of DNS that isn't everybody's, say nothing. */
function contactOf(results: readonly SmtpResult[]): Answer["contact"] {
  if (results.some((result) => result.outcome === "deferred" && result.destinationDown)) return "unreachable";
  const met = results.some((result) =>
    result.outcome === "deferred"
      ? result.reason !== "stopped" && result.reason !== "local" && result.reason !== "dns"
      : result.host !== undefined
  );
  return met ? "reached" : "unknown";
}
