/**
 * The client's side of SMTP (RFC 5321 §3, §4.2.4) and LMTP (RFC 2033) as a machine without I/O: fed with what arrived, it says
 * what to do next.
 *
 * | state        | what was sent         | the reply leads to                                                       |
 * |--------------|-----------------------|--------------------------------------------------------------------------|
 * | `greeting`   |                       | 2xx `hello`                                                              |
 * | `hello`      | EHLO, or LHLO         | 2xx `starttls`, `auth` or `ready`; 5xx `helo`, to LHLO `over`            |
 * | `helo`       | HELO                  | 2xx `auth` or `ready`                                                    |
 * | `starttls`   | STARTTLS              | 2xx `encrypting`; after the handshake `hello` again, knowing nothing     |
 * | `auth`       | AUTH, or a response   | 2xx `ready`; 334 the next response                                       |
 * | `xclient`    | XCLIENT               | 2xx `hello` again                                                        |
 * | `ready`      |                       | a reply nobody asked for: `over`                                         |
 * | `transaction`| see `client_transaction.ts`, `client_stepwise.ts` | `ready`, once each recipient has its result  |
 * | `over`       |                       | nothing is read any more                                                 |
 *
 * In every state a 421, a lost connection, a time-out, a reply that can't be read and one that answers nothing lead to `over`.
 */
import {
  base64,
  type ClientRecipient,
  nothingOffered,
  type Offered,
  plainResponse,
  readOffered,
} from "./client_command.ts";
import { type BadReply, type ClientReply, isPositive, ReplyReader } from "./client_reply.ts";
import { type ClientResult, type ClientTransaction, RunningTransaction } from "./client_transaction.ts";
import {
  type ClientStepwise,
  type StepResult,
  type StepwiseMail,
  StepwiseTransaction,
} from "./client_stepwise.ts";
import { DotStuffer } from "./data.ts";
import type { SecretText } from "./sasl.ts";

export type { ClientRecipient, Offered } from "./client_command.ts";
export type { ClientReply } from "./client_reply.ts";
export type { ClientStepwise, StepResult, StepwiseMail } from "./client_stepwise.ts";
export type { ClientResult, ClientTransaction } from "./client_transaction.ts";

/** What is waited for: the time-outs of RFC 5321 §4.5.3.2 go by it. */
export type ClientPhase =
  | "greeting"
  | "hello"
  | "starttls"
  | "auth"
  | "mail"
  | "rcpt"
  | "data"
  | "content"
  | "final"
  | "rset";

/** How a session is begun. */
export interface ClientOptions {
  /** What EHLO says; without spaces and control characters. */
  readonly name: string;
  /** Default `smtp`. */
  readonly protocol?: "smtp" | "lmtp" | undefined;
  /** STARTTLS: not at all, where the peer offers it, or nothing without it. */
  readonly tls: "never" | "if-offered" | "always";
  /** TLS runs from the first byte on (RFC 8314). */
  readonly encrypted?: boolean;
  /** An account, and whether its password may be sent in the clear. */
  readonly auth?: ClientAccount | undefined;
}

/** Who logs in. */
export interface ClientAccount {
  readonly user: string;
  readonly password: SecretText;
  /** Whether the password may be sent without TLS. */
  readonly inTheClear: boolean;
}

/** Why a session is of no further use. All of it is temporary: it says nothing about any recipient. */
export type SessionFailure =
  /** It said no before there was a transaction, or 421 at any time. */
  | { readonly kind: "refused"; readonly phase: ClientPhase; readonly reply: ClientReply }
  | {
    /**
     * `out-of-order`: a reply that answers nothing that was asked. `no-tls`: TLS is required and not offered. `no-auth`: no
     * mechanism we know is offered. `no-auth-in-clear`: the password would be sent without TLS. `abandoned`: we gave up.
     */
    readonly kind:
      | "lost"
      | "timeout"
      | BadReply
      | "out-of-order"
      | "no-tls"
      | "no-auth"
      | "no-auth-in-clear"
      | "abandoned";
    readonly phase: ClientPhase;
  };

