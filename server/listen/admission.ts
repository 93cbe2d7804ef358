/**
 * Who may connect: counts connections, in all and by client, and says when it is too many. Pure.
 */
import ipaddr from "ipaddr.js";
import { networkOf } from "./network.ts";

/** Why a connection is refused: the server is full, or this client has too many already. */
export type Refusal = "too-many" | "too-many-from-you";

/** How many connections there may be at a time (`limits:`). */
export interface ConnectionLimits {
  readonly connections: number;
  /** From one IPv4 address, or one /64 of IPv6: what one customer of a provider has. */
  readonly connectionsPerIp: number;
}

/** Counts the connections of a server. */
export class Admission {
  /** May be replaced; who is in stays. */
  limits: ConnectionLimits;
  readonly #byClient = new Map<string, number>();
  #connections = 0;
  readonly #counters: Counters = {
    enter: (client) => this.#enter(client),
    leave: (client) => this.#leave(client),
    release: () => this.#connections--,
  };

  constructor(limits: ConnectionLimits) {
    this.limits = limits;
  }

  /** Connections admitted and not released. */
  get connections(): number {
    return this.#connections;
  }

  /** Clients that have a connection. */
  get clients(): number {
    return this.#byClient.size;
  }

  /**
   * Admits a connection or says why not.
   *
   * @param address The client's IP address; `undefined` where it is to be counted later, or never: proxies, whose
   *   clients are known once PROXY or XCLIENT has come, and Unix sockets.
   */
  admit(address: string | undefined): Ticket | Refusal {
    if (this.#connections >= this.limits.connections) return "too-many";
    const client = address === undefined ? undefined : clientOf(address);
    if (client !== undefined && !this.#enter(client)) return "too-many-from-you";
    this.#connections++;
    return new Ticket(client, this.#counters);
  }

  #enter(client: string): boolean {
    const count = this.#byClient.get(client) ?? 0;
    if (count >= this.limits.connectionsPerIp) return false;
    this.#byClient.set(client, count + 1);
    return true;
  }

  #leave(client: string): void {
    const count = this.#byClient.get(client)! - 1;
    if (count > 0) this.#byClient.set(client, count);
    else this.#byClient.delete(client); // or every address ever seen would stay in memory
  }
}

interface Counters {
  enter(client: string): boolean;
  leave(client: string): void;
  release(): void;
}

/** One admitted connection's place; given back by `release`. */
export class Ticket {
  #client: string | undefined;
  #counters: Counters | undefined;

  constructor(client: string | undefined, counters: Counters) {
    this.#client = client;
    this.#counters = counters;
  }

  /** The connection is this client's: PROXY or XCLIENT said so. Refused, it counts for nobody. */
  countAs(address: string): "admitted" | "too-many-from-you" {
    if (!this.#counters) return "admitted"; // over already
    if (this.#client !== undefined) this.#counters.leave(this.#client);
    const client = clientOf(address);
    const admitted = this.#counters.enter(client);
    this.#client = admitted ? client : undefined;
    return admitted ? "admitted" : "too-many-from-you";
  }

  /** The connection is over; calling it twice is fine. */
  release(): void {
    if (!this.#counters) return;
    if (this.#client !== undefined) this.#counters.leave(this.#client);
    this.#counters.release();
    this.#counters = undefined;
  }
}

/** What is counted as one client: an IPv4 address, or the /64 of an IPv6 one. */
export function clientOf(address: string): string {
  if (!address.includes(":") || !ipaddr.isValid(address)) return address;
  const parsed = ipaddr.process(address); // IPv4-mapped becomes IPv4
  return parsed.kind() === "ipv4" ? parsed.toString() : networkOf(address);
}
