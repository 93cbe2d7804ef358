/** Which network a client counts as: what limits and greylists remember of it. */
import ipaddr from "ipaddr.js";
import { ipv4Number } from "../ipv4.ts";

/**
 * The /24 of an IPv4 address, the /64 of an IPv6 one: what one customer of a provider has.
 *
 * @param address An IP address as text; anything else (`"unix"`) is its own network.
 */
export function networkOf(address: string): string {
  if (ipv4Number(address) !== undefined) return `${address.slice(0, address.lastIndexOf("."))}.0/24`;
  if (!ipaddr.isValid(address)) return address;
  const ip = ipaddr.process(address);
  const [bits, Network] = ip.kind() === "ipv4" ? [24, ipaddr.IPv4] : [64, ipaddr.IPv6];
  return `${Network.networkAddressFromCIDR(`${ip}/${bits}`)}/${bits}`;
}
