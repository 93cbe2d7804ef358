/**
 * Messages in a file one behind the other, in the form `mboxrd` (RFC 4155 leaves it open; every reader takes it apart without
 * loss): a line `From …` begins a message, so that a line of the message which could be one gets a `>` in front, and
 * a line that has such a `>` already gets another. Pure.
 */
const text = new TextEncoder();
const [lf, cr, greater] = [0x0a, 0x0d, 0x3e];
const from = text.encode("From ");
const weekdays = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/**
 * The line a message begins with, its date as C's `asctime` writes it, in UTC.
 *
 * @param sender The envelope's; `""` is the null sender, by convention `MAILER-DAEMON`.
 * @param received Milliseconds since 1970.
 */
export function fromLine(sender: string, received: number): Uint8Array<ArrayBuffer> {
  const date = new Date(received);
  const pad = (value: number) => String(value).padStart(2, "0");
  const day = String(date.getUTCDate()).padStart(2, " ");
  const time = [date.getUTCHours(), date.getUTCMinutes(), date.getUTCSeconds()].map(pad).join(":");
  const when = `${weekdays[date.getUTCDay()]} ${
    months[date.getUTCMonth()]
  } ${day} ${time} ${date.getUTCFullYear()}`;
  // A quoted local part may hold a space, where readers look for the date.
  const who = sender === "" ? "MAILER-DAEMON" : sender.replaceAll(/\s/g, "_");
  return text.encode(`From ${who} ${when}\n`);
}

/** Encodes one message, as it comes: LF for CRLF, lines quoted where they have to be, an empty line behind it. */
export class MboxEncoder {
  /** What can't be decided yet: the beginning of a line as far as it could be a `From `, or a CR. */
  #pending: number[] = [];
  /** How many `>` of `#pending` there are. */
  #quotes = 0;
  #place: "start of line" | "in line" = "start of line";

  /** Encodes the next octets. */
  push(piece: Uint8Array): Uint8Array<ArrayBuffer> {
    const out = new Output(piece.length + piece.length / 16 + 64);
    for (const octet of piece) this.#take(octet, out);
    return out.written;
  }

  /** Encodes what is left, and ends the message. */
  end(): Uint8Array<ArrayBuffer> {
    const out = new Output(64);
    const isInLine = this.#place === "in line" || this.#pending.length > 0;
    out.all(this.#pending);
    this.#pending = [];
    this.#quotes = 0;
    if (isInLine) out.one(lf);
    out.one(lf);
    this.#place = "start of line";
    return out.written;
  }

  #take(octet: number, out: Output): void {
    if (this.#place === "start of line") return this.#begin(octet, out);
    if (this.#pending.length > 0) { // a CR
      this.#pending = [];
      if (octet !== lf) out.one(cr);
    }
    if (octet === cr) this.#pending.push(cr);
    else out.one(octet);
    if (octet === lf) this.#place = "start of line";
  }

  #begin(octet: number, out: Output): void {
    const letters = this.#pending.length - this.#quotes;
    if (octet === greater && letters === 0) {
      this.#quotes++;
      this.#pending.push(octet);
      return;
    }
    const fits = octet === from[letters];
    if (fits && letters + 1 < from.length) {
      this.#pending.push(octet);
      return;
    }
    if (fits) out.one(greater);
    out.all(this.#pending);
    this.#pending = [];
    this.#quotes = 0;
    this.#place = "in line";
    this.#take(octet, out);
  }
}

/** Octets that gather. */
class Output {
  #bytes: Uint8Array<ArrayBuffer>;
  #length = 0;

  constructor(capacity: number) {
    this.#bytes = new Uint8Array(Math.ceil(capacity));
  }

  get written(): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(0, this.#length);
  }

  one(octet: number): void {
    if (this.#length === this.#bytes.length) {
      const larger = new Uint8Array(this.#bytes.length * 2);
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    this.#bytes[this.#length++] = octet;
  }

  all(octets: readonly number[]): void {
    for (const octet of octets) this.one(octet);
  }
}
