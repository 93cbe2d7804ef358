/**
 * A mail transaction whose recipients come one by one, as a proxy's do, without I/O: MAIL goes with the first of them, the content
 * when somebody has it. Between two steps it is `paused`.
 *
 * | state    | what was sent                          | leads to                                             |
 * |----------|----------------------------------------|------------------------------------------------------|
 * | `asking` | XFORWARD, MAIL, RCPT, DATA, BDAT, RSET | `paused`; `content` after 354; `done` after the last  |
 * | `paused` |                                        | `asking`, by the next step                           |
 * | `content`| pieces of the message                  | `final`                                              |
 * | `final`  | all of it                              | `done`                                               |
 * | `done`   |                                        | the session is ready for another transaction         |
 */
import {
  type ClientRecipient,
  mailCommand,
  type Offered,
  rcptCommand,
  wireAddress,
} from "./client_command.ts";
import { type ClientReply, isPositive } from "./client_reply.ts";
import { type ClientTransaction, noUtf8, obstacleOf } from "./client_transaction.ts";
import type { SessionFailure } from "./client.ts";
import { endsInCrlf, join } from "./client_octets.ts";
import type { DotStuffer } from "./data.ts";

/** What MAIL says, and what goes before it. */
export interface StepwiseMail {
  /** `""` is the null sender. */
  readonly sender: string;
  /** Octets of the message as somebody estimates them; `undefined`: nobody has. */
  readonly size: number | undefined;
  /** The message may need SMTPUTF8: said where it is offered. */
  readonly utf8: boolean;
  readonly ret?: "FULL" | "HDRS" | undefined;
  /** Decoded, as `parseMailParams` gives it. */
  readonly envid?: string | undefined;
  /** Whole lines of XFORWARD, whose replies count for nothing: it is a peer's log that goes without. */
  readonly forwarded: readonly string[];
}

/** One step. */
export type ClientStepwise =
  | { readonly kind: "rcpt"; readonly recipient: ClientRecipient }
  /** The message. `content` is `undefined` where it comes in pieces. */
  | ({ readonly kind: "data" } & Pick<ClientTransaction, "content" | "size" | "eightBit" | "utf8Header">)
  /** Give it up. */
  | { readonly kind: "rset" };

/** What a step came to. */
export type StepResult =
  /** The peer's word, yes or no, on that command; `final` is its word on the message. */
  | {
    readonly kind: "replied";
    readonly phase: "mail" | "rcpt" | "data" | "final";
    readonly reply: ClientReply;
  }
  /** Can't be said to this peer at all: permanent. */
  | { readonly kind: "impossible"; readonly status: `5.${number}.${number}`; readonly text: string }
  /** The session ended first. `unknown`: all was sent, so the peer may have it nevertheless (RFC 1047). */
  | { readonly kind: "lost"; readonly failure: SessionFailure; readonly unknown: boolean };

type Asked = "xforward" | "mail" | "rcpt" | "data" | "chunk" | "rset";
interface Command {
  readonly as: Asked;
  readonly text: string;
}

const encoder = new TextEncoder();
const nothing = new Uint8Array(0);

/** A stepwise transaction that is under way. */
export class StepwiseTransaction {
  /** What is to be written next; whoever writes it takes it away. */
  out: Uint8Array | undefined;
  /** Replies so far, XFORWARD's aside. */
  answered = 0;
  #state: "asking" | "paused" | "content" | "final" | "done" = "asking";
  readonly #offered: Offered;
  readonly #stuffer: DotStuffer;
  /** What replies are awaited to, in order. */
  readonly #asked: Asked[] = [];
  /** What waits for the reply before it: without PIPELINING. */
  #unsent: Command[] = [];
  #result: StepResult | undefined;
  #open = false;
  #content: Uint8Array | undefined;

  /** @param stuffer Shared by all transactions of a session, whose content comes one after the other. */
  constructor(
    mail: StepwiseMail,
    first: ClientRecipient,
    offered: Offered,
    stuffer: DotStuffer,
  ) {
    this.#offered = offered;
    this.#stuffer = stuffer;
    this.#begin(mail, first);
  }

