/**
 * Edits of a header, as an overlay: what was received is never rewritten, it is only referred to. The overlay is plain data that
 * the spool keeps beside the content, and says where octets stand, so that no later parser has to find the same fields again.
 */
import type { Headers } from "../plugin.ts";
import { checkName, cleanValue, makeField } from "./field.ts";
import { asciiLower, type HeaderSection } from "./header.ts";

/** What stands above the rest of a content. JSON can hold it. */
export interface Edits {
  /** Top to bottom: octets `[start, end)` of the content, or added text, raw lines with their CRLF. */
  readonly pieces: readonly (string | readonly [start: number, end: number])[];
  /** Below them the content follows as it is, from this octet on. */
  readonly rest: number;
}

/** The content as it was received. */
export const noEdits: Edits = Object.freeze({ pieces: Object.freeze([]), rest: 0 });

interface Added {
  readonly name: string;
  readonly lowerName: string;
  readonly value: string;
  readonly raw: string;
}

/** A field: one that was received, by its index; one that was added; `undefined` where it was removed. */
type Slot = number | Added | undefined;

const few = 64;

/** A header section and what was changed in it. */
export class EditedHeader implements Headers {
  readonly #received: HeaderSection;
  /** `undefined` until the first edit, which most messages never see. */
  #slots: Slot[] | undefined;
  #index: Map<string, number[]> | undefined;
  #kept: Added | undefined;

  constructor(received: HeaderSection, slots?: readonly Slot[]) {
    this.#received = received;
    this.#slots = slots && [...slots];
  }

