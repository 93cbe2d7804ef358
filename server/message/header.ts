/**
 * Reading of a header section (RFC 5322 §2.2, §3.6.8) that keeps the raw bytes: a field is a range of octets, so that what nobody
 * changes stays as it was, octet by octet. Only CRLF ends a line; everything here is linear (CASES D05).
 */
import type { Headers } from "../plugin.ts";

const [tab, lf, cr, space, colon, del] = [0x09, 0x0a, 0x0d, 0x20, 0x3a, 0x7f];

/** Up to here a look through all names is faster than an index of them. */
const few = 64;

const utf8 = new TextDecoder("utf-8", { ignoreBOM: true }); // else a BOM would vanish from the value it begins

/**
 * Finds the fields of a header section.
 *
 * It ends behind its empty line; or before the first line that is neither a field nor the continuation of one, which is
 * body then, and no empty line is made up; or with the content. A field that is not whole in `head` is body.
 *
 * @param head The first octets of a content; the header section whole unless it is over 256 KiB.
 * @param size Octets of the whole content.
 */
export function readHeader(head: Uint8Array<ArrayBuffer>, size: number = head.length): HeaderSection {
  const marks: number[] = [];
  let at = 0;
  while (at < head.length) {
    const first = head[at]!;
    if (first === cr && head[at + 1] === lf) return new HeaderSection(head, marks, at, at + 2);
    const continues = first === space || first === tab;
    if (continues && marks.length === 0) break;
    if (!continues && !markField(head, at, marks)) break;
    const next = nextLine(head, at);
    if (next === head.length && size > next) {
      // Cut here, and what follows may continue this field: it can't be touched without tearing it apart.
      at = marks.splice(-3)[0]!;
      break;
    }
    at = next;
  }
  return new HeaderSection(head, marks, at, at);
}

/** Notes where the field that begins at `at` has its name and its value; says whether there is one. */
function markField(head: Uint8Array, at: number, marks: number[]): boolean {
  let nameEnd = at;
  while (isNameOctet(head[nameEnd])) nameEnd++;
  let mark = nameEnd;
  while (head[mark] === space || head[mark] === tab) mark++; // `Name :`, RFC 5322 §4.5.8
  if (nameEnd === at || head[mark] !== colon) return false;
  marks.push(at, nameEnd, mark + 1);
  return true;
}

/** ftext of RFC 5322 §3.6.8. */
function isNameOctet(octet: number | undefined): boolean {
  return octet !== undefined && octet > space && octet < del && octet !== colon;
}

function nextLine(bytes: Uint8Array, from: number): number {
  let end = bytes.indexOf(lf, from);
  while (end !== -1 && bytes[end - 1] !== cr) end = bytes.indexOf(lf, end + 1);
  return end === -1 ? bytes.length : end + 1;
}

/** A header section as it was received. Fields are known by their index, from 0 at the top. */
export class HeaderSection implements Headers {
  /** Where the last field ends, and the empty line begins if there is one. */
  readonly fieldsEnd: number;
  /** Where the body begins: behind the empty line, if there is one. */
  readonly end: number;
  readonly #bytes: Uint8Array<ArrayBuffer>;
  /** Three a field: where it begins, where its name ends, where its value begins. */
  readonly #marks: readonly number[];
  #index: Map<string, number[]> | undefined;

  /** For `readHeader`. */
  constructor(bytes: Uint8Array<ArrayBuffer>, marks: readonly number[], fieldsEnd: number, end: number) {
    this.#bytes = bytes;
    this.#marks = marks;
    this.fieldsEnd = fieldsEnd;
    this.end = end;
  }

  /** How many fields there are. */
  get length(): number {
    return this.#marks.length / 3;
  }

  /** Whether the last field ends with CRLF, or there is none: false only where the content ends within it. */
  get isTerminated(): boolean {
    const end = this.fieldsEnd;
    return end === 0 || (this.#bytes[end - 1] === lf && this.#bytes[end - 2] === cr);
  }

  /** Where the field begins, in octets of the content. */
  start(field: number): number {
    return this.#marks[field * 3]!;
  }

  /** Where the field ends, its CRLF and its folded lines included. */
  stop(field: number): number {
    return this.#marks[field * 3 + 3] ?? this.fieldsEnd;
  }

  /** The field's octets, from its name to its last CRLF. A view: not to be changed. */
  raw(field: number): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(this.start(field), this.stop(field));
  }

  /** The name as it was written. */
  name(field: number): string {
    const end = this.#marks[field * 3 + 1]!;
    let name = "";
    for (let at = this.start(field); at < end; at++) name += String.fromCharCode(this.#bytes[at]!);
    return name;
  }

  /** The value, unfolded (RFC 5322 §2.2.3), trimmed, as UTF-8 with bad octets replaced. */
  value(field: number): string {
    const bytes = this.#bytes;
    let [from, to] = [this.#marks[field * 3 + 2]!, this.stop(field)];
    // By hand: /\s+$/ takes quadratic time on runs of spaces.
    while (from < to && isBlank(bytes[from]!)) from++;
    while (from < to && isBlank(bytes[to - 1]!)) to--;
    const text = utf8.decode(bytes.subarray(from, to));
    if (!text.includes("\n") && !text.includes("\r")) return text;
    // A lone CR or LF is not expected here; as a space it can't begin a line anywhere.
    return text.replaceAll("\r\n", "").replaceAll(/[\r\n]/g, " ");
  }

  /** Whether the field has this name, given in lower case. */
  isNamed(field: number, lowerName: string): boolean {
    const start = this.start(field);
    if (this.#marks[field * 3 + 1]! - start !== lowerName.length) return false;
    for (let i = 0; i < lowerName.length; i++) {
      const octet = this.#bytes[start + i]!;
      const lower = octet >= 0x41 && octet <= 0x5a ? octet | 0x20 : octet;
      if (lower !== lowerName.charCodeAt(i)) return false;
    }
    return true;
  }

  /** The indexes of the fields of this name, from the top. */
  find(name: string): readonly number[] {
    const lower = asciiLower(name);
    if (this.length > few) return (this.#index ??= this.#indexNames()).get(lower) ?? [];
    const found: number[] = [];
    for (let field = 0; field < this.length; field++) if (this.isNamed(field, lower)) found.push(field);
    return found;
  }

  get(name: string): string | undefined {
    const first = this.find(name)[0];
    return first === undefined ? undefined : this.value(first);
  }

  all(name: string): readonly string[] {
    return this.find(name).map((field) => this.value(field));
  }

  *[Symbol.iterator](): Generator<readonly [name: string, value: string]> {
    for (let field = 0; field < this.length; field++) yield [this.name(field), this.value(field)];
  }

  #indexNames(): Map<string, number[]> {
    const index = new Map<string, number[]>(); // never {}: `__proto__:` is a field like another
    for (let field = 0; field < this.length; field++) {
      const name = asciiLower(this.name(field));
      const fields = index.get(name);
      if (fields) fields.push(field);
      else index.set(name, [field]);
    }
    return index;
  }
}

function isBlank(octet: number): boolean {
  return octet === space || octet === tab || octet === cr || octet === lf;
}

/** Lower case of ASCII letters only: `toLowerCase` makes a `k` of the Kelvin sign. */
export function asciiLower(text: string): string {
  return /^[\0-\x7f]*$/.test(text)
    ? text.toLowerCase()
    : text.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
}
