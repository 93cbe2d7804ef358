/** A queue with messages in every state, for tests of what people do with it. */
import type { Ways, Whereabouts } from "../../server/control/redirect.ts";
import type { Deliveries } from "../../server/control/operations.ts";
import { memoryContent } from "../../server/message/content.ts";
import { noEdits } from "../../server/message/edits.ts";
import type { QueuedEnvelope, QueuedRecipient, Spool } from "../../server/spool/spool.ts";

export const [minute, hour, day] = [60_000, 3_600_000, 86_400_000];
/** When the tests look at it. */
export const now = Date.UTC(2026, 10, 21, 22);

export interface Given {
  readonly age: number;
  readonly sender?: string;
  readonly to: readonly (string | Partial<QueuedRecipient> & { readonly address: string })[];
  readonly text?: string;
  readonly more?: Partial<QueuedEnvelope>;
}

export async function keep(spool: Spool, id: string, given: Given): Promise<void> {
  const { age, sender = "alice@here.example", to, text = "Subject: hello\r\n\r\nbody\r\n", more } = given;
  const recipients = to.map((one) => {
    const recipient = typeof one === "string" ? { address: one } : one;
    return { original: recipient.address, via: "smtp", ...recipient };
  });
  const top = ["Received: from client.example\r\n\tby mx.here.example\r\n"];
  const envelope = { id, received: now - age, sender, utf8: false, edits: noEdits, top, recipients, ...more };
  await spool.keep(envelope, memoryContent(new TextEncoder().encode(text)));
}

/** One that is ready, one of two recipients that is deferred, a held bounce and one for a strange recipient. */
export async function fill(spool: Spool): Promise<void> {
  await keep(spool, "1M806DNB400W1VEH", {
    age: 3 * day + hour,
    sender: "",
    to: ["someone.with.a.long.name@far-away.example"],
    text: `Subject: x\r\n\r\n${"x".repeat(40_000)}\r\n`,
  });
  await spool.hold("1M806DNB400W1VEH", "by an operator");
  await keep(spool, "1M806DNHX00W1VEH", {
    age: 5 * hour,
    to: [
      "bob@there.example",
      { address: "carol@there.example", original: "team@here.example" },
      "dora@x.example",
    ],
    more: {
      from: { ip: "192.0.2.7", helo: "client.example", user: "alice@here.example" },
      ret: "HDRS",
      envid: "E1",
    },
  });
  const reply = "451 4.7.1 Greylisted, please try again in five minutes";
  const due = now + 12 * minute;
  await spool.record([
    { id: "1M806DNHX00W1VEH", recipient: 0, state: { state: "due", due, attempts: 3, reply, noticed: true } },
    { id: "1M806DNHX00W1VEH", recipient: 1, state: { state: "due", due: now - 1000, attempts: 2, reply } },
    { id: "1M806DNHX00W1VEH", recipient: 2, state: { state: "delivered", reply: "250 2.0.0 OK" } },
  ]);
  await keep(spool, "1M806DZZZ00W1VEH", {
    age: 59_000,
    sender: "a\x1b[31m@here.example",
    to: ["東京@日本.example"],
    text: "Subject: \x1b]0;owned\x07\r\nX-A: 1\r\n\tfolded\r\n\r\nb\x1b[2Jody\r\n",
  });
}

/** A runner as the queue's people see it. */
export class FakeDeliveries implements Deliveries {
  readonly active = new Set<string>();
  asleep: Deliveries["asleep"] = [];
  roused = 0;

  isActive(id: string): boolean {
    return this.active.has(id);
  }

  rouse(): void {
    this.roused++;
  }

  /** Ids that were said to have changed. */
  readonly changes: string[] = [];
  changed(id: string): void {
    this.changes.push(id);
  }
}

/** Knows what is ours. */
export const fakeWays: Ways = {
  transports: ["smtp", "maildir"],
  whereabouts(address: string): Promise<Whereabouts> {
    if (address.startsWith("team@")) {
      return Promise.resolve({ kind: "several", addresses: ["a@x.example", "b@x.example"] });
    }
    if (address.startsWith("nobody@")) return Promise.resolve({ kind: "nobody", why: "No such mailbox" });
    if (address.startsWith("busy@")) return Promise.resolve({ kind: "unsure", why: "a plugin has failed" });
    const isOurs = address.endsWith("@here.example");
    return Promise.resolve({ kind: "mailbox", address, via: isOurs ? "maildir" : "smtp" });
  },
};
