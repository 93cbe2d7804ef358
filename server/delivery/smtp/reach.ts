/** Which addresses could be connected to a moment ago: those that could not are tried after the others. */
import type { Clock } from "../../clock.ts";
import { Recent } from "./recent.ts";

/** Milliseconds that a failed address stands back. */
const downFor = 60_000;
/** A machine without IPv6 gets none in the next minutes. */
const noRouteFor = 600_000;
const mostKept = 10_000;

/** What connecting by IPv6 fails with on a machine that has none, and likewise for IPv4. */
const withoutRoute: ReadonlySet<unknown> = new Set(["ENETUNREACH", "EADDRNOTAVAIL", "EAFNOSUPPORT"]);

/** Remembers failed connections. */
export class Reach {
  readonly #down: Recent<true>;
  readonly #noRoute: Recent<true>;

  constructor(clock: Clock) {
    this.#down = new Recent(clock, mostKept);
    this.#noRoute = new Recent(clock, 2);
  }

  failed(address: string, port: number, error: unknown): void {
    this.#down.set(`${address} ${port}`, true, downFor);
    const code = error instanceof Error && "code" in error ? error.code : "";
    if (withoutRoute.has(code)) this.#noRoute.set(familyOf(address), true, noRouteFor);
  }

  reached(address: string, port: number): void {
    this.#down.delete(`${address} ${port}`);
    this.#noRoute.delete(familyOf(address));
  }

  isDown(address: string, port: number): boolean {
    return this.#down.get(`${address} ${port}`) !== undefined;
  }

  /** The same addresses, those that failed last. */
  order(addresses: readonly string[], port: number): readonly string[] {
    if (addresses.length < 2) return addresses;
    const rank = (address: string) =>
      (this.isDown(address, port) ? 2 : 0) + (this.#noRoute.get(familyOf(address)) ? 1 : 0);
    return addresses.map((address) => ({ address, rank: rank(address) }))
      .sort((one, other) => one.rank - other.rank)
      .map(({ address }) => address);
  }
}

function familyOf(address: string): string {
  return address.includes(":") ? "ipv6" : "ipv4";
}
