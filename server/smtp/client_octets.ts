/** What both kinds of a client's transaction do with octets. */

/** Whether the last line is a whole one. */
export function endsInCrlf(content: Uint8Array): boolean {
  const { length } = content;
  return length >= 2 && content[length - 1] === 0x0a && content[length - 2] === 0x0d;
}

/** Both, one behind the other, for one write. */
export function join(one: Uint8Array, other: Uint8Array): Uint8Array {
  const both = new Uint8Array(one.length + other.length);
  both.set(one);
  both.set(other, one.length);
  return both;
}
