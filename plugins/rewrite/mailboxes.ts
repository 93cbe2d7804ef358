/** The addresses in a header field (RFC 5322 §3.4): each can be another, all around them stays as it is written. Pure. */

/** Letters that an address can't go on with, outside of quotes. */
const separators = new Set([" ", "\t", "\r", "\n", "\0", "<", ">", ",", ";", ":"]);

/**
 * The field's value with addresses replaced. Names, comments, groups and routes stay; a field whose quotes or comments don't end
 * stays whole. Linear in its length.
 *
 * @param value Unfolded.
 * @param rewrite Given an address as it is written; `undefined`: it stays.
 */
export function replaceMailboxes(value: string, rewrite: (address: string) => string | undefined): string {
  let out = "";
  let word = "";
  const endWord = () => {
    out += word.includes("@") ? rewrite(word) ?? word : word;
    word = "";
  };
  for (let at = 0; at < value.length; at++) {
    const char = value[at]!;
    if (char === '"' || char === "(") {
      const end = char === '"' ? endOfQuoted(value, at) : endOfComment(value, at);
      if (end === undefined) return value;
      const text = value.slice(at, end + 1);
      at = end;
      // A quoted local part is one with what follows; a quoted name stands for itself.
      if (char === '"' && value[end + 1] === "@" && word === "") word = text;
      else {
        endWord();
        out += text;
      }
    } else if (separators.has(char)) {
      endWord();
      out += char;
    } else {
      word += char;
    }
  }
  endWord();
  return out;
}

function endOfQuoted(value: string, start: number): number | undefined {
  for (let at = start + 1; at < value.length; at++) {
    if (value[at] === "\\") at++;
    else if (value[at] === '"') return at;
  }
}

function endOfComment(value: string, start: number): number | undefined {
  let depth = 0;
  for (let at = start; at < value.length; at++) {
    if (value[at] === "\\") at++;
    else if (value[at] === "(") depth++;
    else if (value[at] === ")" && --depth === 0) return at;
  }
}