/** What to do next. */
export type ClientStep =
  | { readonly kind: "write"; readonly bytes: Uint8Array }
  /** Give what arrives to `receive`, or say `lost` or `timedOut`. */
  | { readonly kind: "read"; readonly phase: ClientPhase }
  /** Drop whatever has arrived (CASES O05), start TLS, and say `encrypted` or `lost`. */
  | { readonly kind: "encrypt" }
  /** Send what `encode` makes of each piece, then `endContent`'s. */
  | { readonly kind: "content" }
  /** A stepwise transaction waits for its next `step`. */
  | { readonly kind: "paused" }
  /** Nothing is under way: `begin`, `open`, `identify` or `quit`. */
  | { readonly kind: "ready" }
  /** Close the connection; without a failure, after `quit`. */
  | { readonly kind: "over"; readonly failure: SessionFailure | undefined };

type State =
  | "greeting"
  | "hello"
  | "helo"
  | "starttls"
  | "encrypting"
  | "auth"
  | "xclient"
  | "ready"
  | "transaction"
  | "over";

/** A name that EHLO can say. */
const sayable = /^[!-~]{1,255}$/;

const encoder = new TextEncoder();
const nothing = new Uint8Array(0);
const starttls = encoder.encode("STARTTLS\r\n");
const quit = encoder.encode("QUIT\r\n");
const ready: ClientStep = { kind: "ready" };
const paused: ClientStep = { kind: "paused" };
const encrypt: ClientStep = { kind: "encrypt" };
const content: ClientStep = { kind: "content" };

/** One connection to one peer, from its greeting to its end, over any number of transactions. */
export class SmtpClient {
  /** Whole replies that were read: a peer that sends one octet by octet has said nothing yet. */
  replies = 0;
  readonly #options: ClientOptions;
  readonly #reader = new ReplyReader();
  readonly #stuffer = new DotStuffer();
  #state: State = "greeting";
  #out: Uint8Array | undefined;
  #failure: SessionFailure | undefined;
  #offered: Offered = nothingOffered;
  #encrypted: boolean;
  #name: string;
  /** AUTH LOGIN's responses that are still to be sent. */
  #responses: string[] = [];
  /** The last one that began. */
  #transaction: RunningTransaction | StepwiseTransaction | undefined;

  /** @throws {TypeError} when the name would break the EHLO that it stands in. */
  constructor(options: ClientOptions) {
    if (!sayable.test(options.name)) throw new TypeError("The name for EHLO must be of printable ASCII");
    this.#options = options;
    this.#name = options.name;
    this.#encrypted = options.encrypted ?? false;
  }

  /** What the peer said to the last EHLO. */
  get offered(): Offered {
    return this.#offered;
  }

  /** Replies to the last transaction: none where the connection was dead before it began (CASES O07). */
  get answered(): number {
    return this.#transaction?.answered ?? 0;
  }

  /** One for each recipient of the last transaction, in order; whole once the next step is `ready` or `over`. */
  get results(): readonly (ClientResult | undefined)[] {
    return this.#transaction instanceof RunningTransaction ? this.#transaction.results : [];
  }

  /** What the last step of a stepwise transaction came to, once the next step is `paused`, `ready` or `over`. */
  get stepResult(): StepResult | undefined {
    return this.#transaction instanceof StepwiseTransaction ? this.#transaction.result : undefined;
  }

  /** Whether all of a stepwise transaction's message went out: nobody but the peer knows then what becomes of it. */
  get isSent(): boolean {
    return this.#transaction instanceof StepwiseTransaction && this.#transaction.isSent;
  }

