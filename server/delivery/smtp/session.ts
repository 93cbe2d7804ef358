/** One SMTP session with a peer: drives the machine of `smtp/client.ts` over a connection, and sees to its time-outs. */
import type { TlsState } from "../../channel/channel.ts";
import type { Rendered } from "../../message/render.ts";
import {
  type ClientOptions,
  type ClientPhase,
  type ClientRecipient,
  type ClientResult,
  type ClientStepwise,
  type ClientTransaction,
  SmtpClient,
  type StepResult,
  type StepwiseMail,
} from "../../smtp/client.ts";
import type { SessionFailure } from "../../smtp/client.ts";
import type { Deadlines, Timed } from "./deadlines.ts";
import type { Dialled } from "./dial.ts";

/** Milliseconds (RFC 5321 §4.5.3.2). `content` is between two writes, `starttls` also for the handshake. */
const timeouts: Record<ClientPhase, number> = {
  greeting: 300_000,
  hello: 300_000,
  starttls: 120_000,
  auth: 300_000,
  mail: 300_000,
  rcpt: 300_000,
  data: 120_000,
  content: 180_000,
  final: 600_000,
  rset: 20_000, // nothing depends on it any more but the connection
};

/** What a peer has for our last word, QUIT. */
const lingering = 2000;

/** Why a session could not be used, or not any more. `detail` is TLS' own word. */
export interface SessionTrouble {
  readonly failure: SessionFailure;
  readonly detail: string | undefined;
}

/** A session; busy from `start` or `send` to their end, from `open` to its transaction's, else idle. */
export class SmtpSession implements Timed {
  deadline = Infinity;
  /** Messages that were begun. */
  messages = 0;
  /** Called when the connection ends while the session is idle. */
  onIdleEnd: (() => void) | undefined;
  /** What went wrong with the content while it was read. */
  unreadable: unknown;
  readonly client: SmtpClient;
  readonly #dialled: Dialled;
  readonly #deadlines: Deadlines;
  #busy = false;
  #timedOut = false;
  #tlsProblem: string | undefined;
  /** A read that was begun before anything was asked: who is gone, or says 421, is noticed at once. */
  #ahead: Promise<Uint8Array | undefined> | undefined;

  /** The caller has added it to `deadlines`, and removes it once the connection is closed. */
  constructor(dialled: Dialled, options: ClientOptions, deadlines: Deadlines) {
    this.#dialled = dialled;
    this.client = new SmtpClient(options);
    this.#deadlines = deadlines;
  }

  get tls(): TlsState | undefined {
    return this.#dialled.channel.tls;
  }

  /** Whether it waits for the peer, or writes. */
  get isBusy(): boolean {
    return this.#busy;
  }

  /** Whether another message can be sent on it. */
  get isReady(): boolean {
    return this.client.next().kind === "ready";
  }

  /**
   * Up to where a message can be sent: greeting, EHLO, STARTTLS, AUTH. Never rejects.
   *
   * @param implicitTls TLS from the first byte on.
   */
  async start(implicitTls: boolean): Promise<SessionTrouble | undefined> {
    this.#busy = true;
    if (implicitTls) await this.#encrypt();
    await this.#drive(undefined);
    this.#busy = false;
    return this.trouble;
  }

  /** Why the session is over; `undefined` while it is not. */
  get trouble(): SessionTrouble | undefined {
    const step = this.client.next();
    if (step.kind !== "over" || step.failure === undefined) return undefined;
    return { failure: step.failure, detail: this.#tlsProblem };
  }

  /**
   * Sends one message; one result for each recipient. Never rejects.
   *
   * @param pieces The content, where the transaction has none; each is done with before the next is asked for.
   */
  async send(
    transaction: ClientTransaction,
    pieces: Exclude<Rendered, Uint8Array> | undefined,
  ): Promise<readonly (ClientResult | undefined)[]> {
    this.#busy = true;
    this.messages++;
    this.client.begin(transaction);
    await this.#drive(pieces);
    this.#busy = false;
    return this.client.results;
  }

  /** Begins a transaction that goes step by step. Never rejects. */
  open(mail: StepwiseMail, first: ClientRecipient): Promise<StepResult | undefined> {
    this.messages++;
    this.client.open(mail, first);
    return this.#stepped(undefined);
  }

  /**
   * Goes on with it, while it `isPaused`. Never rejects.
   *
   * @param pieces The content, where the step has none.
   */
  step(step: ClientStepwise, pieces?: Exclude<Rendered, Uint8Array>): Promise<StepResult | undefined> {
    this.client.step(step);
    return this.#stepped(pieces);
  }

  /** Says on whose behalf it speaks, while it `isReady`: see `SmtpClient.identify`. Never rejects. */
  async identify(command: string, name: string | undefined): Promise<SessionTrouble | undefined> {
    this.#busy = true;
    this.client.identify(command, name);
    await this.#drive(undefined);
    this.#busy = false;
    return this.trouble;
  }

  /** Whether a stepwise transaction waits for its next step. */
  get isPaused(): boolean {
    return this.client.next().kind === "paused";
  }

  /** Lets the session wait for its next message so long, in milliseconds. */
  idle(patience: number): void {
    this.#deadlines.set(this, patience);
  }

  /** Says QUIT, waits for no answer, and closes. Harmless on a session that is over. */
  close(): void {
    this.client.quit();
    const step = this.client.next();
    if (step.kind === "write") this.#write(step.bytes);
    this.#dialled.channel.close();
    this.#deadlines.set(this, lingering);
  }

  /** Ends it at once; whoever waits is told that it was given up. */
  abort(): void {
    this.client.abandon();
    this.#dialled.channel.abort();
  }

  expired(): void {
    this.#deadlines.set(this, Infinity);
    if (this.#busy) {
      this.#timedOut = true;
      this.#dialled.channel.abort(); // whoever reads or writes is told
    } else if (this.isReady) {
      this.onIdleEnd?.();
      this.close();
    } else {
      this.#dialled.channel.abort();
    }
  }

  async #stepped(pieces: Exclude<Rendered, Uint8Array> | undefined): Promise<StepResult | undefined> {
    this.#busy = true;
    await this.#drive(pieces);
    this.#busy = this.isPaused;
    return this.client.stepResult;
  }

