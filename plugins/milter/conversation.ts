/**
 * One session's conversation with a filter. What the filter was told so far is known, so that a connection that broke is made again
 * and told the same, before the message is looked through: a message is never let pass half heard.
 */
import {
  because,
  type Objection,
  type OpenTransaction,
  type Recipient,
  reject,
  type Session,
  type Transaction,
} from "../../server/plugin.ts";
import * as command from "./commands.ts";
import { MilterProtocolError } from "./frames.ts";
import { Link, MilterGone } from "./link.ts";
import { type Agreed, offer, readAgreed, Step, type Version } from "./negotiation.ts";
import { type Answer, type Change, readSaid } from "./replies.ts";
import { type Client, ofConnection, ofHelo, ofMessage, ofRecipient, ofSender, type Telling } from "./told.ts";
import { type Meaning, meaningOf } from "./verdicts.ts";

/** What a conversation needs. */
export interface ConversationOptions {
  readonly address: string;
  readonly version: Version;
  /** Actions that aren't possible: the filter hears so in the negotiation. */
  readonly withheld: number;
  readonly telling: Telling;
  /** Who the client is: may ask the DNS. */
  readonly clientOf: (session: Session, signal: AbortSignal) => Promise<Client>;
  /** Told of each connection that is made. */
  readonly opened: (link: Link) => void;
}

/** A message on its way to the filter. */
export interface Content {
  /** Fields from the top: names, and values from behind the colon on, with LF between their lines. */
  readonly fields: Iterable<readonly [name: string, value: Uint8Array]>;
  readonly body: AsyncIterable<Uint8Array>;
}

/** What comes of a message that was looked through. */
export interface Judgement {
  readonly meaning: Meaning;
  /** In order; to be made only where the message goes on. */
  readonly changes: readonly Change[];
}

/** Hears of a piece of a new body while it comes: it may be larger than memory. */
export type OnBody = (octets: Uint8Array) => Promise<void>;

/** The transaction the filter knows of. */
interface Known {
  readonly id: string;
  readonly recipients: Set<string>;
  /** `content`, `discard`: it has said so, and wants to hear no more of it. */
  state: "open" | "content" | "discard";
}

/** A command by its letter, with its macros; `silence`: the step by which a filter says that it doesn't answer it. */
type Asked = [
  letter: string,
  macros: command.Macros,
  said: Uint8Array,
  silence: number,
  signal: AbortSignal,
];

const goOn: Meaning = { kind: "go on" };

/** A conversation. Commands come one after the other; each answers what the filter makes of it, or throws. */
export class Conversation {
  readonly #options: ConversationOptions;
  #link: Link | undefined;
  #agreed: Agreed | undefined;
  /** It wants to hear no more of this client. */
  #isContent = false;
  #known: Known | undefined;

  constructor(options: ConversationOptions) {
    this.#options = options;
  }

  /** Whether the filter hears. */
  get isOpen(): boolean {
    return this.#link?.isOpen ?? false;
  }

  /** Connects, negotiates, and tells who is there. */
  async connect(session: Session, signal: AbortSignal): Promise<Meaning> {
    const { address, version, withheld, telling, clientOf, opened } = this.#options;
    this.close();
    this.#isContent = false;
    const link = this.#link = await Link.open(address, signal);
    opened(link);
    await link.say([offer(version, withheld)], signal);
    this.#agreed = await this.#reading(
      link,
      async () => readAgreed(await link.hear(signal), version, withheld),
    );
    if (this.#skips(Step.noConnect)) return goOn;
    const client = await clientOf(session, signal);
    const said = command.connect(client.host, client.address, client.port);
    const macros = ofConnection(telling, session, client);
    return await this.#once("C", macros, said, Step.silentConnect, signal);
  }