  /** What to do now. A `write` is given once. */
  next(): ClientStep {
    const out = this.#out;
    if (out !== undefined) {
      this.#out = undefined;
      return { kind: "write", bytes: out };
    }
    switch (this.#state) {
      case "ready":
        return ready;
      case "encrypting":
        return encrypt;
      case "over":
        return { kind: "over", failure: this.#failure };
      case "transaction":
        if (this.#transaction!.wantsContent) return content;
        if (this.#transaction!.isPaused) return paused;
    }
    return readSteps[this.#phase()];
  }

  /** Takes what arrived; the bytes may be reused afterwards. */
  receive(bytes: Uint8Array): void {
    if (this.#state === "over" || bytes.length === 0) return;
    // Nobody asked: the next reply would be taken for another command's.
    if (this.#state === "ready") return this.#outOfOrder();
    this.#reader.push(bytes);
    for (;;) {
      const reply = this.#reader.next();
      if (reply === undefined) break;
      if (typeof reply === "string") return this.#end({ kind: reply, phase: this.#phase() });
      this.replies++;
      // An answer to a command that wasn't even sent.
      if (this.#out !== undefined) return this.#outOfOrder();
      switch (this.#take(reply)) {
        case "over":
          return;
        case "encrypting":
          return this.#reader.clear();
        case "ready":
          if (!this.#reader.isEmpty) return this.#outOfOrder();
      }
    }
    this.#reader.settle();
  }

  /** The peer has closed the connection, it broke, or its TLS handshake failed. */
  lost(): void {
    this.#end({ kind: "lost", phase: this.#phase() });
  }

  /** Nothing came in time. */
  timedOut(): void {
    this.#end({ kind: "timeout", phase: this.#phase() });
  }

  /** Gives the session up, in any state. A message that was not ended can't be kept by the peer. */
  abandon(): void {
    this.#end({ kind: "abandoned", phase: this.#phase() });
  }

  /** TLS runs: all that was known of the peer is forgotten (RFC 3207 §4.2). */
  encrypted(): void {
    if (this.#state !== "encrypting") return;
    this.#encrypted = true;
    this.#offered = nothingOffered;
    this.#hello();
  }

  /** Begins a transaction. @throws {TypeError} unless the next step is `ready`. */
  begin(transaction: ClientTransaction): void {
    this.#demandReady();
    this.#state = "transaction";
    this.#transaction = new RunningTransaction(
      transaction,
      this.#offered,
      this.#stuffer,
      this.#options.protocol,
    );
    this.#follow();
  }

  /** Begins a stepwise transaction, with its first recipient. @throws {TypeError} unless the next step is `ready`. */
  open(mail: StepwiseMail, first: ClientRecipient): void {
    this.#demandReady();
    this.#state = "transaction";
    this.#transaction = new StepwiseTransaction(mail, first, this.#offered, this.#stuffer);
    this.#follow();
  }

  /** Goes on with a stepwise transaction. @throws {TypeError} unless the next step is `paused`. */
  step(step: ClientStepwise): void {
    if (this.next() !== paused) throw new TypeError("No transaction waits for a step");
    (this.#transaction as StepwiseTransaction).step(step);
    this.#follow();
  }

  /**
   * Says on whose behalf it speaks from now on. @throws {TypeError} unless the next step is `ready`.
   *
   * @param command A whole XCLIENT command.
   * @param name What EHLO says behind it: that one's name, since servers take it for theirs. One that can't be said: our own.
   */
  identify(command: string, name: string | undefined): void {
    this.#demandReady();
    if (name !== undefined && sayable.test(name)) this.#name = name;
    this.#state = "xclient";
    this.#out = encoder.encode(command);
  }

  /** A piece of the content as it is sent, valid until the next call; while the next step is `content`. */
  encode(piece: Uint8Array): Uint8Array {
    return this.#transaction?.encode(piece) ?? nothing;
  }

  /** The end of the content. */
  endContent(): Uint8Array {
    return this.#transaction?.endContent() ?? nothing;
  }

  /** Ends a session that is ready: the next steps are a last write, and `over`. Its reply is worth no waiting (CASES O04). */
  quit(): void {
    if (this.#state !== "ready") return;
    this.#state = "over";
    this.#out = quit;
  }

  #take(reply: ClientReply): State {
    const phase = this.#phase();
    if (this.#state === "transaction") this.#transactionTakes(reply);
    // May come at any time, and says that the peer closes (RFC 5321 §3.8).
    else if (reply.code === 421) this.#end({ kind: "refused", phase, reply });
    else if (this.#state === "auth") this.#authenticating(reply);
    else if (this.#state === "hello" && reply.code >= 500 && this.#options.protocol !== "lmtp") {
      this.#state = "helo";
      this.#out = encoder.encode(`HELO ${this.#name}\r\n`);
    } else if (!isPositive(reply)) this.#end({ kind: "refused", phase, reply });
    else if (this.#state === "greeting" || this.#state === "xclient") this.#hello();
    else if (this.#state === "starttls") this.#state = "encrypting";
    else {
      if (this.#state === "hello") this.#offered = readOffered(reply.lines);
      this.#greeted();
    }
    return this.#state;
  }

  #hello(): void {
    this.#state = "hello";
    const verb = this.#options.protocol === "lmtp" ? "LHLO" : "EHLO";
    this.#out = encoder.encode(`${verb} ${this.#name}\r\n`);
  }

  /** The peer has greeted us back. */
  #greeted(): void {
    const { tls, auth } = this.#options;
    if (!this.#encrypted && tls !== "never") {
      if (this.#offered.startTls) {
        this.#state = "starttls";
        this.#out = starttls;
        return;
      }
      if (tls === "always") return this.#end({ kind: "no-tls", phase: "starttls" });
    }
    if (auth === undefined) this.#state = "ready";
    else this.#login(auth);
  }

  #login({ user, password, inTheClear }: ClientAccount): void {
    if (!this.#encrypted && !inTheClear) return this.#end({ kind: "no-auth-in-clear", phase: "auth" });
    const known = this.#offered.auth;
    if (known.has("PLAIN")) {
      this.#out = encoder.encode(`AUTH PLAIN ${plainResponse(user, password.reveal())}\r\n`);
    } else if (known.has("LOGIN")) {
      this.#out = encoder.encode("AUTH LOGIN\r\n");
      this.#responses = [base64(user), base64(password.reveal())];
    } else {
      return this.#end({ kind: "no-auth", phase: "auth" });
    }
    this.#state = "auth";
  }

  #authenticating(reply: ClientReply): void {
    const response = reply.code === 334 ? this.#responses.shift() : undefined;
    if (isPositive(reply)) this.#state = "ready";
    else if (response !== undefined) this.#out = encoder.encode(`${response}\r\n`);
    else this.#end({ kind: "refused", phase: "auth", reply });
    if (this.#state !== "auth") this.#responses = [];
  }

  #transactionTakes(reply: ClientReply): void {
    const transaction = this.#transaction!;
    if (reply.code === 421) this.#end({ kind: "refused", phase: transaction.phase, reply });
    else if (transaction.take(reply) === "taken") this.#follow();
    else this.#outOfOrder();
  }

  /** Takes over what the transaction wants to say, or its end. */
  #follow(): void {
    const transaction = this.#transaction!;
    this.#out = transaction.out;
    transaction.out = undefined;
    if (transaction.isDone) this.#state = "ready";
  }

  #demandReady(): void {
    if (this.#state === "ready") return;
    throw new TypeError("A transaction can't begin now: the session isn't ready");
  }

  #outOfOrder(): void {
    this.#end({ kind: "out-of-order", phase: this.#phase() });
  }

  #end(failure: SessionFailure): void {
    if (this.#state === "over") return;
    if (this.#state === "transaction") this.#transaction!.lose(failure);
    this.#state = "over";
    this.#failure = failure;
    this.#out = undefined;
    this.#responses = [];
    this.#reader.clear();
  }

  #phase(): ClientPhase {
    switch (this.#state) {
      case "transaction":
        return this.#transaction!.phase;
      case "helo":
      case "xclient":
        return "hello";
      case "encrypting":
        return "starttls";
      case "ready":
      case "over":
        return "mail";
      default:
        return this.#state;
    }
  }
}

/** Made once: one is given for nearly every read. */
const readSteps: Record<ClientPhase, ClientStep> = {
  greeting: { kind: "read", phase: "greeting" },
  hello: { kind: "read", phase: "hello" },
  starttls: { kind: "read", phase: "starttls" },
  auth: { kind: "read", phase: "auth" },
  mail: { kind: "read", phase: "mail" },
  rcpt: { kind: "read", phase: "rcpt" },
  data: { kind: "read", phase: "data" },
  content: { kind: "read", phase: "content" },
  final: { kind: "read", phase: "final" },
  rset: { kind: "read", phase: "rset" },
};
