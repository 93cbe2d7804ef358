/** Messages as plugins and transports see them: a {@linkcode Content}, and what was edited since it arrived. */
import type { AuthenticationResult, Editable, Headers, Message } from "../plugin.ts";
import type { Body, Content, Pieces } from "./content.ts";
import { checkIndex, EditedHeader, type Edits, noEdits } from "./edits.ts";
import { type HeaderSection, readHeader } from "./header.ts";
import { concat, linesOf, render, type Rendered, renderedSize, renderHead } from "./render.ts";
import { checkResult, formatResults, resultsName } from "./results.ts";

/** What `bytes()` gives without being asked for more. */
const defaultMax = 1024 * 1024;

/** A message that nobody edits any more: for the `queue` hook, for transports, for `asReceived`. */
export class SealedMessage implements Message {
  readonly id: string;
  readonly #content: Content;
  readonly #edits: Edits;
  readonly #top: readonly string[];
  #size: number | undefined;
  #headers: Headers | undefined;

  /**
   * @param id The queue id.
   * @param content What was received.
   * @param edits What became of its header.
   * @param top Raw lines, each with its CRLF, above everything else.
   */
  constructor(id: string, content: Content, edits: Edits = noEdits, top: readonly string[] = []) {
    this.id = id;
    this.#content = content;
    this.#edits = edits;
    this.#top = top;
  }

  get size(): number {
    return this.#size ??= renderedSize(this.#content, this.#edits, this.#top);
  }

  get headers(): Headers {
    return this.#headers ??= readHeader(renderHead(this.#content, this.#edits, this.#top), this.size);
  }

