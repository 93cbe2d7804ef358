import type { Endpoint } from "./channel.ts";

/** What stands for the address of either end of a Unix socket. */
export const unixEndpoint: Endpoint = { address: "unix", port: 0 };

/**
 * An endpoint in canonical text. On a dual-stack listener an IPv4 client shows as `::ffff:192.0.2.1`; whoever
 * compares addresses with networks must see `192.0.2.1` (CASES R02).
 */
export function endpoint(address: string, port: number): Endpoint {
  const mapped = address.startsWith("::ffff:") && address.includes(".");
  return { address: mapped ? address.slice("::ffff:".length) : address, port };
}
