/** IPv4 addresses as the system writes them, read without a library: each message asks which networks its client is in. */

const zero = 48, nine = 57, dot = 46;

/**
 * The number that an address in canonical form (four decimal octets, no leading zeros) stands for.
 *
 * @returns `undefined` for anything else, which may still be an address in another form.
 */
export function ipv4Number(text: string): number | undefined {
  let value = 0, octet = -1, dots = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === dot) {
      if (octet < 0 || ++dots > 3) return undefined;
      value = value * 256 + octet;
      octet = -1;
      continue;
    }
    if (code < zero || code > nine || octet === 0) return undefined;
    octet = Math.max(octet, 0) * 10 + code - zero;
    if (octet > 255) return undefined;
  }
  return dots === 3 && octet >= 0 ? value * 256 + octet : undefined;
}
