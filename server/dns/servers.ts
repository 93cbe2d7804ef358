/** Which DNS servers are asked: those of the configuration, else those of the system. */
import ipaddr from "ipaddr.js";
import type { Server } from "./exchange.ts";

const port = 53;

/**
 * Reads `127.0.0.1:53`, `[::1]:53`, or either without a port.
 *
 * @throws {Error} when the text is neither.
 */
export function readServer(text: string): Server {
  const found = /^(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+))(?::([0-9]{1,5}))?$/.exec(text) ??
    /^([0-9a-fA-F:.]+)$/.exec(text);
  const address = canonical(found?.[1] ?? found?.[2]);
  const number = found?.[3] === undefined ? port : Number(found[3]);
  if (address !== undefined && number > 0 && number < 65_536) return { address, port: number };
  throw new Error(
    `"${text}" is no DNS server's address: write an IP address and port such as 127.0.0.1:53 or [::1]:53`,
  );
}

/** As the socket will write a sender's address, with which it is compared. */
function canonical(address: string | undefined): string | undefined {
  if (address === undefined) return undefined;
  if (!address.includes(":")) return ipaddr.IPv4.isValidFourPartDecimal(address) ? address : undefined;
  return ipaddr.IPv6.isValid(address) && !address.includes("%")
    ? ipaddr.IPv6.parse(address).toRFC5952String()
    : undefined;
}

/** The servers of resolv.conf(5), in order; without any, the one on this machine, as the C library does it. */
export function configuredServers(resolvConf: string): Server[] {
  const servers: Server[] = [];
  for (const line of readIfThere(resolvConf).split("\n")) {
    const [keyword, value] = line.trim().split(/\s+/);
    if (keyword !== "nameserver") continue;
    // Link-local servers (`fe80::1%eth0`) are left out: the sender of an answer could not be told for sure.
    const address = canonical(value);
    if (address !== undefined) servers.push({ address, port });
  }
  return servers.length > 0 ? servers : [{ address: "127.0.0.1", port }];
}

function readIfThere(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "";
    throw error;
  }
}

/** `127.0.0.1:53`, `[::1]:53`. */
export function serverText({ address, port }: Server): string {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

/** Whether the way to it stays within this machine, where no one changes a bit on the way. */
export function isLoopback({ address }: Server): boolean {
  return ipaddr.process(address).range() === "loopback";
}
