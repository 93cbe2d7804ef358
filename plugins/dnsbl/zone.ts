/** How a DNS list is asked, and what its answers mean (RFC 5782). */
import ipaddr from "ipaddr.js";

/**
 * The name to ask a list for (RFC 5782 §2.1, §2.4): octets, or nibbles, in reverse.
 *
 * @returns `undefined` for what is no IP address.
 */
export function queryName(address: string, zone: string): string | undefined {
  if (!ipaddr.isValid(address)) return undefined;
  const ip = ipaddr.process(address); // IPv4-mapped IPv6 becomes IPv4
  const bytes = ip.toByteArray();
  const parts = ip.kind() === "ipv4"
    ? bytes.map(String)
    : bytes.flatMap((byte) => [byte >> 4, byte & 15]).map((nibble) => nibble.toString(16));
  return `${parts.reverse().join(".")}.${zone}`;
}

/** What one A record of a list means. `error`: the list refuses to answer us; `nothing`: it is no answer of a list. */
export type Answer = "listed" | "error" | "nothing";

/**
 * Reads an A record: `127.255.255.x` are errors ("you ask too much", "not by this resolver"), `127.0.0.1` and whatever is
 * not in 127.0.0.0/8 says that the zone is no list any more (RFC 5782 §2.1, §5).
 */
export function readAnswer(answer: string, matches: (answer: string) => boolean): Answer {
  if (answer.startsWith("127.255.255.")) return "error";
  if (!answer.startsWith("127.") || answer === "127.0.0.1") return "nothing";
  return matches(answer) ? "listed" : "nothing";
}

/** A pattern of answers, each octet a number, a range or `*`: `127.0.0.4-7`, `127.0.*.1-3`. */
export function readPattern(text: string): ((answer: string) => boolean) | undefined {
  const parts = text.split(".");
  if (parts.length !== 4) return undefined;
  const ranges = parts.map((part) => {
    const [, low, high = low] = /^([0-9]{1,3})(?:-([0-9]{1,3}))?$/.exec(part === "*" ? "0-255" : part) ?? [];
    return [Number(low), Number(high)] as const;
  });
  if (ranges.some(([low, high]) => !(low <= high && high <= 255))) return undefined; // not a number: NaN compares false
  return (answer) =>
    answer.split(".").map(Number).every((octet, i) => octet >= ranges[i]![0] && octet <= ranges[i]![1]);
}