  /** Tells the client's name. */
  async helo(session: Session, name: string, signal: AbortSignal): Promise<Meaning> {
    if (this.#isContent || this.#skips(Step.noHelo)) return goOn;
    return await this.#once("H", ofHelo(session), command.helo(name), Step.silentHelo, signal);
  }

  /** Begins a transaction; where the connection is gone, a new one is made and told all of before. */
  async mail(session: Session, transaction: Transaction, signal: AbortSignal): Promise<Meaning> {
    if (!this.isOpen) {
      const said = await this.#again(session, signal);
      if (said.kind !== "go on" && said.kind !== "content") return said;
    }
    if (this.#known) await this.#link!.say([command.abort()], signal);
    this.#known = undefined;
    if (this.#isContent) return goOn;
    const known: Known = this.#known = { id: transaction.id, recipients: new Set(), state: "open" };
    if (this.#skips(Step.noMail)) return goOn;
    const { sender, params } = transaction;
    const said = command.mail(sender.address, params);
    return this.#note(
      known,
      await this.#ask("M", ofSender(session, transaction), said, Step.silentMail, signal),
    );
  }

  async #again(session: Session, signal: AbortSignal): Promise<Meaning> {
    const said = await this.connect(session, signal);
    if (said.kind !== "go on" || this.#isContent || session.helo === undefined) return said;
    return await this.helo(session, session.helo, signal);
  }

  /** Tells one recipient. Nothing, where the filter doesn't know of the transaction: it will be told at the end. */
  async rcpt(recipient: Recipient, transaction: Transaction, signal: AbortSignal): Promise<Meaning> {
    const known = this.#known;
    if (!this.isOpen || known?.id !== transaction.id || known.state !== "open") return goOn;
    known.recipients.add(recipient.id);
    if (this.#skips(Step.noRcpt)) return goOn;
    const said = command.rcpt(recipient.address, recipient.params);
    const meaning = await this.#ask("R", ofRecipient(recipient), said, Step.silentRcpt, signal);
    return this.#note(known, meaning);
  }

  /**
   * Tells what the filter hasn't heard of this transaction.
   *
   * @returns What it objects to: the whole, or single recipients.
   */
  async catchUp(
    session: Session,
    transaction: Transaction,
    signal: AbortSignal,
  ): Promise<{ readonly whole: Meaning; readonly recipients: ReadonlyMap<string, Objection> }> {
    const recipients = new Map<string, Objection>();
    const isBehind = () => {
      const known = this.#known;
      if (!this.isOpen) return true;
      if (this.#isContent || (known?.id === transaction.id && known.state !== "open")) return false;
      return known?.id !== transaction.id ||
        transaction.recipients.some(({ id }) => !known.recipients.has(id));
    };
    if (!isBehind()) return { whole: goOn, recipients };
    const begun = await this.mail(session, transaction, signal);
    if (begun.kind === "objection") return { whole: begun, recipients };
    for (const recipient of transaction.recipients) {
      const said = await this.rcpt(recipient, transaction, signal);
      if (said.kind === "objection") recipients.set(recipient.id, said.objection);
    }
    return { whole: goOn, recipients };
  }

  /** Tells the message. */
  async message(
    transaction: OpenTransaction,
    content: Content,
    { onBody, onProgress }: { readonly onBody: OnBody; readonly onProgress: () => void },
    signal: AbortSignal,
  ): Promise<Judgement> {
    const known = this.#known;
    if (this.#isContent || !known || known.state === "content") return { meaning: goOn, changes: [] };
    if (known.state === "discard") return { meaning: { kind: "discard" }, changes: [] };
    const before = await this.#content(transaction, content, signal);
    if (before.kind !== "go on") return { meaning: before, changes: [] };
    const link = this.#link!;
    await link.say([...this.#macros("E", ofMessage(transaction)), command.endOfBody()], signal);
    const changes: Change[] = [];
    for (;;) {
      const said = await this.#reading(link, async () => readSaid(await link.hear(signal)));
      if (said.said === "progress") onProgress();
      else if (said.said === "answer") {
        this.#known = undefined; // the end of a message is that of its transaction
        return { meaning: meaningOf(said.answer), changes };
      } else if (said.change.kind === "replace body") await onBody(said.change.octets);
      else changes.push(this.#bounded(changes, said.change));
    }
  }

  async #content(transaction: Transaction, content: Content, signal: AbortSignal): Promise<Meaning> {
    const macros = ofMessage(transaction);
    if (this.#agreed!.version > 3 && !this.#skips(Step.noData)) {
      const said = await this.#ask("T", macros, command.data(), Step.silentData, signal);
      if (said.kind !== "go on") return said;
    }
    if (!this.#skips(Step.noHeaders)) {
      const said = await this.#header(content.fields, signal);
      if (said.kind !== "go on") return said;
    }
    if (!this.#skips(Step.noEndOfHeader)) {
      const said = await this.#ask("N", macros, command.endOfHeader(), Step.silentEndOfHeader, signal);
      if (said.kind !== "go on") return said;
    }
    return this.#skips(Step.noBody) ? goOn : await this.#body(content.body, signal);
  }

  async #header(fields: Content["fields"], signal: AbortSignal): Promise<Meaning> {
    const keepsSpace = this.#skips(Step.leadingSpace);
    for (const [name, raw] of fields) {
      const field = command.header(name, keepsSpace ? raw : withoutLeadingSpace(raw));
      if (field.length > largestCommand) return tooLong(name);
      const said = await this.#ask("L", [], field, Step.silentHeader, signal);
      if (said.kind !== "go on") return said;
    }
    return goOn;
  }

  async #body(body: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<Meaning> {
    for await (const piece of body) {
      for (let at = 0; at < piece.length; at += command.largestChunk) {
        const chunk = command.body(piece.subarray(at, at + command.largestChunk));
        const answer = await this.#answer("B", [], chunk, Step.silentBody, signal);
        if (answer.kind === "skip") return goOn; // it has seen enough
        const said = meaningOf(answer);
        if (said.kind !== "go on") return said;
      }
    }
    return goOn;
  }

  /** Forgets the transaction, wherever it is. */
  close(): void {
    const link = this.#link;
    this.#link = undefined;
    this.#known = undefined;
    if (!link?.isOpen) return;
    // A courtesy: whoever doesn't hear it sees the end of the connection.
    link.say([command.quit()], new AbortController().signal).catch(() => {}).finally(() => link.close());
  }

  // ── A question and its answer

  #skips(step: number): boolean {
    return (this.#agreed!.steps & step) !== 0;
  }

  /** Those the filter has asked for, where it asked. */
  #macros(letter: string, values: command.Macros): Uint8Array[] {
    const wanted = this.#agreed!.macros.get(letter);
    const told = wanted
      ? values.filter(([name]) => wanted.includes(name) || wanted.includes(short(name)))
      : values;
    return command.macros(letter, told);
  }

  async #answer(...[letter, macros, said, silence, signal]: Asked): Promise<Answer> {
    const link = this.#link!;
    await link.say([...this.#macros(letter, macros), said], signal);
    if (this.#skips(silence)) return { kind: "continue" };
    for (;;) {
      const heard = await this.#reading(link, async () => readSaid(await link.hear(signal)));
      if (heard.said === "answer") return heard.answer;
      if (heard.said === "change") {
        return this.#failed(link, new MilterProtocolError(`"${heard.change.kind}" before the message's end`));
      }
    }
  }

  async #ask(...asked: Asked): Promise<Meaning> {
    return meaningOf(await this.#answer(...asked));
  }

  /** Before MAIL: whoever is content is so with all that the client sends. */
  async #once(...asked: Asked): Promise<Meaning> {
    const meaning = await this.#ask(...asked);
    if (meaning.kind === "content" || meaning.kind === "discard") this.#isContent = true;
    return this.#isContent ? goOn : meaning;
  }

  #note(known: Known, meaning: Meaning): Meaning {
    if (meaning.kind !== "content" && meaning.kind !== "discard") return meaning;
    known.state = meaning.kind;
    return goOn; // a discard is for the end: the client hears that its message is taken
  }

  /** What it says must make sense, or it is not relied on any more. */
  async #reading<T>(link: Link, read: () => Promise<T>): Promise<T> {
    try {
      return await read();
    } catch (error) {
      return this.#failed(link, error);
    }
  }

  #failed(link: Link, error: unknown): never {
    link.close();
    if (!(error instanceof MilterProtocolError)) throw error;
    throw new MilterGone(`the milter at ${this.#options.address} sent ${error.message}`, { cause: error });
  }

  #bounded(changes: readonly Change[], change: Change): Change {
    if (changes.length < mostChanges) return change;
    return this.#failed(
      this.#link!,
      new MilterProtocolError(`more than ${mostChanges} changes of one message`),
    );
  }
}

/** Far more than any filter wants; each is held until the message goes on. */
const mostChanges = 10_000;

/** Octets of the longest command, as it is sent: whoever is told more closes the connection (MILTER_MAX_DATA_SIZE). */
const largestCommand = command.largestChunk + 5;

/** To put it off would be no better: it will be as long the next time. */
const tooLong = (name: string): Meaning => ({
  kind: "objection",
  objection: because(
    "a field too long",
    reject("5.6.0", `The field ${name.slice(0, 40)} is longer than a mail filter can be told`),
  ),
});

/** `{i}` is `i` (one-letter names may stand in braces). */
const short = (name: string) => /^\{(.)\}$/.exec(name)?.[1] ?? `{${name}}`;

function withoutLeadingSpace(value: Uint8Array): Uint8Array {
  let at = 0;
  while (value[at] === 0x20 || value[at] === 0x09) at++;
  return value.subarray(at);
}
