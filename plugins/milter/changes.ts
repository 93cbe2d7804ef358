/** Makes of a message what a filter wants made of it, once it is known that the message goes on. */
import type { Editable, OpenTransaction } from "../../server/plugin.ts";
import type { Change } from "./replies.ts";

/** Makes the changes, in the filter's order. @throws {TypeError} when one can't be: a name that is none, a line that isn't folded. */
export async function make(
  changes: readonly Change[],
  message: Editable,
  transaction: OpenTransaction,
): Promise<void> {
  for (const change of changes) {
    switch (change.kind) {
      case "add header":
        message.insertHeader(Infinity, change.name, valueOf(change.value));
        break;
      case "insert header":
        message.insertHeader(change.index, change.name, valueOf(change.value));
        break;
      case "change header": {
        const value = valueOf(change.value);
        const which = Math.max(change.index, 1) - 1;
        if (value === "") message.removeHeader(change.name, which);
        else if (which < message.headers.all(change.name).length) {
          message.replaceHeader(change.name, value, which);
        } else message.insertHeader(Infinity, change.name, value);
        break;
      }
      case "add recipient":
        await transaction.addRecipient(change.address);
        break;
      case "remove recipient":
        remove(transaction, (address) => sameMailbox(address, change.address));
        break;
      case "change sender":
        transaction.setSender(change.address);
        break;
      case "quarantine":
        transaction.hold(change.reason);
        break;
      case "replace body": // has come in pieces before: see `NewBody`
        break;
    }
  }
}

/** The message goes nowhere. */
export function discard(transaction: OpenTransaction): void {
  remove(transaction, () => true);
}

function remove(transaction: OpenTransaction, isMeant: (address: string) => boolean): void {
  for (const { id, address } of [...transaction.recipients]) {
    if (isMeant(address)) transaction.removeRecipient(id);
  }
}

function sameMailbox(a: string, b: string): boolean {
  const [at, bt] = [a.lastIndexOf("@"), b.lastIndexOf("@")];
  return a.slice(0, at) === b.slice(0, bt) && a.slice(at).toLowerCase() === b.slice(bt).toLowerCase();
}

/** Filters end lines of a folded value with LF, and keep the space behind the colon where they know of it. */
function valueOf(said: string): string {
  return said.replaceAll(/\r\n|\r|\n/g, "\r\n").replace(/[ \t\r\n]+$/, "").replace(/^[ \t]+/, "");
}

/** A new body while it comes, piece by piece. */
export class NewBody {
  readonly #message: Editable;
  readonly #lines = new LineEnds();
  #writer: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>> | undefined;
  #replaced: Promise<Error | undefined> = Promise.resolve(undefined);

  constructor(message: Editable) {
    this.#message = message;
  }

  /** @throws what the message throws, a full disk for one. */
  async write(octets: Uint8Array): Promise<void> {
    if (!this.#writer) {
      const { readable, writable } = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>();
      this.#writer = writable.getWriter();
      this.#writer.closed.catch(() => {}); // told by `#replaced`
      this.#replaced = this.#message.replaceBody(readable).then(() => undefined, (error: Error) => error);
    }
    await this.#say(this.#lines.crlf(octets));
  }

  async #say(octets: Uint8Array<ArrayBuffer>): Promise<void> {
    try {
      await this.#writer!.write(octets);
    } catch (error) {
      throw await this.#replaced ?? error;
    }
  }

  /** All of it has come: it is the message's body from now on. */
  async finish(): Promise<void> {
    if (!this.#writer) return;
    await this.#say(this.#lines.end());
    await this.#writer.close().catch(() => {});
    const error = await this.#replaced;
    if (error) throw error;
  }

  /** It isn't wanted: the message keeps what it has. */
  async abandon(): Promise<void> {
    await this.#writer?.abort(new Error("the filter has changed its mind")).catch(() => {});
    await this.#replaced;
  }
}

/** Filters may end lines as they like: here each ends with CRLF. */
class LineEnds {
  #afterCr = false;

  crlf(octets: Uint8Array): Uint8Array<ArrayBuffer> {
    const made = new Uint8Array(octets.length * 2 + 2);
    let length = 0;
    for (const octet of octets) {
      if (this.#afterCr && octet !== 10) made[length++] = 10;
      if (octet === 10 && !this.#afterCr) made[length++] = 13;
      made[length++] = octet;
      this.#afterCr = octet === 13;
    }
    return made.slice(0, length);
  }

  end(): Uint8Array<ArrayBuffer> {
    return this.#afterCr ? Uint8Array.of(10) : new Uint8Array(0);
  }
}
