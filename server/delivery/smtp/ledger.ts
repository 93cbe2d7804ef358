/** The recipients of one attempt: who has a result, and who is still to be tried. Nobody gets two results, nobody goes without. */
import type { Rendered } from "../../message/render.ts";
import type { ClientRecipient, ClientResult, ClientTransaction } from "../../smtp/client.ts";
import { isPositive, statusOf } from "../../smtp/client_reply.ts";
import type { Destination } from "./destination.ts";
import { someEightBit } from "./eight_bit.ts";
import { deferred, type Peer, resultOf, type SmtpDeferred, type SmtpResult } from "./result.ts";

/** One attempt: recipients of one message at one destination. */
export interface SmtpJob {
  /** The queue id. */
  readonly id: string;
  /** `""` is the null sender. */
  readonly sender: string;
  /** MAIL said SMTPUTF8. */
  readonly utf8: boolean;
  readonly ret?: "FULL" | "HDRS" | undefined;
  /** Decoded. */
  readonly envid?: string | undefined;
  /** Octets of the content. */
  readonly size: number;
  /** Whether the content has octets above 127; `undefined`: nobody has looked. */
  readonly eightBit?: boolean | undefined;
  /** The octets to send; called for each time that they are sent. */
  readonly content: () => Rendered;
  /** At least one. */
  readonly recipients: readonly ClientRecipient[];
  readonly destination: Destination;
  /** Aborts when nobody waits any more: what is under way is deferred. */
  readonly signal: AbortSignal;
}

/** Recipients of one transaction: all that RFC 5321 §4.5.3.1.8 promises. */
const mostRecipients = 100;
/** What is sent in one transaction. */
export interface Batch {
  readonly transaction: ClientTransaction;
  /** Where the transaction has no content. */
  readonly pieces: Exclude<Rendered, Uint8Array> | undefined;
}

/** Keeps the results of one attempt. */
export class Ledger {
  readonly job: SmtpJob;
  /** What the open ones get in the end, if nothing better is found. */
  trouble: SmtpDeferred | undefined;
  readonly #results: (SmtpResult | undefined)[];
  /** Indices of recipients without a result, in order. */
  #open: number[];
  #sending: number[] = [];
  #memory: Uint8Array<ArrayBuffer> | undefined;
  #needs: Pick<ClientTransaction, "eightBit" | "utf8Header"> | undefined;

  constructor(job: SmtpJob) {
    this.job = job;
    this.#results = new Array<SmtpResult | undefined>(job.recipients.length).fill(undefined);
    this.#open = job.recipients.map((_, index) => index);
  }

  /** Whether someone has no result yet. */
  get isOpen(): boolean {
    return this.#open.length > 0;
  }

  /**
   * What to send next of the open ones.
   *
   * @param eightBit What becomes of 8-bit content for a peer without 8BITMIME.
   * @throws when the content can't be read.
   */
  async batch(eightBit: "send" | "bounce"): Promise<Batch> {
    const { job } = this;
    const content = this.#memory ?? job.content();
    const memory = content instanceof Uint8Array ? content : undefined;
    this.#memory = memory;
    this.#needs ??= await this.#look(memory, eightBit);
    this.#sending = this.#open.length > mostRecipients ? this.#open.slice(0, mostRecipients) : this.#open;
    const transaction: ClientTransaction = {
      sender: job.sender,
      recipients: this.#sending.length === job.recipients.length
        ? job.recipients
        : this.#sending.map((index) => job.recipients[index]!),
      content: memory,
      size: memory?.length ?? job.size,
      ...this.#needs,
      ret: job.ret,
      envid: job.envid,
    };
    return { transaction, pieces: content instanceof Uint8Array ? undefined : content };
  }

  async #look(
    memory: Uint8Array<ArrayBuffer> | undefined,
    eightBit: "send" | "bounce",
  ): Promise<Pick<ClientTransaction, "eightBit" | "utf8Header">> {
    const { job } = this;
    // Only a message that came under SMTPUTF8 needs it for its header; other 8-bit bytes there are an old habit, and sent on.
    const utf8Header = job.utf8 && await someEightBit(memory ?? job.content(), "header");
    if (job.eightBit === false) return { eightBit: "no", utf8Header };
    // 8BITMIME is said of what may have such bytes: that costs nothing, to look does. Only a refusal wants certainty.
    if (eightBit === "send") return { eightBit: "send", utf8Header };
    const has = job.eightBit ?? await someEightBit(memory ?? job.content(), "all");
    return { eightBit: has ? "bounce" : "no", utf8Header };
  }

  /**
   * Takes what a session made of the last batch.
   *
   * @returns Whether somebody of it is settled now, so that sending on leads somewhere.
   */
  take(results: readonly (ClientResult | undefined)[], peer: Peer): boolean {
    const delivered = results.some((result) => result?.kind === "delivered");
    let settled = false;
    for (let at = 0; at < this.#sending.length; at++) {
      const result = results[at];
      if (result === undefined || (delivered && isCrowded(result))) continue;
      const said = resultOf(result, peer);
      if (said === "open") continue;
      this.#results[this.#sending[at]!] = said;
      settled = true;
    }
    this.#open = this.#open.filter((index) => this.#results[index] === undefined);
    return settled;
  }

  /** Gives all open ones this result. */
  settle(result: SmtpResult): void {
    for (const index of this.#open) this.#results[index] = result;
    this.#open = [];
  }

  /** The results, in the order of the recipients. */
  finish(): SmtpResult[] {
    this.settle(this.trouble ?? deferred("4.3.0", "Something went wrong here", "local"));
    return this.#results.map((result) => result!);
  }
}

/**
 * Whether the peer wants this one in another transaction (RFC 5321 §4.5.3.1.10): 452 says so, and 552 said so once. A full
 * mailbox has these codes, too, and another status.
 */
function isCrowded(result: ClientResult): boolean {
  if (result.kind !== "refused" || result.phase !== "rcpt" || isPositive(result.reply)) return false;
  const { code } = result.reply;
  return (code === 452 || code === 552) && /\.(5\.3|0\.0)$/.test(statusOf(result.reply));
}
