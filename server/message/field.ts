/** Making of header fields (RFC 5322 §2.2): what a plugin says as a name and a value becomes raw lines. */

import { Buffer } from "node:buffer";

/** A line without its CRLF should not be longer (RFC 5322 §2.1.1), in octets. */
const goodLine = 78;

/** ftext of RFC 5322 §3.6.8, and a length that leaves room for a value in a line of 998 octets. */
const fieldName = /^[!-9;-~]{1,255}$/;

/**
 * A header field as it stands in a message: long values folded at white space (RFC 5322 §2.2.3), with its CRLF. Unfolded
 * again it is the same value. A word without white space is never cut, however long it is.
 *
 * @param name Printable ASCII without a colon.
 * @param value One line of text, or one that is folded already (CRLF, white space, text), which stays as it is: a signature may
 * depend on it. White space around it is dropped.
 * @throws {TypeError} when the name is none, or the value has another CR or LF, or NUL: such a value could begin a field of its own.
 *
 * @example
 * ```ts
 * import { makeField } from "./field.ts";
 * import { strictEqual as equal, throws } from "node:assert/strict";
 * equal(makeField("X-Spam", "yes"), "X-Spam: yes\r\n");
 * throws(() => makeField("X-Spam", "yes\r\nBcc: all@example.org"), TypeError);
 * ```
 */
export function makeField(name: string, value: string): string {
  checkName(name);
  if (typeof value !== "string") {
    throw new TypeError(`The value of the header field ${name} is of type ${typeof value}. Give a string.`);
  }
  const folded = trimmed(value);
  const isFolded = foldedLines.test(folded);
  for (const [octet, title] of forbidden) {
    if (!value.includes(octet) || (isFolded && title !== "NUL")) continue;
    throw new TypeError(
      `The value of the header field ${name} has a ${title} at character ${value.indexOf(octet)}. ` +
        "Give one line of text: it is folded as it needs.",
    );
  }
  if (isFolded) return `${name}: ${folded.toWellFormed()}\r\n`;
  const text = cleanValue(value);
  if (text === "") return `${name}:\r\n`;
  const line = `${name}: ${text}`;
  return Buffer.byteLength(line) <= goodLine ? `${line}\r\n` : fold(line, name.length + 2);
}

/** Two lines or more, each of which holds text, so that none of them ends the header or begins a field (RFC 5322 §2.2.3). */
const foldedLines = /^[^\r\n]+(?:\r\n[ \t]+[^ \t\r\n][^\r\n]*)+$/;

const forbidden = [["\r", "CR"], ["\n", "LF"], ["\0", "NUL"]] as const;

/** @throws {TypeError} when the name is not one a header field may have. */
export function checkName(name: string): void {
  if (typeof name === "string" && fieldName.test(name)) return;
  throw new TypeError(
    `${JSON.stringify(name)?.slice(0, 80)} is not the name of a header field. ` +
      "Use 1 to 255 printable ASCII characters, without colon or space.",
  );
}

/** Breaks before white space that follows the first word, so that no line is blank. Greedy, linear. */
function fold(line: string, valueStart: number): string {
  let folded = "";
  let lineStart = 0;
  let candidate = -1; // where the line can be broken: before the white space in front of the last word seen
  let length = 0; // octets from lineStart to here
  let lengthAtCandidate = 0;
  for (let at = 0; at < line.length;) {
    const wordEnd = endOfRun(line, at, false);
    length += Buffer.byteLength(line.slice(at, wordEnd));
    if (length > goodLine && candidate > lineStart) {
      folded += `${line.slice(lineStart, candidate)}\r\n`;
      lineStart = candidate;
      length -= lengthAtCandidate;
    }
    const blankEnd = endOfRun(line, wordEnd, true);
    // "Name:" alone on its line is legal and trips readers: the first word stays beside it.
    if (wordEnd >= valueStart) [candidate, lengthAtCandidate] = [wordEnd, length];
    length += blankEnd - wordEnd;
    at = blankEnd;
  }
  return `${folded}${line.slice(lineStart)}\r\n`;
}

/** Where the run of blanks (or of others) that begins at `from` ends. */
function endOfRun(text: string, from: number, blank: boolean): number {
  let at = from;
  while (at < text.length && isBlank(text.charCodeAt(at)) === blank) at++;
  return at;
}

/** A value as it is read back from the field that `makeField` makes of it: unfolded, trimmed, and well-formed Unicode. */
export function cleanValue(value: string): string {
  return trimmed(value).replaceAll("\r\n", "").toWellFormed();
}

function trimmed(value: string): string {
  // Not `trim()`: a no-break space and its kind are part of a value.
  let [from, to] = [0, value.length];
  while (from < to && isBlank(value.charCodeAt(from))) from++;
  while (from < to && isBlank(value.charCodeAt(to - 1))) to--;
  return value.slice(from, to);
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}
