/** A table for people, in as many columns as their terminal has. */
import { visible } from "../log/format.ts";

/** One column. */
export interface Column {
  readonly title: string;
  readonly align: "left" | "right";
  /** `shrinks`: it gives way where the terminal is too narrow. `firm`: it has `least` characters, or more if they are needed. */
  readonly kind: "firm" | "shrinks";
  /** Characters it has at least. */
  readonly least: number;
}

/** A narrow terminal has one space between columns, all others two. */
const narrow = 100;
/** What a shrinking column is never narrower than, however narrow the terminal. */
const narrowest = 6;

/** Lays out rows. Widths are fixed by the first ones, so that a queue of any length can be printed as it is read. */
export class Table {
  readonly #columns: readonly Column[];
  readonly #widths: readonly number[];
  readonly #gap: string;

  /**
   * @param rows Those that the widths are taken from.
   * @param width Of the terminal; `undefined` where there is none: then nothing is cut.
   */
  constructor(columns: readonly Column[], rows: readonly (readonly string[])[], width: number | undefined) {
    this.#columns = columns;
    this.#gap = width !== undefined && width < narrow ? " " : "  ";
    const natural = columns.map(({ title, least }, i) =>
      rows.reduce(
        (most, row) => Math.max(most, widthOf(visible(row[i] ?? ""))),
        Math.max(least, title.length),
      )
    );
    this.#widths = width === undefined
      ? natural
      : fitted(columns, natural, width - gapsOf(columns, this.#gap));
    this.#cuts = width !== undefined;
  }

  readonly #cuts: boolean;

  /** The titles. */
  head(): string {
    return this.row(this.#columns.map(({ title }) => title));
  }

  /** One line, without its end. */
  row(cells: readonly string[]): string {
    const padded = this.#columns.map(({ align }, i) => {
      const width = this.#widths[i]!;
      const text = visible(cells[i] ?? "");
      const shown = this.#cuts ? cut(text, width) : text;
      const padding = " ".repeat(Math.max(0, width - widthOf(shown)));
      return align === "left" ? shown + padding : padding + shown;
    });
    return padded.join(this.#gap).trimEnd();
  }
}

function gapsOf(columns: readonly Column[], gap: string): number {
  return (columns.length - 1) * gap.length;
}

/** Cuts the widest of the shrinking columns down to one width, until all fit. */
function fitted(columns: readonly Column[], natural: readonly number[], room: number): number[] {
  const firm = natural.reduce((sum, width, i) => columns[i]!.kind === "firm" ? sum + width : sum, 0);
  const shrinking = natural.filter((_, i) => columns[i]!.kind === "shrinks").sort((a, b) => a - b);
  let left = room - firm;
  let most = Infinity;
  for (const [i, width] of shrinking.entries()) {
    const share = Math.floor(left / (shrinking.length - i));
    if (width > share) {
      most = Math.max(share, narrowest);
      break;
    }
    left -= width;
  }
  return natural.map((width, i) => columns[i]!.kind === "firm" ? width : Math.min(width, most));
}

/** The first characters, with `…` behind them where some are missing. */
export function cut(text: string, width: number): string {
  if (widthOf(text) <= width) return text;
  let shown = "";
  let used = 1;
  for (const { segment } of graphemes.segment(text)) {
    used += widthOfGrapheme(segment);
    if (used > width) break;
    shown += segment;
  }
  return `${shown}…`;
}

const graphemes = new Intl.Segmenter("en", { granularity: "grapheme" });
const ascii = /^[ -~]*$/;
/** East Asian Wide and Fullwidth (UAX #11), and what terminals show as pictures. */
const wide =
  /^[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\ua960-\ua97c\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6\u{1b000}-\u{1b2ff}\u{20000}-\u{3fffd}]|^\p{Emoji_Presentation}/u;

/** Cells of a terminal that a text takes. */
export function widthOf(text: string): number {
  if (ascii.test(text)) return text.length;
  let width = 0;
  for (const { segment } of graphemes.segment(text)) width += widthOfGrapheme(segment);
  return width;
}

function widthOfGrapheme(segment: string): number {
  return wide.test(segment) ? 2 : 1;
}
