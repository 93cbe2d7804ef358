/**
 * The addresses in a `From:` field, read for suspicion and not for display: readers of malformed fields disagree on
 * which of two addresses is the author, so this finds every address that any of them could take for it
 * (`From: <me@a> <boss@b>`, `From: boss@b <me@a>`). What stands in quotes or comments is nobody's address.
 */
import { meaning, type Meant } from "./senders.ts";

/** What was found: all addresses, or the part that can't be read. */
export type Authors = { readonly authors: readonly Meant[] } | { readonly unreadable: string };

/**
 * Reads one unfolded `From:` field (RFC 5322 §3.6.2, groups of RFC 6854 included). Linear in its length.
 *
 * @param field The field's value.
 */
export function readAuthors(field: string): Authors {
  const words = bareWords(field);
  if (!words) return { unreadable: "a quotation mark, parenthesis or backslash out of place" };
  const authors: Meant[] = [];
  for (const word of words) {
    if (!word.includes("@")) continue;
    const author = meaning(word);
    if (!author) return { unreadable: word };
    authors.push(author);
  }
  return { authors };
}

/**
 * What is left without comments, and without quoted strings that aren't a local part, split where an address can't
 * go on. `undefined` where a quoted string or a comment does not end, or a backslash stands outside of both: some
 * readers let it escape a quotation mark there, and see other strings.
 */
function bareWords(field: string): string[] | undefined {
  const words: string[] = [];
  let word = "";
  for (let at = 0; at < field.length; at++) {
    const char = field[at]!;
    if (char === "\\") return undefined;
    if (char === '"') {
      const end = endOfQuoted(field, at);
      if (end === undefined) return undefined;
      if (word !== "" || field[end + 1] === "@") word += field.slice(at, end + 1);
      at = end;
    } else if (char === "(") {
      const end = endOfComment(field, at);
      if (end === undefined) return undefined;
      if (word !== "") words.push(word);
      word = "";
      at = end;
    } else if (separators.has(char)) {
      if (word !== "") words.push(word);
      word = "";
    } else {
      word += char;
    }
  }
  if (word !== "") words.push(word);
  return words;
}

// A colon ends a group's name; in the address literal [IPv6:…] it leaves halves that are no address: refused.
const separators = new Set([" ", "\t", "\r", "\n", "\0", "<", ">", ",", ";", ":"]);

function endOfQuoted(field: string, start: number): number | undefined {
  for (let at = start + 1; at < field.length; at++) {
    if (field[at] === "\\") at++;
    else if (field[at] === '"') return at;
  }
}

function endOfComment(field: string, start: number): number | undefined {
  let depth = 0;
  for (let at = start; at < field.length; at++) {
    if (field[at] === "\\") at++;
    else if (field[at] === "(") depth++;
    else if (field[at] === ")" && --depth === 0) return at;
  }
}
