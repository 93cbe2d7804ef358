/**
 * What is true of mail while a server is killed again and again: what it has said 250 to, what arrived where, and in which of
 * its lives. It is kept by another process than the server's, so that a kill takes nothing of it.
 */
import { Buffer } from "node:buffer";
import type { Arrival } from "./next_hop.ts";

/** The next hop of a domain. */
export type Hop = "one" | "two";

/** A message as it is sent: all of it follows from its number. */
export interface Letter {
  readonly number: number;
  readonly recipients: readonly string[];
  readonly content: string;
  /** One of its recipients is refused for good, so that Alice has to hear of it. */
  readonly bounces: boolean;
}

const line = `${"0123456789abcdef".repeat(4)}\r\n`;

/** Makes a letter: small and large, to one and to several, to mailboxes here and to others, who may be busy or unknown. */
export function letter(number: number): Letter {
  const recipients = [`to-${number}@one.test`];
  if (number % 3 === 0) recipients.push(`to-${number}@two.test`);
  if (number % 4 === 0) recipients.push(`busy-${number}@two.test`);
  if (number % 5 === 0) recipients.push(`bob+${number}@example.test`);
  const bounces = number % 10 === 7;
  if (bounces) recipients.push(`unknown-${number}@one.test`);
  if (number % 7 === 1) recipients.splice(0, recipients.length, `bob+${number}@example.test`);
  const lines = number % 20 === 11 ? 5_000 : number % 10;
  const content = `From: <alice@example.test>\r\nSubject: ${number}\r\n\r\n${line.repeat(lines)}.end\r\n`;
  return { number, recipients, content, bounces: bounces && recipients.length > 1 };
}

/** The number in an address such as `to-17@one.test` or `bob+17@example.test`. */
export const numberIn = (address: string): number => Number(/^[a-z]+[-+]([0-9]+)@/.exec(address)?.[1]);

/** The book. */
export class Ledger {
  /** Letters that were answered with 250. */
  readonly acknowledged = new Map<number, Letter>();
  /** What may never be. */
  readonly wrong: string[] = [];
  /** Transactions that came again, by the life in which they had come before. */
  readonly again = new Map<number, number>();
  /** Which of its lives the server lives; the first is 1. */
  life = 0;
  /** The life in which a recipient got their letter last. */
  readonly #got = new Map<string, number>();
  /** Busy recipients who were asked to wait. */
  readonly #waited = new Set<string>();

  /** What a next hop says to RCPT. */
  rcpt(address: string): string | undefined {
    if (address.startsWith("unknown-")) return "550 5.1.1 No such user";
    if (!address.startsWith("busy-") || this.#waited.has(address)) return undefined;
    this.#waited.add(address);
    return "451 4.7.1 Come again";
  }

  /** A transaction came to its final dot at a next hop. */
  arrived({ recipients, content }: Arrival): void {
    const number = numberIn(recipients[0]!);
    this.compare(number, content);
    let before = 0;
    for (const address of recipients) {
      before = Math.max(before, this.#got.get(address) ?? 0);
      this.#got.set(address, this.life);
    }
    if (before === 0) return;
    this.again.set(before, (this.again.get(before) ?? 0) + 1);
    if (before === this.life) this.wrong.push(`letter ${number} came twice, and nobody was killed between`);
  }

  /** Nothing partial is delivered, and nothing else than what was sent. */
  compare(number: number, content: Buffer): void {
    const sent = Buffer.from(letter(number).content, "latin1");
    if (!content.subarray(-sent.length).equals(sent)) {
      this.wrong.push(`letter ${number} is not what was sent`);
    }
  }

  /** Recipients of acknowledged letters at next hops who haven't got them. */
  missing(): string[] {
    const missing: string[] = [];
    for (const { recipients } of this.acknowledged.values()) {
      for (const address of recipients) {
        if (isRemote(address) && !this.#got.has(address)) missing.push(address);
      }
    }
    return missing;
  }
}

const isRemote = (address: string) => !address.startsWith("bob+") && !address.startsWith("unknown-");
