/** In the Worker: the views that handlers are given, made of data. What they do to them is recorded, and done by the server. */
import { EnvelopeAddress, parseAddress } from "../smtp/address.ts";
import { type Body, type Content, memoryContent } from "../message/content.ts";
import { makeField } from "../message/field.ts";
import { EditableMessage, type Editing, SealedMessage } from "../message/message.ts";
import { checkResult } from "../message/results.ts";
import type {
  AuthenticationResult,
  Editable,
  Headers,
  Message,
  OpenTransaction,
  Recipient,
} from "../plugin.ts";
import type {
  AddressData,
  ContentData,
  EditData,
  MessageData,
  RecipientData,
  TransactionData,
} from "./messages.ts";

/** Reads on, from an octet. */
export type ReadOn = (which: "now" | "received", offset: number) => Promise<Uint8Array<ArrayBuffer>>;

/** What a handler has done in its turn; once that is over it can't do more. */
export class Recorder {
  readonly edits: EditData[] = [];
  #isOver = false;

  record(on: EditData["on"], edit: string, ...args: readonly unknown[]): void {
    if (this.#isOver) throw new TypeError(`${edit}: the hook has returned, edits are over`);
    this.edits.push({ on, edit, args });
  }

  close(): void {
    this.#isOver = true;
  }
}

export function addressOf({ address, local, domain }: AddressData): EnvelopeAddress {
  return new EnvelopeAddress(address, local, domain);
}

/** A recipient; the same object as long as the server's is. */
export class RecipientView extends EnvelopeAddress implements Recipient {
  readonly id: string;
  readonly params: ReadonlyMap<string, string>;
  targets: Recipient["targets"];
  recorder: Recorder | undefined;

  constructor(data: RecipientData) {
    super(data.address, data.local, data.domain);
    this.id = data.id;
    this.params = data.params;
    this.targets = data.targets;
  }

  prependHeader(name: string, value: string): void {
    makeField(name, value);
    const recorder = this.recorder ?? over("prependHeader");
    recorder.record({ recipient: this.id }, "prependHeader", name, value);
  }
}

function over(edit: string): never {
  throw new TypeError(`${edit}: the hook has returned, edits are over`);
}

/** A transaction; the same object as long as the server's is. */
export class TransactionView implements OpenTransaction {
  readonly id: string;
  readonly params: ReadonlyMap<string, string>;
  sender: EnvelopeAddress;
  recipients: readonly RecipientView[] = [];
  recorder: Recorder | undefined;

  constructor({ id, params, sender }: TransactionData) {
    this.id = id;
    this.params = params;
    this.sender = addressOf(sender);
  }

  setSender(address: string): void {
    const parsed = parseAddress(address);
    if (!parsed) throw new TypeError(`setSender: ${JSON.stringify(address)} is not an address`);
    (this.recorder ?? over("setSender")).record("transaction", "setSender", address);
    this.sender = addressOf(parsed);
  }

  /** Where it goes is found when the hook has returned: an address that is refused there fails the hook. */
  // deno-lint-ignore require-await -- so that what it throws is a rejection, as in the server
  async addRecipient(address: string): Promise<void> {
    const parsed = parseAddress(address);
    if (!parsed || parsed.domain === "") {
      throw new TypeError(`addRecipient: ${JSON.stringify(address)} is not an address`);
    }
    (this.recorder ?? over("addRecipient")).record("transaction", "addRecipient", address);
  }

  /** A copy names a transport, and what it carries is anybody's: not an isolated plugin's. */
  addCopy(): Promise<void> {
    return Promise.reject(
      new TypeError("an isolated plugin can't have copies of mail: use it without isolate"),
    );
  }

  removeRecipient(id: string): void {
    (this.recorder ?? over("removeRecipient")).record("transaction", "removeRecipient", id);
    this.recipients = this.recipients.filter((one) => one.id !== id);
  }

  hold(reason: string): void {
    if (typeof reason !== "string") throw new TypeError("hold: the reason is not a text");
    (this.recorder ?? over("hold")).record("transaction", "hold", reason);
  }
}

/** A content of which the beginning is here. */
class ContentView implements Content {
  readonly size: number;
  readonly head: Uint8Array<ArrayBuffer>;
  readonly memory: Uint8Array<ArrayBuffer> | undefined;