  /** The octets, for the server's own rooms: no copy where none is needed, so they may not be changed. */
  render(pieces?: Pieces): Rendered {
    return render(this.#content, this.#edits, this.#top, pieces);
  }

  async bytes(max: number = defaultMax): Promise<Uint8Array<ArrayBuffer>> {
    if (this.size > max) {
      throw new RangeError(
        `The message has ${this.size} octets, more than the ${max} that bytes() was to give. ` +
          "Read it by stream() or lines(), or ask for more.",
      );
    }
    const own = this.#own();
    return Array.isArray(own) ? own[0]! : concat(await Array.fromAsync(own));
  }

  stream(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return ReadableStream.from(this.#own());
  }

  lines(): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    return linesOf(this.#own());
  }

  /** Octets that whoever gets them may change: bytes are sacred, ours are not handed out. */
  #own(): AsyncIterable<Uint8Array<ArrayBuffer>> | [Uint8Array<ArrayBuffer>] {
    const rendered = this.render();
    if (!(rendered instanceof Uint8Array)) return rendered;
    return [rendered === this.#content.memory ? rendered.slice() : rendered];
  }
}

/** One edit, for the trace of decisions. The value stays out of it: it may be the author's words. */
export interface Edit {
  readonly plugin: string;
  readonly edit:
    | "addResult"
    | "insertHeader"
    | "prependHeader"
    | "removeHeader"
    | "replaceBody"
    | "replaceHeader";
  /** The field; `undefined` for the body. */
  readonly name: string | undefined;
}

/** A plugin's turn: until it is closed, `view` may be edited; afterwards each edit throws. */
export interface Editing {
  readonly view: Editable;
  /** The hook has returned, thrown or run out of time; harmless twice. */
  close(): void;
}

/** A message between its final dot and its reply: plugins edit it by turns. */
export class EditableMessage {
  readonly id: string;
  /** Without anybody's edits. */
  readonly asReceived: SealedMessage;
  /** The header without anybody's edits. */
  readonly received: HeaderSection;
  readonly #original: Content;
  readonly #newBody: () => Body;
  readonly #authservId: string;
  readonly #results: AuthenticationResult[] = [];
  readonly #trace: Edit[] = [];
  readonly #bodies: Body[] = [];
  #content: Content;
  #header: EditedHeader;
  #replacing = false;

  /**
   * @param id The queue id.
   * @param content What has arrived.
   * @param newBody Where `replaceBody` writes to.
   * @param authservId In whose name `addResult` says results: our host name.
   */
  constructor(id: string, content: Content, newBody: () => Body, authservId: string) {
    this.id = id;
    this.asReceived = new SealedMessage(id, content);
    this.received = readHeader(content.head, content.size);
    this.#original = this.#content = content;
    this.#newBody = newBody;
    this.#authservId = authservId;
    this.#header = new EditedHeader(this.received);
  }

  /** The header with the edits made so far, and the way for the server's own edits, which need no turn and leave no trace. */
  get header(): EditedHeader {
    return this.#header;
  }

  /** What `edits` refers to: what was received or, once the body was replaced, another content that begins with the same fields. */
  get content(): Content {
    return this.#content;
  }

  /** The header's edits as data, for the spool's record. */
  get edits(): Edits {
    return this.#header.edits();
  }

  /** The plugins' edits, in their order. */
  get trace(): readonly Edit[] {
    return this.#trace;
  }

  /** The message as it is now, for `queue` and transports; edits made later don't show in it. */
  sealed(top: readonly string[] = []): SealedMessage {
    return new SealedMessage(this.id, this.#content, this.edits, top);
  }

  /**
   * Gives a plugin its turn. Each has a view of its own: one that goes on after its time-out can't edit in another's turn.
   *
   * @param plugin The instance's name, for the trace.
   */
  editing(plugin: string): Editing {
    const turn: Turn = { plugin, open: true };
    return {
      view: new EditableView(this, turn),
      close: () => {
        turn.open = false;
      },
    };
  }

  /** A copy with a life of its own, for a plugin that is only observed: give it the turn, read its `trace`, `discard` it. */
  fork(): EditableMessage {
    const fork = new EditableMessage(this.id, this.#original, this.#newBody, this.#authservId);
    fork.#results.push(...this.#results);
    fork.#content = this.#content;
    fork.#header = this.#header.copy();
    return fork;
  }

  /** Discards the contents that `replaceBody` made, those that were kept aside (`Body.discard`); harmless twice. */
  async discard(): Promise<void> {
    await Promise.all(this.#bodies.splice(0).map((body) => body.discard()));
  }

  /** For the views. @throws {TypeError} when the turn is over, or the edit is no good. */
  edit(turn: Turn, edit: Edit["edit"], name: string, change: (header: EditedHeader) => void): void {
    checkTurn(turn);
    change(this.#header);
    this.#trace.push({ plugin: turn.plugin, edit, name });
  }

  /** For the views. @throws {TypeError} when the turn is over, or the result is none. */
  addResult(turn: Turn, result: AuthenticationResult): void {
    checkResult(result);
    const value = formatResults(this.#authservId, [...this.#results, result]);
    this.edit(turn, "addResult", resultsName, (header) => header.keep(resultsName, value));
    this.#results.push(result);
  }

  /** For the views. The body is replaced when all of the new one is there, or not at all. */
  async replaceBody(turn: Turn, given: NewBody): Promise<void> {
    checkTurn(turn);
    if (this.#replacing) {
      throw new TypeError("The body is being replaced already: await the first replaceBody().");
    }
    this.#replacing = true;
    const body = this.#newBody();
    this.#bodies.push(body);
    try {
      await body.write(headerAlone(this.#content.head, this.received));
      let afterCr = false;
      for await (const piece of piecesOf(given)) {
        checkTurn(turn);
        afterCr = checkLineEnds(piece, afterCr);
        await body.write(piece);
      }
      if (afterCr) throw new TypeError(notCrlf);
      const content = await body.finish();
      checkTurn(turn);
      this.#content = content;
      this.#header = this.#header.copy(readHeader(content.head, content.size));
      this.#trace.push({ plugin: turn.plugin, edit: "replaceBody", name: undefined });
    } catch (error) {
      await body.discard();
      throw error;
    } finally {
      this.#replacing = false;
    }
  }
}

type NewBody = Parameters<Editable["replaceBody"]>[0];

/** A text is written by people, who mean its line ends as ends of lines; octets are what they are. */
function piecesOf(given: NewBody): Iterable<Uint8Array> | AsyncIterable<Uint8Array> {
  if (typeof given === "string") return [new TextEncoder().encode(given.replaceAll(/\r\n|\r|\n/g, "\r\n"))];
  return given instanceof Uint8Array ? [given] : given;
}

interface Turn {
  readonly plugin: string;
  open: boolean;
}

function checkTurn(turn: Turn): void {
  if (turn.open) return;
  throw new TypeError(
    `The plugin ${turn.plugin} edits a message after its hook has returned. Await all that edits before you return.`,
  );
}

/** The fields as they were received, and the empty line, which may have been missing. */
function headerAlone(head: Uint8Array<ArrayBuffer>, received: HeaderSection): Uint8Array {
  const crlf = new Uint8Array([13, 10]);
  const fields = head.subarray(0, received.fieldsEnd);
  return concat(received.isTerminated ? [fields, crlf] : [fields, crlf, crlf]);
}

const notCrlf = "The new body has a CR or LF alone. Each line must end with CRLF.";

/** Says whether the piece ends in a CR whose LF is to come. */
function checkLineEnds(piece: Uint8Array, afterCr: boolean): boolean {
  if (!(piece instanceof Uint8Array)) throw new TypeError("The new body is not a stream of Uint8Array.");
  if (piece.length === 0) return afterCr;
  if (afterCr && piece[0] !== 10) throw new TypeError(notCrlf);
  const last = piece.length - 1;
  for (let cr = piece.indexOf(13); cr !== -1 && cr < last; cr = piece.indexOf(13, cr + 1)) {
    if (piece[cr + 1] !== 10) throw new TypeError(notCrlf);
  }
  for (let lf = piece.indexOf(10); lf !== -1; lf = piece.indexOf(10, lf + 1)) {
    if (lf === 0 ? !afterCr : piece[lf - 1] !== 13) throw new TypeError(notCrlf);
  }
  return piece[last] === 13;
}

/** What a plugin is given in its turn. */
class EditableView implements Editable {
  readonly headers: Headers;
  readonly #message: EditableMessage;
  readonly #turn: Turn;

  constructor(message: EditableMessage, turn: Turn) {
    this.#message = message;
    this.#turn = turn;
    // Not the EditedHeader itself, which can be edited at any time.
    this.headers = {
      get: (name) => message.header.get(name),
      all: (name) => message.header.all(name),
      [Symbol.iterator]: () => message.header[Symbol.iterator](),
    };
  }

  get id(): string {
    return this.#message.id;
  }

  get size(): number {
    return this.#message.sealed().size;
  }

  get asReceived(): Message {
    return this.#message.asReceived;
  }

  bytes(max?: number): Promise<Uint8Array<ArrayBuffer>> {
    return this.#message.sealed().bytes(max);
  }

  stream(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return this.#message.sealed().stream();
  }

  lines(): AsyncIterable<Uint8Array<ArrayBuffer>> {
    return this.#message.sealed().lines();
  }

  prependHeader(name: string, value: string): void {
    this.#edit("prependHeader", name, (header) => header.insert(0, name, value));
  }

  insertHeader(index: number, name: string, value: string): void {
    this.#edit("insertHeader", name, (header) => header.insert(index, name, value));
  }

  replaceHeader(name: string, value: string, which?: number): void {
    this.#edit("replaceHeader", name, (header) => header.replace(name, value, which));
  }

  removeHeader(name: string, which?: number): void {
    if (which === undefined) return this.#edit("removeHeader", name, (header) => void header.remove(name));
    checkIndex(which);
    this.#edit(
      "removeHeader",
      name,
      (header) => void header.remove(name, (_value, index) => index === which),
    );
  }

  addResult(result: AuthenticationResult): void {
    this.#message.addResult(this.#turn, result);
  }

  replaceBody(content: NewBody): Promise<void> {
    return this.#message.replaceBody(this.#turn, content);
  }

  #edit(edit: Edit["edit"], name: string, change: (header: EditedHeader) => void): void {
    this.#message.edit(this.#turn, edit, name, change);
  }
}