  /** Between two steps: what comes then, or that the peer goes, ends the session. */
  #listen(): void {
    const reading = this.#dialled.channel.read();
    this.#ahead = reading;
    const heard = (tell: () => void) => {
      if (this.#ahead !== reading) return; // a step has begun, and waits for it itself
      this.#ahead = undefined;
      tell();
      if (!this.isPaused) {
        this.#busy = false;
        this.#dialled.channel.abort();
      }
    };
    reading.then(
      (bytes) => heard(() => bytes === undefined ? this.client.lost() : this.client.receive(bytes)),
      () => heard(() => this.client.lost()),
    );
  }

  async #drive(pieces: Exclude<Rendered, Uint8Array> | undefined): Promise<void> {
    let waitsFor: number | undefined;
    for (;;) {
      const step = this.client.next();
      switch (step.kind) {
        case "write":
          this.#write(step.bytes);
          waitsFor = undefined;
          break;
        case "read":
          // For the reply as a whole, not for each of its octets: else a peer could keep us, and one of our few places, for months.
          if (waitsFor !== this.client.replies) this.#deadlines.set(this, timeouts[step.phase]);
          waitsFor = this.client.replies;
          await this.#read();
          break;
        case "encrypt":
          if (await this.#encrypt()) this.client.encrypted();
          waitsFor = undefined;
          break;
        case "content":
          await this.#sendPieces(pieces ?? noPieces);
          waitsFor = undefined;
          break;
        case "over":
          // An orderly end for a peer that said 421; for one that can't be understood there is none.
          if (step.failure?.kind === "refused") this.close();
          else this.#dialled.channel.abort();
          return;
        case "paused":
          this.#listen();
          this.#deadlines.set(this, Infinity);
          return;
        case "ready":
          this.#deadlines.set(this, Infinity);
          return;
      }
    }
  }

  /** Not waited for: the peer's reply comes after it, and the next write after the reply. */
  #write(bytes: Uint8Array): void {
    this.#dialled.channel.write(bytes).catch(ignored); // the read that follows says so too
  }

  async #read(): Promise<void> {
    const reading = this.#ahead ?? this.#dialled.channel.read();
    this.#ahead = undefined;
    try {
      const bytes = await reading;
      if (bytes === undefined) this.client.lost();
      else this.client.receive(bytes);
    } catch {
      this.#gone();
    }
  }

  #gone(): void {
    if (this.#timedOut) this.client.timedOut();
    else this.client.lost();
  }

  async #encrypt(): Promise<boolean> {
    const { channel, encrypt } = this.#dialled;
    this.#deadlines.set(this, timeouts.starttls);
    try {
      if (encrypt === undefined) throw new TypeError("This connection can't be encrypted");
      // Injected in the clear behind the 220: it must not be read as if it had come decrypted (CASES O05).
      while (channel.buffered > 0) await channel.read();
      await encrypt();
      return true;
    } catch (error) {
      this.#tlsProblem = this.#timedOut
        ? "the handshake took too long"
        : error instanceof Error
        ? error.message.replace(/^TLS handshake failed: /, "")
        : String(error);
      this.#gone();
      return false;
    }
  }

  async #sendPieces(pieces: Exclude<Rendered, Uint8Array>): Promise<void> {
    const { channel } = this.#dialled;
    const source = pieces[Symbol.asyncIterator]();
    try {
      for (;;) {
        const piece = await source.next();
        const last = piece.done === true;
        const bytes = last ? this.client.endContent() : this.client.encode(piece.value);
        this.#deadlines.set(this, timeouts.content);
        try {
          if (bytes.length > 0) await channel.write(bytes);
        } catch {
          await this.#lastWords();
          return;
        }
        if (last) return;
      }
    } catch (error) {
      // Without the final dot the peer can't take half of a message for the whole.
      this.unreadable = error;
      this.client.abandon();
    } finally {
      await source.return?.().catch(ignored);
    }
  }

  /** The peer has stopped reading: what it said before says why. */
  async #lastWords(): Promise<void> {
    while (this.client.next().kind === "content" || this.client.next().kind === "read") await this.#read();
  }
}

const noPieces: Exclude<Rendered, Uint8Array> = { async *[Symbol.asyncIterator]() {} };

function ignored(): void {}
