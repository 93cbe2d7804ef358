/**
 * One mail transaction as a client sees it (RFC 5321 §3.3), without I/O. Whichever way it ends, each recipient has exactly one
 * result (CASES O03). In LMTP the message has a reply for each accepted recipient, in their order (RFC 2033 §4.2).
 */
import {
  type ClientRecipient,
  mailCommand,
  type Offered,
  rcptCommand,
  wireAddress,
} from "./client_command.ts";
import { type ClientReply, isPositive } from "./client_reply.ts";
import type { SessionFailure } from "./client.ts";
import { endsInCrlf, join } from "./client_octets.ts";
import type { DotStuffer } from "./data.ts";

/** One mail transaction. */
export interface ClientTransaction {
  /** `""` is the null sender. */
  readonly sender: string;
  /** At least one; RFC 5321 §4.5.3.1.8 promises room for 100. */
  readonly recipients: readonly ClientRecipient[];
  /** The message with CRLF line ends; `undefined`: it comes in pieces (`SmtpClient.encode`). */
  readonly content: Uint8Array | undefined;
  /** Octets of the content. */
  readonly size: number;
  /** Whether the content may have octets above 127; without 8BITMIME it is then sent as it is, or not at all. */
  readonly eightBit: "no" | "send" | "bounce";
  /** The header has something other than ASCII in it, and the message came under SMTPUTF8 (RFC 6531). */
  readonly utf8Header: boolean;
  readonly ret?: "FULL" | "HDRS" | undefined;
  /** Decoded, as `parseMailParams` gives it. */
  readonly envid?: string | undefined;
}

/** What became of one recipient. */
export type ClientResult =
  | { readonly kind: "delivered"; readonly reply: ClientReply }
  /** 4xx or 5xx, and the command it was the answer to. */
  | { readonly kind: "refused"; readonly phase: RefusedPhase; readonly reply: ClientReply }
  /** Can't be sent to this peer at all: permanent. */
  | { readonly kind: "impossible"; readonly status: `5.${number}.${number}`; readonly text: string }
  /** The session ended first. `unknown`: all was sent, so the peer may have it nevertheless (RFC 1047). */
  | { readonly kind: "lost"; readonly failure: SessionFailure; readonly unknown: boolean };

/** The commands that refuse recipients; `final` is the message itself. */
export type RefusedPhase = "mail" | "rcpt" | "data" | "final";

/** Up to so many octets go with the envelope in one write, before anybody knows whether they are wanted. */
const eager = 64 * 1024;

const encoder = new TextEncoder();
const nothing = new Uint8Array(0);
const data = encoder.encode("DATA\r\n");
const loneDot = encoder.encode(".\r\n");
const rset = encoder.encode("RSET\r\n");

/** A transaction that is under way. */
export class RunningTransaction {
  /** What is to be written next; whoever writes it takes it away. */
  out: Uint8Array | undefined;
  readonly results: (ClientResult | undefined)[];
  #state: "envelope" | "content" | "final" | "lone-dot" | "rset" | "done" = "envelope";
  readonly #offered: Offered;
  readonly #stuffer: DotStuffer;
  readonly #content: Uint8Array | undefined;
  readonly #protocol: "smtp" | "lmtp";
  /** Indices of the recipients that are sent, and their RCPTs. */
  readonly #sending: number[] = [];
  readonly #commands: string[] = [];
  readonly #accepted: number[] = [];
  /** LMTP: how many of the accepted have their reply to the message. */
  #concluded = 0;
  /** Replies so far to MAIL, RCPT… and DATA or BDAT. */
  #answered = 0;
  #mail: ClientReply | undefined;
  #framing: "data" | "chunk" = "data";
  /** DATA, or BDAT with all of the content, went with the envelope. */
  #pipelined = false;

  /** @param stuffer Shared by all transactions of a session, whose content comes one after the other. */
  constructor(
    transaction: ClientTransaction,
    offered: Offered,
    stuffer: DotStuffer,
    protocol: "smtp" | "lmtp" = "smtp",
  ) {
    this.#protocol = protocol;
    this.#offered = offered;
    this.#stuffer = stuffer;
    this.#content = transaction.content;
    this.results = new Array<ClientResult | undefined>(transaction.recipients.length).fill(undefined);
    this.#begin(transaction);
  }