  /** The same fields, independent from now on; over `received`, where the same fields stand elsewhere. */
  copy(received: HeaderSection = this.#received): EditedHeader {
    const copy = new EditedHeader(received, this.#slots);
    copy.#kept = this.#kept;
    return copy;
  }

  /** Puts a field on top, and from then on replaces that one where it stands: other fields of its name are left alone. */
  keep(name: string, value: string): void {
    const added = makeAdded(name, value);
    const slots = this.#open();
    const place = this.#kept ? slots.indexOf(this.#kept) : -1;
    if (place === -1) slots.unshift(added);
    else slots[place] = added;
    this.#kept = added;
    this.#index = undefined;
  }

  /** Puts a field before the `index`th (0: on top); past the end it is appended. @throws {TypeError} see `makeField`. */
  insert(index: number, name: string, value: string): void {
    if (!(index >= 0)) throw new TypeError(`${index} is no place in a header. Give 0 (on top) or more.`);
    const added = makeAdded(name, value);
    const slots = this.#open();
    slots.splice(placeOf(slots, index), 0, added);
    this.#index = undefined;
  }

  /**
   * Replaces the first field of this name and removes the others; appends it where there is none.
   *
   * @param which Only the one with this index among them, 0 on top, which leaves the others alone; nothing where there is none.
   * @throws {TypeError} see `makeField`.
   */
  replace(name: string, value: string, which?: number): void {
    const added = makeAdded(name, value);
    if (which !== undefined) {
      checkIndex(which);
      const place = this.#find(name)[which];
      if (place !== undefined) this.#open()[place] = added; // the places stay, and so does their index
      return;
    }
    const [first, ...others] = this.#find(name);
    if (first === undefined) return this.insert(Infinity, name, value);
    const slots = this.#open();
    slots[first] = added;
    for (const place of others) slots[place] = undefined;
    this.#index?.set(added.lowerName, [first]);
  }

  /**
   * Removes the fields of this name.
   *
   * @param when Which of them, by their value and their index among them, 0 on top; all of them if not given.
   * @returns How many there were.
   * @throws {TypeError} when it is no field's name, `"X-Spam:"` for one: it would remove nothing, silently.
   */
  remove(name: string, when: (value: string, index: number) => boolean = () => true): number {
    checkName(name);
    const places = this.#find(name).filter((place, index) => when(this.#value(place), index));
    if (places.length === 0) return 0;
    const slots = this.#open();
    for (const place of places) slots[place] = undefined;
    this.#index?.set(asciiLower(name), this.#find(name).filter((place) => slots[place] !== undefined));
    return places.length;
  }

  get(name: string): string | undefined {
    if (!this.#slots) return this.#received.get(name);
    const first = this.#find(name)[0];
    return first === undefined ? undefined : this.#value(first);
  }

  all(name: string): readonly string[] {
    return this.#slots ? this.#find(name).map((place) => this.#value(place)) : this.#received.all(name);
  }

  /** The fields as they are now: edits made meanwhile don't disturb it. */
  *[Symbol.iterator](): Generator<readonly [name: string, value: string]> {
    if (!this.#slots) return yield* this.#received;
    for (const slot of [...this.#slots]) {
      if (slot === undefined) continue;
      yield typeof slot === "number"
        ? [this.#received.name(slot), this.#received.value(slot)]
        : [slot.name, slot.value];
    }
  }

  /** The overlay as data. */
  edits(): Edits {
    if (!this.#slots) return noEdits;
    const { isTerminated, fieldsEnd } = this.#received;
    const pieces: (string | [number, number])[] = [];
    for (const slot of this.#slots) {
      if (slot === undefined) continue;
      const last = pieces.at(-1);
      if (typeof slot === "number") {
        const [start, end] = [this.#received.start(slot), this.#received.stop(slot)];
        if (typeof last === "object" && last[1] === start) last[1] = end;
        else pieces.push([start, end]);
      } else if (typeof last === "string") {
        pieces[pieces.length - 1] = last + slot.raw;
      } else {
        // The content ends within its last field: what is put below it must not become part of that line.
        pieces.push(last && !isTerminated && last[1] === fieldsEnd ? `\r\n${slot.raw}` : slot.raw);
      }
    }
    const last = pieces.at(-1);
    if (typeof last !== "object" || last[1] !== fieldsEnd) return { pieces, rest: fieldsEnd };
    pieces.pop();
    return { pieces, rest: last[0] };
  }

  #open(): Slot[] {
    return this.#slots ??= Array.from({ length: this.#received.length }, (_, field) => field);
  }

  #value(place: number): string {
    const slot = this.#slots ? this.#slots[place] : place;
    return typeof slot === "object" ? slot.value : this.#received.value(slot!);
  }

  /** Places (indexes of slots) of the fields of this name, from the top. */
  #find(name: string): readonly number[] {
    const slots = this.#slots;
    if (!slots) return this.#received.find(name);
    const lower = asciiLower(name);
    if (slots.length > few) return (this.#index ??= this.#indexNames(slots)).get(lower) ?? [];
    const found: number[] = [];
    for (let place = 0; place < slots.length; place++) {
      const slot = slots[place];
      const hit = typeof slot === "number" ? this.#received.isNamed(slot, lower) : slot?.lowerName === lower;
      if (hit) found.push(place);
    }
    return found;
  }

  /** Removals keep it valid, so that a plugin that removes fields one by one takes linear time. */
  #indexNames(slots: readonly Slot[]): Map<string, number[]> {
    const index = new Map<string, number[]>();
    for (const [place, slot] of slots.entries()) {
      if (slot === undefined) continue;
      const name = typeof slot === "number" ? asciiLower(this.#received.name(slot)) : slot.lowerName;
      const places = index.get(name);
      if (places) places.push(place);
      else index.set(name, [place]);
    }
    return index;
  }
}

/** @throws {TypeError} when it is none: it would change nothing, silently. */
export function checkIndex(index: number): void {
  if (Number.isInteger(index) && index >= 0) return;
  throw new TypeError(`${index} is no field's index among those of its name. Give 0 (the topmost) or more.`);
}

/** The slot before which the `index`th field stands that is still there. */
function placeOf(slots: readonly Slot[], index: number): number {
  let left = index;
  for (let place = 0; place < slots.length; place++) {
    if (slots[place] !== undefined && left-- < 1) return place;
  }
  return slots.length;
}

function makeAdded(name: string, value: string): Added {
  const raw = makeField(name, value);
  return { name, lowerName: asciiLower(name), value: cleanValue(value), raw };
}

/**
 * Two overlays as one: `second` is of what `first` makes of a content, the result is of the content itself.
 *
 * @throws {RangeError} when a range of `second` cuts a text of `first` within a character.
 */
export function composed(first: Edits, second: Edits): Edits {
  if (first === noEdits || (first.pieces.length === 0 && first.rest === 0)) return second;
  const pieces: (string | readonly [number, number])[] = [];
  const add = (piece: string | readonly [number, number]) => {
    const last = pieces.at(-1);
    if (typeof piece === "string" && typeof last === "string") pieces[pieces.length - 1] = last + piece;
    else if (typeof piece === "object" && typeof last === "object" && last[1] === piece[0]) {
      pieces[pieces.length - 1] = [last[0], piece[1]];
    } else pieces.push(piece);
  };
  for (const piece of second.pieces) {
    if (typeof piece === "string") add(piece);
    else for (const part of within(first, piece[0], piece[1])) add(part);
  }
  const above = first.pieces.reduce((sum, piece) => sum + octetsOf(piece), 0);
  if (second.rest >= above) return { pieces, rest: first.rest + second.rest - above };
  for (const part of within(first, second.rest, above)) add(part);
  return { pieces, rest: first.rest };
}

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

const octetsOf = (piece: Edits["pieces"][number]) =>
  typeof piece === "string" ? encoder.encode(piece).length : piece[1] - piece[0];

/** What `first` has at octets `[from, to)` of what it makes. */
function* within(
  { pieces, rest }: Edits,
  from: number,
  to: number,
): Generator<string | readonly [number, number]> {
  let at = 0;
  for (const piece of pieces) {
    const size = octetsOf(piece);
    const [start, end] = [Math.max(from - at, 0), Math.min(to - at, size)];
    at += size;
    if (start >= end) continue;
    if (typeof piece === "object") yield [piece[0] + start, piece[0] + end];
    else yield decoder.decode(encoder.encode(piece).subarray(start, end));
  }
  if (to > at) yield [rest + Math.max(from - at, 0), rest + to - at];
}