  constructor(
    { size, head }: ContentData,
    readonly readOn: (offset: number) => Promise<Uint8Array<ArrayBuffer>>,
  ) {
    this.size = size;
    this.head = head;
    this.memory = head.length === size ? head : undefined;
  }

  async *read(offset = 0): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    if (offset < this.head.length) yield this.head.slice(offset);
    for (let at = Math.max(offset, this.head.length); at < this.size;) {
      const piece = await this.readOn(at);
      if (piece.length === 0) throw new Error("the message ends before its end");
      at += piece.length;
      yield piece;
    }
  }
}

/** A new body, in the Worker's own memory. */
class MemoryBody implements Body {
  #pieces: Uint8Array[] = [];
  size = 0;

  write(bytes: Uint8Array): void {
    this.#pieces.push(bytes.slice());
    this.size += bytes.length;
  }

  async finish(): Promise<Content> {
    return memoryContent(
      new Uint8Array(await new Blob(this.#pieces as Uint8Array<ArrayBuffer>[]).arrayBuffer()),
    );
  }

  discard(): Promise<void> {
    this.#pieces = [];
    return Promise.resolve();
  }
}

/** The message of one question. */
export class MessageViews {
  readonly #data: MessageData;
  readonly #readOn: ReadOn;
  readonly #message: EditableMessage;

  constructor(data: MessageData, readOn: ReadOn, message?: EditableMessage) {
    this.#data = data;
    this.#readOn = readOn;
    this.#message = message ??
      new EditableMessage(data.id, this.#content("now"), () => new MemoryBody(), "isolated.invalid");
  }

  /** For a plugin that edits nothing. */
  sealed(): Message {
    return new SealedMessage(this.#data.id, this.#content("now"));
  }

  /** The same message, for edits that are nobody else's. */
  fork(): MessageViews {
    return new MessageViews(this.#data, this.#readOn, this.#message.fork());
  }

  /** For one handler. */
  editable(recorder: Recorder): Editable {
    const received = this.#data.received ? this.#content("received") : this.#content("now");
    return new RecordingView(
      this.#message.editing("this plugin"),
      new SealedMessage(this.#data.id, received),
      recorder,
    );
  }

  #content(which: "now" | "received"): Content {
    return new ContentView(this.#data[which]!, (offset) => this.#readOn(which, offset));
  }
}

/** Does each edit to the copy that is here, which checks it and lets the handler see it, and records it. */
class RecordingView implements Editable {
  readonly #view: Editable;
  readonly #recorder: Recorder;

  constructor({ view }: Editing, readonly asReceived: Message, recorder: Recorder) {
    this.#view = view;
    this.#recorder = recorder;
  }

  get id(): string {
    return this.#view.id;
  }

  get size(): number {
    return this.#view.size;
  }

  get headers(): Headers {
    return this.#view.headers;
  }

  bytes(max?: number): Promise<Uint8Array<ArrayBuffer>> {
    return this.#view.bytes(max);
  }

  stream(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return this.#view.stream();
  }

  lines(): AsyncIterable<Uint8Array<ArrayBuffer>> {
    return this.#view.lines();
  }

  prependHeader(name: string, value: string): void {
    this.#view.prependHeader(name, value);
    this.#recorder.record("message", "prependHeader", name, value);
  }

  insertHeader(index: number, name: string, value: string): void {
    this.#view.insertHeader(index, name, value);
    this.#recorder.record("message", "insertHeader", index, name, value);
  }

  replaceHeader(name: string, value: string, which?: number): void {
    this.#view.replaceHeader(name, value, which);
    this.#recorder.record("message", "replaceHeader", name, value, which);
  }

  removeHeader(name: string, which?: number): void {
    this.#view.removeHeader(name, which);
    this.#recorder.record("message", "removeHeader", name, which);
  }

  /** Not done here: the field that it is added to is known to the server alone. */
  addResult(result: AuthenticationResult): void {
    checkResult(result);
    this.#recorder.record("message", "addResult", { ...result });
  }

  async replaceBody(content: Parameters<Editable["replaceBody"]>[0]): Promise<void> {
    const given = content instanceof ReadableStream ? await new Response(content).bytes() : content;
    await this.#view.replaceBody(given);
    this.#recorder.record("message", "replaceBody", given);
  }
}
