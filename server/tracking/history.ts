/** From a message's steps to what plugins are told of it (`host.history`). Pure. */
import type { MailEvent } from "../plugin.ts";
import type { Arrival, Step, TrackedRecipient } from "./steps.ts";

/**
 * What these steps say.
 *
 * @param steps Those that are news.
 * @param all What is known of the message up to and with them, the first step first.
 */
export function eventsOf(id: string, steps: readonly Step[], all: readonly Step[]): MailEvent[] {
  const arrival = arrivalIn(all);
  const about = {
    id,
    ...(arrival && { sender: arrival.sender }),
    ...(arrival?.messageId !== undefined && { messageId: arrival.messageId }),
  };
  const recipients = recipientsIn(all, arrival);
  return steps.flatMap((step): MailEvent[] => {
    const at = step.at ?? arrivalTime(all);
    const make = (kind: MailEvent["kind"], key: string, more: Partial<MailEvent> = {}): MailEvent => ({
      ...{ key: `${id}/${key}`, kind, at, ...about },
      ...more,
    });
    switch (step.step) {
      case "received":
        return isOurs(step.arrival) ? [] : [make("accepted", "accepted")];
      case "deleted":
        return arrival && isOurs(arrival) ? [] : [make("deleted", `deleted/${at}`)];
      case "passed":
        return step.recipients.map((recipient, i) =>
          make("delivered", `passed/${i}`, { ...told(recipient), attempt: 1, reply: step.reply })
        );
      case "attempt": {
        const recipient = recipients[step.to];
        if (recipient?.copy) return [];
        const { outcome, attempt, reply, host, next } = step;
        const kind = outcome === "failed" ? "bounced" : outcome;
        return [make(kind, `${step.to}/${kind}/${attempt ?? 0}/${at}`, {
          ...(recipient && told(recipient)),
          ...(attempt !== undefined && { attempt }),
          ...(host !== undefined && { host }),
          reply,
          ...(next !== undefined && { nextAttempt: next }),
        })];
      }
      default:
        return [];
    }
  });
}

const told = ({ address, original, via }: TrackedRecipient) => ({
  recipient: address,
  original,
  transport: via,
});

/** A record of nothing but plugins' own copies is no message. */
function isOurs({ recipients, keeper }: Arrival): boolean {
  return keeper?.kind !== "nobody" && recipients.length > 0 && recipients.every(({ copy }) => copy);
}

function arrivalIn(steps: readonly Step[]): Arrival | undefined {
  for (const step of steps) if (step.step === "received") return step.arrival;
}

const arrivalTime = (steps: readonly Step[]): number => steps.find(({ at }) => at !== null)?.at ?? 0;

/** By index, as an operator has left them. */
function recipientsIn(
  steps: readonly Step[],
  arrival: Arrival | undefined,
): (TrackedRecipient | undefined)[] {
  const recipients: (TrackedRecipient | undefined)[] = [...arrival?.recipients ?? []];
  for (const step of steps) {
    if (step.step === "redirected") step.to.forEach((to, i) => recipients[to] = step.recipients[i]);
  }
  return recipients;
}