  /** What the last step came to, once the transaction is paused, done or over. */
  get result(): StepResult | undefined {
    return this.#result;
  }

  get isDone(): boolean {
    return this.#state === "done";
  }

  get isPaused(): boolean {
    return this.#state === "paused";
  }

  get wantsContent(): boolean {
    return this.#state === "content";
  }

  /** All of the message went out: from now on only the peer's reply says what became of it. */
  get isSent(): boolean {
    return this.#state === "final" || this.#asked[0] === "chunk";
  }

  /** What is waited for. */
  get phase(): "mail" | "rcpt" | "data" | "content" | "final" | "rset" {
    if (this.#state === "content" || this.#state === "final") return this.#state;
    const asked = this.#asked[0];
    return asked === undefined ? "rcpt" : asked === "xforward" ? "mail" : asked === "chunk" ? "final" : asked;
  }

  /** Takes the next step. @throws {TypeError} unless it is paused. */
  step(step: ClientStepwise): void {
    if (this.#state !== "paused") throw new TypeError("The transaction waits for nothing");
    switch (step.kind) {
      case "rcpt":
        return this.#rcpt(step.recipient);
      case "data":
        return this.#data(step);
      case "rset":
        this.#result = undefined;
        return this.#reset();
    }
  }

  /** Takes the next reply, which is no 421; says when it can't be an answer to what was asked. */
  take(reply: ClientReply): "taken" | "out-of-order" {
    if (this.#state === "final") return this.#final(reply);
    if (this.#state === "content") {
      // A refusal of the message that is still on its way, after which the session is not to be used (see `client.ts`).
      if (reply.code >= 400) this.#result = { kind: "replied", phase: "final", reply };
      return "out-of-order";
    }
    const asked = this.#asked[0];
    if (asked === undefined) return "out-of-order";
    // Only DATA has an intermediate reply, and nothing else goes for its yes (RFC 5321 §4.2.1).
    if (asked === "data" ? reply.code < 400 && reply.code !== 354 : reply.code >= 300 && reply.code < 400) {
      return "out-of-order";
    }
    this.#asked.shift();
    if (asked !== "xforward") this.answered++;
    switch (asked) {
      case "xforward":
        break;
      case "mail":
        this.#open = isPositive(reply);
        if (!this.#open) this.#noSender(reply);
        break;
      case "rcpt":
        if (!this.#open) break; // it was under way when MAIL was refused
        this.#result = { kind: "replied", phase: "rcpt", reply };
        break;
      case "data":
        return this.#mayBegin(reply);
      case "chunk":
        return this.#final(reply);
      case "rset":
        if (!isPositive(reply)) return "out-of-order";
        this.#state = "done";
        return "taken";
    }
    this.#goOn();
    return "taken";
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

  /** The session is over. */
  lose(failure: SessionFailure): void {
    // A 421 instead of the reply to the message says that it was not taken.
    const unknown = failure.kind !== "refused" && this.isSent;
    // What the peer had said to the message before stands, whatever became of RSET, or of the rest of the content.
    const isSaid = this.#result !== undefined && (this.#asked[0] === "rset" || this.#state === "content");
    if (!isSaid) {
      this.#result = { kind: "lost", failure, unknown };
    }
    this.#state = "done";
    this.out = undefined;
  }

  // ── The envelope

  #begin(mail: StepwiseMail, first: ClientRecipient): void {
    const { size, utf8, ret, envid, forwarded } = mail;
    const sender = wireAddress(mail.sender);
    if (sender.kind === "unsendable") {
      return this.#impossible("5.1.7", "The sender's address can't be sent on", "done");
    }
    const needs = { size: size ?? 0, eightBit: "no", utf8Header: false } as const;
    const obstacle = obstacleOf(needs, sender.needsUtf8, this.#offered);
    if (obstacle !== undefined) return this.#impossible(...obstacle, "done");
    const rcpt = this.#rcptOf(first);
    if (typeof rcpt !== "string") return this.#impossible(rcpt.status, rcpt.text, "done");
    const says = { size, eightBit: true, utf8: utf8 && this.#offered.utf8, ret, envid };
    this.#ask([
      ...forwarded.map((text): Command => ({ as: "xforward", text })),
      { as: "mail", text: mailCommand(sender.text, says, this.#offered) },
      { as: "rcpt", text: rcpt },
    ]);
  }

  #rcpt(recipient: ClientRecipient): void {
    const rcpt = this.#rcptOf(recipient);
    if (typeof rcpt === "string") this.#ask([{ as: "rcpt", text: rcpt }]);
    else this.#impossible(rcpt.status, rcpt.text, "paused");
  }

  /** The command, or why there is none. */
  #rcptOf(
    recipient: ClientRecipient,
  ): string | { readonly status: `5.${number}.${number}`; readonly text: string } {
    const address = wireAddress(recipient.address);
    if (address.kind === "unsendable") return { status: "5.1.3", text: "The address can't be sent on" };
    if (address.needsUtf8 && !this.#offered.utf8) return { status: "5.6.7", text: noUtf8 };
    return rcptCommand(address.text, recipient, this.#offered);
  }

  #ask(commands: readonly Command[]): void {
    this.#state = "asking";
    this.#result = undefined;
    this.#unsent = [...commands];
    this.#send(this.#offered.pipelining ? commands.length : 1);
  }

  #send(count: number): void {
    const now = this.#unsent.splice(0, count);
    this.#asked.push(...now.map(({ as }) => as));
    this.out = encoder.encode(now.map(({ text }) => text).join(""));
  }

  /** MAIL was refused: no transaction is open. */
  #noSender(reply: ClientReply): void {
    this.#result = { kind: "replied", phase: "mail", reply };
    this.#unsent = [];
  }

  /** After the reply to a part of the envelope. */
  #goOn(): void {
    if (this.#unsent.length > 0) this.#send(1);
    else if (this.#asked.length === 0) this.#state = this.#open ? "paused" : "done";
  }

  // ── The message

  #data({ content, size, eightBit, utf8Header }: ClientStepwise & { kind: "data" }): void {
    const obstacle = obstacleOf({ size, eightBit, utf8Header }, false, this.#offered);
    if (obstacle !== undefined) {
      const [status, text] = obstacle;
      this.#result = { kind: "impossible", status, text };
      return this.#reset();
    }
    this.#result = undefined;
    this.#content = content;
    // A chunk has one round trip where DATA has two; it carries an end without CRLF as it is, which many peers don't expect.
    if (this.#offered.chunking && content !== undefined && endsInCrlf(content)) {
      this.#state = "asking";
      this.#asked.push("chunk");
      this.out = join(encoder.encode(`BDAT ${content.length} LAST\r\n`), content);
      return;
    }
    this.#ask([{ as: "data", text: "DATA\r\n" }]);
  }

  #mayBegin(reply: ClientReply): "taken" {
    if (reply.code !== 354) {
      this.#result = { kind: "replied", phase: "data", reply };
      this.#reset();
    } else if (this.#content === undefined) {
      this.#state = "content";
    } else {
      this.#state = "final";
      this.out = join(this.#stuffer.encode(this.#content), this.#stuffer.finish());
    }
    return "taken";
  }

  #final(reply: ClientReply): "taken" | "out-of-order" {
    if (reply.code >= 300 && reply.code < 400) return "out-of-order";
    if (this.#state === "final") this.answered++; // a chunk's was counted
    this.#result = { kind: "replied", phase: "final", reply };
    this.#state = "done";
    return "taken";
  }

  /** Undoes the transaction; the result stands. */
  #reset(): void {
    this.#state = "asking";
    this.#asked.push("rset");
    this.out = encoder.encode("RSET\r\n");
  }

  #impossible(status: `5.${number}.${number}`, text: string, state: "paused" | "done"): void {
    this.#result = { kind: "impossible", status, text };
    this.#state = state;
  }
}