  #begin(transaction: ClientTransaction): void {
    const sender = wireAddress(transaction.sender);
    if (sender.kind === "unsendable") return this.#impossible("5.1.7", "The sender's address can't be sent");
    const obstacle = obstacleOf(transaction, sender.needsUtf8, this.#offered);
    if (obstacle !== undefined) return this.#impossible(...obstacle);
    const utf8Recipient = this.#address(transaction.recipients);
    if (this.#sending.length === 0) return this.#done();
    const { size, eightBit, utf8Header, ret, envid } = transaction;
    const utf8 = sender.needsUtf8 || utf8Header || utf8Recipient;
    const says = { size, eightBit: eightBit !== "no", utf8, ret, envid };
    this.#sendEnvelope(mailCommand(sender.text, says, this.#offered));
  }

  /** Whether there is nothing more to say or to hear. */
  get isDone(): boolean {
    return this.#state === "done";
  }

  /** It is never: all of it goes in one go. */
  get isPaused(): boolean {
    return false;
  }

  /** Whether the content's pieces are wanted. */
  get wantsContent(): boolean {
    return this.#state === "content";
  }

  /** Replies so far. */
  get answered(): number {
    return this.#answered;
  }

  /** What is waited for. */
  get phase(): RefusedPhase | "content" | "rset" {
    if (this.#state === "done" || this.#state === "lone-dot") return "final";
    if (this.#state !== "envelope") return this.#state;
    if (this.#answered === 0) return "mail";
    if (this.#answered <= this.#sending.length) return "rcpt";
    return this.#framing === "chunk" ? "final" : "data";
  }

  /** Takes the next reply, which is no 421; says when it can't be an answer to what was asked. */
  take(reply: ClientReply): "taken" | "out-of-order" {
    switch (this.#state) {
      case "envelope":
        return this.#envelope(reply);
      case "final":
        return this.#final(reply);
      case "lone-dot":
        this.#reset();
        return "taken";
      case "rset":
        if (!isPositive(reply)) return "out-of-order";
        this.#done();
        return "taken";
      default:
        // Content is still on its way: a refusal of the message, after which the session is not to be used (see `client.ts`).
        if (reply.code >= 400) this.#refuse("final", reply);
        return "out-of-order";
    }
  }

  /** A piece of the content as it is sent; valid until the next call. */
  encode(piece: Uint8Array): Uint8Array {
    return this.#state === "content" ? this.#stuffer.encode(piece) : nothing;
  }

  /** The end of the content; from now on only the peer's reply says what became of it. */
  endContent(): Uint8Array {
    if (this.#state !== "content") return nothing;
    this.#state = "final";
    return this.#stuffer.finish();
  }

  /** The session is over: whoever has no result yet is lost. */
  lose(failure: SessionFailure): void {
    // A 421 instead of the reply to the message says that it was not taken.
    const unknown = failure.kind !== "refused" && (this.#state === "final" || this.#isChunkSent());
    const lost: ClientResult = { kind: "lost", failure, unknown };
    for (let index = 0; index < this.results.length; index++) this.results[index] ??= lost;
    this.#done();
  }

  // ── The envelope

  /** Makes the RCPTs; says whether one of them needs SMTPUTF8. */
  #address(recipients: readonly ClientRecipient[]): boolean {
    let utf8 = false;
    for (let index = 0; index < recipients.length; index++) {
      const recipient = recipients[index]!;
      const address = wireAddress(recipient.address);
      if (address.kind === "unsendable") {
        this.results[index] = {
          kind: "impossible",
          status: "5.1.3",
          text: "The recipient's address can't be sent",
        };
      } else if (address.needsUtf8 && !this.#offered.utf8) {
        this.results[index] = { kind: "impossible", status: "5.6.7", text: noUtf8 };
      } else {
        utf8 ||= address.needsUtf8;
        this.#sending.push(index);
        this.#commands.push(rcptCommand(address.text, recipient, this.#offered));
      }
    }
    return utf8;
  }

  #sendEnvelope(mail: string): void {
    const { pipelining, chunking } = this.#offered;
    const content = this.#content;
    // DATA ends the last line of what lacks that end; a chunk would carry it as it is, which many peers don't expect.
    this.#framing = chunking && content !== undefined && endsInCrlf(content) ? "chunk" : "data";
    if (!pipelining) {
      this.out = encoder.encode(mail);
      return;
    }
    let envelope = mail;
    for (const command of this.#commands) envelope += command;
    if (this.#framing === "data") {
      this.#pipelined = true;
      this.out = encoder.encode(envelope + "DATA\r\n");
    } else if (content!.length <= eager) {
      // RFC 3030 §4.2: one write and one round trip a message, where DATA has two of each. Measured: 23 µs of CPU against 32.
      this.#pipelined = true;
      this.out = join(encoder.encode(`${envelope}BDAT ${content!.length} LAST\r\n`), content!);
    } else {
      this.out = encoder.encode(envelope);
    }
  }

  /** A reply to MAIL, RCPT, DATA, or to the BDAT that came with them. */
  #envelope(reply: ClientReply): "taken" | "out-of-order" {
    const index = this.#answered;
    const last = this.#sending.length; // the last RCPT's
    if (index > last) return this.#afterEnvelope(reply);
    if (reply.code >= 300 && reply.code < 400) return "out-of-order";
    this.#answered++;
    if (index === 0) {
      this.#mail = reply;
      if (!isPositive(reply)) {
        for (const recipient of this.#sending) this.#refused(recipient, "mail", reply);
        if (!this.#offered.pipelining) this.#done(); // nothing else was sent, and no transaction is open
      }
    } else if (isPositive(this.#mail!)) {
      const recipient = this.#sending[index - 1]!;
      if (isPositive(reply)) this.#accepted.push(recipient);
      else this.#refused(recipient, "rcpt", reply);
    }
    if (this.#state === "done") return "taken";
    if (index < last) {
      if (!this.#offered.pipelining) this.out = encoder.encode(this.#commands[index]!);
    } else if (!this.#pipelined) {
      if (this.#accepted.length === 0) this.#reset();
      else if (this.#framing === "chunk") this.#sendChunk(this.#content!);
      else this.out = data;
    }
    return "taken";
  }

  /** The reply to DATA, or to the BDAT that went with the envelope. */
  #afterEnvelope(reply: ClientReply): "taken" | "out-of-order" {
    const wanted = this.#accepted.length > 0;
    if (this.#framing === "chunk") {
      if (wanted) return this.#final(reply);
      this.#answered++;
      this.#reset(); // the chunk was read, and refused (RFC 3030 §2)
      return "taken";
    }
    if (reply.code < 400 && reply.code !== 354) return "out-of-order";
    this.#answered++;
    if (reply.code !== 354) {
      this.#refuse("data", reply);
      this.#reset();
    } else if (wanted) {
      this.#sendContent();
    } else if (this.#protocol === "lmtp") {
      return "out-of-order"; // it had to be a 503 (RFC 2033 §4.2): how many replies a lone dot would have, nobody knows
    } else {
      this.#state = "lone-dot"; // it waits for content that nobody is to have (RFC 2920 §3.1)
      this.out = loneDot;
    }
    return "taken";
  }

  // ── The content

  #sendChunk(content: Uint8Array): void {
    this.#state = "final";
    this.out = join(encoder.encode(`BDAT ${content.length} LAST\r\n`), content);
  }

  #sendContent(): void {
    if (this.#content === undefined) {
      this.#state = "content";
      return;
    }
    this.#state = "final";
    this.out = join(this.#stuffer.encode(this.#content), this.#stuffer.finish());
  }

  #final(reply: ClientReply): "taken" | "out-of-order" {
    if (reply.code >= 300 && reply.code < 400) return "out-of-order";
    this.#answered++;
    const result: ClientResult = isPositive(reply)
      ? { kind: "delivered", reply }
      : { kind: "refused", phase: "final", reply };
    if (this.#protocol === "lmtp") {
      this.results[this.#accepted[this.#concluded++]!] = result;
      if (this.#concluded === this.#accepted.length) this.#done();
      else this.#state = "final"; // also where all of it went with the envelope
      return "taken";
    }
    for (const index of this.#accepted) this.results[index] = result;
    this.#done();
    return "taken";
  }

  // ── Results

  #refused(index: number, phase: RefusedPhase, reply: ClientReply): void {
    this.results[index] = { kind: "refused", phase, reply };
  }

  #refuse(phase: RefusedPhase, reply: ClientReply): void {
    for (const index of this.#accepted) this.#refused(index, phase, reply);
  }

  #impossible(status: `5.${number}.${number}`, text: string): void {
    this.results.fill({ kind: "impossible", status, text });
    this.#done();
  }

  /** Undoes the transaction that MAIL opened; where it didn't, there is none. */
  #reset(): void {
    if (!isPositive(this.#mail!)) return this.#done();
    this.#state = "rset";
    this.out = rset;
  }

  #done(): void {
    this.#state = "done";
    this.out = undefined;
  }

  /** Everything went with the envelope, and somebody may have been accepted. */
  #isChunkSent(): boolean {
    if (this.#state !== "envelope" || !this.#pipelined || this.#framing !== "chunk") return false;
    if (this.#mail !== undefined && !isPositive(this.#mail)) return false;
    return this.#accepted.length > 0 || this.#answered <= this.#sending.length;
  }
}

/** Why an address or a header with other than ASCII is refused. */
export const noUtf8 = "The peer does not take SMTPUTF8";

/** Why the message can't go to this peer, whoever it is for. */
export function obstacleOf(
  { size, eightBit, utf8Header }: Pick<ClientTransaction, "size" | "eightBit" | "utf8Header">,
  utf8Sender: boolean,
  offered: Offered,
): [`5.${number}.${number}`, string] | undefined {
  if (offered.size !== undefined && offered.size > 0 && size > offered.size) {
    return ["5.3.4", `The message has ${size} octets, the peer takes ${offered.size}`];
  }
  if ((utf8Sender || utf8Header) && !offered.utf8) return ["5.6.7", noUtf8];
  if (eightBit === "bounce" && !offered.eightBit) return ["5.6.3", "The peer does not take 8BITMIME"];
  return undefined;
}
