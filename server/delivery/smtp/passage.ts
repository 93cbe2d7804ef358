/** One client's transaction at a next hop, and what is done when its connection is lost on the way. */
import type { TlsState } from "../../channel/channel.ts";
import type { ClientRecipient, StepResult } from "../../smtp/client.ts";
import { isPositive } from "../../smtp/client_reply.ts";
import type { Answer, Passage, PassedMessage } from "../passing.ts";
import { someEightBit } from "./eight_bit.ts";
import type { OpenedSession } from "./open.ts";
import { answerOf, type Begun, type Passages, type WantedPassage, whileWanted } from "./passages.ts";
import { deferred } from "./result.ts";

/** A transaction that is open at a next hop. */
export class SmtpPassage implements Passage {
  readonly #passages: Passages;
  #request: WantedPassage;
  #opened: OpenedSession;
  /** Whether the connection is ours: once it is given back it may be another client's. */
  #isOurs = true;
  /** Those it has said yes to, in order. */
  #accepted: ClientRecipient[] = [];
  readonly #over = Promise.withResolvers<void>();
  #releasing: Promise<void> | undefined;

  /** The first recipient's answer was given. */
  constructor(passages: Passages, request: WantedPassage, { opened, result }: Begun) {
    this.#passages = passages;
    this.#request = request;
    this.#opened = opened;
    this.#note(request.first, result);
  }

  get host(): string {
    return this.#opened.peer.host;
  }

  get tls(): TlsState | undefined {
    return this.#opened.peer.tls;
  }

  get offersDsn(): boolean {
    return this.#opened.peer.dsnOffered;
  }

  async rcpt(recipient: ClientRecipient, signal: AbortSignal): Promise<Answer> {
    const { session } = this.#opened;
    if (!session.isPaused) return this.#lost(); // the recipients before had their yes: `send` begins anew for them
    const result = await whileWanted(
      signal,
      this.#opened,
      () => session.step({ kind: "rcpt", recipient }),
    );
    this.#note(recipient, result);
    return result === undefined ? this.#lost() : answerOf(result, this.host);
  }

  async send(message: PassedMessage): Promise<Answer> {
    try {
      const obstacle = await this.#prepare(message);
      if (obstacle !== undefined) return obstacle;
      let result = await this.#sendOn(message);
      if (isUnsent(result)) { // it went in the very moment: as if it had been noticed before
        const again = await this.#prepare(message);
        if (again !== undefined) return again;
        result = await this.#sendOn(message);
      }
      return result.kind === "lost" && result.unknown ? this.#unknown() : answerOf(result, this.host);
    } catch (error) {
      this.#opened.session.abort();
      if (message.signal.aborted) return this.#lost();
      this.#passages.how.log.error("message unreadable", { host: this.host, error: String(error) });
      return unreadable;
    } finally {
      await this.release();
    }
  }

  get released(): Promise<void> {
    return this.#over.promise;
  }

  release(): Promise<void> {
    return this.#releasing ??= this.#release();
  }

  async #release(): Promise<void> {
    await this.#giveBack();
    this.#over.resolve();
  }

  async #giveBack(): Promise<void> {
    if (!this.#isOurs) return;
    const { session } = this.#opened;
    if (session.isPaused) await session.step({ kind: "rset" });
    this.#isOurs = false;
    this.#passages.giveBack(this.#opened);
  }

  #note(recipient: ClientRecipient, result: StepResult | undefined): void {
    if (result?.kind === "replied" && result.phase === "rcpt" && isPositive(result.reply)) {
      this.#accepted.push(recipient);
    }
  }

  /**
   * Sees to it that the transaction is about this sender and these recipients, on a connection that lives: a peer may have been
   * restarted, or been tired of waiting, while the client sent its message. Nothing of that was sent yet, so beginning anew is safe.
   */
  async #prepare({ sender, recipients, signal }: PassedMessage): Promise<Answer | undefined> {
    const { session } = this.#opened;
    const same = sender === this.#request.mail.sender && recipients.length === this.#accepted.length &&
      recipients.every((one, at) => one === this.#accepted[at]);
    if (same && session.isPaused) return undefined;
    await this.#giveBack();
    const [first, ...others] = recipients;
    this.#request = { ...this.#request, mail: { ...this.#request.mail, sender }, first: first!, signal };
    this.#accepted = [];
    const begun = await this.#passages.begin(this.#request);
    if ("answer" in begun) return refusedNow(begun.answer);
    this.#opened = begun.opened;
    this.#isOurs = true;
    let answer = answerOf(begun.result, this.host);
    this.#note(first!, begun.result);
    for (const recipient of others) {
      if (this.#accepted.length === 0) break;
      answer = await this.rcpt(recipient, signal);
      if (answer.kind !== "said" || !isPositive(answer.reply)) break;
    }
    return this.#accepted.length === recipients.length ? undefined : refusedNow(answer);
  }

  async #sendOn({ content, size, signal }: PassedMessage): Promise<StepResult> {
    const { session } = this.#opened;
    const { eightBit } = this.#passages.how;
    const { utf8, eightBit: takesEightBit } = session.client.offered;
    const rendered = content();
    const memory = rendered instanceof Uint8Array ? rendered : undefined;
    // Looked for only where the peer has to be spared it.
    const utf8Header = this.#request.mail.utf8 && !utf8 &&
      await someEightBit(memory ?? content(), "header");
    const mustKnow = eightBit === "bounce" && !takesEightBit;
    const bounces = mustKnow && await someEightBit(memory ?? content(), "all");
    const abort = () => {
      // What is wholly sent may be taken: then the log is to know.
      if (!session.client.isSent) session.abort();
    };
    signal.throwIfAborted();
    if (!session.isPaused) return lostUnsent; // while that was looked for
    signal.addEventListener("abort", abort, { once: true });
    try {
      const result = await session.step(
        { kind: "data", content: memory, size, eightBit: bounces ? "bounce" : "send", utf8Header },
        rendered instanceof Uint8Array ? undefined : rendered,
      );
      if (session.unreadable !== undefined) throw session.unreadable;
      return result ?? lostUnsent;
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  #lost(): Answer {
    const failure = this.#opened.session.trouble?.failure ?? { kind: "lost", phase: "rcpt" };
    return answerOf({ kind: "lost", failure, unknown: false }, this.host);
  }

  #unknown(): Answer {
    const text = "The connection was lost before the reply: the next host may have the message";
    const deferral = deferred("4.4.2", text, "possible-duplicate", { host: this.host });
    return { kind: "deferred", deferral };
  }
}

/** The connection was lost before anything of the message was sent. */
function isUnsent(result: StepResult): boolean {
  return result.kind === "lost" && !result.unknown && result.failure.phase === "data" &&
    result.failure.kind !== "abandoned";
}

const lostUnsent: StepResult = { kind: "lost", failure: { kind: "lost", phase: "data" }, unknown: false };

const unreadable: Answer = {
  kind: "deferred",
  deferral: deferred("4.3.0", "The message could not be read", "local"),
};

/** The client had its yes: whatever the next hop says now, nothing is lost by trying again, and by a no for all somebody would be. */
function refusedNow(answer: Answer): Answer {
  if (answer.kind === "deferred") return answer;
  const text = answer.kind === "said" ? answer.reply.lines.join(" ") : answer.text;
  const changed = `The next host takes the envelope no more: ${text}`;
  return { kind: "deferred", deferral: deferred("4.4.2", changed, "rcpt") };
}
